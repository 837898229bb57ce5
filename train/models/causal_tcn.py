"""A causal temporal convolutional network, made so that a step of a stream is few operations.

Blocks of dilated convolutions with residuals and BatchNorm, after Bai, Kolter and Koltun
(arXiv:1803.01271), over tokens of a few frames; the answer is the last token's vector. Three things
differ, all for the step: one convolution to a block, so that it is one linear layer and the
residual's sum once it is merged; full convolutions, not depthwise ones, whose many
small products cost more than the weights they save; and one state for all blocks, so that taps
that lie before a short piece are gathered at once (docs/decisions/0031).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from ..config import STRICT
from . import cpu_training
from .causal_frontend import CausalFrontEnd, check_causal
from .frontend_config import FrontEndConfig, NamedFrontEnd
from .streaming import Shapes, States, initial, part, prefixed

FRONT_END = FrontEndConfig(
    window="hann",
    window_samples=512,
    hop_samples=320,
    remove_mean=False,
    preemphasis=0.0,
    lowest_hz=60.0,
)
"""40 log-mels each 20 ms, without what costs operations and trained norms do anyway. An offset of
the microphone leaks no further than a bin of 31 Hz through this window: the filters begin behind.
"""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CausalTcnConfig:
    """Sizes; the defaults are ours, and train in minutes on two cores."""

    front_end: NamedFrontEnd = FRONT_END
    """What is looked at, or the name of a preset; one whose frames stand alone."""
    patch_frames: int = 2
    """Frames of the front end that make a token; their hop is the shortest step of a stream."""
    channels: int = 64
    """Width of a token."""
    kernel: int = 3
    """Taps of each block's convolution; 2 or more."""
    dilations: tuple[int, ...] = (1, 2, 3, 4, 2, 3, 2, 2)
    """Of each block, in tokens; together they say how far back an answer sees. Blocks whose
    dilation is no less than the tokens of a step cost it least."""
    dropout: float = 0.1
    """Of the answer's vector, in [0, 1)."""

    def __post_init__(self) -> None:
        check_causal(self.front_end)
        if min(self.patch_frames, self.channels, self.kernel - 1) < 1:
            raise ValueError(
                "patch_frames and channels must be 1 or more, and kernel 2 or more, got "
                f"{(self.patch_frames, self.channels, self.kernel)}"
            )
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(
                f"dilations must be one or more numbers from 1 on, got {self.dilations}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def hop_samples(self) -> int:
        """Samples of a token."""
        return self.patch_frames * self.front_end.hop_samples

    @property
    def reaches(self) -> tuple[int, ...]:
        """Tokens before its own that each block sees."""
        return tuple((self.kernel - 1) * dilation for dilation in self.dilations)


class CausalTcn(nn.Module):
    """Waveform to a vector at each token."""

    def __init__(self, config: CausalTcnConfig) -> None:
        super().__init__()
        self.config = config
        features, channels = config.front_end.output_dim, config.channels
        self.frontend = CausalFrontEnd(config.front_end)
        self.input_norm: nn.BatchNorm1d | None = nn.BatchNorm1d(features)
        """None once merged."""
        self.patch = NormedLinear(config.patch_frames * features, channels)
        self.blocks = nn.ModuleList(
            NormedLinear(config.kernel * channels, channels) for _ in config.dilations
        )
        self.dropout = cpu_training.Dropout(config.dropout)

    @property
    def output_dim(self) -> int:
        """Width of the vector."""
        return self.config.channels

    @property
    def hop_samples(self) -> int:
        """Samples from one vector to the next."""
        return self.config.hop_samples

    @property
    def window_samples(self) -> int:
        """Samples of the tokens that a vector sees."""
        return (sum(self.config.reaches) + 1) * self.hop_samples

    def shapes(self) -> Shapes:
        """Of both states: samples, and what each block read, block after block, oldest first."""
        return {
            **prefixed("pcm", self.frontend.shapes()),
            "past": (sum(self.config.reaches), self.config.channels),
        }

    def stream(self, waveform: Tensor, states: Mapping[str, Tensor]) -> tuple[Tensor, States]:
        """Hear a piece.

        Args:
            waveform: (batch, samples) in [-1, 1], a multiple of `hop_samples`.
            states: of the pieces before; `shapes` names them.

        Returns:
            (batch, samples / hop_samples, channels): the vector after each hop; and the states.
        """
        features, pcm = self.frontend(waveform, part(states, "pcm"))
        if self.input_norm is not None:
            features = self.input_norm(features.transpose(1, 2)).transpose(1, 2)
        batch, frames, dim = features.shape
        patch = self.config.patch_frames
        tokens = features.reshape(batch, frames // patch, patch * dim)
        hidden = self.patch(tokens).relu()  # (batch, tokens, channels)
        # A graph for any length has no number of tokens; what it sees is long.
        short = isinstance(hidden.shape[1], int) and hidden.shape[1] <= max(self.config.dilations)
        run = self._short if short else self._long
        hidden, past = run(hidden, states["past"])
        return self.dropout(hidden), {**prefixed("pcm", pcm), "past": past}

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, channels): the vector at the end of a stream of these alone.

        Where the samples are no multiple of the hop, silence goes before them. `lengths` is not
        needed: padding is silence.
        """
        waveform = functional.pad(waveform, (-waveform.shape[1] % self.hop_samples, 0))
        states = initial(self.shapes(), waveform.shape[0], like=waveform)
        vectors, _ = self.stream(waveform, states)
        return vectors[:, -1]

    def merge(self) -> None:
        """Fold norms into the linear layers from now on; for copies that only run.

        The answers stay, and weights have other values than a checkpoint's. Residuals stay sums:
        folded into the newest taps, as they could be, 8 bits would round them at each block.
        """
        if self.input_norm is None:
            return
        norm, self.input_norm = self.input_norm, None
        self.patch.merge()
        scale, shift = (
            affine.repeat(self.config.patch_frames) for affine in _scale_and_shift(norm)
        )
        linear = self.patch.linear
        with torch.no_grad():
            linear.bias.add_(linear.weight @ shift)
            linear.weight.mul_(scale)
            for block in self._blocks():
                block.merge()

    def _long(self, hidden: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Any number of tokens, (batch, tokens, channels), and the state; to the same after it."""
        tokens, taps = hidden.shape[1], range(self.config.kernel)
        after_it = []
        before = past.split(self.config.reaches, dim=1)
        for block, dilation, tail in zip(
            self._blocks(), self.config.dilations, before, strict=True
        ):
            heard = torch.cat([tail, hidden], dim=1)
            seen = [heard[:, tap * dilation :][:, :tokens] for tap in taps]
            after_it.append(heard[:, -tail.shape[1] :])
            hidden = (block(torch.cat(seen, dim=2)) + hidden).relu()
        return hidden, torch.cat(after_it, dim=1)

    def _short(self, hidden: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a few tokens, in fewer operations.

        Where a block's dilation is no less than the tokens, all its taps but the newest lie in the
        state: they are copied for all such blocks at once. So is the state after it.
        """
        batch, tokens, _ = hidden.shape
        dilations, reaches, taps = self.config.dilations, self.config.reaches, self.config.kernel
        *starts, end = accumulate(reaches, initial=0)
        ready = [number for number, dilation in enumerate(dilations) if dilation >= tokens]
        places = [
            place
            for number in ready
            for place in _places(starts[number], tokens, dilations[number], taps - 1)
        ]
        older = _rows(past, places).reshape(batch, len(ready) * tokens, -1)
        # litert-torch knows no split into one
        parts = older.split(tokens, dim=1) if len(ready) > 1 else (older,)
        older_of = dict(zip(ready, parts, strict=True))
        read, kept = [], []
        for number, (block, start, reach) in enumerate(
            zip(self._blocks(), starts, reaches, strict=True)
        ):
            read.append(hidden)
            kept += [*range(start, start + reach), *range(end, end + tokens)][tokens:]
            end += tokens
            if number in older_of:
                seen = torch.cat([older_of[number], hidden], dim=2)
            else:
                heard = torch.cat([past[:, start : start + reach], hidden], dim=1)
                seen = _rows(heard, _places(0, tokens, dilations[number], taps))
                seen = seen.reshape(batch, tokens, -1)
            hidden = (block(seen) + hidden).relu()
        return hidden, _rows(torch.cat([past, *read], dim=1), kept)

    def _blocks(self) -> list["NormedLinear"]:
        return [block for block in self.blocks if isinstance(block, NormedLinear)]


class NormedLinear(nn.Module):
    """A linear layer and BatchNorm over all tokens; a convolution, given its taps side by side."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm: nn.BatchNorm1d | None = nn.BatchNorm1d(out_features)
        """None once merged."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, in_features) to (batch, tokens, out_features)."""
        mixed: Tensor = self.linear(tokens)
        if self.norm is None:
            return mixed
        normed: Tensor = self.norm(mixed.transpose(1, 2))
        return normed.transpose(1, 2)

    def merge(self) -> None:
        """Fold the norm into the layer."""
        assert self.norm is not None
        scale, shift = _scale_and_shift(self.norm)
        self.norm = None
        with torch.no_grad():
            self.linear.weight.mul_(scale.unsqueeze(1))
            self.linear.bias.mul_(scale).add_(shift)


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What the norm multiplies by and then adds, in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    return scale, norm.bias.detach() - norm.running_mean * scale


def _places(start: int, tokens: int, dilation: int, taps: int) -> list[int]:
    """Where each token's taps lie, oldest first, if those of the first one begin at `start`."""
    return [start + token + tap * dilation for token in range(tokens) for tap in range(taps)]


def _rows(tokens: Tensor, places: Sequence[int]) -> Tensor:
    """(batch, tokens, channels) to (batch, places, channels)."""
    return tokens.index_select(1, torch.tensor(places, device=tokens.device))
