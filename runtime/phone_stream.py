"""A stream of phones: what is heard in every frame, as log-posteriors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .forms import form_of
from .hops import HopStream

if TYPE_CHECKING:
    from .stream import Model

TAIL_S = 0.25
"""Of silence after a recording: a causal model tells its last phone late."""
_LEAST = np.finfo(np.float32).tiny
"""A posterior that float32 cannot hold has a logarithm all the same."""


def log_posteriors(answer: np.ndarray) -> np.ndarray:
    """Natural logarithms of a model's answer, all finite."""
    logs: np.ndarray = np.log(np.maximum(answer, _LEAST))
    return logs


@dataclass(frozen=True, eq=False)
class Frames:
    """A stretch of a stream, frame by frame."""

    log_posteriors: np.ndarray
    """float32 (frames, num_labels): natural logarithms, whose exponentials sum to 1 in a frame."""
    first_frame: int
    """The number of its first frame, from the stream's beginning on."""
    frame_s: float
    """Length of a frame, in seconds."""

    @property
    def start_s(self) -> float:
        """Where its first frame begins, in seconds of the stream."""
        return self.first_frame * self.frame_s

    @property
    def end_s(self) -> float:
        """Where its last frame ends; `start_s` if there is none."""
        return (self.first_frame + len(self.log_posteriors)) * self.frame_s


def hear(model: "Model", blocks: Iterable[np.ndarray]) -> Frames:
    """A whole recording's frames, its tail's too.

    Args:
        model: of phones.
        blocks: the recording at the model's rate, as `PhoneStream.push` takes it.

    Raises:
        AudioFault, BundleFault: as `PhoneStream.push`.
    """
    stream = PhoneStream(model)
    parts = [stream.push(block) for block in blocks]
    parts.append(stream.flush())
    return Frames(
        log_posteriors=np.concatenate([part.log_posteriors for part in parts]),
        first_frame=0,
        frame_s=parts[-1].frame_s,
    )


class PhoneStream(HopStream[Frames]):
    """One source's frames: each of them is given once, and none is left out in silence.

    Frames of consecutive blocks follow one another: `numpy.concatenate` joins their log-posteriors.
    """

    def __init__(self, model: "Model") -> None:
        manifest = model.manifest
        self._memory = form_of(manifest.streaming).start(model)
        self._shape = manifest.answer_shape
        self._frame_samples = manifest.frame_samples
        self._frame_s = self._frame_samples / manifest.sample_rate
        self._tail_samples = round(TAIL_S * manifest.sample_rate)
        super().__init__(manifest.streaming.hop_samples)

    def reset(self) -> None:
        """Back to silence at 0 seconds, as a new stream."""
        self._memory.reset()
        self._begin()

    def push(self, block: np.ndarray) -> Frames:
        """Take the next samples and give the frames that they complete; as `HopStream.push`.

        Frames come a hop's at a time, so that a block may give none.
        """
        num_answers = self._received_samples // len(self._hop)
        answers = [np.array(self._memory.answer(hop)) for hop in self._hops(block)]
        posteriors = np.concatenate([np.zeros((0, self._shape[1]), dtype=np.float32), *answers])
        return Frames(
            log_posteriors=log_posteriors(posteriors),
            first_frame=num_answers * self._shape[0],
            frame_s=self._frame_s,
        )

    def flush(self) -> Frames:
        """End the stream: give the frames of its tail, then reset.

        Silence of `TAIL_S` follows the last received sample, and the last frame is the one that
        holds its end; where nothing was received there is no frame.

        Raises:
            BundleFault: as `push`.
        """
        received_samples = self._received_samples
        heard_samples = received_samples + self._tail_samples if received_samples else 0
        num_frames = -(-heard_samples // self._frame_samples)
        silence_samples = heard_samples + -heard_samples % len(self._hop) - received_samples
        tail = self.push(np.zeros(silence_samples, dtype=np.float32))
        self.reset()
        return Frames(
            log_posteriors=tail.log_posteriors[: num_frames - tail.first_frame],
            first_frame=tail.first_frame,
            frame_s=tail.frame_s,
        )
