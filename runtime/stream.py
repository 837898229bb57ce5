"""A model that takes raw samples in blocks of any size and gives keyword events."""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from .bundle import Bundle, Manifest, Tensor, read_bundle
from .faults import AudioFault, BundleFault, EngineMissing
from .keyword import Event, KeywordDetector
from .manifest import short

PEAK_LIMIT = 8.0
"""Largest |sample| taken for a waveform in [-1, 1]: resampling overshoots, but never by 18 dB."""


class Engine(Protocol):
    """What a backend offers; one class of this name in each file of backends/.

    Beside it, the file's `ENGINES` lists every class that runs this format, `Engine` first.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    version: str
    """Name and version for a report, such as "onnxruntime 1.32.0"."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded bundle: immutable, shared by any number of streams."""

    manifest: Manifest
    engine: Engine

    @property
    def sample_rate(self) -> int:
        """Samples per second that streams expect."""
        return self.manifest.sample_rate

    @property
    def labels(self) -> tuple[str, ...]:
        """What the posteriors' columns mean."""
        return self.manifest.labels

    def stream(self, *, threshold: float | None = None) -> "Stream":
        """A new stream at 0 seconds.

        Args:
            threshold: in place of the manifest's, in (0, 1].

        Raises:
            BundleFault: a threshold outside (0, 1].
        """
        return Stream(self, threshold=threshold)

    def posteriors(self, window: np.ndarray) -> np.ndarray:
        """What the model says about one window.

        Args:
            window: float32 (samples,) in [-1, 1].

        Returns:
            float32 (num_labels,).

        Raises:
            AudioFault: another dtype or shape, or a sample that is not finite.
            BundleFault: the model fails on it, or answers with another shape or with NaN.
        """
        if not isinstance(window, np.ndarray) or window.dtype != np.float32 or window.ndim != 1:
            raise AudioFault(f"a window must be float32 (samples,), got {_describe(window)}")
        return self._posteriors(as_waveform(window))

    def _posteriors(self, window: np.ndarray) -> np.ndarray:
        posteriors = self.engine.run({"pcm": window[None, :]})["posteriors"]
        wanted = (1, len(self.labels))
        if posteriors.shape != wanted or not np.isfinite(posteriors).all():
            raise BundleFault(
                f"the model of {self.manifest.name!r} must answer {wanted} finite posteriors, got "
                f"{posteriors.shape}: {short(posteriors.tolist())}. Run doctor, then export again."
            )
        row: np.ndarray = posteriors[0]
        return row


