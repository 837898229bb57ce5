"""What a bundle says about itself: manifest.json as checked, frozen dataclasses.

`export` builds a `Manifest`, seals it and writes `to_json()`; the device reads it with `from_json`.
Every rule is checked in both directions, so a manifest that cannot run cannot be written either.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .archive import check_file_names
from .faults import BundleFault

SCHEMA_VERSION = "1.0"
"""What this runtime writes; it reads every minor version of the same major one."""
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
TASKS = ("keywords",)
STREAMING_FORMS = ("sliding_window",)
MAX_WINDOW_SAMPLES = 1 << 24
"""Longest window, 64 MiB of float32: beyond it a manifest is a mistake or an attack."""
MAX_WINDOWS = 10_000
"""Most windows that smoothing or patience may look back on."""
MAX_LABELS = 10_000
MAX_SCORES = 1_000_000
"""Most scores that smoothing keeps, 8 MB."""

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


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """How a stream of samples meets a model that wants a whole window."""

    form: str = "sliding_window"
    window_samples: int
    """Samples the model sees at once."""
    hop_samples: int
    """Samples from one window's start to the next one's; at most the window."""

    def __post_init__(self) -> None:
        if self.form not in STREAMING_FORMS:
            raise _unknown("streaming.form", self.form, STREAMING_FORMS)
        _within("streaming.window_samples", self.window_samples, 1, MAX_WINDOW_SAMPLES)
        _within("streaming.hop_samples", self.hop_samples, 1, self.window_samples)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """When posteriors become an event; see keyword.py."""

    keywords: tuple[str, ...]
    """The labels that make events; the others (silence, unknown) only compete."""
    threshold: float
    """Least smoothed posterior of an event, in (0, 1]."""
    smoothing_windows: int = 1
    """Windows whose posteriors are averaged."""
    patience: int = 1
    """Windows in a row that must agree."""
    refractory_samples: int = 0
    """Samples after an event in which there is no other."""

    def __post_init__(self) -> None:
        _check_names("decision.keywords", self.keywords)
        check_threshold(self.threshold)
        _within("decision.smoothing_windows", self.smoothing_windows, 1, MAX_WINDOWS)
        _within("decision.patience", self.patience, 1, MAX_WINDOWS)
        _within("decision.refractory_samples", self.refractory_samples, 0, 1 << 40)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of manifest.json. Times are in samples at `sample_rate`.

    Raises:
        BundleFault: a value outside its rule; the message names field, value and rule.
    """

    name: str
    labels: tuple[str, ...]
    streaming: Streaming
    decision: Decision
    files: Mapping[str, str]
    """File name to the sha256 of its bytes in hex, for every file but manifest.json."""
    task: str = "keywords"
    sample_rate: int = 16000
    """Samples per second, in [4000, 192000]."""
    inputs: tuple[Tensor, ...] = (Tensor(name="pcm", shape=("batch", "samples"), dtype="float32"),)
    outputs: tuple[Tensor, ...] = ()
    """Empty is filled in with the task's own: posteriors (batch, num_labels)."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON: recipe, commit, teacher, licence of the training data."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Free JSON: accuracy, size, latency, each with how it was measured."""
    schema_version: str = SCHEMA_VERSION
    digest: str = ""
    """sha256 of the rest; empty until `seal`."""

    def __post_init__(self) -> None:
        check_version(self.schema_version)
        if self.task not in TASKS:
            raise _unknown("task", self.task, TASKS)
        _check_names("name", (self.name,))
        _within("sample_rate", self.sample_rate, 4000, 192_000)
        _check_names("labels", self.labels)
        if not self.outputs:
            tensor = Tensor(name="posteriors", shape=("batch", len(self.labels)), dtype="float32")
            object.__setattr__(self, "outputs", (tensor,))
        _check_tensors(self)
        _check_decision(self)
        _check_files(self.files)

    @property
    def model_file(self) -> str:
        """Name of the graph's file that `load` runs, such as model.onnx."""
        return self.model_files[0]

    @property
    def model_files(self) -> tuple[str, ...]:
        """Every graph's file; this schema's bundles hold one."""
        return tuple(name for name in sorted(self.files) if name.startswith("model."))

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
    return hashlib.sha256(text.encode("ascii")).hexdigest()


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


def check_threshold(threshold: float) -> None:
    """Raises BundleFault unless the threshold lies in (0, 1]; NaN does not."""
    if not 0.0 < threshold <= 1.0:
        raise BundleFault(f"threshold must lie in (0, 1], got {short(threshold)}")


