"""ONNX by torch's dynamo exporter: windows of any batch and length, steps of fixed shapes."""

import logging
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from runtime.backends.onnx import Engine
from runtime.faults import one_line

from .. import ExportError
from ..clips import Arrays, Run
from ..layers import Layer, layers_of, name_layers
from ..quantize import Quantizer
from ..quantizers import DEFAULT, quantizer_names
from ..step_graph import with_flat_frames
from ..streaming import StepModule

__all__ = ["QUANTIZERS", "SUFFIX", "Engine", "Quantizer", "layers", "plain", "trace"]
__all__ += ["with_logits", "write", "write_step"]

SUFFIX = ".onnx"
QUANTIZERS = (DEFAULT, *(name for name in quantizer_names() if name != DEFAULT))
_OPSET = 20


def write(
    module: nn.Module,
    path: Path,
    *,
    window_samples: int,
    output: str = "posteriors",
    lengths: Collection[int] = (),
) -> None:
    """Write a module as one self-contained file.

    It takes any batch and any length, but of a module that torch cannot trace so, such as an
    encoder that hears in chunks: its graph takes single recordings of a window.

    Args:
        module: `pcm` (batch, samples) to `output` (batch, ...), in eval mode.
        path: where the graph goes.
        window_samples: a length that the module can take; others work too.
        output: name of the answer.
        lengths: shorter than a window, the least of them is the least that the graph promises.

    Raises:
        ExportError: torch cannot trace the module, or not with the lengths that are asked for.
    """
    least_samples = min((window_samples, *lengths))
    example = 0.1 * torch.sin(torch.arange(2 * window_samples) * 0.05).view(2, window_samples)
    names = ("pcm", output)
    try:
        model = trace(module, example[:, :least_samples], names=names, length="samples")
    except ExportError:
        if set(lengths) - {window_samples}:
            raise
        model = _exported(module, (example[:1],), inputs=names[:1], outputs=names[1:])
    path.write_bytes(model.SerializeToString())


def write_step(module: nn.Module, path: Path) -> None:
    """Write one step of a stream as a self-contained file; every shape in it is fixed.

    Its inputs are `pcm` (1, chunk_samples) and each state by its name; its outputs `posteriors`
    and each state by its name and "_next".

    Args:
        module: a `streaming.StepModule` in eval mode.
        path: where the graph goes.
    """
    step = cast(StepModule, module)
    names = [state.name for state in step.states]
    pcm = 0.1 * torch.sin(torch.arange(step.chunk_samples) * 0.05).unsqueeze(0)
    example = (pcm, *(torch.full(state.shape, state.initial) for state in step.states))
    outputs = ["posteriors", *(f"{name}_next" for name in names)]
    model = _exported(module, example, inputs=["pcm", *names], outputs=outputs)
    model = with_flat_frames(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def plain(graph: bytes) -> Run:
    """ONNX Runtime without fusions, and so without its integer kernels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]

    def run(feeds: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run


def with_logits(graph: bytes) -> tuple[bytes, str]:
    """The graph with what its softmax reads as one more output, and that output's name."""
    model: Any = onnx.load_from_string(graph)
    maker = {name: node for node in model.graph.node for name in node.output}
    last = maker["posteriors"]
    if last.op_type == "Reshape":  # of a step that answers for each frame
        last = maker[last.input[0]]
    if last.op_type != "Softmax":
        raise ExportError(f"posteriors must come from a Softmax to be judged, not {last.op_type}")
    value = onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    return bytes(model.SerializeToString()), str(last.input[0])


def layers(graph: bytes) -> tuple[Layer, ...]:
    """Every layer with weights, in the order of computation."""
    return layers_of(onnx.load_from_string(graph).graph)


def trace(module: nn.Module, example: Tensor, *, names: tuple[str, str], length: str) -> Any:
    """Turn a module of one input into a checked graph that takes any batch and any length.

    Args:
        module: in eval mode.
        example: (2, length, ...); the graph promises lengths from half of this on.
        names: of input and output.
        length: name of the input's second dimension.

    Returns:
        an onnx.ModelProto, free of this machine's paths.

    Raises:
        ExportError: torch cannot trace it so.
    """
    dimensions = {0: Dim("batch"), 1: Dim(length, min=example.shape[1] // 2)}
    return _exported(
        module, (example,), inputs=names[:1], outputs=names[1:], dynamic_shapes=(dimensions,)
    )


def _exported(
    module: nn.Module,
    example: tuple[Tensor, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: Any = None,
) -> Any:
    """A checked onnx.ModelProto, its layers named, free of this machine's paths.

    Raises:
        ExportError: torch cannot export the module.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        # The exporter reports each of its passes; what counts is checked by verify.py.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                module,
                example,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic_shapes,
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            # Its own words are advice to the model's author; what went wrong is the cause.
            raise ExportError(
                f"torch cannot export {type(module).__name__}: "
                f"{one_line(error.__cause__ or error, 300)}. Change the model where it depends on "
                "its data or length."
            ) from error
    assert program is not None
    model = program.model_proto
    name_layers(model.graph)
    # Stack traces of this machine's source tree are no business of a phone.
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    return model
