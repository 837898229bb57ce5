"""What can go wrong on the device, as one family that a caller can catch."""

import math


class RuntimeFault(Exception):  # noqa: N818 RuntimeError is Python's own
    """A fault a user can act on: the message names the value, the rule and the way out."""


class BundleFault(RuntimeFault):
    """A bundle is missing, damaged, of an unknown version, or asks for what is not installed."""


class EngineMissing(BundleFault):
    """The bundle asks for an engine that is not installed."""


class AudioFault(RuntimeFault):
    """A recording or a microphone cannot be read."""


class PronunciationFault(RuntimeFault):
    """A text and the posteriors of a recording cannot be held against each other."""


def one_line(error: object, max_characters: int = 200) -> str:
    """A message of anybody's as one line that a terminal can show.

    Engines and parsers quote what they were given, and a name in a received file may hold the
    codes that move a terminal's cursor or change its title: those are shown as escapes.
    """
    text = " ".join(str(error).split())[:max_characters]
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def short(value: object) -> str:
    """A value for a message: a number of thousands of digits must not fill the screen."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
