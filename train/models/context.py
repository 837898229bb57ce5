"""The context network: positions and a transformer over projected frames.

It stands apart from the feature extractor because data2vec's teachers are copies of this part
alone. Notation for shapes: batch, frames at 50 Hz, embed_dim.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .alibi import Alibi
from .cpu_training import Dropout
from .layers import PositionalConv, PositionalConvStack, TransformerLayer
from .wav2vec2_config import Wav2Vec2Config
from .wav2vec2_streaming import contextualize_whole

RunLayer = Callable[[int, TransformerLayer, Tensor], tuple[Tensor, Tensor]]
"""Index, layer and input, (batch, frames, embed_dim), to what the layer's `forward` returns."""


@dataclass(frozen=True)
class ContextOutput:
    """What one pass through a context network gives: (batch, frames, embed_dim) each."""

    hidden_states: tuple[Tensor, ...]
    """The input of layer 1, then each layer's output; the last is the network's output.

    A layer that layerdrop skips passes its input on, so there are always num_layers + 1.
    """
    ffn_outputs: tuple[Tensor, ...]
    """Feed-forward output of each layer that ran, before dropout and residual."""


@dataclass(frozen=True)
class Visible:
    """The frames that a student is shown when the hidden ones are left out, not masked."""

    places: Tensor
    """int64 (batch, shown): their places in the utterance, ascending; what fills a row up is 0."""
    filler: Tensor | None
    """bool (batch, shown), True where a row has no more frames to show; None where each has."""

    def put_back(self, gaps: Tensor, seen: Tensor) -> Tensor:
        """Put what was made of the frames where they stood.

        Args:
            gaps: (batch, frames + 1, dim), what stands where nothing was shown; a frame more than
                there is, to which goes what fills a row up.
            seen: (batch, shown, dim).

        Returns:
            (batch, frames, dim).
        """
        places, last = self.places, gaps.shape[1] - 1
        if self.filler is not None:
            places = places.masked_fill(self.filler, last)
        return gaps.scatter(1, places.unsqueeze(-1).expand_as(seen), seen)[:, :last]


class ContextNetwork(nn.Module):
    """Convolutional positions, LayerNorm and transformer layers."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.layer_draws: torch.Generator | None = None
        """Decides which layers layerdrop skips; None: torch's own generator."""
        self.pos_conv = _positions(config)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.dropout = Dropout(config.dropout)
        self.alibi = Alibi(config.num_heads[0]) if config.alibi else None
        self.layers = nn.ModuleList(
            TransformerLayer(
                embed_dim=config.embed_dim,
                num_heads=num_heads,
                head_dim=config.head_dim,
                ffn_dim=ffn_dim,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                pre_norm=config.pre_norm,
            )
            for num_heads, ffn_dim in zip(config.num_heads, config.ffn_dim, strict=True)
        )
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):  # as in BERT
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def contextualize(
        self, projected: Tensor, padding_mask: Tensor | None, visible: Visible | None = None
    ) -> ContextOutput:
        """Let frames look at each other.

        Args:
            projected: (batch, frames, embed_dim).
            padding_mask: bool (batch, frames), True = padding; None where nothing is.
            visible: the frames to keep after the positions were added; what is left out must have
                been zeroed before. None: all.

        Returns:
            hidden states and feed-forward outputs, as wide as `visible` where it is given.
        """
        if self.config.streaming is not None:
            assert visible is None, "chunks are of frames that follow one another"
            return contextualize_whole(self, projected, padding_mask)
        hidden = self.place(projected, padding_mask, visible)
        if visible is not None:
            padding_mask = visible.filler
        attend = self.attend(hidden, padding_mask, visible)
        return self.transform(hidden, lambda _, layer, frames: layer(frames, attend))

    def place(
        self, projected: Tensor, padding_mask: Tensor | None, visible: Visible | None = None
    ) -> Tensor:
        """What enters layer 1: frames with their positions; arguments as for `contextualize`."""
        if padding_mask is not None:
            projected = projected.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        hidden = projected + self.pos_conv(projected, padding_mask)
        if visible is not None:
            places = visible.places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            hidden = hidden.gather(1, places)
        return self.enter(hidden)

    def enter(self, hidden: Tensor) -> Tensor:
        """Frames with their positions, as layer 1 takes them: (batch, frames, embed_dim)."""
        if not self.config.pre_norm:
            hidden = self.norm(hidden)
        placed: Tensor = self.dropout(hidden)
        return placed

    def attend(
        self, hidden: Tensor, padding_mask: Tensor | None, visible: Visible | None = None
    ) -> Tensor | None:
        """What attention is told about its keys: a mask, biases, or nothing."""
        looked_at = None if padding_mask is None else ~padding_mask[:, None, None, :]
        if self.alibi is None:
            return looked_at
        if visible is None:
            places = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        else:
            places = visible.places
        bias: Tensor = self.alibi(places)
        return bias if looked_at is None else bias.masked_fill(~looked_at, float("-inf"))

    def transform(self, hidden: Tensor, run: RunLayer) -> ContextOutput:
        """Run the layers.

        Args:
            hidden: (batch, frames, embed_dim), what enters layer 1.
            run: index, layer and its input to its output and its feed-forward block's.
        """
        hidden_states, ffn_outputs = [hidden], []
        # Drawn at once and on the CPU: the step does not wait for a device.
        drops = (
            torch.rand(len(self.layers), generator=self.layer_draws).tolist()
            if self.training and self.config.layerdrop
            else ()
        )
        for index, layer in enumerate(self.layers):
            if drops and drops[index] <= self.config.layerdrop:
                hidden_states.append(hidden)
                continue
            assert isinstance(layer, TransformerLayer)
            hidden, ffn_output = run(index, layer, hidden)
            hidden_states.append(hidden)
            ffn_outputs.append(ffn_output)
        if self.config.pre_norm:
            hidden_states[-1] = self.norm(hidden_states[-1])
        return ContextOutput(tuple(hidden_states), tuple(ffn_outputs))


def _positions(config: Wav2Vec2Config) -> nn.Module:
    if config.pos_conv_depth > 1:
        return PositionalConvStack(
            config.embed_dim,
            kernel=config.pos_conv_kernel,
            groups=config.pos_conv_groups,
            depth=config.pos_conv_depth,
        )
    return PositionalConv(
        config.embed_dim,
        kernel=config.pos_conv_kernel,
        groups=config.pos_conv_groups,
        weight_norm=config.pos_conv_weight_norm,
    )
