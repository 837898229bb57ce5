"""A graph with 8-bit weights: which layers, in which form, and ranges learned from real audio.

Every weight is stored unsigned. On processors with AVX2 and no VNNI, ONNX Runtime multiplies
unsigned activations by signed weights with an instruction that adds two products in 16 bits: it
saturates, and a model that was sound elsewhere is wrong there. Unsigned times unsigned goes
another way, on arm64 too.
"""

import copy
import itertools
import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.backends.onnx import Engine

from . import ExportError, quantizers
from .clips import Arrays, Face, long_streams
from .layers import OPERATORS, Layer, layers_of
from .recurrence import unround_states


class Precision(StrEnum):
    """How a bundle's weights are stored."""

    FLOAT32 = "float32"
    INT8_DYNAMIC = "int8-dynamic"
    INT8_STATIC = "int8-static"


_QUANTIZED = {
    # Convolutions quantized on the fly run 4 to 30 times slower than in float.
    Precision.INT8_DYNAMIC: ("Gemm", "MatMul"),
    Precision.INT8_STATIC: OPERATORS,
}


class Quantizer:
    """Quantizes any choice of a graph's layers; ranges are learned once.

    Two forms. `int8-dynamic` keeps activations in float and quantizes what a matrix product reads
    when it reads it. `int8-static` puts fixed ranges around convolutions and matrix products, the
    least and largest values that the calibration clips gave.
    """

    def __init__(
        self,
        graph: bytes,
        precision: Precision,
        calibration: NDArray[np.float32],
        *,
        library: str = quantizers.DEFAULT,
    ) -> None:
        """Prepare.

        Args:
            graph: a float32 model as `targets.onnx` writes it, of windows or of steps.
            precision: one of the 8-bit ones.
            calibration: (clips, samples) in [-1, 1], as the device will hear; `int8-dynamic`
                learns nothing from them. A graph of steps learns from every step of each clip,
                the first ones from initial states among them, and of long streams of clips.
            library: name of a file of `quantizers`, which rewrites the graph.

        Raises:
            ExportError: no layer can be quantized in this form, there are no clips, or no such
                library.
        """
        if not len(calibration):
            raise ExportError("ranges are learned from audio, and there are no calibration clips")
        self._library = quantizers.get_quantizer(library)
        self.precision = precision
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            self._model = _prepared(graph, Path(folder))
            layers = layers_of(self._model.graph)
            operators = _QUANTIZED[precision]
            self.layers: tuple[Layer, ...] = tuple(
                layer for layer in layers if layer.operator in operators and not layer.front_end
            )
            """Those that can be quantized, in the order of computation."""
            if not self.layers:
                raise ExportError(
                    f"{precision} quantizes {' and '.join(operators)} after the front end, and "
                    "this model has none; export float32"
                )
            self._ranges: Any = None
            if precision is Precision.INT8_STATIC:
                feeds = _feeds(graph, calibration)
                self._ranges = _ranges(self._model, feeds, Path(folder))

    def quantized(self, names: Collection[str]) -> bytes:
        """The graph with these layers in 8 bits and all else as it was.

        Args:
            names: of some of `layers`.

        Raises:
            ExportError: none is named: that would be the float32 graph; or the library is not
                installed.
        """
        if not names:  # which onnxruntime would take for all of them
            raise ExportError("no layer is left to quantize; export float32")
        with _quiet():
            # Libraries change what they are given.
            model = self._library.in_8_bits(copy.deepcopy(self._model), sorted(names), self._ranges)
            unround_states(model.graph, names)
        del model.metadata_props[:]
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def _prepared(graph: bytes, folder: Path) -> Any:
    """With the shapes that the quantizer wants to know.

    The library's own optimization is left out: torch's exporter folded constants and norms, and
    what is fused here would lose the names that people choose layers by. Its symbolic shapes fail
    on torch's graphs; plain inference suffices.
    """
    from onnxruntime.quantization import quant_pre_process

    path = folder / "prepared.onnx"
    quant_pre_process(
        onnx.load_from_string(graph), path, skip_optimization=True, skip_symbolic_shape=True
    )
    return onnx.load(path)


def _feeds(graph: bytes, calibration: NDArray[np.float32]) -> Iterator[Arrays]:
    """What the float graph is fed over the clips, one run at a time: no more is held."""
    engine = Engine(graph)
    face = Face.of(engine.inputs)
    if not face.states:
        return ({"pcm": clip[None]} for clip in calibration)
    # A stream's states hold the clip before too, or a join of two.
    recordings = itertools.chain(calibration, long_streams(calibration))
    return (feeds for one in recordings for feeds, _ in face.play(engine.run, one[None]))


def _ranges(model: Any, feeds: Iterator[Arrays], folder: Path) -> Any:
    """Least and largest value of every tensor around a product, over all that is fed."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    path = folder / "calibrated.onnx"
    onnx.save(model, path)
    calibrator = create_calibrator(
        path,
        list(OPERATORS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(_Reader(feeds))
    ranges = calibrator.compute_data()
    _leave_out_what_relu_drops(model.graph, ranges)
    return ranges


def _leave_out_what_relu_drops(graph: Any, ranges: Any) -> None:
    """Begin the range of what only a ReLU reads at zero: clipping there is what the ReLU does.

    All steps are then spent on values that are kept.
    """
    from onnxruntime.quantization import TensorData

    readers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    for name, operators in readers.items():
        if operators == ["Relu"] and name in ranges:
            least, largest = (np.maximum(bound, 0) for bound in ranges[name].range_value)
            ranges[name] = TensorData(lowest=least, highest=largest)


class _Reader:
    """One run's inputs after the other, as the library asks for them."""

    def __init__(self, feeds: Iterator[Arrays]) -> None:
        self._feeds = feeds

    def get_next(self) -> Arrays | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library advises on the root logger; what counts is checked by gate.py."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
