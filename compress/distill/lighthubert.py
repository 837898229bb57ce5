"""LightHuBERT's distillation: masked frames, an elastic student, a frozen teacher, L1.

The teacher sees the whole utterance, the student sees it masked and predicts the mean of the
teacher's last feed-forward outputs. The authors state L1 in both stages and targets as in
data2vec; whether targets are normalized and which frames count is not stated, so both are
options. Source: LightHuBERT, arXiv:2203.15610, and its authors' answers in their repository.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.config import MaskConfig
from train.data.batches import Batch
from train.data.masking import span_mask
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config
from train.objectives import Loss, Objective
from train.seeding import Draws
from train.targets.layers import layer_mean

from .. import CompressError
from ..subnet import Subnet
from ..supernet import Supernet
from .sampling import get_sampling

Frames = Literal["masked", "all"]


class LightHubert(Objective):
    """The subnets of an update by a rule of sampling/, or always the largest (stage 1)."""

    def __init__(
        self,
        teacher: Wav2Vec2Encoder,
        supernet: Supernet,
        *,
        mask: MaskConfig,
        top_layers: int,
        normalize_targets: bool,
        frames: Frames,
        sampling: str | None,
        num_random: int = 1,
    ) -> None:
        """Set up.

        Args:
            teacher: frozen here, and kept in eval mode.
            supernet: what learns.
            mask: frames hidden from the student.
            top_layers: feed-forward outputs averaged into the target, from the last back.
            normalize_targets: bring each layer's outputs to zero mean and unit variance over
                time, as data2vec does.
            frames: which frames the loss counts.
            sampling: the rule that draws an update's subnets (stage 2); None: the largest alone
                (stage 1).
            num_random: for a rule that takes several at random.

        Raises:
            CompressError: teacher and student frame the audio differently, the teacher has too
                few layers, or there is no such rule.
        """
        super().__init__()
        check_teacher(teacher, supernet, top_layers)
        self.teacher = teacher.requires_grad_(False).eval()
        self.supernet = supernet
        self.mask = mask
        self.top_layers = top_layers
        self.normalize_targets = normalize_targets
        self.frames: Frames = frames
        self.sampling = None if sampling is None else get_sampling(sampling)
        self.num_random = num_random

    @property
    def leaves_weights_out(self) -> bool:
        """True where some subnet that is trained lacks layers of the supernet."""
        space = self.supernet.space
        shallowest = space.largest().depth if self.sampling is None else space.depth[0]
        return shallowest < space.supernet.num_layers

    def train(self, mode: bool = True) -> "LightHubert":
        """Set the student's mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch, draws: Draws) -> Loss:
        """Distil one batch into an update's subnets, the same in every process and pass."""
        hidden = student_mask(batch, self.supernet, self.mask, draws.rows(batch.rows))
        frame_mask = torch.from_numpy(hidden).to(batch.waveform.device)
        target = teacher_target(
            self.teacher,
            batch,
            top_layers=self.top_layers,
            normalize=self.normalize_targets,
            lead_samples=lead_samples(self.teacher, self.supernet.encoder.config),
        )
        losses = [
            distillation_loss(self.supernet, subnet, batch, frame_mask, target, self.frames)
            for subnet in self.subnets(draws)
        ]
        loss = torch.stack(losses).mean()
        config = self.supernet.encoder.config
        count = (
            int(hidden.sum())
            if self.frames == "masked"
            else sum(config.num_frames(length) for length in batch.num_samples)
        )
        return Loss(loss * count, count, {"target_std": target.std()})

    def subnets(self, draws: Draws) -> tuple[Subnet, ...]:
        """Those of an update."""
        space = self.supernet.space
        if self.sampling is None:
            return (space.largest(),)
        return self.sampling.draw(space, draws.update(), num_random=self.num_random)


