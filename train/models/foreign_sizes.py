"""An encoder's config, told by its tensors' shapes and, where these are silent, by its file.

What neither tells is assumed, by what the published models of the family have in common, and
listed.
"""

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..errors import LayoutError
from ..recipe import check
from .wav2vec2_config import Wav2Vec2Config

_KERNELS = (10, 3, 3, 3, 3, 2, 2)
_STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Of the paper's convolutions; shapes do not tell a stride."""

_BY_SHAPES = ("num_layers", "embed_dim", "ffn_dim", "pos_conv_depth")
"""What a file's settings repeat; they must agree with its tensors."""

_SETTINGS = (
    "pre_norm", "normalize_waveform", "num_heads", "strides", "dropout", "attention_dropout",
    "activation_dropout", "input_dropout", "layerdrop", "feature_grad_mult",
)  # fmt: skip


def settings() -> tuple[str, ...]:
    """What shapes do not tell, and a caller may: names of our config, and `strides`."""
    return _SETTINGS


def infer_config(
    state: Mapping[str, Tensor], told: Mapping[str, Any], their_name: Callable[[str], str]
) -> tuple[Wav2Vec2Config, dict[str, Any]]:
    """Find an encoder's config.

    Args:
        state: its tensors by our names.
        told: values that the file or the caller gives, by our names (`num_heads` one number for
            all layers; `conv_layers` fairseq's text; `strides` one for each convolution).
        their_name: what the file calls a tensor of ours, for messages.

    Returns:
        the config, and what of it had to be assumed.

    Raises:
        LayoutError: a tensor that no encoder can do without is missing, or the file's settings
            contradict its tensors.
        RecipeError: a setting that breaks a rule of the config.
    """
    shapes = _Shapes(state, their_name)
    assumed: dict[str, Any] = {}
    values: dict[str, Any] = {"embed_dim": shapes("feature_projection.weight", 2)[0]}
    values |= _convolutions(shapes, told, assumed) | _positions(shapes)
    values |= _layers(shapes, told, assumed)
    values["mask_embedding"] = "mask_embedding" in state
    _agree(values, told)
    large = values["conv_norm"] == "layer" and values["embed_dim"] >= 1024
    guesses = {
        "pre_norm": large and values["pos_conv_depth"] == 1,
        "normalize_waveform": values["conv_norm"] == "layer",
    }
    for name in _SETTINGS:
        if name in ("num_heads", "strides"):
            continue
        if told.get(name) is not None and not (name == "feature_grad_mult" and not told[name]):
            values[name] = told[name]
        else:  # a frozen extractor (0) says nothing of pretraining
            assumed[name] = values[name] = guesses.get(name, _default(name))
    return check(values, Wav2Vec2Config, "the checkpoint's settings"), assumed


class _Shapes:
    """Shapes by our names; a missing tensor, or one with too few axes, is named as in the file."""

    def __init__(self, state: Mapping[str, Tensor], their_name: Callable[[str], str]) -> None:
        self.state, self.their_name = state, their_name

    def __call__(self, name: str, num_axes: int) -> tuple[int, ...]:
        if name not in self.state:
            raise LayoutError(f"{self.their_name(name)} is missing")
        shape = tuple(self.state[name].shape)
        if len(shape) != num_axes or not all(shape):
            raise LayoutError(
                f"{self.their_name(name)} has the shape {shape}: {num_axes} axes are needed"
            )
        return shape

    def count(self, start: str) -> int:
        """How many numbered parts there are: one more than the highest number."""
        pattern = re.compile(re.escape(start) + r"\.(\d+)\.")
        found = (pattern.match(name) for name in self.state)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def _convolutions(
    shapes: _Shapes, told: Mapping[str, Any], assumed: dict[str, Any]
) -> dict[str, Any]:
    count = max(shapes.count("feature_extractor"), 1)
    sizes = [shapes(f"feature_extractor.{index}.conv.weight", 3) for index in range(count)]
    strides = _strides([(size[0], size[2]) for size in sizes], shapes, told)
    if strides is None:
        strides = assumed["strides"] = list(_STRIDES)
    parts = [name.split(".") for name in shapes.state if name.startswith("feature_extractor.")]
    layered = any(part[1] != "0" and part[2] == "norm" for part in parts)
    return {
        "conv_layers": [
            {"channels": size[0], "kernel": size[2], "stride": stride}
            for size, stride in zip(sizes, strides, strict=True)
        ],
        "conv_norm": "layer" if layered else "group",
        "conv_bias": any(part[2:] == ["conv", "bias"] for part in parts),
    }


