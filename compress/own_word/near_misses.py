"""What sounds nearly like a keyword and is none: sounds changed, words left out or replaced."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.data.voices import Phone, Speaker, Word
from train.errors import DataError

from .. import CompressError
from .articulation import distance, heard_within
from .common_words import COMMON_WORDS
from .phrase import Phrase

LEAST_DISTANCE = 0.45
"""Nearer to the keyword in any accent, it counts as the keyword said another way."""
_MOST_CHANGE = 0.8
_CHANGE_SCALE = 0.4
_MOST_TRIES = 200
_NEAREST_WORDS = 24
_CHANGES = ((1, 2, 3), (0.6, 0.3, 0.1))
_PART_SHARES = (0.4, 0.8)
_STRESS = re.compile(r"[',%=]*")

# How often each kind is drawn; what a keyword of one word cannot have is left out.
_KINDS = {"sounds": 0.4, "part": 0.15, "replaced": 0.2, "left out": 0.1, "swapped": 0.05,
          "others": 0.1}  # fmt: skip
_OF_SEVERAL_WORDS = ("left out", "swapped")


@dataclass(frozen=True)
class NearMiss:
    """Something to say that is not the keyword."""

    kind: str
    words: tuple[Word, ...]

    @property
    def ipa(self) -> str:
        """To name it by."""
        return " ".join("".join(phone.ipa for phone in word) for word in self.words)


@dataclass(frozen=True)
class Lexicon:
    """Words of an accent, and the sounds they are made of."""

    words: tuple[Word, ...]
    sounds: tuple[Phone, ...]
    """Without stress, each once."""


def read_lexicon(accent: str, speaker: Speaker) -> Lexicon:
    """Common English words as an accent says them; none where it has other letters."""
    words = []
    for text in COMMON_WORDS:
        try:
            said = speaker.phones(text, accent)
        except DataError:  # a word that it would say in English
            continue
        if len(said) == 1:
            words.append(said[0])
    sounds = {_bare(phone) for word in words for phone in word if phone.ipa}
    return Lexicon(tuple(words), tuple(sorted(sounds)))


class NearMisses:
    """Draws near misses of a keyword in one accent."""

    def __init__(self, phrase: Phrase, accent: str, lexicon: Lexicon) -> None:
        """Look at what there is to change.

        Args:
            phrase: the keyword, with its forms in all accents.
            accent: one of them.
            lexicon: the accent's.
        """
        self._words = phrase.forms[accent]
        self._forms = sorted({_ipa(words) for words in phrase.forms.values()})
        self._lexicon = lexicon
        own = {_bare(phone) for word in self._words for phone in word if phone.ipa}
        self._sounds = sorted(own.union(lexicon.sounds))
        self._near = [self._nearest_to(word) for word in self._words]
        several = len(self._words) > 1
        kinds = {k: p for k, p in _KINDS.items() if several or k not in _OF_SEVERAL_WORDS}
        if not lexicon.words:
            kinds = {k: p for k, p in kinds.items() if k not in ("replaced", "others")}
        self._kinds = tuple(kinds)
        self._probs = np.array(list(kinds.values())) / sum(kinds.values())

    def draw(self, rng: np.random.Generator) -> NearMiss:
        """One that no accent would take for the keyword.

        Raises:
            CompressError: none is found.
        """
        for _ in range(_MOST_TRIES):
            kind = str(rng.choice(self._kinds, p=self._probs))
            words = tuple(filter(None, self._made(kind, rng)))
            if words and self.distance(words) >= LEAST_DISTANCE:
                return NearMiss(kind, words)
        raise CompressError(
            f"{_MOST_TRIES} tries found nothing like {' '.join(self._forms[0])!r} that could not "
            "be taken for it; choose a longer keyword"
        )

    def distance(self, words: Sequence[Word]) -> float:
        """From being the keyword in the accent that it is nearest to."""
        sounds = _ipa(words)
        return min(heard_within(form, sounds) for form in self._forms)

    def _made(self, kind: str, rng: np.random.Generator) -> list[Word]:
        words = list(self._words)
        at = int(rng.integers(len(words)))
        if kind == "sounds":
            return self._changed(words, rng)
        if kind == "part":
            return _part(words, rng)
        if kind == "left out":
            return [*words[:at], *words[at + 1 :]]
        if kind == "swapped":
            return [words[index] for index in rng.permutation(len(words))]
        everything = self._lexicon.words
        if kind == "replaced":
            pool = self._near[at] if rng.random() < 0.5 else everything
            return [*words[:at], pool[int(rng.integers(len(pool)))], *words[at + 1 :]]
        return [everything[i] for i in rng.integers(len(everything), size=int(rng.integers(1, 4)))]

    def _changed(self, words: list[Word], rng: np.random.Generator) -> list[Word]:
        """A few sounds replaced by near ones, left out, or put in."""
        changed = [list(word) for word in words]
        for _ in range(int(rng.choice(_CHANGES[0], p=_CHANGES[1]))):
            word = changed[int(rng.integers(len(changed)))]
            if not word:
                continue
            at, what = int(rng.integers(len(word))), rng.random()
            if what < 0.7:
                word[at] = self._like(word[at], rng)
            elif what < 0.85:
                del word[at]
            else:
                word.insert(at, self._sounds[int(rng.integers(len(self._sounds)))])
        return [tuple(word) for word in changed]

    def _like(self, phone: Phone, rng: np.random.Generator) -> Phone:
        """A sound of the accent that is unlike this one but not by much, with its stress."""
        far = np.array([distance(phone.ipa, other.ipa) for other in self._sounds])
        weights = np.where((far > 0.0) & (far <= _MOST_CHANGE), np.exp(-far / _CHANGE_SCALE), 0.0)
        if not weights.any():
            return phone
        other = self._sounds[int(rng.choice(len(far), p=weights / weights.sum()))]
        stress = _STRESS.match(phone.name)
        return Phone((stress[0] if stress else "") + other.name, other.ipa)

    def _nearest_to(self, word: Word) -> tuple[Word, ...]:
        """Words of the lexicon that sound most like one of the keyword's."""
        own = tuple(phone.ipa for phone in word)

        def unlike(other: Word) -> float:
            theirs = tuple(phone.ipa for phone in other)
            return heard_within(own, theirs) + heard_within(theirs, own)

        return tuple(sorted(self._lexicon.words, key=unlike)[:_NEAREST_WORDS])


def _part(words: Sequence[Word], rng: np.random.Generator) -> list[Word]:
    """The beginning of a keyword, or its end."""
    places = [(number, phone) for number, word in enumerate(words) for phone in word]
    count = max(1, round(rng.uniform(*_PART_SHARES) * len(places)))
    kept = places[:count] if rng.random() < 0.5 else places[-count:]
    return [tuple(phone for n, phone in kept if n == number) for number in range(len(words))]


def _ipa(words: Sequence[Word]) -> tuple[str, ...]:
    return tuple(phone.ipa for word in words for phone in word)


def _bare(phone: Phone) -> Phone:
    return Phone(_STRESS.sub("", phone.name, count=1), phone.ipa)
