"""TFLite by litert-torch: fixed shapes, batch 1; further lengths are signatures of one file."""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.backends.tflite import Engine
from runtime.faults import one_line
from runtime.manifest import State

from .. import ExportError
from ..clips import Run
from ..layers import Layer
from ..quantize_tflite import LIBRARY, Quantizer
from ..quiet import quiet
from ..tflite_graph import MAIN, layers_of, read, rename
from ..tflite_graph import write as packed

__all__ = ["QUANTIZERS", "SUFFIX", "Engine", "Quantizer", "layers", "plain", "with_logits", "write"]
__all__ += ["write_step"]

SUFFIX = ".tflite"
QUANTIZERS = (LIBRARY,)


def write(
    module: nn.Module,
    path: Path,
    *,
    window_samples: int,
    output: str = "posteriors",
    lengths: Collection[int] = (),
) -> None:
    """Write a module as one self-contained file.

    Args:
        module: `pcm` (1, samples) to `output` (1, ...), in eval mode.
        path: where the graph goes.
        window_samples: the length that the graph takes.
        output: name of the answer.
        lengths: more lengths that it takes, in samples. Weights are stored once.

    Raises:
        ExportError: litert-torch is not installed, or cannot convert the module.
    """
    signatures = {MAIN: {"pcm": torch.zeros(1, window_samples)}}
    for length in sorted(set(lengths) - {window_samples}):
        signatures[f"pcm_{length}"] = {"pcm": torch.zeros(1, length)}
    path.write_bytes(_converted(_Named(module, 0), module, signatures, {_OUTPUT: output}))


def write_step(module: nn.Module, path: Path) -> None:
    """Write one step of a stream, its states explicit.

    Args:
        module: in eval mode; `forward(pcm (1, chunk_samples), *states)` gives the posteriors and
            the next states in the same order; `chunk_samples` and `states` tell the shapes.
        path: where the graph goes: inputs `pcm` and the states' names, outputs `posteriors` and
            each name with `_next`.

    Raises:
        ExportError: as `write`.
    """
    states: tuple[State, ...] = module.states  # type: ignore[assignment]
    chunk_samples: int = module.chunk_samples  # type: ignore[assignment]
    feeds = {"pcm": torch.zeros(1, chunk_samples)}
    names = {_OUTPUT: "posteriors"}
    for number, state in enumerate(states):
        dtype = getattr(torch, state.dtype)
        feeds[_input(number)] = torch.full(state.shape, state.initial, dtype=dtype)
        names |= {_input(number): state.name, _next(number): f"{state.name}_next"}
    path.write_bytes(_converted(_Named(module, len(states)), module, {MAIN: feeds}, names))


def plain(graph: bytes) -> Run:
    """LiteRT by its own kernels, operator by operator, without XNNPACK's."""
    return _Plain(graph).run


def with_logits(graph: bytes) -> tuple[bytes, None]:
    """As it is: the logarithms of its posteriors are logits, but for a number a softmax ignores."""
    return graph, None


def layers(graph: bytes) -> tuple[Layer, ...]:
    """Every layer with weights, in the order of computation."""
    return layers_of(read(graph))


class _Plain(Engine):
    @classmethod
    def _interpreter_class(cls) -> Any:
        from ai_edge_litert.interpreter import OpResolverType

        return functools.partial(
            super()._interpreter_class(),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


_OUTPUT = "answer"


def _input(number: int) -> str:
    return f"state_{number}"


def _next(number: int) -> str:
    return f"next_{number}"


class _Named(nn.Module):
    """Names for the converter, which makes Python code of them; a state's own may be any text."""

    def __init__(self, module: nn.Module, num_states: int) -> None:
        super().__init__()
        self.module = module
        self.num_states = num_states

    def forward(self, **feeds: Tensor) -> dict[str, Tensor]:
        """By name to by name."""
        numbers = range(self.num_states)
        answers = self.module(feeds["pcm"], *(feeds[_input(number)] for number in numbers))
        if not self.num_states:
            return {_OUTPUT: answers if isinstance(answers, Tensor) else answers[0]}
        posteriors, *states = answers
        return {_OUTPUT: posteriors, **{_next(number): states[number] for number in numbers}}


def _converted(
    named: nn.Module,
    module: nn.Module,
    signatures: dict[str, dict[str, Tensor]],
    names: dict[str, str],
) -> bytes:
    with quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise ExportError(
                f"TFLite export needs litert-torch ({one_line(error)}): "
                'pip install "otolite[tflite]"'
            ) from error
        converter = litert_torch
        for name, feeds in signatures.items():
            converter = converter.signature(name, named.eval(), sample_kwargs=feeds)
        try:
            # With inference tensors its tracing fails, and without gradients it need not detach.
            with torch.no_grad():
                graph: bytes = converter.convert().model_content()
        # What it raises comes from four libraries and has no common base.
        except Exception as error:
            raise ExportError(
                f"litert-torch cannot convert this model: {one_line(error, 300)}. Export onnx."
            ) from error
    model: Any = read(graph)
    rename(model, module, names)
    return packed(model)
