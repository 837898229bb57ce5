"""A TFLite graph with 8-bit weights, by ai-edge-quantizer: which layers, and in which form.

All weights are signed, and of fully connected layers one scale goes for the whole tensor:
tflite-runtime 2.14 computes garbage where each output has its own, and says nothing. Those of
convolutions have one for each output, which both engines have known for long.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.tflite import Engine
from runtime.faults import one_line

from . import ExportError
from .clips import Arrays, Face
from .quantize import Precision
from .quiet import quiet
from .tflite_graph import OPERATORS, layers_of, read


class Quantizer:
    """Quantizes any choice of a graph's layers; ranges are learned once.

    As `quantize.Quantizer`, with these differences.

    `int8-dynamic` keeps activations in float between layers and quantizes what a layer reads when
    it reads it; `int8-static` puts fixed ranges around layers, learned from the clips.
    """

    def __init__(self, graph: bytes, precision: Precision, calibration: NDArray[np.float32]):
        """Prepare.

        Args:
            graph: a float32 model as `targets.tflite` writes it; of windows or of steps.
            precision: one of the 8-bit ones.
            calibration: (clips, samples) in [-1, 1], as the device will hear; of another length
                than a signature's they are cut or repeated. `int8-dynamic` learns nothing from
                them.

        Raises:
            ExportError: ai-edge-quantizer is not installed, no layer can be quantized, or there
                are no clips.
        """
        if not len(calibration):
            raise ExportError("ranges are learned from audio, and there are no calibration clips")
        self.precision = precision
        self._graph = graph
        self._recipes = _Recipes(precision)
        self.layers = tuple(layer for layer in layers_of(read(graph)) if not layer.front_end)
        """Those that can be quantized, in the order of computation."""
        if not self.layers:
            raise ExportError(
                f"{precision} quantizes {', '.join(OPERATORS.values())} after the front end, and "
                "this model has none; export float32"
            )
        self._ranges: Any = None
        if precision is Precision.INT8_STATIC:
            names = [layer.name for layer in self.layers]
            with quiet():
                self._ranges = self._recipes.quantizer(graph, names).calibrate(
                    _feeds(graph, calibration), num_threads=1
                )

    def quantized(self, names: Collection[str]) -> bytes:
        """The graph with these layers in 8 bits and all else as it was.

        Args:
            names: of some of `layers`.

        Raises:
            ExportError: none is named, or the library cannot do it.
        """
        if not names:
            raise ExportError("no layer is left to quantize; export float32")
        with quiet():
            quantizer = self._recipes.quantizer(self._graph, sorted(names))
            try:
                result = quantizer.quantize(
                    self._ranges, enable_progress_bar=False, enable_progress_report=False
                )
            # It raises ValueError and RuntimeError of no class of their own.
            except Exception as error:
                raise ExportError(
                    f"ai-edge-quantizer cannot write {self.precision}: {one_line(error, 300)}. "
                    "Export float32, or to onnx."
                ) from error
        return bytes(result.quantized_model)


class _Recipes:
    """What the library is told for a choice of layers."""

    def __init__(self, precision: Precision) -> None:
        try:
            with quiet():
                from ai_edge_quantizer import qtyping
                from ai_edge_quantizer.quantizer import Quantizer as Library
        except ImportError as error:
            raise ExportError(
                f"8 bits for TFLite need ai-edge-quantizer ({one_line(error)}): "
                'pip install "otolite[tflite]"'
            ) from error
        self._make, self._types, self._precision = Library, qtyping, precision

    def quantizer(self, graph: bytes, names: Collection[str]) -> Any:
        """The library's, for these layers alone."""
        made = self._make(bytearray(graph))
        # An operator is called as its output: the layer's name, and the signature's behind it.
        chosen = f"^(?:{'|'.join(map(re.escape, names))})@"
        for operator in OPERATORS.values():
            whole = operator == "FULLY_CONNECTED"
            granularity = self._types.QuantGranularity["TENSORWISE" if whole else "CHANNELWISE"]
            kind = self._types.TFLOperationName(operator)
            if self._precision is Precision.INT8_DYNAMIC:
                made.add_dynamic_config(chosen, kind, num_bits=8, granularity=granularity)
            else:
                made.add_static_config(
                    chosen,
                    kind,
                    activation_num_bits=8,
                    weight_num_bits=8,
                    weight_granularity=granularity,
                )
        return made


def _feeds(graph: bytes, calibration: NDArray[np.float32]) -> dict[str, Iterator[Arrays]]:
    """Feeds for every signature: each has tensors of its own, and wants their ranges.

    A graph of steps learns from every step of each clip, the first ones after silence among them.
    """
    engine = Engine(graph)
    found: dict[str, Iterator[Arrays]] = {}
    for name, inputs in zip(engine.signatures, engine.faces, strict=True):
        face = Face.of(inputs)
        length = calibration.shape[1] if face.states else int(inputs[0].shape[1])
        clips = (np.resize(clip, (1, length)).astype(np.float32) for clip in calibration)
        found[name] = _played(face, engine, clips)
    return found


def _played(face: Face, engine: Engine, clips: Iterator[NDArray[np.float32]]) -> Iterator[Arrays]:
    if not face.states:
        return ({"pcm": clip} for clip in clips)
    return (dict(feeds) for clip in clips for feeds, _ in face.play(engine.run, clip))
