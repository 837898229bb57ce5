"""How well a phrase's phones fit what was just said, frame by frame, for all phrases at once.

A phrase's score in a frame is that of its best CTC path which ends there: it starts in any frame
with the first phone, takes the phones in their order, with blanks between them where it likes and
where a phone is repeated, and ends with the last phone in this frame. The path is held against the
best free path over its own frames (`behind`), as a word is in pronunciation/fit.py:

    score = exp( sum over its frames of (log p(path) - max log p - pace) / phones )

so that it is the likelihood ratio of a phone, as a geometric mean: long phrases and short ones
compare, and 1 is never passed. `pace` is what a frame costs. Without it, a pause within a phrase
would cost nothing, however long, and "turn on" and "the lights" might be a minute apart.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..pronunciation.phone_columns import FLOOR, NOTHING, behind, columns_of

PACE_NATS_S = 2.5
"""What a second of a phrase costs: of 0, 1.25, 2.5 and 5 one of those that lose the fewest words at
few false alarms (docs/decisions/0037)."""


class PhraseScorer:
    """Scores of phrases over one stream's frames.

    The states of all pronunciations lie one after another: of each the blank before its first
    phone, that phone, the blank after it, and so on up to its last phone. So a frame is a few
    operations of numpy whatever their number. A state's best score is the real part of a complex
    number, and the frame in which its path began the imaginary one: numpy compares by the first and
    then by the second, so that of equal paths the one that began later stays, and the beginning
    goes wherever the score goes. Memory does not grow with the stream.

    Args:
        pronunciations: phrase to the ways in which it is said, each in the model's phones.
        labels: of the model's posteriors.
        frame_s: seconds from one frame to the next.

    Raises:
        PronunciationFault: labels without a blank, or a phone that is none of them.

    Source: A. Graves et al., "Connectionist temporal classification", ICML 2006, with the maximum
    in place of the sum; paths that carry where they began as in H. Ney, "The use of a one-stage
    dynamic programming algorithm for connected word recognition", IEEE TASSP 32(2), 1984.
    """

    def __init__(
        self,
        pronunciations: Mapping[str, Sequence[Sequence[str]]],
        labels: Sequence[str],
        frame_s: float,
    ) -> None:
        self._columns = columns_of(labels)
        self._pace = PACE_NATS_S * frame_s
        ways = [
            np.array(self._columns.find(phones, f"the keyword {word!r}"))
            for word, said in pronunciations.items()
            for phones in said
        ]
        self._first_ways = np.cumsum([0, *map(len, pronunciations.values())])
        self._num_phones = np.array([len(way) for way in ways], dtype=np.float64)
        afters = 2 + np.cumsum([2 * len(way) for way in ways])
        # Two places more in front: what is before the first state.
        self._entries = np.append(2, afters[:-1])
        self._ends = afters - 1
        num_states = int(afters[-1]) - 2
        self._asked = np.full(num_states, NOTHING)
        self._asked[1::2] = np.concatenate(ways)
        # What is added to a score on the way over a blank, two states on: from a phone to another,
        # but not from one phrase's last phone to another's first.
        self._over = np.full(num_states, -np.inf, dtype=np.complex128)
        self._over[3::2] = np.where(np.diff(self._asked[1::2]) == 0, -np.inf, 0.0)
        self._over[self._entries - 1] = -np.inf
        self._states = np.empty(num_states + 2, dtype=np.complex128)
        self._coming, self._costs = np.empty((2, num_states), dtype=np.complex128)
        self.reset()

    def reset(self) -> None:
        """As before the stream's first frame."""
        self._num_frames = 0
        self._states.fill(-np.inf)
        self._open()

    def push(self, log_posteriors: np.ndarray) -> Iterator[np.ndarray]:
        """The scores of every next frame.

        Args:
            log_posteriors: (frames, labels), natural logarithms, finite.

        Yields:
            float64 (phrases,) in [1e-6, 1), in the order in which the phrases were given.
        """
        costs = behind(self._columns.merged(log_posteriors)) - self._pace
        for row in costs.astype(np.complex128):
            yield self._step(row)

    def start_frame(self, phrase: int) -> int:
        """In which frame a phrase's best path began that ends in the last one pushed."""
        first, after = self._first_ways[phrase : phrase + 2].tolist()
        way = first + int(self._means()[first:after].argmax())
        return int(self._states[self._ends[way]].imag)

    def skip(self, num_frames: int) -> None:
        """Go on after frames in which nothing was said, 1 or more, without their posteriors."""
        in_silence = np.full(len(self._columns.names), -np.inf, dtype=np.complex128)
        in_silence[NOTHING] = -self._pace
        self._step(in_silence)
        self._states -= self._pace * (num_frames - 1)  # all is in blanks now, and stays there
        self._num_frames += num_frames - 1
        self._open()

    def _open(self) -> None:
        """A path may begin in the next frame: the blank before a first phone costs nothing."""
        self._states[self._entries] = complex(0.0, self._num_frames)

    def _step(self, costs: np.ndarray) -> np.ndarray:
        """Take in a frame, of which each column (1 + phones,) costs so much."""
        states, coming = self._states, self._coming
        np.add(states[:-2], self._over, out=coming)
        np.maximum(coming, states[1:-1], out=coming)
        np.maximum(coming, states[2:], out=coming)
        costs.take(self._asked, out=self._costs, mode="clip")  # "raise" would copy
        np.add(coming, self._costs, out=states[2:])
        self._num_frames += 1
        self._open()
        best = self._means()
        if len(best) >= len(self._first_ways):  # more ways than phrases
            best = np.maximum.reduceat(best, self._first_ways[:-1])
        scores: np.ndarray = np.exp(np.maximum(best, FLOOR))
        return scores

    def _means(self) -> np.ndarray:
        """Nats a phone of each way's path that ends here."""
        means: np.ndarray = self._states[self._ends].real / self._num_phones
        return means
