"""A keyword model as one step of a stream: it is judged at a chunk's end."""

from torch import Tensor

from ..errors import TrainError
from ..models.streaming import chunk_ends
from ..models.wav2vec2_config import why_not_streaming
from .bodies import BODIES, CausalBody, is_causal
from .causal_step import CausalStep
from .keywords import KeywordModel, PooledEncoder


class KeywordStep(CausalStep):
    """Posteriors of the labels, (labels,), after each chunk."""

    def __init__(self, model: KeywordModel, chunk_frames: int) -> None:
        """Copy and prepare.

        Args:
            model: with a causal body; it stays as it is.
            chunk_frames: frames of the body, `hop_samples` each, from one answer to the next.

        Raises:
            TrainError: the body is not causal, or a chunk holds no frame, or part of a body's own.
        """
        if not isinstance(model.body, CausalBody):
            causal = list(filter(is_causal, BODIES))
            raise TrainError(
                f"{type(model.body).__name__} cannot run step by step: its stream would differ "
                f"from what was trained, because {_why_not(model.body)}. Export it as a sliding "
                f"window, or train a causal body ({', '.join(causal)})"
            )
        super().__init__(model, chunk_frames)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """(labels,)."""
        return (len(self.model.labels),)

    def judged(self, vectors: Tensor) -> Tensor:
        """The last vector's."""
        posteriors: Tensor = self.model.classifier(vectors[:, -1]).softmax(-1)
        return posteriors

    def all_judged(self, vectors: Tensor) -> Tensor:
        """Those of each chunk's last vector."""
        ends = chunk_ends(vectors, self.chunk_frames)
        posteriors: Tensor = self.model.classifier(ends).softmax(-1)
        return posteriors


def _why_not(body: object) -> str:
    """What of a body without a stream depends on more than was heard."""
    if isinstance(body, PooledEncoder):
        reason = why_not_streaming(body.encoder.config)
        return reason or "frames of the whole window are averaged; keywords.pooled streams"
    return (
        "it was trained on whole windows, where a frame depends on later ones and on where the "
        "window begins"
    )
