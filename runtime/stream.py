"""A model that takes raw samples in blocks of any size and gives keyword events, or phones."""

import dataclasses
import importlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .bundle import Bundle, Manifest, Tensor, read_bundle
from .faults import AudioFault, BundleFault, EngineMissing, short
from .forms import form_of
from .gate import SpeechGate, context_hops, pre_roll_hops
from .hops import HopStream
from .keyword import Event, KeywordDetector
from .manifest_rules import PHONES
from .phone_stream import TAIL_S, PhoneStream
from .waveform import as_waveform, describe

if TYPE_CHECKING:
    from .phrases.spotter import PhraseSpotter


class Engine(Protocol):
    """What a backend offers; one class of this name in each file of backends/.

    Beside it, the file's `ENGINES` lists every class that runs this format, `Engine` first.
    """

    inputs: tuple[Tensor, ...]
    faces: tuple[tuple[Tensor, ...], ...]
    """Every choice of inputs that it takes, `inputs` first: a fixed graph may hold more lengths."""
    outputs: tuple[Tensor, ...]

    @property
    def version(self) -> str:
        """Name and version for a report, such as "onnxruntime 1.32.0"."""
        ...

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

    def stream(self, *, threshold: float | None = None, gate: bool = True) -> HopStream[Any]:
        """A new stream at 0 seconds: a `Stream` of keyword events, or of phones a `PhoneStream`.

        A phone model that has phrases gives their events; `PhoneStream(model)` gives its phones.

        Args:
            threshold: in place of the manifest's, in (0, 1]; of keywords alone.
            gate: leave the model out of stretches without speech; see gate.py. Phones are told of
                every frame, silence too.

        Raises:
            BundleFault: a threshold outside (0, 1], or one for phones.
        """
        if self.manifest.task == PHONES and self.manifest.phrases is None:
            if threshold is not None:
                raise BundleFault(
                    f"{self.manifest.name!r} tells phones, which no threshold decides on; leave "
                    "it out"
                )
            return PhoneStream(self)
        return Stream(self, threshold=threshold, gate=gate)

    def posteriors(self, window: np.ndarray) -> np.ndarray:
        """What the model says about one window.

        Args:
            window: float32 (samples,) in [-1, 1]; whole hops for a model with states, which starts
                from their initial values and answers at the end.

        Returns:
            float32 (num_labels,); of phones (frames, num_labels), the last hop's.

        Raises:
            AudioFault: another dtype or shape, or a sample that is not finite.
            BundleFault: the model cannot take that many samples or fails on them, or answers with
                another shape or with NaN.
        """
        if not isinstance(window, np.ndarray) or window.dtype != np.float32 or window.ndim != 1:
            raise AudioFault(f"a window must be float32 (samples,), got {describe(window)}")
        streaming = self.manifest.streaming
        pcm = as_waveform(window)[None]
        answers = form_of(streaming).ask(self, pcm)
        num_answers = form_of(streaming).num_answers(pcm.shape, streaming)
        shape = (num_answers, *self.manifest.answer_shape)
        self.check(self.manifest.outputs[0].name, answers, shape)
        return np.array(answers[-1])

    def check(self, name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        """Raises BundleFault unless an output of the graph has this shape and is finite."""
        if values.shape != shape or not np.isfinite(values).all():
            raise BundleFault(
                f"the model of {self.manifest.name!r} must answer {shape} finite {name}, got "
                f"{values.shape}: {short(values.ravel()[:100].tolist())}. Run doctor, then export "
                "again."
            )


class Stream(HopStream[list[Event]]):
    """One source's buffers and decisions.

    The stream begins in silence, and the model answers after every `hop_samples` received samples,
    so that early words are seen too. How it answers is the form's: see forms/.

    Hops in which the gate hears no speech are kept, not answered. Once there may be speech again
    they are made up for, as though they had been answered; where there were more than are kept, the
    model starts anew on the last of them, enough for its answers to be the same from there on.
    """

    def __init__(self, model: Model, *, threshold: float | None = None, gate: bool = True) -> None:
        self._model = model
        manifest = model.manifest
        self._detector = _detector(manifest, threshold)
        self._memory = form_of(manifest.streaming).start(model)
        self._gate = SpeechGate.of(manifest) if gate else None
        kept_hops = context_hops(manifest) + pre_roll_hops(manifest) if self._gate else 0
        self._unanswered: deque[np.ndarray] = deque(maxlen=kept_hops)
        self._forgot = False
        super().__init__(manifest.streaming.hop_samples)

    def reset(self) -> None:
        """Back to silence at 0 seconds, as a new stream."""
        self._detector.reset()
        self._memory.reset()
        if self._gate is not None:
            self._gate.reset()
        self._unanswered.clear()
        self._forgot = False
        self._begin()

    def push(self, block: np.ndarray) -> list[Event]:
        """Take the next samples and give the events that they complete; as `HopStream.push`."""
        events: list[Event] = []
        for hop in self._hops(block):
            if self._gate is None or self._gate.hears(hop, self._detector.at_rest):
                events += self._evaluate(hop)
            else:
                self._keep(hop)
        return events

    def flush(self) -> list[Event]:
        """End the stream: give the events of its tail, then reset.

        Silence follows, as much as `tail_samples` tells. No event ends after the last received
        sample.

        Raises:
            BundleFault: as `push`.
        """
        received_samples = self._received_samples
        if received_samples == 0:
            return []
        events = self.push(np.zeros(tail_samples(self._model.manifest), dtype=np.float32))
        self.reset()
        end_s = received_samples / self._model.sample_rate
        return [
            dataclasses.replace(
                event, start_s=min(event.start_s, end_s), end_s=min(event.end_s, end_s)
            )
            for event in events
        ]

    def _keep(self, hop: np.ndarray) -> None:
        self._forgot = self._forgot or len(self._unanswered) == self._unanswered.maxlen
        self._unanswered.append(hop.copy())

    def _evaluate(self, hop: np.ndarray) -> list[Event]:
        """The events of the hops that were kept, and of this one."""
        if not self._unanswered:
            return self._detector.update(self._memory.answer(hop), self._received_samples)
        hops = [*self._unanswered, hop]
        first_end = self._received_samples - (len(hops) - 1) * len(hop)
        ends = range(first_end, self._received_samples + 1, len(hop))
        warming_hops = 0
        if self._forgot:
            self._memory.reset()
            self._detector.skip()
            warming_hops = context_hops(self._model.manifest)
        events: list[Event] = []
        for number, (hop, end_samples) in enumerate(zip(hops, ends, strict=True)):
            if number < warming_hops:
                self._memory.warm(hop)
                continue
            events += self._detector.update(self._memory.answer(hop), end_samples)
        self._unanswered.clear()
        self._forgot = False
        return events


def _detector(manifest: Manifest, threshold: float | None) -> "KeywordDetector | PhraseSpotter":
    if manifest.phrases is None:
        return KeywordDetector(
            manifest.keyword_decision,
            manifest.labels,
            manifest.streaming,
            manifest.sample_rate,
            threshold=threshold,
        )
    from .phrases.spotter import PhraseSpotter  # not for a bundle of keywords: it costs memory

    return PhraseSpotter(manifest, threshold=threshold)


def tail_samples(manifest: Manifest) -> int:
    """Silence after the last received sample that a flush hears.

    Until no window holds a received sample any more, one sample less than a window, a word cut off
    by the end is seen wherever training put it in its window. Phones are told once: those of the
    end are told `TAIL_S` later at most, and that fills the last hop.
    """
    streaming = manifest.streaming
    if manifest.phrases is None:
        return streaming.window_samples - 1
    return round(TAIL_S * manifest.sample_rate) + streaming.hop_samples - 1


def load(path: str | Path, *, threads: int = 1) -> Model:
    """Read a bundle, verify its digests and start an engine.

    Args:
        path: a bundle's folder or its .zip.
        threads: processor threads of the engine, 1 or more.

    Raises:
        BundleFault: the bundle is absent, damaged or too new, or no engine of its graphs' formats
            is installed.
    """
    bundle = read_bundle(path)
    try:
        return start(bundle, threads=threads)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault


def start(bundle: Bundle, *, threads: int = 1) -> Model:
    """Start the first graph of a bundle already read that an engine here runs.

    A graph that its engine refuses is a fault: the next graph is no way around damage.

    Raises:
        EngineMissing: no engine is installed; the message names what to install for each graph.
        BundleFault: a graph that is not what the manifest says.
    """
    _, model = next(start_all(bundle, threads=threads))
    return model


def start_all(bundle: Bundle, *, threads: int = 1) -> Iterator[tuple[str, Model]]:
    """Start every graph of a bundle on every engine here that runs its format.

    Args:
        bundle: already read.
        threads: processor threads of each engine, 1 or more.

    Yields:
        the graph's file name and its model, one after the other; first what `start` gives. Engines
        that are not installed are passed over, and so are formats that this runtime does not know.

    Raises:
        BundleFault: as `start`, of any of them; or no engine at all is installed.
    """
    missing: list[EngineMissing] = []
    num_started = 0
    for file_name in bundle.manifest.model_files:
        for engine in _engines(file_name, bundle.files[file_name], threads, missing):
            num_started += 1
            yield file_name, _model(bundle.manifest, engine)
    if not num_started:
        raise _none_of(missing)


def engine_for(file_name: str, model: bytes, *, threads: int) -> Engine:
    """Start the first engine here that runs the format that the ending of a model's file tells.

    Raises:
        EngineMissing: none is installed, or this runtime does not know the format.
        BundleFault: fewer than 1 thread, or a model that it cannot load.
    """
    missing: list[EngineMissing] = []
    for engine in _engines(file_name, model, threads, missing):
        return engine
    raise _none_of(missing)


def _engines(
    file_name: str, model: bytes, threads: int, missing: list[EngineMissing]
) -> Iterator[Engine]:
    """Each engine that starts; what those lack that are not installed is added to `missing`."""
    _check_threads(threads)
    try:
        engine_classes = _backend(file_name).ENGINES
    except EngineMissing as fault:
        missing.append(fault)
        return
    for engine_class in engine_classes:
        try:
            engine = engine_class(model, threads=threads)
        except EngineMissing as fault:
            missing.append(fault)
        else:
            yield engine


def _none_of(missing: list[EngineMissing]) -> EngineMissing:
    if len(missing) == 1:
        return missing[0]
    each = "; or ".join(str(fault) for fault in missing)
    return EngineMissing(f"no engine that runs this bundle is installed: {each}")


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
        raise EngineMissing(
            f"{file_name} needs a backend {suffix!r}, which this runtime does not have. "
            "Update the runtime, or export to onnx."
        ) from error


def _model(manifest: Manifest, engine: Engine) -> Model:
    """Raises BundleFault where graph and manifest disagree."""
    samples = manifest.streaming.graph_samples
    for kind, stated, actual in (
        ("input", manifest.graph_inputs, engine.inputs),
        ("output", manifest.graph_outputs, engine.outputs),
    ):
        _check_graph(kind, tuple(_sized(tensor, samples) for tensor in stated), actual)
    return Model(manifest=manifest, engine=engine)


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
            f"the graph's {kind}s {_faces(actual, wanted)} do not fit the manifest's "
            f"{_faces(wanted, actual)}. Export again."
        )


def _sized(tensor: Tensor, samples: int) -> Tensor:
    """A stream feeds one window or hop at a time, whatever else the graph could take."""
    sizes = {"batch": 1, "samples": samples}
    shape = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in tensor.shape)
    return dataclasses.replace(tensor, shape=shape)


def _faces(tensors: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> list[str]:
    """Of those that the others lack: a model may have a hundred states, and one be wrong."""
    few = [tensor for tensor in tensors if tensor not in others] or tensors
    return [f"{tensor.name}: {tensor.dtype} {list(tensor.shape)}" for tensor in few[:4]]
