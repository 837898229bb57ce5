"""Keyword Transformer: a window's MFCC frames as tokens, and a class token that sums them up.

Source: Berg, O'Connor and Cruz, arXiv:2104.00769; sizes and parameter counts of ARM's release
(KWT-1, KWT-2 and KWT-3). It sees whole windows, later frames included; what runs on a stream step
by step is `causal_keyword_transformer`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..recipe import check
from . import cpu_training
from .checkpoints import load_checkpoint, restore, save_checkpoint
from .context import ContextOutput
from .frontend import FrontEnd
from .frontend_config import preset
from .keyword_transformer_config import KeywordTransformerConfig
from .layers import FeedForward

FAMILY = "keyword_transformer"
_MASK_EMBEDDING = "mask_embedding"


class KeywordContext(nn.Module):
    """All that learns: frames to tokens, a class token, positions and layers.

    It stands apart from the front end because data2vec-KWS's teachers are copies of this part.
    """

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.patch = nn.Linear(preset(config.frontend).output_dim, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.window_frames, width))
        self.dropout = cpu_training.Dropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width) if config.pre_norm else nn.Identity()
        for learned in (self.class_token, self.positions):
            nn.init.trunc_normal_(learned, std=0.02)

    def contextualize(self, features: Tensor, padding_mask: Tensor | None = None) -> ContextOutput:
        """Let the frames of a window look at each other.

        Args:
            features: (batch, window_frames, features), as the front end gives them.
            padding_mask: None: silence around a recording is heard like any sound.

        Returns:
            what became of the frames; the class token is left out.
        """
        assert padding_mask is None, "every row fills its window"
        return _of_frames(self.transform(self.patch(features)))

    def transform(self, frames: Tensor) -> ContextOutput:
        """Run the layers.

        Args:
            frames: (batch, window_frames, embed_dim), before positions.

        Returns:
            hidden states and feed-forward outputs of all tokens, the class token first.
        """
        first = self.class_token.expand(frames.shape[0], -1, -1)
        hidden = self.dropout(torch.cat([first.to(frames.dtype), frames], dim=1) + self.positions)
        hidden_states, ffn_outputs = [hidden], []
        for layer in self.layers:
            hidden, ffn_output = layer(hidden)
            hidden_states.append(hidden)
            ffn_outputs.append(ffn_output)
        hidden_states[-1] = self.norm(hidden)
        return ContextOutput(tuple(hidden_states), tuple(ffn_outputs))


class KeywordTransformer(KeywordContext):
    """Waveform to one vector: the class token after the last layer, or the mean of all tokens."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__(config)
        self.frontend = FrontEnd(preset(config.frontend))

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.config.embed_dim

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, embed_dim).

        It answers for the last `window_samples`: silence goes before what is shorter, and of what
        is longer the beginning is left out. `lengths` is not needed: padding is silence.
        """
        num_samples = self.config.window_samples
        window = functional.pad(waveform, (num_samples, 0))[:, -num_samples:]
        tokens = self.transform(self.patch(self.frontend(window))).hidden_states[-1]
        return tokens[:, 0] if self.config.pool == "class" else tokens.mean(1)


@dataclass(frozen=True)
class KeywordOutput(ContextOutput):
    """What one pass of a `KeywordEncoder` gives; the class token is left out."""

    features: Tensor
    """(batch, window_frames, features): the front end's, nothing hidden."""
    padding_mask: None = None
    """Every row fills its window."""

    @property
    def output(self) -> Tensor:
        """The last hidden state."""
        return self.hidden_states[-1]


class KeywordEncoder(KeywordContext):
    """A Keyword Transformer that is pretrained: frames in, frames out, some of them hidden.

    Its weights but the mask embedding are those of a `KeywordTransformer`.
    """

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__(config)
        self.frontend = FrontEnd(preset(config.frontend))
        self.mask_embedding = nn.Parameter(torch.rand(config.embed_dim))

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> KeywordOutput:
        """Encode.

        Args:
            waveform: (batch, samples) in [-1, 1].
            lengths: int (batch,), each row's samples before its zero padding; None: no padding.
            frame_mask: bool (batch, window_frames), True where the mask embedding takes a token's
                place, before positions; None: nowhere.
        """
        # A logarithm's steps would be coarse in bfloat16.
        with torch.autocast(waveform.device.type, enabled=False):
            features = self.frontend(centred(waveform, lengths, self.config.window_samples))
        frames = self.patch(features)
        if frame_mask is not None:
            hidden = self.mask_embedding.to(frames.dtype)
            frames = torch.where(frame_mask.unsqueeze(-1), hidden, frames)
        context = _of_frames(self.transform(frames))
        return KeywordOutput(context.hidden_states, context.ffn_outputs, features)


