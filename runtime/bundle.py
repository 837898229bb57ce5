"""Read a bundle, a folder or its zip, into memory, and trust nothing before its digest fits."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .archive import DROPPINGS, read_bounded, read_zip, too_large
from .faults import BundleFault
from .manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Decision,
    Manifest,
    Streaming,
    Tensor,
    seal,
)

__all__ = [
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "SCHEMA_VERSION",
    "Bundle",
    "Decision",
    "Golden",
    "Manifest",
    "Streaming",
    "Tensor",
    "file_digest",
    "read_bundle",
    "read_golden",
    "seal",
]

MAX_BUNDLE_BYTES = 512 << 20
"""Most uncompressed bytes of a bundle: it is read into memory, and a zip may claim anything."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Golden:
    """One stored input and output of the model, for `doctor` to replay."""

    pcm: np.ndarray
    """float32 (batch, samples) in [-1, 1]."""
    posteriors: np.ndarray
    """float32 (batch, num_labels)."""
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

    def golden(self) -> Golden:
        """The stored input and output.

        Raises:
            BundleFault: not the arrays that a golden holds.
        """
        golden = read_golden(self.files[GOLDEN_FILE])
        if golden.posteriors.shape[1] != len(self.manifest.labels):
            raise BundleFault(
                f"{GOLDEN_FILE}: posteriors have {golden.posteriors.shape[1]} columns and the "
                f"manifest {len(self.manifest.labels)} labels. Export again."
            )
        return golden


def file_digest(path: str | Path) -> str:
    """sha256 of a file's bytes in hex, read in blocks.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle and verify every digest; a zip is read in memory and never extracted.

    Args:
        path: a folder, or a zip with the files at its root or in one folder.

    Raises:
        BundleFault: absent, not a bundle, over 512 MiB, a file missing, unlisted or changed.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = _read_folder(path)
        elif path.is_file():
            files = read_zip(path, what="a bundle", max_bytes=MAX_BUNDLE_BYTES)
        else:
            raise BundleFault("no such bundle; give a bundle's folder or its .zip")
        return _verified(files)
    except BundleFault as fault:
        raise BundleFault(f"{path}: {fault}") from fault
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BundleFault(f"{path}: cannot be read: {error}") from error


def read_golden(data: bytes) -> Golden:
    """Read golden.npz's bytes: `pcm`, `posteriors` and the scalar `tolerance`.

    Raises:
        BundleFault: not an npz, an array missing, of a wrong shape or dtype, or pickled.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            if sum(info.file_size for info in members.infolist()) > MAX_BUNDLE_BYTES:
                raise too_large("a bundle", MAX_BUNDLE_BYTES)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for name in ("pcm", "posteriors", "tolerance"):
                arrays[name] = archive[name]
    # A damaged zip or npy header surfaces as nearly anything; here all of it means one thing.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleFault(f"{GOLDEN_FILE} cannot be read: {reason}. Export again.") from error
    pcm, posteriors, tolerance = (arrays[name] for name in ("pcm", "posteriors", "tolerance"))
    for name, array in (("pcm", pcm), ("posteriors", posteriors)):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
            raise BundleFault(f"{GOLDEN_FILE}: {name} must be float32 with 2 dimensions")
        if 0 in array.shape or len(array) != len(pcm) or not np.isfinite(array).all():
            raise BundleFault(
                f"{GOLDEN_FILE}: {name} {array.shape} must be finite and not empty, "
                "with as many rows as pcm"
            )
    if (
        not isinstance(tolerance, np.ndarray)
        or tolerance.shape != ()
        or tolerance.dtype.kind != "f"
    ):
        raise BundleFault(f"{GOLDEN_FILE}: tolerance must be one float")
    if not 0.0 < float(tolerance) < np.inf:
        raise BundleFault(f"{GOLDEN_FILE}: tolerance must be positive, got {float(tolerance)}")
    return Golden(pcm=pcm, posteriors=posteriors, tolerance=float(tolerance))


def _verified(files: dict[str, bytes]) -> Bundle:
    if MANIFEST_FILE not in files:
        raise BundleFault(f"holds no {MANIFEST_FILE}: not a bundle, or not a whole one")
    try:
        text = files.pop(MANIFEST_FILE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFault(f"{MANIFEST_FILE} is not UTF-8 text: {error}. Export again.") from error
    manifest = Manifest.from_json(text)
    missing = sorted(set(manifest.files) - set(files))
    if missing:
        raise BundleFault(f"lacks {', '.join(missing)}, which its manifest lists. Copy it whole.")
    unlisted = sorted(set(files) - set(manifest.files))
    if unlisted:
        raise BundleFault(
            f"holds {', '.join(map(repr, unlisted[:3]))}, which its manifest does not list. "
            "Remove what is not the bundle's own."
        )
    for name, digest in manifest.files.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise BundleFault(
                f"{name} was changed or damaged: its sha256 is not the manifest's. "
                "Copy or export the bundle again."
            )
    return Bundle(manifest=manifest, files=files)


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left_bytes = MAX_BUNDLE_BYTES
    names = sorted(entry.name for entry in path.iterdir() if entry.name not in DROPPINGS)
    if MANIFEST_FILE not in names:  # before reading what may be somebody's whole home folder
        raise BundleFault(f"holds no {MANIFEST_FILE}: not a bundle, or not a whole one")
    for name in names:
        file = path / name
        if not file.is_file():  # a pipe would be waited for, a folder has no digest
            raise BundleFault(f"{name!r} is not a file; a bundle holds plain files only")
        with file.open("rb") as handle:
            files[name] = read_bounded(handle, left_bytes)
        if len(files[name]) > left_bytes:
            raise too_large("a bundle", MAX_BUNDLE_BYTES)
        left_bytes -= len(files[name])
    return files