def _check_tensors(manifest: Manifest) -> None:
    """The graph's face must be the task's: one waveform in, one row of posteriors out."""
    window = manifest.streaming.window_samples
    faces = (
        ("inputs", manifest.inputs, "pcm", "samples", window),
        ("outputs", manifest.outputs, "posteriors", None, len(manifest.labels)),
    )
    for where, tensors, name, free, size in faces:
        wanted = f"[{name}: float32 (batch, {free or size})]"
        ok = (
            len(tensors) == 1
            and tensors[0].name == name
            and tensors[0].dtype == "float32"
            and len(tensors[0].shape) == 2
            and tensors[0].shape[0] in ("batch", 1)
            and (tensors[0].shape[1] == size or (free is not None and tensors[0].shape[1] == free))
        )
        if not ok:
            got = [f"{tensor.name}: {tensor.dtype} {tensor.shape}" for tensor in tensors]
            raise BundleFault(f"{where} of a keyword model must be {wanted}, got {got}")


def _check_decision(manifest: Manifest) -> None:
    known = set(manifest.labels)
    strangers = [word for word in manifest.decision.keywords if word not in known]
    if strangers:
        raise BundleFault(
            f"decision.keywords {short(strangers)} are not among the labels "
            f"{short(list(manifest.labels))}"
        )
    num_scores = manifest.decision.smoothing_windows * len(manifest.decision.keywords)
    if num_scores > MAX_SCORES:
        raise BundleFault(
            f"decision.smoothing_windows times keywords must be at most {MAX_SCORES:,} scores to "
            f"keep, got {num_scores:,}"
        )
    span_samples = (manifest.decision.patience - 1) * manifest.streaming.hop_samples
    if span_samples >= manifest.streaming.window_samples:
        raise BundleFault(
            f"decision.patience {manifest.decision.patience} spans {span_samples} samples, and "
            f"the windows that agree must overlap: keep (patience - 1) * hop_samples under "
            f"window_samples {manifest.streaming.window_samples}"
        )


def _check_files(files: Mapping[str, str]) -> None:
    check_file_names((MANIFEST_FILE, *files))
    for name, digest in files.items():
        if name == MANIFEST_FILE:
            raise BundleFault(f"files: {MANIFEST_FILE} lists the others, and cannot list itself")
        if _SHA256.fullmatch(digest) is None:
            raise BundleFault(f"files: {name} needs a sha256 of 64 lower-case hex digits")
    if GOLDEN_FILE not in files:
        raise BundleFault(f"files: {GOLDEN_FILE} is missing; `doctor` replays it. Export again.")
    models = sorted(name for name in files if name.startswith("model."))
    if len(models) != 1 or not models[0].rpartition(".")[2].isidentifier():
        raise BundleFault(f"files: wanted one model, such as model.onnx, got {short(models)}")


def _check_names(where: str, names: tuple[str, ...]) -> None:
    """Names are printed one event a line, so they hold no line breaks or control characters."""
    if not 1 <= len(names) <= MAX_LABELS:
        raise BundleFault(f"{where} must hold 1 to {MAX_LABELS:,} names, got {len(names):,}")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise BundleFault(
                f"{where}: {name[:200]!r} must be 1 to 200 printable characters and not blank"
            )
    if len(set(names)) != len(names):
        raise BundleFault(f"{where} must differ from one another, got {short(list(names))}")


def _within(where: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BundleFault(f"{where} must lie in [{least}, {most}], got {short(value)}")


def _unknown(where: str, value: str, known: tuple[str, ...]) -> BundleFault:
    near = difflib.get_close_matches(value[:100], known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BundleFault(
        f"{where} {value[:100]!r} is not known to this runtime, which knows {list(known)}.{hint} "
        "A newer runtime may read this bundle."
    )


def short(value: object) -> str:
    """A value for a message: a number of thousands of digits must not fill the screen."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON's own types; Mapping fields may be any mapping, so they are copied."""
    raw = {item.name: getattr(manifest, item.name) for item in dataclasses.fields(manifest)}
    for name in ("streaming", "decision"):
        raw[name] = dataclasses.asdict(raw[name])
    for name in ("inputs", "outputs"):
        raw[name] = [dataclasses.asdict(tensor) for tensor in raw[name]]
    for name in ("files", "provenance", "measured"):
        raw[name] = dict(raw[name])
    order = ("schema_version", "name", "task", "sample_rate", "streaming", "inputs", "outputs")
    return {key: raw[key] for key in (*order, *(key for key in raw if key not in order))}
