"""ONNX graphs on ONNX Runtime's processor provider."""

import os
from collections.abc import Callable, Mapping

import numpy as np

from ..bundle import Tensor
from ..faults import BundleFault, EngineMissing, one_line

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_FATAL = 4  # ONNX Runtime's log level: what it would print arrives as an exception anyway


class Engine:
    """One graph, ready to run.

    Args:
        model: the bytes of a .onnx file, weights included.
        threads: processor threads within an operator.

    Raises:
        EngineMissing: onnxruntime is not installed.
        BundleFault: it cannot load the graph.
    """

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineMissing(
                f"running a .onnx model needs onnxruntime ({one_line(error)}): "
                'pip install "onnxruntime>=1.20"'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # Threads that spin between two windows would drain a battery for nothing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A bundle is whole: a graph whose weights lie elsewhere must not find them anywhere.
        options.add_session_config_entry(_WEIGHTS_FOLDER, os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions derive from Exception and RuntimeError, without a public base class.
        except Exception as error:
            raise BundleFault(
                f"onnxruntime {onnxruntime.__version__} cannot load the model: "
                f"{one_line(error, 300)}. Update onnxruntime, or export again with a lower opset."
            ) from error
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self.inputs = tuple(_tensor(node) for node in self._session.get_inputs())
        self.faces: tuple[tuple[Tensor, ...], ...] = (self.inputs,)
        self.outputs = tuple(_tensor(node) for node in self._session.get_outputs())
        self._names = [tensor.name for tensor in self.outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by name.

        Raises:
            BundleFault: the graph refuses the inputs' shapes or fails while running.
        """
        try:
            values = self._session.run(
                self._names, feeds if isinstance(feeds, dict) else dict(feeds)
            )
        except Exception as error:  # as above: no public base class
            shapes = {name: array.shape for name, array in feeds.items()}
            raise BundleFault(
                f"the model failed on inputs {shapes}: {one_line(error, 300)}"
            ) from error
        return dict(zip(self._names, values, strict=True))

    def bind(
        self, feeds: Mapping[str, np.ndarray], into: Mapping[str, np.ndarray]
    ) -> Callable[[], None]:
        """A run that reads and writes the caller's memory, for graphs of many small tensors.

        What `run` spends on making an array of each output is a fifth of a small model's step.

        Args:
            feeds: contiguous arrays of all inputs, read at every call.
            into: contiguous float32 arrays of all outputs, written at every call.

        Returns:
            the run; it raises BundleFault as `run` does.
        """
        binding = self._session.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            for name, array in into.items():
                binding.bind_output(
                    name, "cpu", 0, array.dtype, list(array.shape), array.ctypes.data
                )
        except Exception as error:  # as above
            raise BundleFault(f"the model takes other inputs: {one_line(error, 300)}") from error
        session, kept = self._session, (dict(feeds), dict(into))  # the binding holds addresses

        def run() -> None:
            try:
                session.run_with_iobinding(binding)
            except Exception as error:  # as above
                shapes = {name: array.shape for name, array in kept[0].items()}
                raise BundleFault(
                    f"the model failed on inputs {shapes}: {one_line(error, 300)}"
                ) from error

        return run


ENGINES = (Engine,)
"""Every engine that runs this format; the first is what `load` takes."""


def _tensor(node: object) -> Tensor:
    """ONNX Runtime's description as ours; an unnamed open dimension is None there."""
    shape = tuple("?" if size is None else size for size in node.shape)  # type: ignore[attr-defined]
    dtype = node.type  # type: ignore[attr-defined]
    return Tensor(name=node.name, shape=shape, dtype=_DTYPES.get(dtype, dtype))  # type: ignore[attr-defined]
