"""Everybody who speaks: programs that take turns, and the voices of each."""

from collections.abc import Sequence

import numpy as np

from .talkers import Talker


class Chorus:
    """Draws who says the next thing."""

    def __init__(self, talkers: Sequence[Talker]) -> None:
        """Gather them.

        Args:
            talkers: one or more, of which one has voices in every partition.
        """
        self._talkers = tuple(talkers)

    def accents(self) -> list[str]:
        """Of all voices, each once."""
        voices = [
            (talker, voice)
            for talker in self._talkers
            for partition in ("train", "valid", "test")
            for voice in talker.voices(partition)
        ]
        return list(dict.fromkeys(talker.accent_of(voice) for talker, voice in voices))

    def draw(self, partition: str, rng: np.random.Generator) -> tuple[Talker, str]:
        """A program and one of its voices.

        Programs are equally likely, however many voices they have: one of hundreds would leave
        nothing of the others to hear.
        """
        there = [talker for talker in self._talkers if talker.voices(partition)]
        talker = there[int(rng.integers(len(there)))]
        voices = talker.voices(partition)
        return talker, voices[int(rng.integers(len(voices)))]
