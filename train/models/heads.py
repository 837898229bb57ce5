"""What pretraining holds beside the encoder: tensors by objective, and shapes that must agree."""

from collections.abc import Callable, Mapping

from torch import Tensor

from ..errors import LayoutError
from .wav2vec2_config import Wav2Vec2Config

_SHAPES: dict[str, dict[str, tuple[str | int, ...]]] = {
    "wav2vec2": {
        "quantizer.codevectors": (1, "codes", "code_dim"),
        "quantizer.weight_proj.weight": ("codes", "channels"),
        "quantizer.weight_proj.bias": ("codes",),
        "project_q.weight": ("final_dim", "quantized_dim"),
        "project_q.bias": ("final_dim",),
        "final_proj.weight": ("final_dim", "embed_dim"),
        "final_proj.bias": ("final_dim",),
    },
    "hubert": {
        "unit_embeddings": ("units", "final_dim"),
        "final_proj.weight": ("final_dim", "embed_dim"),
        "final_proj.bias": ("final_dim",),
    },
    "data2vec": {
        "final_proj.weight": ("embed_dim", "embed_dim"),
        "final_proj.bias": ("embed_dim",),
    },
    "data2vec2": {
        "decoder.proj.weight": ("embed_dim", "decoder_dim"),
        "decoder.proj.bias": ("embed_dim",),
    },
    "lighthubert": {},
}
"""Axes with the same name have the same length; embed_dim and channels are the encoder's."""

_SIGNS = (
    ("wav2vec2", ("quantizer.", "project_q.")),
    ("hubert", ("unit_embeddings",)),
    ("data2vec2", ("decoder.",)),
    ("data2vec", ("final_proj.",)),
    ("lighthubert", ("target_heads.",)),
)


def objectives() -> list[str]:
    """Names of the objectives whose heads a checkpoint can hold."""
    return list(_SHAPES)


def objective_of(heads: Mapping[str, Tensor]) -> str | None:
    """The objective that these tensors belong to; None where there are none."""
    for name, starts in _SIGNS:
        if any(key.startswith(starts) for key in heads):
            return name
    return None


def check_heads(
    objective: str,
    heads: Mapping[str, Tensor],
    config: Wav2Vec2Config,
    their_name: Callable[[str], str],
) -> None:
    """Make sure that nothing is missing, unexpected or misshapen.

    Args:
        objective: one of `objectives()`.
        heads: its tensors.
        config: the encoder's.
        their_name: what the file calls a tensor of ours, for messages.

    Raises:
        LayoutError: the first tensor that does not fit.
    """
    lengths = {"embed_dim": config.embed_dim, "channels": config.conv_layers[-1].channels}
    shapes = _SHAPES[objective] | _decoder(heads) | _target_heads(heads)
    for key in sorted(heads.keys() | shapes.keys()):
        name = their_name(key)
        if key not in shapes:
            raise LayoutError(f"{name} is unexpected: the objective {objective} has no {key}")
        if key not in heads:
            raise LayoutError(f"{name} is missing: the objective {objective} needs it")
    for key, axes in shapes.items():
        shape = tuple(heads[key].shape)
        if len(shape) != len(axes):
            raise LayoutError(
                f"{their_name(key)} has the shape {shape}: {len(axes)} axes are needed"
            )
        for axis, length in zip(axes, shape, strict=True):
            wanted = axis if isinstance(axis, int) else lengths.setdefault(axis, length)
            if wanted != length:
                raise LayoutError(
                    f"{their_name(key)} has the shape {shape}: {length} should be {wanted}"
                )


def _target_heads(heads: Mapping[str, Tensor]) -> dict[str, tuple[str | int, ...]]:
    """What predicts a teacher's targets; which layers have one is the file's choice."""
    return {
        key: ("target_dim", "embed_dim")
        for key in heads
        if key.startswith("target_heads.") and key.endswith(".weight")
    }


def _decoder(heads: Mapping[str, Tensor]) -> dict[str, tuple[str | int, ...]]:
    """The decoder's convolutions are as many as there are; the last is as wide as its output."""
    numbers = [int(key.split(".")[2]) for key in heads if key.startswith("decoder.convs.")]
    shapes: dict[str, tuple[str | int, ...]] = {}
    # No further than one beyond their number: a gap is found, a monstrous number costs nothing.
    for index in range(min(max(numbers, default=-1), len(numbers)) + 1):
        inner = "first_group" if index == 0 else "group"
        shapes[f"decoder.convs.{index}.weight"] = ("decoder_dim", inner, "kernel")
        shapes[f"decoder.convs.{index}.bias"] = ("decoder_dim",)
    return shapes
