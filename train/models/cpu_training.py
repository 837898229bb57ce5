"""Forms of torch's operators that train faster on a CPU, with the same results.

Measured by benchmarks/pretrain.py. Shapes: batch, time, channels.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 2**17
"""Numbers that stay in a core's cache between the passes over them."""


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits for a number: torch's draws a whole float with care.

    The probability is rounded to a multiple of 2^-16, and what is kept is scaled by that.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training or self.p == 0.0:
            return hidden
        return dropout(hidden, self.p)


def dropout(hidden: Tensor, prob: float) -> Tensor:
    """Zero a share `prob` in [0, 1) of the numbers and scale up the others; any shape."""
    if hidden.device.type != "cpu":
        return functional.dropout(hidden, prob)
    dropped = min(round(prob * 2**16), 2**16 - 1)
    words = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int16)[: hidden.numel()].view(hidden.shape)
    scale = 2**16 / (2**16 - dropped)
    return hidden * (drawn >= dropped - 2**15).to(hidden.dtype).mul_(scale)


def multiplies(signal: Tensor) -> bool:
    """Whether the functions below take this tensor: float32 on a CPU, outside autocast."""
    return (
        signal.device.type == "cpu"
        and signal.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def strided_conv(signal: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve (batch, time, in_channels) with (channels, in_channels, kernel), unpadded."""
    mixed: Tensor = _StridedConv.apply(signal, weight, stride)
    return mixed


def time_norm_gelu(signal: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """GELU of each channel normalized over time: a GroupNorm with a group for each channel."""
    active: Tensor = _TimeNormGelu.apply(signal, weight, bias, eps)
    return active


class _StridedConv(torch.autograd.Function):
    """A convolution as matrix products, without copying the signal.

    Taps are taken `stride` at a time: the samples that such a group sees never overlap from one
    output to the next, so that they are the rows of a matrix that lies in memory already.
    """

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weight: Tensor, stride: int) -> Tensor:
        signal = signal.contiguous()
        taps = weight.transpose(1, 2).flatten(1)  # (channels, kernel * in_channels)
        ctx.save_for_backward(signal, taps)
        ctx.stride, ctx.kernel = stride, weight.shape[2]
        length = (signal.shape[1] - ctx.kernel) // stride + 1
        mixed = signal.new_empty(len(signal), length, len(weight))
        for row, out in zip(signal, mixed, strict=True):
            for index, (windows, some) in enumerate(_windows(row, taps, stride, length)):
                if index == 0:
                    torch.mm(windows, some.t(), out=out)
                else:
                    out.addmm_(windows, some.t())
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        signal, taps = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        length = gradient.shape[1]
        to_signal = to_weight = None
        if ctx.needs_input_grad[0]:
            to_signal = torch.empty_like(signal)
            for row, out in zip(to_signal, gradient, strict=True):
                # the first group of taps fills what it reads: the rest is not zeroed in vain
                row[length * ctx.stride if ctx.kernel >= ctx.stride else 0 :].zero_()
                for index, (windows, some) in enumerate(_windows(row, taps, ctx.stride, length)):
                    if index == 0:
                        torch.mm(out, some, out=windows)
                    else:
                        windows.addmm_(out, some)
        if ctx.needs_input_grad[1]:
            to_taps = torch.zeros_like(taps)
            for row, out in zip(signal, gradient, strict=True):
                for windows, some in _windows(row, to_taps, ctx.stride, length):
                    some.addmm_(out.t(), windows)
            to_weight = to_taps.unflatten(1, (ctx.kernel, -1)).transpose(1, 2)
        return to_signal, to_weight, None


def _windows(
    signal: Tensor, taps: Tensor, stride: int, length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views on (time, channels) and on the taps whose products add up to the convolution."""
    step = stride * signal.shape[1]
    for first in range(0, taps.shape[1], step):
        some = taps[:, first : first + step]
        size = (length, some.shape[1])
        yield signal.as_strided(size, (step, 1), signal.storage_offset() + first), some


class _TimeNormGelu(torch.autograd.Function):
    """Norm and GELU block by block, so that the signal comes from memory once a pass.

    The backward pass makes the normalized signal again instead of keeping it.
    """

    @staticmethod
    def forward(ctx: Any, signal: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        signal = signal.contiguous()
        mean = signal.mean(1)  # (batch, channels), as all the statistics
        variance = torch.zeros_like(mean)
        size = max(_BLOCK // signal.shape[2], 1)
        for row, center, total in zip(signal, mean, variance, strict=True):
            for block in row.split(size):
                total += (block - center).square_().sum(0)
        inverse = torch.rsqrt(variance / signal.shape[1] + eps)
        scale = weight * inverse
        shift = bias - mean * scale
        active = torch.empty_like(signal)
        for row, out, factor, term in zip(signal, active, scale, shift, strict=True):
            for block, into in zip(row.split(size), out.split(size), strict=True):
                torch.addcmul(term, block, factor, out=into)
                torch.ops.aten.gelu_(into)
        ctx.save_for_backward(signal, mean, inverse, scale, shift)
        return active

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        signal, mean, inverse, scale, shift = ctx.saved_tensors
        to_signal = torch.empty_like(signal)
        size = max(_BLOCK // signal.shape[2], 1)
        to_bias, to_weight = torch.zeros_like(mean), torch.zeros_like(mean)
        for index, row in enumerate(signal):
            blocks = list(zip(row.split(size), to_signal[index].split(size), strict=True))
            for (block, out), gradient in zip(blocks, gradients[0][index].split(size), strict=True):
                normed = torch.addcmul(shift[index], block, scale[index])
                torch.ops.aten.gelu_backward.grad_input(gradient, normed, grad_input=out)
                to_bias[index] += out.sum(0)
                centered = torch.sub(block, mean[index], out=normed)
                to_weight[index] += centered.mul_(out).sum(0)
            to_weight[index] *= inverse[index]
            # d/dx of scale * (x - mean) + bias: what mean and variance pass on is linear in x
            slope = -scale[index] * inverse[index] * to_weight[index] / len(row)
            level = -scale[index] * to_bias[index] / len(row) - slope * mean[index]
            for block, out in blocks:
                out.mul_(scale[index]).addcmul_(block, slope).add_(level)
        return to_signal, to_weight.sum(0), to_bias.sum(0), None
