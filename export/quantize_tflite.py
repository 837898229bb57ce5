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
from runtime.manifest import Tensor

from . import ExportError
from .clips import Arrays, Face
from .quantize import Precision
from .quiet import quiet
from .tflite_graph import OPERATORS, layers_of, read

LIBRARY = "ai-edge-quantizer"


class Quantizer:
    """Quantizes any choice of a graph's layers; ranges are learned once.

    As `quantize.Quantizer`, with these differences.

    `int8-dynamic` keeps activations in float between layers and quantizes what a layer reads when
    it reads it; `int8-static` puts fixed ranges around layers, learned from the clips.
    """

    def __init__(
        self,
        graph: bytes,
        precision: Precision,
        calibration: NDArray[np.float32],
        *,
        library: str = LIBRARY,
    ) -> None:
        """Prepare.

        Args:
            graph: a float32 model as `targets.tflite` writes it; of windows or of steps.
            precision: one of the 8-bit ones.
            calibration: (clips, samples) in [-1, 1], as the device will hear; of another length
                than a signature's they are cut or repeated. `int8-dynamic` learns nothing from
                them.
            library: `LIBRARY`, there is no other.

        Raises:
            ExportError: ai-edge-quantizer is not installed, no layer can be quantized, there are
                no clips, or another library is asked for.
        """
        if library != LIBRARY:
            raise ExportError(f"TFLite graphs are quantized by {LIBRARY}, not by {library!r}")
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
            engine = Engine(graph)
            signatures = zip(engine.signatures, engine.faces, strict=True)
            feeds = {name: _Feeds(engine, inputs, calibration) for name, inputs in signatures}
            self._ranges = self._recipes.ranges(graph, names, feeds)

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

    def ranges(self, graph: bytes, names: Collection[str], feeds: dict[str, "_Feeds"]) -> Any:
        """Least and largest value of every tensor around these layers, over all that is fed.

        The library's own way is a moving average of them, which clips what is rare and loud.
        """
        from ai_edge_quantizer.calibrator import Calibrator
        from ai_edge_quantizer.recipe_manager import RecipeManager
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        with quiet():
            recipe = RecipeManager()
            recipe.load_quantization_recipe(self.quantizer(graph, names).get_quantization_recipe())
            calibrator = Calibrator(bytearray(graph), num_threads=1, qsv_update_func=min_max_update)
            calibrator.calibrate(feeds, recipe)
        return calibrator.get_model_qsvs()


class _Feeds:
    """What a signature is fed over the clips, made anew each time: the library asks twice.

    A graph of steps learns from every step of each clip, the first ones after silence among them.
    """

    def __init__(
        self, engine: Engine, inputs: tuple[Tensor, ...], calibration: NDArray[np.float32]
    ) -> None:
        self._engine, self._calibration = engine, calibration
        self._face = Face.of(inputs)
        self._samples = calibration.shape[1]
        if not self._face.states:
            ((_, self._samples),) = (tensor.shape for tensor in inputs)

    def __iter__(self) -> Iterator[Arrays]:
        for clip in self._calibration:
            recording = np.resize(clip, (1, self._samples)).astype(np.float32)
            if not self._face.states:
                yield {"pcm": recording}
                continue
            for feeds, _ in self._face.play(self._engine.run, recording):
                yield feeds