class Stream:
    """One source's buffers and decisions.

    The stream begins in silence, and a window ends after every `hop_samples` received samples, so
    that early words are seen too. Windows depend on the number of samples alone: any chunking
    gives the same events.
    """

    def __init__(self, model: Model, *, threshold: float | None = None) -> None:
        self._model = model
        manifest = model.manifest
        self._detector = KeywordDetector(
            manifest.decision,
            manifest.labels,
            manifest.streaming,
            manifest.sample_rate,
            threshold=threshold,
        )
        self._window = np.zeros(manifest.streaming.window_samples, dtype=np.float32)
        self._hop = np.zeros(manifest.streaming.hop_samples, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Back to silence at 0 seconds, as a new stream."""
        self._detector.reset()
        self._window[:] = 0.0
        self._received_samples = 0

    def push(self, block: np.ndarray) -> list[Event]:
        """Take the next samples and give the events that they complete.

        Args:
            block: (samples,), any number from none on; float32 or float64 in [-1, 1], or int16.

        Raises:
            AudioFault: another dtype or shape, NaN, or float samples that were never scaled. The
                stream is then as it was before.
            BundleFault: the model fails; `reset()` before going on.
        """
        waveform = as_waveform(block)
        hop_samples = len(self._hop)
        events: list[Event] = []
        taken = 0
        while taken < len(waveform):
            filled = self._received_samples % hop_samples
            num_samples = min(hop_samples - filled, len(waveform) - taken)
            self._hop[filled : filled + num_samples] = waveform[taken : taken + num_samples]
            taken += num_samples
            self._received_samples += num_samples
            if filled + num_samples == hop_samples:
                event = self._evaluate()
                if event is not None:
                    events.append(event)
        return events

    def flush(self) -> list[Event]:
        """End the stream: give the events of its tail, then reset.

        Silence follows until no window holds a received sample any more (one sample less than a
        window of it), so that a word cut off by the end is seen wherever training put it in its
        window. No event ends after the last received sample.
        """
        received_samples = self._received_samples
        if received_samples == 0:
            return []
        events = self.push(np.zeros(len(self._window) - 1, dtype=np.float32))
        self.reset()
        end_s = received_samples / self._model.sample_rate
        return [dataclasses.replace(event, end_s=min(event.end_s, end_s)) for event in events]

    def _evaluate(self) -> Event | None:
        kept_samples = len(self._window) - len(self._hop)
        self._window[:kept_samples] = self._window[len(self._hop) :]
        self._window[kept_samples:] = self._hop
        posteriors = self._model._posteriors(self._window)
        return self._detector.update(posteriors, self._received_samples)


def load(path: str | Path, *, threads: int = 1) -> Model:
    """Read a bundle, verify its digests and start its engine.

    Args:
        path: a bundle's folder or its .zip.
        threads: processor threads of the engine, 1 or more.

    Raises:
        BundleFault: the bundle is absent, damaged or too new, or its engine is not installed.
    """
    bundle = read_bundle(path)
    try:
        return start(bundle, threads=threads)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault


def start(bundle: Bundle, *, threads: int = 1) -> Model:
    """Start the engine of a bundle already read, and check that graph and manifest agree.

    Raises:
        BundleFault: no backend for the model file, or a graph that is not what the manifest says.
    """
    manifest = bundle.manifest
    return _model(manifest, engine_for(manifest.model_file, bundle.model, threads=threads))


def start_all(bundle: Bundle, *, threads: int = 1) -> Iterator[tuple[str, Model]]:
    """Start every graph of a bundle on every engine here that runs its format.

    Args:
        bundle: already read.
        threads: processor threads of each engine, 1 or more.

    Yields:
        the graph's file name and its model, one after the other; first what `start` gives. Engines
        that are not installed are passed over.

    Raises:
        BundleFault: as `start`, of any of them; or no engine at all is installed.
    """
    _check_threads(threads)
    missing: EngineMissing | None = None
    num_started = 0
    for file_name in bundle.manifest.model_files:
        for engine_class in _backend(file_name).ENGINES:
            try:
                engine = engine_class(bundle.files[file_name], threads=threads)
            except EngineMissing as fault:
                missing = missing or fault
                continue
            num_started += 1
            yield file_name, _model(bundle.manifest, engine)
    if missing is not None and not num_started:
        raise missing


def engine_for(file_name: str, model: bytes, *, threads: int) -> Engine:
    """Start the engine that the ending of a model's file asks for.

    Raises:
        BundleFault: no such backend, fewer than 1 thread, or a model that it cannot load.
    """
    _check_threads(threads)
    engine: Engine = _backend(file_name).Engine(model, threads=threads)
    return engine


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise BundleFault(f"threads must be 1 or more, got {threads}")


def _backend(file_name: str) -> ModuleType:
    suffix = file_name.rpartition(".")[2]
    name = f"{__package__}.backends.{suffix}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise BundleFault(
            f"{file_name} needs a backend {suffix!r}, which this runtime does not have. "
            "Update the runtime, or export to onnx."
        ) from error


def _model(manifest: Manifest, engine: Engine) -> Model:
    """Raises BundleFault where graph and manifest disagree."""
    window_samples = manifest.streaming.window_samples
    for kind, stated, actual in (
        ("input", manifest.inputs, engine.inputs),
        ("output", manifest.outputs, engine.outputs),
    ):
        _check_graph(kind, tuple(_sized(tensor, window_samples) for tensor in stated), actual)
    return Model(manifest=manifest, engine=engine)


def as_waveform(block: np.ndarray) -> np.ndarray:
    """A caller's block as float32 (samples,) in [-1, 1]; int16 is divided by 32768.

    Raises:
        AudioFault: another dtype or shape, NaN or infinity, or a peak over 8: integers that
            were cast to float and not scaled.
    """
    if not isinstance(block, np.ndarray) or block.ndim != 1:
        raise AudioFault(
            f"a block must be an array (samples,) of one channel, got {_describe(block)}. "
            "Average the channels of stereo first."
        )
    if block.dtype.kind == "i" and block.dtype.itemsize == 2:
        return block.astype(np.float32) / np.float32(32768)
    if block.dtype.kind != "f" or block.dtype.itemsize not in (4, 8):
        raise AudioFault(f"a block must be float32, float64 or int16, got {_describe(block)}")
    peak = float(np.max(np.abs(block), initial=0.0))
    if not np.isfinite(peak):
        raise AudioFault("a block holds NaN or infinity; samples must be finite, in [-1, 1]")
    if peak > PEAK_LIMIT:
        raise AudioFault(
            f"float samples must lie in [-1, 1], got a peak of {peak:g}. "
            "Divide by the integer type's range, or push int16."
        )
    return block.astype(np.float32, copy=False)


def _check_graph(kind: str, wanted: tuple[Tensor, ...], actual: tuple[Tensor, ...]) -> None:
    """The graph must take and give exactly what a stream feeds it; its open dimensions fit all."""
    by_name = {tensor.name: tensor for tensor in actual}
    ok = set(by_name) == {tensor.name for tensor in wanted} and all(
        tensor.dtype == by_name[tensor.name].dtype
        and len(tensor.shape) == len(by_name[tensor.name].shape)
        and all(
            isinstance(theirs, str) or ours == theirs
            for ours, theirs in zip(tensor.shape, by_name[tensor.name].shape, strict=True)
        )
        for tensor in wanted
    )
    if not ok:
        raise BundleFault(
            f"the graph's {kind}s {[_face(tensor) for tensor in actual]} do not fit the manifest's "
            f"{[_face(tensor) for tensor in wanted]}. Export again."
        )


def _sized(tensor: Tensor, samples: int) -> Tensor:
    """A stream feeds one window at a time, whatever else the graph could take."""
    sizes = {"batch": 1, "samples": samples}
    shape = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in tensor.shape)
    return dataclasses.replace(tensor, shape=shape)


def _face(tensor: Tensor) -> str:
    return f"{tensor.name}: {tensor.dtype} {list(tensor.shape)}"


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__
