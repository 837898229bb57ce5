"""ONNX by torch's dynamo exporter: windows of any batch and length, steps of fixed shapes."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..layers import name_layers
from ..streaming import StepModule

SUFFIX = ".onnx"
_OPSET = 20


def write(
    module: nn.Module, path: Path, *, window_samples: int, output: str = "posteriors"
) -> None:
    """Write a module as one self-contained file.

    Args:
        module: `pcm` (batch, samples) to `output` (batch, ...), in eval mode.
        path: where the graph goes.
        window_samples: a length that the module can take; others work too.
        output: name of the answer.
    """
    example = 0.1 * torch.sin(torch.arange(2 * window_samples) * 0.05).view(2, window_samples)
    model = trace(module, example, names=("pcm", output), length="samples")
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
    path.write_bytes(model.SerializeToString())


def trace(module: nn.Module, example: Tensor, *, names: tuple[str, str], length: str) -> Any:
    """Turn a module of one input into a checked graph that takes any batch and any length.

    Args:
        module: in eval mode.
        example: (2, length, ...); the graph promises lengths from half of this on.
        names: of input and output.
        length: name of the input's second dimension.

    Returns:
        an onnx.ModelProto, free of this machine's paths.
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
    """A checked onnx.ModelProto, its layers named, free of this machine's paths."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        # The exporter reports each of its passes; what counts is checked by verify.py.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
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
