"""Bodies of keyword models that have a front end of their own: a line for each."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ..models.bc_resnet import BcResNet, BcResNetConfig
from ..models.conformer import Conformer, ConformerConfig
from ..models.ds_cnn import DsCnn, DsCnnConfig


class Body(Protocol):
    """What makes one vector of a clip."""

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        ...

    def __call__(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) in [-1, 1], of (batch,) samples each, to (batch, output_dim)."""
        ...


class Kind(NamedTuple):
    """How a body is described, and how it is made of that."""

    config: type[Any]
    """A dataclass of sizes, which a checkpoint and a recipe hold as a table."""
    build: Callable[[Any], Body]
    """The body's class, which keeps what it was made of as `config`."""


ENCODER = "wav2vec2"
"""The one body that is no line below: a pretrained encoder, its layers pooled."""

BODIES: dict[str, Kind] = {
    "bc_resnet": Kind(BcResNetConfig, BcResNet),
    "conformer": Kind(ConformerConfig, Conformer),
    "ds_cnn": Kind(DsCnnConfig, DsCnn),
}
"""By the name that recipes and checkpoints give; `KeywordsRecipe` has a table for each."""


def name_of(body: object) -> str:
    """The name under which a body of `BODIES` is stored."""
    (name,) = [name for name, kind in BODIES.items() if type(body) is kind.build]
    return name
