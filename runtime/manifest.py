"""What a bundle says about itself: manifest.json as checked, frozen dataclasses.

`export` builds a `Manifest`, seals it and writes `to_json()`; the device reads it with `from_json`.
Every rule is checked in both directions, so a manifest that cannot run cannot be written either.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .digest import sha256
from .faults import BundleFault, short
from .manifest_rules import (
    KEYWORDS,
    PHONES,
    check_decision,
    check_names,
    check_phrases,
    check_states,
    check_task,
    check_tensors,
    unknown,
    within,
)
from .plain_files import check_file_names

SCHEMA_VERSION = "1.3"
"""What this runtime writes; it reads every minor version of the same major one."""
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
STREAMING_FORMS = ("sliding_window", "incremental")
MAX_MODELS = 4
"""Most graphs of one model, each in a format of its own."""
MAX_WINDOW_SAMPLES = 1 << 24
"""Longest window, 64 MiB of float32: beyond it a manifest is a mistake or an attack."""
MAX_WINDOWS = 10_000
"""Most windows that smoothing or patience may look back on."""

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One input or output of the graph."""

    name: str
    shape: tuple[str | int, ...]
    """A string names a dimension that the caller chooses, such as "batch"."""
    dtype: str


@dataclass(frozen=True, kw_only=True)
class State:
    """What a step hands to the next: the graph's input `name`, and its output `name + "_next"`."""

    name: str
    shape: tuple[int, ...]
    """Batch first, which is 1 in a stream."""
    dtype: str = "float32"
    initial: float = 0.0
    """What it is filled with before the first step."""

    @property
    def next_name(self) -> str:
        """Of the graph's output that the next step takes for `name`."""
        return f"{self.name}_next"


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How a stream of samples meets a model: as windows, or step by step."""

    form: str = "sliding_window"
    """The name of a file in forms/, which says what a stream must answer."""
    window_samples: int
    """Samples that an answer judges: what the graph sees at once, or with states looks back on."""
    hop_samples: int
    """Samples from one answer to the next; at most the window."""

    def __post_init__(self) -> None:
        if self.form not in STREAMING_FORMS:
            raise unknown("streaming.form", self.form, STREAMING_FORMS)
        within("streaming.window_samples", self.window_samples, 1, MAX_WINDOW_SAMPLES)
        within("streaming.hop_samples", self.hop_samples, 1, self.window_samples)

    @property
    def has_states(self) -> bool:
        """Whether the graph takes a hop with what the hops before left, or a whole window."""
        return self.form == "incremental"

    @property
    def graph_samples(self) -> int:
        """Samples that a stream feeds to the graph at a time."""
        return self.hop_samples if self.has_states else self.window_samples


@dataclass(frozen=True, kw_only=True)
class Decision:
    """When posteriors become an event; see keyword.py."""

    keywords: tuple[str, ...]
    """The labels that make events; the others (silence, unknown) only compete."""
    threshold: float
    """Least smoothed posterior of an event, in (0, 1]."""
    thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Keyword to a threshold of its own; `threshold` is that of the others. In manifest.json the
    key is left out where there are none, as before schema 1.2."""
    smoothing_windows: int = 1
    """Windows whose posteriors are averaged."""
    patience: int = 1
    """Windows in a row that must agree."""
    refractory_samples: int = 0
    """Samples after an event in which there is no other."""

    def __post_init__(self) -> None:
        check_names("decision.keywords", self.keywords)
        check_threshold(self.threshold)
        strangers = [word for word in self.thresholds if word not in self.keywords]
        if strangers:
            raise BundleFault(
                f"decision.thresholds {short(strangers)} are not among the keywords "
                f"{short(list(self.keywords))}"
            )
        for word, threshold in self.thresholds.items():
            check_threshold(threshold, f"decision.thresholds: that of {word!r}")
        object.__setattr__(self, "thresholds", dict(self.thresholds))  # any mapping, copied
        within("decision.smoothing_windows", self.smoothing_windows, 1, MAX_WINDOWS)
        within("decision.patience", self.patience, 1, MAX_WINDOWS)
        within("decision.refractory_samples", self.refractory_samples, 0, 1 << 40)

    def threshold_of(self, keyword: str) -> float:
        """Its own threshold, or that of all."""
        return self.thresholds.get(keyword, self.threshold)


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """Keywords that a phone model listens for, and when it tells them; see phrases/."""

    pronunciations: Mapping[str, tuple[tuple[str, ...], ...]]
    """Keyword to the ways in which it is said, each of one or more of the labels' phones."""
    decision: Decision
    """Of these keywords; its windows are the model's frames."""

    def __post_init__(self) -> None:
        spellings = {word: tuple(map(tuple, ways)) for word, ways in self.pronunciations.items()}
        object.__setattr__(self, "pronunciations", spellings)  # any mapping, copied


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of manifest.json. Times are in samples at `sample_rate`.

    Raises:
        BundleFault: a value outside its rule; the message names field, value and rule.
    """

    name: str
    labels: tuple[str, ...]
    streaming: Streaming
    decision: Decision | None = None
    """Of keywords, and always. Phones have none: in manifest.json the key is left out."""
    phrases: Phrases | None = None
    """Of phones, and optional: keywords in their phones. In manifest.json the key is left out where
    there are none, as before schema 1.3."""
    files: Mapping[str, str]
    """File name to the sha256 of its bytes in hex, for every file but manifest.json."""
    task: str = KEYWORDS
    sample_rate: int = 16000
    """Samples per second, in [4000, 192000]."""
    inputs: tuple[Tensor, ...] = ()
    """Empty is filled in: pcm (batch, samples), or with states (1, hop_samples)."""
    outputs: tuple[Tensor, ...] = ()
    """Empty is filled in with the task's own: posteriors (batch, num_labels), with states of 1; of
    phones (1, frames, num_labels), the frames of a hop, one if it is filled in."""
    states: tuple[State, ...] = ()
    """With the incremental form alone, and always: what a step hands to the next. In manifest.json
    the key is left out where there are none, as before schema 1.1."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON: recipe, commit, teacher, licence of the training data."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON: accuracy, size, latency, each with how it was measured."""
    schema_version: str = SCHEMA_VERSION
    digest: str = ""
    """sha256 of the rest; empty until `seal`."""

    def __post_init__(self) -> None:
        check_version(self.schema_version)
        check_task(self.task)
        check_names("name", (self.name,))
        within("sample_rate", self.sample_rate, 4000, 192_000)
        check_names("labels", self.labels)
        stepping = self.streaming.has_states
        batch = 1 if stepping else "batch"
        if not self.inputs:
            samples = self.streaming.hop_samples if stepping else "samples"
            tensor = Tensor(name="pcm", shape=(batch, samples), dtype="float32")
            object.__setattr__(self, "inputs", (tensor,))
        if not self.outputs:
            frames = (1,) if self.task == PHONES else ()
            shape = (batch, *frames, len(self.labels))
            tensor = Tensor(name="posteriors", shape=shape, dtype="float32")
            object.__setattr__(self, "outputs", (tensor,))
        check_tensors(self)
        check_states(self)
        check_decision(self)
        check_phrases(self)
        _check_files(self.files)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Of one answer: (num_labels,); of phones (frames, num_labels), the frames of a hop."""
        return tuple(map(int, self.outputs[0].shape[1:]))

    @property
    def frame_samples(self) -> int:
        """Samples from one frame of phones to the next; of keywords a hop."""
        frames = self.answer_shape[0] if self.task == PHONES else 1
        return self.streaming.hop_samples // frames

    @property
    def keyword_decision(self) -> Decision:
        """When scores become an event.

        Raises:
            BundleFault: the model tells phones alone, which are no events.
        """
        decision = self.decision if self.phrases is None else self.phrases.decision
        if decision is None:
            raise BundleFault(
                f"{self.name!r} is a bundle of {self.task}, which has no keywords to listen for: "
                "give it some (--keyword, or compress calibrate --keyword to keep them), or take a "
                "bundle of keywords. runtime.load and stream() give what is heard in it, frame by "
                "frame."
            )
        return decision

    @property
    def score_labels(self) -> tuple[str, ...]:
        """What scores that a decision is on are of: the labels, or of phones the phrases."""
        return self.labels if self.phrases is None else tuple(self.phrases.pronunciations)

    @property
    def model_file(self) -> str:
        """The first of `model_files`."""
        return self.model_files[0]

    @property
    def model_files(self) -> tuple[str, ...]:
        """Every graph's file, one for each format: model.onnx first, the others by name."""
        return tuple(sorted(_models(self.files), key=lambda name: (name != "model.onnx", name)))

    @property
    def graph_inputs(self) -> tuple[Tensor, ...]:
        """What the graph takes: the inputs, and each state by its name."""
        states = (Tensor(name=s.name, shape=s.shape, dtype=s.dtype) for s in self.states)
        return (*self.inputs, *states)

    @property
    def graph_outputs(self) -> tuple[Tensor, ...]:
        """What the graph gives: the outputs, and each state as the next step takes it."""
        states = (Tensor(name=s.next_name, shape=s.shape, dtype=s.dtype) for s in self.states)
        return (*self.outputs, *states)

    def to_json(self) -> str:
        """Text for manifest.json, digest included.

        Raises:
            BundleFault: the manifest is not sealed, or provenance or measured is not plain JSON.
        """
        if self.digest != digest_of(_plain(self)):
            raise BundleFault("the manifest is not sealed: write seal(manifest).to_json()")
        return json.dumps(_plain(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Check and read manifest.json's text, digest included.

        A newer minor schema version may carry keys unknown here; they are passed over.

        Raises:
            BundleFault: bad JSON, an unknown major version, a missing or wrong value, a wrong
                digest.
        """
        from .manifest_reader import read_manifest

        return read_manifest(text)


def seal(manifest: Manifest) -> Manifest:
    """The same manifest with its digest computed; do this last, then `to_json`.

    Raises:
        BundleFault: provenance or measured holds what JSON cannot: NaN, a path, an array.
    """
    return dataclasses.replace(manifest, digest=digest_of(_plain(manifest)))


def digest_of(raw: Mapping[str, Any]) -> str:
    """sha256 in hex over a manifest's canonical JSON, its own "digest" left out.

    Canonical: keys sorted, separators without spaces, everything beyond ASCII escaped.

    Raises:
        BundleFault: a value that JSON cannot hold.
    """
    rest = {key: value for key, value in raw.items() if key != "digest"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleFault(
            f"the manifest cannot be written as JSON: {error}. "
            "Use strings, finite numbers, lists and objects."
        ) from error
    return sha256(text.encode("ascii")).hexdigest()


def check_version(version: str) -> bool:
    """True where the version is newer than ours and may hold keys unknown here.

    Raises:
        BundleFault: not MAJOR.MINOR, or another major version.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise BundleFault(f"schema_version must look like {SCHEMA_VERSION!r}, got {version!r}")
    major, minor = (int(part) for part in SCHEMA_VERSION.split("."))
    if int(match[1]) != major:
        raise BundleFault(
            f"schema_version {version} is not readable here: this runtime reads {major}.x. "
            "Export the bundle again, or install the runtime it was made for."
        )
    return int(match[2]) > minor


def check_threshold(threshold: float, what: str = "threshold") -> None:
    """Raises BundleFault unless the threshold lies in (0, 1]; NaN does not."""
    if not 0.0 < threshold <= 1.0:
        raise BundleFault(f"{what} must lie in (0, 1], got {short(threshold)}")


def _check_files(files: Mapping[str, str]) -> None:
    check_file_names((MANIFEST_FILE, *files))
    for name, digest in files.items():
        if name == MANIFEST_FILE:
            raise BundleFault(f"files: {MANIFEST_FILE} lists the others, and cannot list itself")
        if _SHA256.fullmatch(digest) is None:
            raise BundleFault(f"files: {name} needs a sha256 of 64 lower-case hex digits")
    if GOLDEN_FILE not in files:
        raise BundleFault(f"files: {GOLDEN_FILE} is missing; `doctor` replays it. Export again.")
    models = _models(files)
    formats = {name.rpartition(".")[2] for name in models}
    if not (
        1 <= len(models) <= MAX_MODELS
        and len(formats) == len(models)
        and all(suffix.isidentifier() for suffix in formats)
    ):
        raise BundleFault(
            f"files: wanted 1 to {MAX_MODELS} models, each of a format of its own, such as "
            f"model.onnx and model.tflite; got {short(sorted(models))}"
        )


def _models(files: Mapping[str, str]) -> list[str]:
    return [name for name in files if name.startswith("model.")]


def _plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON's own types; Mapping fields may be any mapping, so they are copied."""
    raw = {item.name: getattr(manifest, item.name) for item in dataclasses.fields(manifest)}
    raw["streaming"] = dataclasses.asdict(manifest.streaming)
    if manifest.decision is None:
        del raw["decision"]
    else:
        raw["decision"] = _plain_decision(manifest.decision)
    if manifest.phrases is None:
        del raw["phrases"]
    else:
        raw["phrases"] = {
            "pronunciations": {
                word: list(map(list, ways))
                for word, ways in manifest.phrases.pronunciations.items()
            },
            "decision": _plain_decision(manifest.phrases.decision),
        }
    for name in ("inputs", "outputs", "states"):
        raw[name] = [dataclasses.asdict(tensor) for tensor in raw[name]]
    if not manifest.states:
        del raw["states"]
    for name in ("files", "provenance", "measured"):
        raw[name] = dict(raw[name])
    first = ("schema_version", "name", "task", "sample_rate", "streaming", "inputs", "outputs")
    order = [*first, *(["states"] if manifest.states else [])]
    return {key: raw[key] for key in (*order, *(key for key in raw if key not in order))}


def _plain_decision(decision: Decision) -> dict[str, Any]:
    raw = dataclasses.asdict(decision)
    if not decision.thresholds:
        del raw["thresholds"]
    return raw
