"""How unlike two sounds are, and how far a pronunciation is from being heard within another.

Sounds are IPA. Each symbol has a place in the mouth; the distances are ours, made so that sounds
which listeners and accents take for one another (t and d, or the vowels of "cot" and "caught") lie
near 0.25, and sounds of different classes at 1.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

SKIPPED = 0.7
"""Cost of a sound that is left out or put in."""
SKIPPED_WEAK = 0.35
"""Of one that fluent speech drops: a schwa, h, a glottal stop."""
_WEAK = frozenset("əɐhʔᵻ")

# Height from open, 0, to close, 1; backness from front, 0, to back, 1; rounded lips.
_VOWELS: dict[str, tuple[float, float, float]] = {
    "i": (1.0, 0.0, 0), "y": (1.0, 0.0, 1), "ɨ": (1.0, 0.5, 0), "ʉ": (1.0, 0.5, 1),
    "ɯ": (1.0, 1.0, 0), "u": (1.0, 1.0, 1), "ɪ": (0.85, 0.2, 0), "ʏ": (0.85, 0.2, 1),
    "ᵻ": (0.85, 0.4, 0), "ʊ": (0.85, 0.8, 1), "e": (0.7, 0.0, 0), "ø": (0.7, 0.0, 1),
    "ɘ": (0.7, 0.5, 0), "ɵ": (0.7, 0.5, 1), "ɤ": (0.7, 1.0, 0), "o": (0.7, 1.0, 1),
    "ə": (0.5, 0.5, 0), "ɚ": (0.5, 0.5, 0), "ɛ": (0.35, 0.0, 0), "œ": (0.35, 0.0, 1),
    "ɜ": (0.4, 0.5, 0), "ɝ": (0.4, 0.5, 0), "ɞ": (0.35, 0.5, 1), "ʌ": (0.35, 0.8, 0),
    "ɔ": (0.35, 1.0, 1), "æ": (0.15, 0.1, 0), "ɐ": (0.2, 0.5, 0), "a": (0.0, 0.3, 0),
    "ɶ": (0.0, 0.2, 1), "ɑ": (0.0, 1.0, 0), "ɒ": (0.0, 1.0, 1),
}  # fmt: skip
# Place from the lips, 0, to the throat, 1; whether the voice sounds; how the air is held up.
_CONSONANTS: dict[str, tuple[float, bool, str]] = {
    "p": (0.0, False, "stop"), "b": (0.0, True, "stop"), "t": (0.35, False, "stop"),
    "d": (0.35, True, "stop"), "ʈ": (0.5, False, "stop"), "ɖ": (0.5, True, "stop"),
    "c": (0.6, False, "stop"), "ɟ": (0.6, True, "stop"), "k": (0.75, False, "stop"),
    "g": (0.75, True, "stop"), "ɡ": (0.75, True, "stop"), "q": (0.85, False, "stop"),
    "ʔ": (1.0, False, "stop"), "m": (0.0, True, "nasal"), "ɱ": (0.1, True, "nasal"),
    "n": (0.35, True, "nasal"), "ɳ": (0.5, True, "nasal"), "ɲ": (0.6, True, "nasal"),
    "ŋ": (0.75, True, "nasal"), "ɾ": (0.35, True, "tap"), "ɽ": (0.5, True, "tap"),
    "r": (0.35, True, "liquid"), "ɹ": (0.4, True, "liquid"), "ɻ": (0.5, True, "liquid"),
    "ʀ": (0.85, True, "liquid"), "l": (0.35, True, "liquid"), "ɫ": (0.4, True, "liquid"),
    "ɭ": (0.5, True, "liquid"), "ʎ": (0.6, True, "liquid"), "ɸ": (0.0, False, "fricative"),
    "β": (0.0, True, "fricative"), "f": (0.1, False, "fricative"), "v": (0.1, True, "fricative"),
    "θ": (0.25, False, "fricative"), "ð": (0.25, True, "fricative"),
    "s": (0.35, False, "fricative"), "z": (0.35, True, "fricative"),
    "ʃ": (0.45, False, "fricative"), "ʒ": (0.45, True, "fricative"),
    "ʂ": (0.5, False, "fricative"), "ʐ": (0.5, True, "fricative"),
    "ɕ": (0.55, False, "fricative"), "ʑ": (0.55, True, "fricative"),
    "ç": (0.6, False, "fricative"), "ʝ": (0.6, True, "fricative"), "x": (0.75, False, "fricative"),
    "ɣ": (0.75, True, "fricative"), "χ": (0.85, False, "fricative"),
    "ʁ": (0.85, True, "fricative"), "h": (1.0, False, "fricative"), "ɦ": (1.0, True, "fricative"),
    "j": (0.6, True, "glide"), "w": (0.3, True, "glide"), "ʋ": (0.1, True, "glide"),
    "ɥ": (0.5, True, "glide"), "ɰ": (0.75, True, "glide"),
}  # fmt: skip
_NEAR_MANNERS = {
    frozenset(("stop", "tap")): 0.2,
    frozenset(("liquid", "tap")): 0.25,
    frozenset(("liquid", "glide")): 0.3,
    frozenset(("stop", "fricative")): 0.45,
    frozenset(("stop", "nasal")): 0.5,
}
_FAR_MANNERS = 0.7
_VOICING = 0.25


def is_vowel(ipa: str) -> bool:
    """Whether a sound can carry a syllable: it is a vowel, or begins with one."""
    return _symbols(ipa)[:1] != () and _symbols(ipa)[0] in _VOWELS


@cache
def distance(one: str, other: str) -> float:
    """Between two sounds, in [0, 1]; sounds of several symbols go by place, their last held on.

    Length, tone and small marks are not looked at.
    """
    first, second = _symbols(one), _symbols(other)
    if first == second:
        return 0.0
    if not first or not second:
        return 1.0
    length = max(len(first), len(second))
    pairs = zip(_held(first, length), _held(second, length), strict=True)
    return sum(_between(*pair) for pair in pairs) / length


def heard_within(phrase: Sequence[str], sounds: Sequence[str]) -> float:
    """Least cost of changes that make some stretch of `sounds` into `phrase`.

    Sounds before and after that stretch cost nothing: who says more than the phrase says it too.
    """
    row = np.zeros(len(sounds) + 1)
    for wanted in phrase:
        left_out = _skipped(wanted)
        after = np.empty_like(row)
        after[0] = row[0] + left_out
        for place, sound in enumerate(sounds, start=1):
            after[place] = min(
                row[place - 1] + distance(wanted, sound),
                row[place] + left_out,
                after[place - 1] + _skipped(sound),
            )
        row = after
    return float(row.min())


def _skipped(ipa: str) -> float:
    symbols = _symbols(ipa)
    return SKIPPED_WEAK if not symbols or set(symbols) <= _WEAK else SKIPPED


@cache
def _symbols(ipa: str) -> tuple[str, ...]:
    """What a sound is made of, marks left out; a symbol that is unknown stays."""
    return tuple(mark for mark in ipa if mark.isalpha() and mark not in "ːʰʲʷˠˤⁿ")


def _held(symbols: tuple[str, ...], length: int) -> tuple[str, ...]:
    return symbols + symbols[-1:] * (length - len(symbols))


def _between(one: str, other: str) -> float:
    if one == other:
        return 0.0
    if one in _VOWELS and other in _VOWELS:
        (height, back, lips), (height_2, back_2, lips_2) = _VOWELS[one], _VOWELS[other]
        far = abs(height - height_2) + 0.6 * abs(back - back_2) + 0.15 * abs(lips - lips_2)
        return min(1.0, far)
    if one in _CONSONANTS and other in _CONSONANTS:
        place, voiced, manner = _CONSONANTS[one]
        place_2, voiced_2, manner_2 = _CONSONANTS[other]
        held, voicing = 0.0, _VOICING * (voiced != voiced_2)
        if manner != manner_2:
            held = _NEAR_MANNERS.get(frozenset((manner, manner_2)), _FAR_MANNERS)
            if "tap" in (manner, manner_2):
                voicing = 0.0  # it stands for t and for d
        return min(1.0, abs(place - place_2) + held + voicing)
    return 1.0