def _strides(
    sizes: list[tuple[int, int]], shapes: _Shapes, told: Mapping[str, Any]
) -> list[int] | None:
    """Strides for convolutions of these channels and kernels; None: those of the paper."""
    missing = shapes.their_name(f"feature_extractor.{len(sizes)}.conv.weight")
    strides = told.get("strides")
    if strides is None and told.get("conv_layers") is not None:
        described = parse_conv_layers(told["conv_layers"])
        strides = [stride for _, _, stride in described]
        if [layer[:2] for layer in described[: len(sizes)]] != sizes:
            raise LayoutError(
                f"the file's settings say {described} of convolutions, its tensors {sizes}"
            )
    kernels = tuple(kernel for _, kernel in sizes)
    if strides is None and kernels != _KERNELS:
        if kernels == _KERNELS[: len(kernels)]:
            raise LayoutError(f"{missing} is missing")
        raise LayoutError(
            f"nothing tells the strides of convolutions with kernels {kernels}; give them by "
            "--set strides=[...]"
        )
    if strides is None:
        return None
    if not isinstance(strides, list | tuple) or len(strides) < len(sizes):
        raise LayoutError(f"{len(sizes)} convolutions have as many strides, not {strides!r}")
    if len(strides) > len(sizes):
        raise LayoutError(f"{missing} is missing: there are {len(strides)} strides")
    return list(strides)


def _positions(shapes: _Shapes) -> dict[str, Any]:
    depth = shapes.count("pos_conv.convs")
    plain = "pos_conv.conv.weight"
    weight = "pos_conv.conv.parametrizations.weight.original1"
    if depth:
        weight = "pos_conv.convs.0.weight"
    elif plain in shapes.state:
        weight = plain
    embed_dim, group, kernel = shapes(weight, 3)
    return {
        "pos_conv_kernel": kernel,
        "pos_conv_groups": max(embed_dim // group, 1),
        "pos_conv_depth": max(depth, 1),
        "pos_conv_weight_norm": not depth and weight != plain,
    }


def _layers(shapes: _Shapes, told: Mapping[str, Any], assumed: dict[str, Any]) -> dict[str, Any]:
    count = max(shapes.count("layers"), 1)
    inner = [shapes(f"layers.{index}.attention.q_proj.weight", 2)[0] for index in range(count)]
    alibi = "alibi.scale" in shapes.state
    if alibi:
        num_heads = shapes("alibi.scale", 1)[0]
    elif told.get("num_heads") is not None:
        num_heads = told["num_heads"]
        if not isinstance(num_heads, int) or num_heads < 1:
            raise LayoutError(f"num_heads must be a whole number, 1 or more; got {num_heads!r}")
    else:  # HuBERT X-Large is the family's only one with other heads
        num_heads = max(inner[0] // (80 if inner[0] == 1280 else 64), 1)
        assumed["num_heads"] = num_heads
    head_dim, surplus = divmod(inner[0], num_heads)
    if surplus or any(width % head_dim for width in inner):
        raise LayoutError(
            f"attention of width {inner[0]} cannot have {num_heads} heads; give their number by "
            "--set num_heads=..."
        )
    return {
        "num_heads": [width // head_dim for width in inner],
        "head_dim": head_dim,
        "ffn_dim": [shapes(f"layers.{i}.ffn.up.weight", 2)[0] for i in range(count)],
        "alibi": alibi,
    }


def _agree(values: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    found = {**values, "num_layers": len(values["ffn_dim"]), "ffn_dim": max(values["ffn_dim"])}
    for name in _BY_SHAPES:
        if told.get(name) is not None and told[name] != found[name]:
            raise LayoutError(
                f"the file's settings say {name} {told[name]}, its tensors {found[name]}; tensors "
                "are missing or the settings belong to another file"
            )


def _default(name: str) -> Any:
    fields = {field.name: field.default for field in dataclasses.fields(Wav2Vec2Config)}
    return fields[name]


def parse_conv_layers(text: object) -> list[tuple[int, int, int]]:
    """fairseq's '[(512, 10, 5)] + [(512, 3, 2)] * 4' as (channels, kernel, stride), not evaluated.

    Raises:
        LayoutError: anything but lists of number triples, added and multiplied.
    """
    try:
        layers = _value(ast.parse(str(text), mode="eval").body)
        return [(int(width), int(kernel), int(stride)) for width, kernel, stride in layers]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise LayoutError(f"the file's convolutions cannot be read: {text!r}") from None


def _value(node: ast.expr) -> list[Any]:
    match node:
        case ast.List():
            return [ast.literal_eval(element) for element in node.elts]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left) + _value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int() as times)):
            if not 0 <= times <= 64:
                raise ValueError(times)
            return _value(left) * times
    raise ValueError(ast.dump(node))
