"""Search spaces: what may be chosen of a supernet, and how a choice becomes a dense model."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from train.models.wav2vec2_config import Wav2Vec2Config, tiny_conv_layers
from train.nearest import nearest

from . import CompressError
from .elastic.depth import kept_layers
from .subnet import Subnet, SubnetError, check_origin


class SpaceError(CompressError):
    """No space has this name."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Space:
    """A supernet and the choices of each elastic dimension, each ascending.

    `embed_dim` and depth are chosen once, heads, feed-forward ratio and channels for each layer.
    """

    name: str
    supernet: Wav2Vec2Config
    """Sizes of the stored model, which may exceed the largest choices."""
    embed_dim: tuple[int, ...]
    """Widths of the transformer; multiples of the position convolution's groups."""
    num_heads: tuple[int, ...]
    """Heads of a layer, independent of `embed_dim`."""
    ffn_ratio: tuple[float, ...]
    """Hidden width of a layer's feed-forward block over `embed_dim`."""
    depth: tuple[int, ...]
    """Numbers of layers."""
    conv_channels: tuple[tuple[int, ...], ...] = ()
    """Channels of each layer of the feature extractor; empty: they stay as they are stored."""

    def __post_init__(self) -> None:
        full = self.supernet
        if self.conv_channels and len(self.conv_channels) != len(full.conv_layers):
            raise ValueError(
                f"conv_channels of space {self.name!r} must list choices for each of the "
                f"{len(full.conv_layers)} layers of the feature extractor or be empty, got "
                f"{len(self.conv_channels)}"
            )
        for dimension, choices, most in (
            ("embed_dim", self.embed_dim, full.embed_dim),
            ("num_heads", self.num_heads, min(full.num_heads)),
            ("ffn_ratio", self.ffn_ratio, min(full.ffn_dim) / full.embed_dim),
            ("depth", self.depth, full.num_layers),
            *(
                (f"conv_channels[{layer}]", choices, full.conv_layers[layer].channels)
                for layer, choices in enumerate(self.conv_channels)
            ),
        ):
            if not choices or list(choices) != sorted(set(choices)):
                raise ValueError(
                    f"{dimension} of space {self.name!r} must list ascending choices, got {choices}"
                )
            if not 0 < choices[0] <= choices[-1] <= most:
                raise ValueError(
                    f"{dimension} of space {self.name!r} must lie in (0, {most}], "
                    f"which its supernet stores; got {choices}"
                )
        for embed_dim in self.embed_dim:
            if embed_dim % full.pos_conv_groups:
                raise ValueError(
                    f"embed_dim {embed_dim} of space {self.name!r} must be a multiple of "
                    f"pos_conv_groups {full.pos_conv_groups}"
                )
            widths = self.ffn_dims(embed_dim)
            if widths[0] < 1 or len(set(widths)) < len(widths):
                raise ValueError(
                    f"ffn_ratio {self.ffn_ratio} of space {self.name!r} must give distinct widths "
                    f"of 1 or more at embed_dim {embed_dim}, got {widths}"
                )

    def ffn_dims(self, embed_dim: int) -> tuple[int, ...]:
        """Feed-forward widths, in units, that go with `embed_dim`: int(ratio * embed_dim)."""
        return tuple(int(ratio * embed_dim) for ratio in self.ffn_ratio)

    def size(self) -> int:
        """Number of subnets.

        |embed_dim| times the sum over depths of (|ratio| |heads|)^depth, times the choices of
        channels.
        """
        num_layer_choices = len(self.ffn_ratio) * len(self.num_heads)
        num_layer_lists = sum(int(num_layer_choices**depth) for depth in self.depth)
        return len(self.embed_dim) * num_layer_lists * prod(map(len, self.conv_channels))

    def extractors(self) -> Iterator[tuple[int, ...]]:
        """Every choice of the feature extractor's channels, as a subnet's `conv_channels`."""
        return product(*self.conv_channels)

    def largest(self) -> Subnet:
        """The subnet with the last choice everywhere."""
        return self._uniform_subnet(-1)

    def smallest(self) -> Subnet:
        """The subnet with the first choice everywhere."""
        return self._uniform_subnet(0)

    def sample(self, rng: np.random.Generator) -> Subnet:
        """Draw `embed_dim` and depth, then each layer's ratio, heads and channels, all uniformly.

        Not uniform over subnets: each depth is as likely as another, however many subnets it has.
        `feasible.sample_within` is uniform over subnets.

        Source: LightHuBERT's released training code, arXiv:2203.15610, section 3.3.
        """
        embed_dim = self.embed_dim[rng.integers(len(self.embed_dim))]
        depth = self.depth[rng.integers(len(self.depth))]
        widths = self.ffn_dims(embed_dim)
        ffn_index = rng.integers(len(widths), size=depth)
        heads_index = rng.integers(len(self.num_heads), size=depth)
        return Subnet(
            space=self.name,
            embed_dim=embed_dim,
            num_heads=tuple(self.num_heads[index] for index in heads_index),
            ffn_dim=tuple(widths[index] for index in ffn_index),
            conv_channels=tuple(
                choices[rng.integers(len(choices))] for choices in self.conv_channels
            ),
        )

    def check(self, subnet: Subnet) -> None:
        """Refuse a subnet that cannot be chosen here.

        Raises:
            SubnetError: names the first value outside the choices, and the choices.
        """
        check_origin(subnet.space, self.name)
        self._check_choice("embed_dim", subnet.embed_dim, self.embed_dim)
        self._check_choice("depth", subnet.depth, self.depth)
        widths = self.ffn_dims(subnet.embed_dim)
        for layer in range(subnet.depth):
            self._check_choice(f"num_heads[{layer}]", subnet.num_heads[layer], self.num_heads)
            self._check_choice(f"ffn_dim[{layer}]", subnet.ffn_dim[layer], widths)
        if len(subnet.conv_channels) != len(self.conv_channels):
            rule = f"list {len(self.conv_channels)} layers" if self.conv_channels else "be left out"
            raise SubnetError(
                f"conv_channels of a subnet of space {self.name!r} must {rule}, got "
                f"{subnet.conv_channels}"
            )
        for layer, choices in enumerate(self.conv_channels):
            self._check_choice(f"conv_channels[{layer}]", subnet.conv_channels[layer], choices)

    def config(self, subnet: Subnet) -> Wav2Vec2Config:
        """Sizes of the materialized subnet: an ordinary dense encoder of the family.

        Its mask embedding is cut to `embed_dim`, and weight normalization is folded in.

        Raises:
            SubnetError: the subnet is not of this space.
        """
        self.check(subnet)
        return replace(
            self.sized(subnet.embed_dim, subnet.conv_channels),
            num_heads=subnet.num_heads,
            ffn_dim=subnet.ffn_dim,
        )

    def sized(self, embed_dim: int, conv_channels: tuple[int, ...]) -> Wav2Vec2Config:
        """Sizes of the dense model of this width and feature extractor, with the stored layers."""
        conv_layers = self.supernet.conv_layers
        if conv_channels:
            conv_layers = tuple(
                replace(conv, channels=channels)
                for conv, channels in zip(conv_layers, conv_channels, strict=True)
            )
        return replace(
            self.supernet,
            conv_layers=conv_layers,
            embed_dim=embed_dim,
            pos_conv_weight_norm=False,
        )

    def kept_layers(self, depth: int) -> tuple[int, ...]:
        """The supernet's layers that a subnet of `depth` keeps: `elastic.depth.kept_layers`."""
        return kept_layers(self.supernet.num_layers, depth)

    def _check_choice(self, name: str, value: int, choices: tuple[int, ...]) -> None:
        if value not in choices:
            raise SubnetError(
                f"{name} {value} is not in space {self.name!r}; "
                f"choose one of {', '.join(map(str, choices))}"
            )

    def _uniform_subnet(self, index: int) -> Subnet:
        embed_dim, depth = self.embed_dim[index], self.depth[index]
        return Subnet(
            space=self.name,
            embed_dim=embed_dim,
            num_heads=(self.num_heads[index],) * depth,
            ffn_dim=(self.ffn_dims(embed_dim)[index],) * depth,
            conv_channels=tuple(choices[index] for choices in self.conv_channels),
        )


