"""ONNX Runtime's own quantizer: what a matrix product gives stays in float."""

import tempfile
from pathlib import Path
from typing import Any

import onnx

from ..layers import OPERATORS

# What a matrix product gives goes into sums and norms in float; rounding it would buy nothing.
_STATIC_OPTIONS: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}


def in_8_bits(model: Any, names: list[str], ranges: Any | None) -> Any:
    """Rewrite some layers with unsigned 8-bit weights, one scale for each tensor.

    Args:
        model: a float32 onnx.ModelProto with shapes; it may be changed.
        names: nodes to quantize; at least one.
        ranges: onnxruntime's TensorsData, for fixed ranges; None: products read what they get in
            8 bits, scaled as they get it.
    """
    return _dynamic(model, names) if ranges is None else _static(model, names, ranges)


def _dynamic(model: Any, names: list[str]) -> Any:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The library splits a Gemm into a MatMul, which it names so, and an Add.
    split = [f"{name}_MatMul" for name in names]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QUInt8,
            nodes_to_quantize=[*names, *split],
        )
        return onnx.load(path)


def _static(model: Any, names: list[str], ranges: Any) -> Any:
    from onnxruntime.quantization import QDQQuantizer, QuantType

    quantizer = QDQQuantizer(
        model,
        per_channel=False,
        reduce_range=False,  # a measure against signed weights, of which there are none
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options=_STATIC_OPTIONS,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model
