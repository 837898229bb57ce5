"""Give a bundle on disk another decision, other phrases or one file more, and seal it again."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import replacing_file, replacing_folder
from .bundle import Bundle, read_bundle
from .digest import sha256
from .faults import BundleFault
from .manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    Decision,
    Manifest,
    Phrases,
    check_version,
    seal,
)


def write_decision(
    path: str | Path, decision: Decision, *, measured: Mapping[str, Any] | None = None
) -> Manifest:
    """Replace a bundle's decision parameters, and seal its manifest again.

    Every digest is verified before, and the manifest is replaced in one step: a reader finds the
    old decision or the new one.

    Args:
        path: a bundle's folder.
        decision: in place of the manifest's; such as
            `dataclasses.replace(manifest.keyword_decision, thresholds={"yes": 0.7})`.
        measured: free JSON, added to the manifest's own; a key that is there is replaced.

    Returns:
        the manifest as written, of this runtime's schema.

    Raises:
        BundleFault: no bundle, a damaged one, a zip, one of a newer schema, whose keys would be
            lost, or a decision that breaks a rule of the format; the bundle is as it was.
        OSError: the folder cannot be written; the bundle is as it was.
    """
    manifest = _changeable(Path(path)).manifest
    return _write(path, dataclasses.replace(manifest, decision=decision), measured)


def write_phrases(
    path: str | Path, phrases: Phrases, *, measured: Mapping[str, Any] | None = None
) -> Manifest:
    """Replace the keywords that a bundle of phones listens for; as `write_decision`."""
    manifest = _changeable(Path(path)).manifest
    return _write(path, dataclasses.replace(manifest, phrases=phrases), measured)


def write_file(
    path: str | Path, name: str, data: bytes, *, measured: Mapping[str, Any] | None = None
) -> Manifest:
    """Put a file into a bundle's folder, in place of an older one of that name.

    Every digest is verified before, and the folder is replaced as a whole.

    Args:
        path: a bundle's folder.
        name: of the file, none that the format itself knows.
        data: its bytes.
        measured: as `write_decision` takes it.

    Returns:
        the manifest as written, of this runtime's schema.

    Raises:
        BundleFault, OSError: as `write_decision`.
    """
    folder = Path(path)
    bundle = _changeable(folder)
    files = {**bundle.manifest.files, name: sha256(data).hexdigest()}
    changed = _sealed(dataclasses.replace(bundle.manifest, files=files), measured)
    with replacing_folder(folder) as temporary:
        for file, content in {**bundle.files, name: data}.items():
            (temporary / file).write_bytes(content)
        (temporary / MANIFEST_FILE).write_text(changed.to_json(), encoding="utf-8")
    return changed


def _write(path: str | Path, manifest: Manifest, measured: Mapping[str, Any] | None) -> Manifest:
    changed = _sealed(manifest, measured)
    with replacing_file(Path(path) / MANIFEST_FILE) as temporary:
        temporary.write_text(changed.to_json(), encoding="utf-8")
    return changed


def _sealed(manifest: Manifest, measured: Mapping[str, Any] | None) -> Manifest:
    return seal(
        dataclasses.replace(
            manifest,
            measured={**manifest.measured, **(measured or {})},
            schema_version=SCHEMA_VERSION,
        )
    )


def _changeable(folder: Path) -> Bundle:
    if folder.is_file():
        raise BundleFault(
            f"{folder}: a zip cannot be changed in place. Unpack it (unzip {folder} -d FOLDER), "
            "change FOLDER, and zip that again."
        )
    bundle = read_bundle(folder)
    if check_version(bundle.manifest.schema_version):
        raise BundleFault(
            f"{folder}: schema_version {bundle.manifest.schema_version} is newer than "
            f"{SCHEMA_VERSION}, and what only a newer runtime knows would be lost. "
            "Update the runtime."
        )
    return bundle
