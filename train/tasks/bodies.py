"""Bodies of keyword models that have a front end of their own: a line for each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from ..models.bc_resnet import BcResNet, BcResNetConfig
from ..models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from ..models.causal_tcn import CausalTcn, CausalTcnConfig
from ..models.conformer import Conformer, ConformerConfig
from ..models.ds_cnn import DsCnn, DsCnnConfig
from ..models.keyword_transformer import KeywordTransformer, load_body
from ..models.keyword_transformer_config import KeywordTransformerConfig
from ..models.streaming import Shapes, States


class Body(Protocol):
    """What makes one vector of a clip."""

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        ...

    def __call__(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) in [-1, 1], of (batch,) samples each, to (batch, output_dim)."""
        ...


@runtime_checkable
class CausalBody(Protocol):
    """A body that hears a stream piece by piece; `forward` gives the vector at its last frame."""

    @property
    def output_dim(self) -> int:
        """Width of a vector."""
        ...

    @property
    def hop_samples(self) -> int:
        """Samples of a frame, and of the shortest piece."""
        ...

    @property
    def window_samples(self) -> int:
        """How far back an answer judges, in samples."""
        ...

    def shapes(self) -> Shapes:
        """Of all states, without the batch."""
        ...

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Hear a piece.

        Args:
            waveform: (batch, samples) in [-1, 1], a multiple of `hop_samples`.
            states: of the pieces before, zeros at first.

        Returns:
            (batch, frames, output_dim), the vector after each hop; and the states after them.
        """
        ...


class Kind(NamedTuple):
    """How a body is described, and how it is made of that."""

    config: type[Any]
    """A dataclass of sizes, which a checkpoint and a recipe hold as a table."""
    build: Callable[[Any], Body]
    """The body's class, which keeps what it was made of as `config`."""
    load: Callable[[Path], Body] | None = None
    """Reads it from the checkpoint of a pretraining, whose family has its name; None: there is no
    pretraining for it."""


ENCODER = "wav2vec2"
"""The one body that is no line below: a pretrained encoder, its layers pooled."""

BODIES: dict[str, Kind] = {
    "bc_resnet": Kind(BcResNetConfig, BcResNet),
    "conformer": Kind(ConformerConfig, Conformer),
    "ds_cnn": Kind(DsCnnConfig, DsCnn),
    "keyword_transformer": Kind(KeywordTransformerConfig, KeywordTransformer, load_body),
    "causal_keyword_transformer": Kind(CausalKeywordTransformerConfig, CausalKeywordTransformer),
    "causal_tcn": Kind(CausalTcnConfig, CausalTcn),
}
"""By the name that recipes and checkpoints give; `KeywordsRecipe` has a table for each."""


def name_of(body: object) -> str:
    """The name under which a body of `BODIES` is stored."""
    (name,) = [name for name, kind in BODIES.items() if type(body) is kind.build]
    return name


def is_causal(name: str) -> bool:
    """Whether bodies of this name hear a stream piece by piece, as `CausalBody` says."""
    return name in BODIES and hasattr(BODIES[name].build, "stream")
