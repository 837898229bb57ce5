"""Give a bundle on disk another decision: its manifest is written anew, and nothing else."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import replacing_file
from .bundle import read_bundle
from .faults import BundleFault
from .manifest import MANIFEST_FILE, SCHEMA_VERSION, Decision, Manifest, check_version, seal


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
    folder = Path(path)
    if folder.is_file():
        raise BundleFault(
            f"{path}: a zip cannot be changed in place. Unpack it (unzip {path} -d FOLDER), write "
            "the decision into FOLDER, and zip that again."
        )
    manifest = read_bundle(folder).manifest
    if check_version(manifest.schema_version):
        raise BundleFault(
            f"{path}: schema_version {manifest.schema_version} is newer than {SCHEMA_VERSION}, "
            "and what only a newer runtime knows would be lost. Update the runtime."
        )
    changed = seal(
        dataclasses.replace(
            manifest,
            decision=decision,
            measured={**manifest.measured, **(measured or {})},
            schema_version=SCHEMA_VERSION,
        )
    )
    with replacing_file(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(changed.to_json(), encoding="utf-8")
    return changed
