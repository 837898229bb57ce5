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

    All pronunciations are rows of one array, their last phones in the last column, so that a frame
    is a few operations of numpy whatever their number. Beside each state's best score stands the
    frame in which its path began: memory does not grow with the stream.

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
        ways = [
            self._columns.find(phones, f"the keyword {word!r}")
            for word, said in pronunciations.items()
            for phones in said
        ]
        self._first_ways = np.cumsum([0, *map(len, pronunciations.values())])[:-1]
        self._num_ways = len(ways)
        self._num_phones = np.array([len(way) for way in ways], dtype=np.float64)
        longest = max(map(len, ways))
        shape = (len(ways), longest)
        never = len(self._columns.names)  # the column of what is not said in any frame
        self._asked = np.full(shape, never)
        self._barred = np.zeros(shape)
        for row, way in enumerate(ways):
            self._asked[row, longest - len(way) :] = way
        # A phone may follow the one before without a blank: 0; its own repetition may not.
        self._barred[:, 1:][self._asked[:, 1:] == self._asked[:, :-1]] = -np.inf
        self._entries = np.arange(len(ways)), longest - self._num_phones.astype(np.int64)
        self._pace = PACE_NATS_S * frame_s
        self._costs = np.full(never + 1, -np.inf)
        self._phones, self._blanks = np.empty(shape), np.empty(shape)
        self._phone_starts = np.zeros(shape, dtype=np.int64)
        self._blank_starts = np.zeros(shape, dtype=np.int64)
        self._before = np.full(shape, -np.inf)
        self._before_starts = np.zeros(shape, dtype=np.int64)
        self.reset()

    def reset(self) -> None:
        """As before the stream's first frame."""
        self._num_frames = 0
        self._phones.fill(-np.inf)
        self._blanks.fill(-np.inf)
        self._open()

    def push(self, log_posteriors: np.ndarray) -> Iterator[np.ndarray]:
        """The scores of every next frame.

        Args:
            log_posteriors: (frames, labels), natural logarithms, finite.

        Yields:
            float64 (phrases,) in [1e-6, 1), in the order in which the phrases were given.
        """
        for row in behind(self._columns.merged(log_posteriors)):
            yield self._step(row)

    def start_frame(self, phrase: int) -> int:
        """In which frame a phrase's best path began that ends in the last one pushed."""
        first = self._first_ways[phrase]
        ends = [*self._first_ways[1:].tolist(), self._num_ways]
        way = first + int(self._means()[first : ends[phrase]].argmax())
        return int(self._phone_starts[way, -1])

    def skip(self, num_frames: int) -> None:
        """Go on after frames in which nothing was said, 1 or more, without their posteriors."""
        self._look_back()
        self._into_blanks()
        self._blanks -= self._pace * num_frames
        self._phones.fill(-np.inf)
        self._num_frames += num_frames
        self._open()

    def _open(self) -> None:
        """A path may begin in the next frame: the blank before a first phone costs nothing."""
        self._blanks[self._entries] = 0.0
        self._blank_starts[self._entries] = self._num_frames

    def _step(self, row: np.ndarray) -> np.ndarray:
        np.subtract(row, self._pace, out=self._costs[:-1])
        self._look_back()
        coming = self._before + self._barred
        over = coming >= self._blanks  # without a blank between
        coming_starts = np.where(over, self._before_starts, self._blank_starts)
        np.maximum(coming, self._blanks, out=coming)
        self._into_blanks()
        self._blanks += self._costs[NOTHING]
        entering = coming >= self._phones
        np.copyto(self._phones, coming, where=entering)
        np.copyto(self._phone_starts, coming_starts, where=entering)
        self._phones += self._costs[self._asked]
        self._num_frames += 1
        self._open()
        best: np.ndarray = np.maximum.reduceat(self._means(), self._first_ways)
        scores: np.ndarray = np.exp(np.maximum(best, FLOOR))
        return scores

    def _look_back(self) -> None:
        """The phone before each, as it stood after the last frame."""
        self._before[:, 1:] = self._phones[:, :-1]
        self._before_starts[:, 1:] = self._phone_starts[:, :-1]

    def _into_blanks(self) -> None:
        entering = self._before > self._blanks
        np.copyto(self._blanks, self._before, where=entering)
        np.copyto(self._blank_starts, self._before_starts, where=entering)

    def _means(self) -> np.ndarray:
        """Nats a phone of each way's path that ends here."""
        means: np.ndarray = self._phones[:, -1] / self._num_phones
        return means