def centred(waveform: Tensor, lengths: Tensor | None, num_samples: int) -> Tensor:
    """Each row in the middle of a window, as `fit_length` puts clips that keywords are learned of.

    Args:
        waveform: (batch, samples), zeros past a row's length.
        lengths: int (batch,), or None: all rows are as long as the batch.
        num_samples: of the window.
    """
    batch, width = waveform.shape
    if lengths is None:
        lengths = torch.full((batch,), width, device=waveform.device)
    before = torch.div(num_samples - lengths, 2, rounding_mode="trunc").unsqueeze(1)
    places = torch.arange(num_samples, device=waveform.device) - before
    heard = (places >= 0) & (places < lengths.unsqueeze(1))
    return waveform.gather(1, places.clamp(0, width - 1)) * heard


def save_keyword_encoder(
    folder: Path,
    config: KeywordTransformerConfig,
    state: Mapping[str, Tensor],
    *,
    provenance: Mapping[str, Any],
    objective: tuple[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a pretrained encoder's checkpoint; arguments as for `wav2vec2.save_encoder`."""
    record = {"family": FAMILY, "encoder": dataclasses.asdict(config), "provenance": provenance}
    save_checkpoint(folder, record, state, objective)


def load_keyword_encoder(folder: Path) -> KeywordEncoder:
    """Read a pretrained encoder back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
    """
    config, state = load_checkpoint(folder, FAMILY, "encoder")
    encoder = KeywordEncoder(
        check(config["encoder"], KeywordTransformerConfig, f"{folder}/config.json")
    )
    restore(encoder, state, folder)
    return encoder


def load_body(folder: Path) -> KeywordTransformer:
    """The body of a keyword model with a pretrained encoder's weights; errors as for the encoder's.

    Nothing is hidden from it: the mask embedding stays behind.
    """
    encoder = load_keyword_encoder(folder)
    state = encoder.state_dict()
    del state[_MASK_EMBEDDING]
    body = KeywordTransformer(encoder.config)
    body.load_state_dict(state, strict=True)
    return body


def _of_frames(tokens: ContextOutput) -> ContextOutput:
    """The same without the class token."""
    return ContextOutput(
        tuple(hidden[:, 1:] for hidden in tokens.hidden_states),
        tuple(output[:, 1:] for output in tokens.ffn_outputs),
    )


class _Layer(nn.Module):
    """Attention and feed-forward with residuals, LayerNorm before or after each."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.attention_norm = nn.LayerNorm(config.embed_dim)
        self.ffn = FeedForward(config.embed_dim, config.ffn_dim, dropout=0.0)
        self.ffn_norm = nn.LayerNorm(config.embed_dim)
        self.pre_norm = config.pre_norm

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, embed_dim) to the layer's output and its feed-forward block's."""
        if self.pre_norm:
            hidden = hidden + self.attention(self.attention_norm(hidden))
            ffn_output = self.ffn(self.ffn_norm(hidden))
            return hidden + ffn_output, ffn_output
        # Torch-KWT's "post-norm" is LN(block(x)) + x; this is LN(x + block(x)), the paper's.
        hidden = self.attention_norm(hidden + self.attention(hidden))
        ffn_output = self.ffn(hidden)
        return self.ffn_norm(hidden + ffn_output), ffn_output


class _Attention(nn.Module):
    """Self-attention over all tokens; queries, keys and values have no bias."""

    def __init__(self, config: KeywordTransformerConfig) -> None:
        super().__init__()
        width, inner_dim = config.embed_dim, config.num_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(width, inner_dim, bias=False)
        self.k_proj = nn.Linear(width, inner_dim, bias=False)
        self.v_proj = nn.Linear(width, inner_dim, bias=False)
        self.out_proj = nn.Linear(inner_dim, width) if config.projects else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, tokens, embed_dim) to the same shape."""
        batch, tokens, _ = hidden.shape

        def heads(projected: Tensor) -> Tensor:
            # (batch, heads, tokens, head_dim)
            return projected.view(batch, tokens, -1, self.head_dim).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(self.q_proj(hidden)), heads(self.k_proj(hidden)), heads(self.v_proj(hidden))
        )
        projected: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return projected
