"""Write a model alone as a graph: to measure it as exported, or to build on what it gives."""

from pathlib import Path

from torch import nn

from runtime.atomic import replacing_file

from .exportable import Features, Posteriors
from .targets import onnx
from .verify import FEATURES_TOLERANCE, TOLERANCE, largest_difference, odd_lengths

OUTPUT = "features"


def export_encoder(encoder: nn.Module, path: Path, *, window_samples: int) -> float:
    """Write `pcm` (batch, samples) to `features` (batch, frames, embed_dim), and prove it.

    Args:
        encoder: (batch, samples) in [-1, 1] to something whose `output` are the features; it is
            left as it is.
        path: the .onnx file, weights included; an older one is replaced.
        window_samples: a usual length; others work too.

    Returns:
        the largest difference from torch over odd lengths, as `verify.largest_difference` counts.

    Raises:
        ExportError: the graph differs by more than `FEATURES_TOLERANCE`.
        OSError: the disk is full; an older file is left as it was.
    """
    return _export(Features(encoder), path, window_samples, OUTPUT, FEATURES_TOLERANCE)


def export_posteriors(classifier: nn.Module, path: Path, *, window_samples: int) -> float:
    """Write `pcm` (batch, samples) to `posteriors` (batch, labels), and prove it.

    Args:
        classifier: as `Posteriors` takes it; it is left as it is.
        path: the .onnx file, weights included; an older one is replaced.
        window_samples: what it judges at once.

    Returns:
        the largest difference from torch over odd lengths.

    Raises:
        ExportError: the graph differs by more than `TOLERANCE`.
        OSError: the disk is full; an older file is left as it was.
    """
    return _export(Posteriors(classifier), path, window_samples, "posteriors", TOLERANCE)


def _export(
    module: nn.Module, path: Path, window_samples: int, output: str, tolerance: float
) -> float:
    with replacing_file(path) as temporary:
        onnx.write(module, temporary, window_samples=window_samples, output=output)
        return largest_difference(
            module,
            temporary.read_bytes(),
            odd_lengths(window_samples),
            output=output,
            tolerance=tolerance,
        )
