"""Read a bundle, a folder or its zip, into memory, and trust nothing before its digest fits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from .arrays import read_arrays
from .digest import sha256
from .faults import BundleFault
from .forms import form_of
from .manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Decision,
    Manifest,
    State,
    Streaming,
    Tensor,
    seal,
)
from .plain_files import file_too_large, is_dropping, read_bounded, too_large

__all__ = [
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "SCHEMA_VERSION",
    "Bundle",
    "Decision",
    "Golden",
    "Manifest",
    "State",
    "Streaming",
    "Tensor",
    "file_digest",
    "read_bundle",
    "read_golden",
    "seal",
]

MAX_BUNDLE_BYTES = 512 << 20
"""Most uncompressed bytes of a bundle: it is read into memory, and a zip may claim anything."""
MAX_MANIFEST_BYTES = 1 << 20
"""Most bytes of manifest.json: as Python objects, JSON takes up to 30 times its own size."""
MAX_GOLDEN_BYTES = 128 << 20
"""Most bytes of a golden pair, unpacked: twice the longest window."""
MAX_GOLDEN_ANSWERS = 1000
"""Most answers of a model with states: its hop may be one sample, and each answer is a run."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Golden:
    """One stored input and output of a graph, for `doctor` to replay."""

    pcm: np.ndarray
    """float32 (batch, samples) in [-1, 1]; for a model with states (1, answers * hop_samples)."""
    posteriors: np.ndarray
    """float32 (answers, *answer_shape): one a recording, or with states one a hop, from the initial
    states on."""
    tolerance: float
    """Largest absolute difference that another machine may show."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte fits its digest."""

    manifest: Manifest
    files: dict[str, bytes]

    @property
    def model(self) -> bytes:
        return self.files[self.manifest.model_file]

    def golden(self, file: str | None = None) -> Golden:
        """The stored input and output of a graph.

        Args:
            file: the graph's, of `manifest.model_files`; None: the first one's.

        Raises:
            BundleFault: not the arrays that a golden holds, or not of this model's shapes.
        """
        golden = read_golden(self.files[GOLDEN_FILE], file or self.manifest.model_file)
        manifest = self.manifest
        answers = golden.posteriors.shape[1:], manifest.answer_shape
        if answers[0] != answers[1]:
            given, wanted = (" x ".join(map(str, shape)) for shape in answers)
            raise BundleFault(
                f"{GOLDEN_FILE}: posteriors have {given} columns and the manifest {wanted} labels. "
                "Export again."
            )
        try:
            num_answers = form_of(manifest.streaming).num_answers(
                golden.pcm.shape, manifest.streaming
            )
        except BundleFault as fault:
            raise BundleFault(f"{GOLDEN_FILE}: {fault}") from fault
        if manifest.streaming.has_states and num_answers > MAX_GOLDEN_ANSWERS:
            raise BundleFault(
                f"{GOLDEN_FILE}: pcm {golden.pcm.shape} holds {num_answers:,} hops, and at most "
                f"{MAX_GOLDEN_ANSWERS:,} are replayed. Export again with a shorter one."
            )
        if len(golden.posteriors) != num_answers:
            raise BundleFault(
                f"{GOLDEN_FILE}: posteriors have {len(golden.posteriors)} rows, and pcm "
                f"{golden.pcm.shape} has {num_answers} answers. Export again."
            )
        return golden


def file_digest(path: str | Path) -> str:
    """sha256 of a file's bytes in hex, read in blocks.

    Raises:
        OSError: the file cannot be read.
    """
    digest = sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle and verify every digest; a zip is read in memory and never extracted.

    The manifest comes first, and nothing that it does not list is read at all. Links within a
    folder are followed, as caches of models are made of them: what counts is the digest.

    Args:
        path: a folder, or a zip with the files at its root or in one folder.

    Raises:
        BundleFault: absent, not a bundle, over 512 MiB, a manifest over 1 MiB, a zip that unpacks
            to over 100 times its size, a file missing, unlisted or changed.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _verified(_Folder(path))
        if not path.is_file():
            raise BundleFault("no such bundle; give a bundle's folder or its .zip")
        from .archive import open_zip  # not for a folder: zipfile takes a megabyte of memory

        with open_zip(path, what="a bundle", max_bytes=MAX_BUNDLE_BYTES) as files:
            return _verified(files)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BundleFault(f"{path}: cannot be read: {error}") from error


