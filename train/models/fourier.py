"""A discrete Fourier transform in two stages of small matrix products, without torch.

Sample n = stride * row + place and frequency f of a transform of `size` points, period * stride of
them, meet in exp(-2πi n f / size) = exp(-2πi row f / period) · exp(-2πi place f / size). The first
factor knows f only by its residue, f mod period, so a first product over rows serves all
frequencies of a residue; a second one, over the places, tells them apart. Of a real signal the
residue period - r holds the conjugates of residue r: half of the residues suffice.
Source: Cooley and Tukey 1965, doi:10.1090/S0025-5718-1965-0178586-1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Which frequencies are computed from which residues, for one choice of the stride."""

    stride: int
    """Samples from row to row, and so places of a row."""
    num_rows: int
    """Rows that the window reaches into; it may end within the last."""
    period: int
    """Points of the first stage's transforms, most of which may lie behind the window."""
    residues: NDArray[np.intp]
    """(residues,): those of which a frequency is wanted, ascending."""
    frequencies: NDArray[np.intp]
    """(residues, slots): what is computed, a bin or `size` - bin, whose power is the same; -1 where
    a residue has fewer than others."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a window."""
        num_residues, num_slots = self.frequencies.shape
        return int(2 * num_residues * self.stride * (self.num_rows + 2 * num_slots))

    @property
    def bins(self) -> NDArray[np.intp]:
        """(residues * slots,): the bin that each power is of; -1 where it is of none."""
        flat = self.frequencies.ravel()
        return np.where(flat < 0, -1, np.minimum(flat, self.period * self.stride - flat))

    def tables(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both stages' matrices.

        Returns:
            (rows, 2 * residues), where a residue's real part comes before its imaginary one, and
            (residues, 2 * places, 2 * slots), where a place's parts lie together and all real
            parts of the result come before the imaginary ones.
        """
        angle = 2 * np.pi / self.period * np.outer(np.arange(self.num_rows), self.residues)
        first = np.stack([np.cos(angle), -np.sin(angle)], axis=2).reshape(self.num_rows, -1)
        wanted = self.frequencies[:, None, :]
        angle = 2 * np.pi / (self.period * self.stride) * np.arange(self.stride)[:, None] * wanted
        cosine, sine = (
            np.where(wanted < 0, 0, np.cos(angle)),
            np.where(wanted < 0, 0, np.sin(angle)),
        )
        of_real = np.concatenate([cosine, -sine], axis=2)
        of_imaginary = np.concatenate([sine, cosine], axis=2)
        second = np.stack([of_real, of_imaginary], axis=2)  # (residues, places, 2, 2 * slots)
        return first, second.reshape(len(self.residues), 2 * self.stride, -1)


def cheapest(size: int, window_samples: int, bins: NDArray[np.intp]) -> Split:
    """The split of fewest multiply-accumulates; a size without factors gives one whole product.

    Args:
        size: points of the transform.
        window_samples: leading ones that are not zero.
        bins: wanted frequencies, each once, in [0, size / 2].
    """
    strides = [stride for stride in range(1, size + 1) if size % stride == 0]
    splits = (_split(size, window_samples, bins, stride) for stride in strides)
    return min(splits, key=lambda split: split.macs)


def _split(size: int, window_samples: int, bins: NDArray[np.intp], stride: int) -> Split:
    period = size // stride
    frequencies = np.where(bins % period > period // 2, size - bins, bins)
    frequencies = frequencies[np.argsort(frequencies % period, kind="stable")]
    residues, starts, counts = np.unique(
        frequencies % period, return_index=True, return_counts=True
    )
    table = np.full((len(residues), counts.max()), -1)
    for row, start, count in zip(table, starts, counts, strict=True):
        row[:count] = frequencies[start : start + count]
    return Split(stride, -(-window_samples // stride), period, residues, table)
