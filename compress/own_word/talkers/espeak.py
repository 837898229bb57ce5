"""espeak-ng: every accent of a language in dozens of timbres, a thousandth of a second a word."""

import numpy as np

from train.data.synthetic import ACCENTS, VARIANTS, say
from train.data.voices import Speaker
from train.nearest import nearest

from ... import CallError
from . import Said, Waveform

ENGLISH = "en"


def accents_of(language: str, speaker: Speaker) -> list[str]:
    """The voices that speak a language: `en` in eight accents, en-us in one, pt as in pt-br too.

    Raises:
        CallError: there is none.
    """
    if language == ENGLISH:
        return list(ACCENTS)
    known = speaker.languages()
    found = [name for name in known if name == language or name.startswith(f"{language}-")]
    if not found:
        raise CallError(f"espeak-ng speaks no language {language!r}; {nearest(language, known)}")
    return found


class EspeakTalker:
    """The voices of some accents."""

    def __init__(self, speaker: Speaker, accents: list[str]) -> None:
        """Take the accents' voices, in all of `VARIANTS`."""
        self._speaker = speaker
        self._accents = accents

    def voices(self, partition: str) -> list[str]:
        """As `Talker`."""
        return [f"{accent}+{name}" for name in VARIANTS[partition] for accent in self._accents]

    def accent_of(self, voice: str) -> str:
        """As `Talker`."""
        return voice.partition("+")[0]

    def say(self, said: Said, voice: str, rng: np.random.Generator) -> Waveform:
        """As `Talker`."""
        return say(self._speaker, said, voice, rng)