def read_golden(data: bytes, file: str) -> Golden:
    """Read golden.npz's bytes: `pcm`, `posteriors` and the scalar `tolerance`, all of them shared.

    Where graphs of one bundle answer differently, as in 8 bits, one may have `posteriors` or a
    `tolerance` of its own in place of the shared one, or both: `<file>.posteriors` and
    `<file>.tolerance`, such as `model.tflite.posteriors`.

    Args:
        data: of the file.
        file: the graph's, such as model.tflite.

    Raises:
        BundleFault: not an npz, an array missing, of a wrong number of dimensions or dtype, not
            finite, pickled, or over 128 MiB.
    """
    try:
        arrays = read_arrays(data, what="a golden pair", max_bytes=MAX_GOLDEN_BYTES)
    except BundleFault as fault:
        raise BundleFault(f"{GOLDEN_FILE} cannot be read: {fault}. Export again.") from fault
    missing = [name for name in ("pcm", "posteriors", "tolerance") if name not in arrays]
    if missing:
        raise BundleFault(f"{GOLDEN_FILE} lacks {', '.join(missing)}. Export again.")
    pcm = arrays["pcm"]
    posteriors, tolerance = (
        arrays.get(f"{file}.{name}", arrays[name]) for name in ("posteriors", "tolerance")
    )
    for name, array, sizes in (("pcm", pcm, (2,)), ("posteriors", posteriors, (2, 3))):
        if array.dtype != np.float32 or array.ndim not in sizes:
            wanted = " or ".join(map(str, sizes))
            raise BundleFault(f"{GOLDEN_FILE}: {name} must be float32 with {wanted} dimensions")
        if not np.isfinite(array).all():
            raise BundleFault(f"{GOLDEN_FILE}: {name} must be finite. Export again.")
    if tolerance.shape != () or tolerance.dtype.kind != "f":
        raise BundleFault(f"{GOLDEN_FILE}: tolerance must be one float")
    if not 0.0 < float(tolerance) < np.inf:
        raise BundleFault(f"{GOLDEN_FILE}: tolerance must be positive, got {float(tolerance)}")
    return Golden(pcm=pcm, posteriors=posteriors, tolerance=float(tolerance))


class _Source(Protocol):
    """Where a bundle's files are."""

    @property
    def names(self) -> Iterable[str]: ...

    def read(self, name: str, max_bytes: int) -> bytes: ...


def _verified(source: _Source) -> Bundle:
    names = set(source.names)
    if MANIFEST_FILE not in names:
        raise BundleFault(f"holds no {MANIFEST_FILE}: not a bundle, or not a whole one")
    try:
        text = source.read(MANIFEST_FILE, MAX_MANIFEST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFault(f"{MANIFEST_FILE} is not UTF-8 text: {error}. Export again.") from error
    manifest = Manifest.from_json(text)
    missing = sorted(set(manifest.files) - names)
    if missing:
        raise BundleFault(f"lacks {', '.join(missing)}, which its manifest lists. Copy it whole.")
    unlisted = sorted(names - set(manifest.files) - {MANIFEST_FILE})
    if unlisted:
        raise BundleFault(
            f"holds {', '.join(map(repr, unlisted[:3]))}, which its manifest does not list. "
            "Remove what is not the bundle's own."
        )
    files: dict[str, bytes] = {}
    left_bytes = MAX_BUNDLE_BYTES
    for name, digest in manifest.files.items():
        files[name] = source.read(name, left_bytes)
        left_bytes -= len(files[name])
        if sha256(files[name]).hexdigest() != digest:
            raise BundleFault(
                f"{name} was changed or damaged: its sha256 is not the manifest's. "
                "Copy or export the bundle again."
            )
    return Bundle(manifest=manifest, files=files)


class _Folder:
    """The files of a folder, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = [entry.name for entry in path.iterdir() if not is_dropping(entry.name)]

    def read(self, name: str, max_bytes: int) -> bytes:
        """One file's bytes.

        Raises:
            BundleFault: not a plain file, or too large.
            OSError: it cannot be read.
        """
        file = self._path / name
        if not file.is_file():  # a pipe would be waited for, a folder has no digest
            raise BundleFault(f"{name!r} is not a file; a bundle holds plain files only")
        with file.open("rb") as handle:
            data = read_bounded(handle, max_bytes)
        if len(data) > max_bytes:
            if name == MANIFEST_FILE:
                raise file_too_large(name, max_bytes)
            raise too_large("a bundle", MAX_BUNDLE_BYTES)
        return data
