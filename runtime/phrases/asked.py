"""Keywords that somebody asks for, put into a phone model."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..faults import BundleFault, short
from ..manifest import Decision, Manifest, Phrases
from ..manifest_rules import PHONES

if TYPE_CHECKING:
    from ..stream import Model

THRESHOLD = 0.5
"""Of phrases that were not calibrated: a phone is half as likely as what else was heard."""
REFRACTORY_S = 0.5

Keywords = Mapping[str, Sequence[Sequence[str]]]
"""Text to the ways in which it is said, each a sequence of the model's phones."""


def asking_for(manifest: Manifest, keywords: Keywords) -> Manifest:
    """The manifest with these keywords in place of its own, at `THRESHOLD`.

    Raises:
        BundleFault: not of phones, or keywords that break a rule of phrases.
    """
    if manifest.task != PHONES:
        raise BundleFault(
            f"{manifest.name!r} tells {manifest.task} that it was trained on, and typed keywords "
            "are looked for by a phone model; leave them out, or take a bundle of phones"
        )
    if not keywords:
        raise BundleFault("no keyword is asked for: give one or more")
    decision = Decision(
        keywords=tuple(keywords),
        threshold=THRESHOLD,
        refractory_samples=round(REFRACTORY_S * manifest.sample_rate),
    )
    pronunciations = {word: tuple(map(tuple, ways)) for word, ways in keywords.items()}
    phrases = Phrases(pronunciations=pronunciations, decision=decision)
    return dataclasses.replace(manifest, phrases=phrases)


def listening_for(model: "Model", keywords: Keywords) -> "Model":
    """The same weights and engine, and streams of these keywords' events; as `asking_for`."""
    return dataclasses.replace(model, manifest=asking_for(model.manifest, keywords))


def read_keywords(typed: Iterable[str]) -> dict[str, list[list[str]]]:
    """Keywords as a command line takes them, "turn on=T ER N AA N".

    The same text again is another way to say it.

    Raises:
        BundleFault: a keyword without text or phones.
    """
    keywords: dict[str, list[list[str]]] = {}
    for each in typed:
        text, _, phones = each.partition("=")
        words = " ".join(text.split())
        if not words or not phones.split():
            raise BundleFault(
                f"a keyword is its text and its phones, such as 'turn on=T ER N AA N', got "
                f"{short(each)}; `compress listen --keyword` finds the phones of English words"
            )
        keywords.setdefault(words, []).append(phones.upper().split())
    return keywords