# Dropouts are those of the authors' configuration files.
_LIGHTHUBERT_SUPERNET = Wav2Vec2Config(
    conv_norm="layer",
    normalize_waveform=True,
    input_dropout=0.0,
    layerdrop=0.0,
    feature_grad_mult=1.0,
)

_OTOLITE_TINY = replace(
    _LIGHTHUBERT_SUPERNET,
    # As hubert-tiny stores it: a teacher's weights can be where a supernet starts.
    conv_norm="group",
    normalize_waveform=False,
    conv_layers=tiny_conv_layers(),
    embed_dim=128,
    num_heads=(4,) * 6,
    ffn_dim=(512,) * 6,
    head_dim=32,
    pos_conv_kernel=32,
    # Too small to overfit, and attention without dropout has a faster kernel.
    dropout=0.0,
    attention_dropout=0.0,
)

_LIGHTHUBERT_SMALL = Space(
    name="lighthubert-small",
    supernet=_LIGHTHUBERT_SUPERNET,
    embed_dim=(256, 384, 512),
    num_heads=(4, 6, 8),
    ffn_ratio=(3.0, 3.5, 4.0),
    depth=(10, 11, 12),
)

_TINY = Space(
    name="otolite-tiny",
    supernet=_OTOLITE_TINY,
    embed_dim=(64, 96, 128),
    num_heads=(2, 3, 4),
    ffn_ratio=(2.0, 3.0, 4.0),
    depth=(4, 5, 6),
)

_SPACES = {
    space.name: space
    for space in (
        # LightHuBERT, arXiv:2203.15610, table 1; "small" trains fewer choices of the same tensors.
        Space(
            name="lighthubert-base",
            supernet=_LIGHTHUBERT_SUPERNET,
            embed_dim=(512, 640, 768),
            num_heads=(8, 10, 12),
            ffn_ratio=(3.5, 4.0),
            depth=(12,),
        ),
        _LIGHTHUBERT_SMALL,
        # Ours. The paper's extractor is 68 % of the multiply-accumulates of its small model; here
        # it is elastic too, and the first layers, at 3,200 and 1,600 frames a second, the most.
        replace(
            _LIGHTHUBERT_SMALL,
            name="otolite-small",
            conv_channels=(*((128, 256, 512),) * 3, *((256, 384, 512),) * 4),
        ),
        # Ours: train in minutes on two cores.
        _TINY,
        replace(
            _TINY,
            name="otolite-tiny-conv",
            conv_channels=(*((8, 16, 32),) * 2, *((32, 48, 64),) * 5),
        ),
    )
}


def space_names() -> tuple[str, ...]:
    """Names that `get_space` knows."""
    return tuple(_SPACES)


def get_space(name: str) -> Space:
    """The space of this name.

    Raises:
        SpaceError: no such space; the message holds the nearest name.
    """
    if name not in _SPACES:
        raise SpaceError(f"unknown space {name!r}: {nearest(name, _SPACES)}")
    return _SPACES[name]