def check_teacher(teacher: Wav2Vec2Encoder, supernet: Supernet, top_layers: int) -> None:
    """Refuse a teacher whose frames or layers do not fit."""
    strides = [
        [(conv.kernel, conv.stride) for conv in encoder.config.conv_layers]
        for encoder in (teacher, supernet.encoder)
    ]
    if strides[0] != strides[1]:
        raise CompressError(
            f"teacher and student must frame the audio alike; kernels and strides are {strides[0]} "
            f"and {strides[1]}. Choose another --space or another --teacher."
        )
    if teacher.config.streaming is not None and supernet.encoder.config.streaming is None:
        raise CompressError(
            f"the teacher streams and space {supernet.space.name!r} hears whole utterances, so "
            "that their frames end elsewhere. Choose another --teacher."
        )
    if not 1 <= top_layers <= teacher.config.num_layers:
        raise CompressError(
            f"top_layers must lie in [1, {teacher.config.num_layers}], the teacher's layers; "
            f"got {top_layers}"
        )


def student_mask(
    batch: Batch,
    supernet: Supernet,
    mask: MaskConfig,
    rng: np.random.Generator | list[np.random.Generator],
) -> np.ndarray:
    """Frames hidden from the student: bool (batch, frames)."""
    lengths = [supernet.space.supernet.num_frames(length) for length in batch.num_samples]
    return span_mask(
        lengths, mask_prob=mask.prob, span=mask.span, min_spans=mask.min_spans, rng=rng
    )


def lead_samples(teacher: Wav2Vec2Encoder, student: Wav2Vec2Config) -> int:
    """Silence that a teacher hears first, so that its frames end where a streaming student's do."""
    if student.streaming is None or teacher.config.streaming is not None:
        return 0
    return student.window_samples - student.stride_samples


@torch.no_grad()
def teacher_target(
    teacher: Wav2Vec2Encoder,
    batch: Batch,
    *,
    top_layers: int,
    normalize: bool,
    lead_samples: int = 0,
) -> Tensor:
    """Mean of the last `top_layers` feed-forward outputs: (batch, frames, embed_dim).

    Args:
        teacher: in eval mode.
        batch: what it hears.
        top_layers: of its layers, counted from the last.
        normalize: each of them over time.
        lead_samples: silence before each row, as the function of this name says.
    """
    waveform, lengths = batch.waveform, batch.lengths
    if lead_samples:
        waveform, lengths = functional.pad(waveform, (lead_samples, 0)), lengths + lead_samples
    output = teacher(waveform, lengths)
    return layer_mean(
        output.ffn_outputs, output.padding_mask, top_layers=top_layers, normalize=normalize
    )


def distillation_loss(
    supernet: Supernet,
    subnet: Subnet,
    batch: Batch,
    frame_mask: Tensor,
    target: Tensor,
    frames: Frames,
) -> Tensor:
    """L1 between a subnet's prediction and the target, per counted frame and channel."""
    output = supernet(subnet, batch.waveform, batch.lengths, frame_mask)
    predicted = supernet.predict(output.output)
    return distillation_error(predicted, target, frame_mask, output.padding_mask, frames)


def distillation_error(
    predicted: Tensor,
    target: Tensor,
    frame_mask: Tensor,
    padding_mask: Tensor | None,
    frames: Frames,
) -> Tensor:
    """Mean L1 per counted frame and channel.

    Args:
        predicted: (batch, frames, dim).
        target: (batch, frames, dim).
        frame_mask: bool (batch, frames), True = hidden from the student.
        padding_mask: bool (batch, frames), True = padding; None: there is none.
        frames: which frames count.
    """
    counted = frame_mask
    if frames == "all":
        counted = torch.ones_like(frame_mask) if padding_mask is None else ~padding_mask
    return counted_l1(predicted, target, counted)


def counted_l1(prediction: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean absolute error over channels and counted frames.

    Args:
        prediction: (batch, frames, target_dim).
        target: the same shape.
        counted: bool (batch, frames); 0 comes of none at all.
    """
    error = functional.l1_loss(prediction.float(), target, reduction="none")
    weights = counted.unsqueeze(-1).to(error.dtype)
    return (error * weights).sum() / (weights.sum().clamp_min(1.0) * error.shape[-1])
