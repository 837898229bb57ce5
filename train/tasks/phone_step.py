"""A phone model as one step of a stream: it is judged at every frame."""

from torch import Tensor

from .causal_step import CausalStep


class PhoneStep(CausalStep):
    """Posteriors of a `PhoneModel`'s labels in each frame of a chunk, (frames, labels)."""

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """(frames, labels)."""
        return (self.chunk_frames, len(self.model.labels))

    def judged(self, vectors: Tensor) -> Tensor:
        """Every vector's."""
        posteriors: Tensor = self.model.classifier(vectors).softmax(-1)
        return posteriors

    def all_judged(self, vectors: Tensor) -> Tensor:
        """The same, chunk by chunk."""
        chunks = vectors.shape[1] // self.chunk_frames
        return self.judged(vectors).reshape(len(vectors), chunks, *self.answer_shape)
