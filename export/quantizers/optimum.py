"""optimum's `ORTQuantizer`: the graph that Hugging Face's own tools would make, in our limits.

It differs from `onnxruntime` in static form: what a matrix product gives is rounded too, which
optimum offers no way to leave out.
"""

import tempfile
from pathlib import Path
from typing import Any

import onnx

from ..extras import optimum_missing
from ..layers import OPERATORS


def in_8_bits(model: Any, names: list[str], ranges: Any | None) -> Any:
    """Rewrite some layers with unsigned 8-bit weights, one scale for each tensor.

    Args:
        model: a float32 onnx.ModelProto with shapes; it is left as it is.
        names: nodes to quantize; at least one.
        ranges: onnxruntime's TensorsData, for fixed ranges; None: products read what they get in
            8 bits, scaled as they get it.

    Raises:
        ExportError: optimum is not installed.
    """
    try:
        from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType
        from optimum.onnxruntime import ORTQuantizer, QuantizationConfig
        from transformers import PretrainedConfig
    except ImportError as fault:
        raise optimum_missing("--quantizer optimum", fault) from None

    static = ranges is not None
    chosen = set(names)
    rest = [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS and node.name not in chosen
    ]
    asked = QuantizationConfig(
        is_static=static,
        format=QuantFormat.QDQ if static else QuantFormat.QOperator,
        mode=QuantizationMode.QLinearOps if static else QuantizationMode.IntegerOps,
        activations_dtype=QuantType.QUInt8,
        # optimum's default is signed, which saturates on AVX2 without VNNI; see quantize.py.
        weights_dtype=QuantType.QUInt8,
        weights_symmetric=False,
        per_channel=False,
        reduce_range=False,
        nodes_to_quantize=_with_split(names),
        nodes_to_exclude=_with_split(rest),
        # On the fly, a convolution in 8 bits runs 4 to 30 times slower than in float.
        operators_to_quantize=list(OPERATORS) if static else ["MatMul"],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.onnx"
        onnx.save(model, path)
        # A config of nothing: without one, optimum looks for a transformers model beside the graph.
        quantizer = ORTQuantizer(path, config=PretrainedConfig())
        quantizer.quantize(asked, folder, calibration_tensors_range=ranges)
        return onnx.load(Path(folder) / "float32_quantized.onnx")


def _with_split(names: list[str]) -> list[str]:
    """The library splits a Gemm into a MatMul, which it names so, and an Add."""
    return [*names, *(f"{name}_MatMul" for name in names)]
