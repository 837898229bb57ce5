"""TFLite graphs on LiteRT, or on tflite-runtime where that is what a device has."""

import functools
import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..bundle import Tensor
from ..faults import BundleFault, EngineMissing, one_line
from ._tflite_file import check

_INSTALL = (
    'pip install "ai-edge-litert>=2.1"; or, with Python 3.11 or older, '
    'pip install tflite-runtime "numpy<2"'
)
_MAIN = "serving_default"


class Engine:
    """One graph on LiteRT, ready to run. Its shapes are fixed; batch is 1.

    A file may hold signatures of several lengths: `inputs` is the window's own, and `run` takes
    any of `faces`. A call by numbers of tensors takes 5 us less than one by a signature (6 against
    11, LiteRT 2.3.0 on x86-64), so it is taken where there is one signature, as in a step.

    Args:
        model: the bytes of a .tflite file.
        threads: processor threads within an operator.

    Raises:
        EngineMissing: ai-edge-litert is not installed.
        BundleFault: a damaged file, or one that the engine cannot load.
    """

    _PACKAGE: ClassVar[str] = "ai-edge-litert"

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        interpreter_class = self._interpreter_class()
        signatures = sorted(check(model), key=lambda signature: signature.name != _MAIN)
        if not signatures:
            raise BundleFault("the .tflite model names no inputs and outputs. Export again.")
        try:
            # Streams in threads of their own share the interpreter, which has one memory.
            self._one_at_a_time = threading.Lock()
            self._interpreter = interpreter_class(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
            runners = [self._interpreter.get_signature_runner(item.name) for item in signatures]
            details = [(item.get_input_details(), item.get_output_details()) for item in runners]
        # Its errors are ValueError and RuntimeError of no class of their own.
        except Exception as error:
            raise BundleFault(
                f"{self.version} cannot load the model: {one_line(error, 300)}. Update "
                f"{self._PACKAGE}, or export again."
            ) from error
        self.faces = tuple(_tensors(inputs) for inputs, _ in details)
        self.signatures = tuple(item.name for item in signatures)
        """Names of `faces` in the file."""
        self.inputs = self.faces[0]
        self.outputs = _tensors(details[0][1])
        self._runners = dict(zip(self.faces, runners, strict=True))
        self._numbers: tuple[dict[str, int], dict[str, int]] | None = None
        if len(signatures) == 1 and signatures[0].graph == 0:
            taken, given = (
                {name: int(item["index"]) for name, item in side.items()} for side in details[0]
            )
            self._numbers = taken, given
            self._runners.clear()  # an interpreter refuses numbers while a runner holds it
            del runners

    @functools.cached_property
    def version(self) -> str:
        """Name and version of the package, read when a report asks: that takes 2 MB of memory."""
        from importlib.metadata import version

        return f"{self._PACKAGE} {version(self._PACKAGE)}"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by name; the arrays are the caller's own.

        Raises:
            BundleFault: inputs of other names, shapes or types than any signature's, or the graph
                fails while running.
        """
        face = next((face for face in self.faces if _fit(face, feeds)), None)
        shapes = {name: array.shape for name, array in feeds.items()}
        if face is None:
            wanted = " or ".join(
                str({tensor.name: tensor.shape for tensor in face}) for face in self.faces
            )
            raise BundleFault(f"the model failed on inputs {shapes}: it takes float32 {wanted}")
        try:
            with self._one_at_a_time:
                if self._numbers is None:
                    answers: dict[str, np.ndarray] = self._runners[face](**feeds)
                    return answers
                taken, given = self._numbers
                for name, array in feeds.items():
                    self._interpreter.set_tensor(taken[name], array)
                self._interpreter.invoke()
                # get_tensor copies: the next call may write over the engine's own buffers
                return {
                    name: self._interpreter.get_tensor(number) for name, number in given.items()
                }
        except Exception as error:  # as above: no class of its own
            raise BundleFault(
                f"the model failed on inputs {shapes}: {one_line(error, 300)}"
            ) from error

    def bind(
        self, feeds: Mapping[str, np.ndarray], into: Mapping[str, np.ndarray]
    ) -> Callable[[], None]:
        """A run from and into the caller's memory, which is looked at once and not at every call.

        Args:
            feeds: float32 arrays of all inputs, read at every call.
            into: float32 arrays of outputs, written at every call.

        Returns:
            the run; it raises BundleFault as `run` does.

        Raises:
            BundleFault: other names, shapes or types than the graph's.
        """
        if not (_fit(self.inputs, feeds) and _fit(self.outputs, into)):
            shapes = {name: array.shape for name, array in {**feeds, **into}.items()}
            raise BundleFault(f"the model takes and gives other arrays than {shapes}")
        if self._numbers is None:
            return lambda: _copy(self.run(feeds), into)
        taken, given = self._numbers
        sources = [(taken[name], array) for name, array in feeds.items()]
        targets = [(given[name], array) for name, array in into.items()]
        interpreter, one_at_a_time = self._interpreter, self._one_at_a_time

        def run() -> None:
            try:
                with one_at_a_time:
                    for number, array in sources:
                        interpreter.set_tensor(number, array)
                    interpreter.invoke()
                    for number, array in targets:
                        array[...] = interpreter.get_tensor(number)
            except Exception as error:  # as above
                raise BundleFault(f"the model failed: {one_line(error, 300)}") from error

        return run

    @classmethod
    def _interpreter_class(cls) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise EngineMissing(
                f"running a .tflite model needs ai-edge-litert ({one_line(error)}): {_INSTALL}"
            ) from error
        return Interpreter


class TFLiteRuntimeEngine(Engine):
    """The same on tflite-runtime, LiteRT's predecessor.

    Raises:
        EngineMissing: it is not installed, or numpy is too new for it.
        BundleFault: as `Engine`.
    """

    _PACKAGE: ClassVar[str] = "tflite-runtime"

    @classmethod
    def _interpreter_class(cls) -> Any:
        if importlib.util.find_spec("tflite_runtime") is None:
            raise EngineMissing(
                f"running a .tflite model needs ai-edge-litert or tflite-runtime: {_INSTALL}"
            )
        if int(np.__version__.partition(".")[0]) >= 2:  # its import would print a page and fail
            raise EngineMissing(
                f"tflite-runtime needs numpy older than 2 and here is {np.__version__}: {_INSTALL}"
            )
        try:
            return importlib.import_module("tflite_runtime.interpreter").Interpreter
        except ImportError as error:
            raise EngineMissing(
                f"tflite-runtime is there and does not start ({one_line(error)}): {_INSTALL}"
            ) from error


ENGINES = (Engine, TFLiteRuntimeEngine)
"""Every engine that runs this format; the first that is installed is what `load` takes."""


def _fit(face: tuple[Tensor, ...], feeds: Mapping[str, np.ndarray]) -> bool:
    return len(face) == len(feeds) and all(
        tensor.name in feeds
        and feeds[tensor.name].shape == tensor.shape
        and feeds[tensor.name].dtype == tensor.dtype
        for tensor in face
    )


def _copy(values: Mapping[str, np.ndarray], into: Mapping[str, np.ndarray]) -> None:
    for name, array in into.items():
        array[...] = values[name]


def _tensors(details: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=name,
            shape=tuple(int(size) for size in item["shape"]),
            dtype=np.dtype(item["dtype"]).name,
        )
        for name, item in details.items()
    )
