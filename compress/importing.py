"""From a file of LightHuBERT's authors to a supernet of ours, every tensor accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train.models.importing import Imported, Recognized, prepare_place, take_in
from train.models.layouts import lighthubert

from . import CompressError
from .spaces import get_space
from .supernet import Supernet, save_supernet

LAYOUT = "lighthubert"

_SPACES = {
    "full": "lighthubert-base",
    "supernet-base": "lighthubert-base",
    "supernet-small": "lighthubert-small",
}
"""By what a file says that it was trained as. Stage 1 trains the full net alone, which only the
base space can choose; s3prl, which evaluates the released files, reads them alike."""


@dataclass(frozen=True)
class ImportedSupernet:
    """A supernet read from a foreign file."""

    supernet: Supernet
    """Its tensors are still the file's."""
    imported: Imported
    """Where they come from, what was left out, what was assumed."""
    trained_as: str
    """"full" for stage 1, else the stem of the authors' description, or "not stated"."""

    def provenance(self, licence: str) -> dict[str, Any]:
        """What the checkpoint that comes of this was made from; it knows no teacher of ours."""
        return {**self.imported.provenance(licence), "trained_as": self.trained_as}


def import_supernet(
    found: Recognized, *, space: str | None = None, given: Mapping[str, Any] | None = None
) -> ImportedSupernet:
    """Read a file in LightHuBERT's layout as a supernet.

    Args:
        found: the recognized file.
        space: name of the space that it was trained in; None: the file says so.
        given: settings that win over the file's, as for `take_in`.

    Raises:
        CompressError: another layout, a space that nobody tells or that contradicts the file, or
            heads for other layers than the last.
        LayoutError: a tensor is missing, unexpected or misshapen, or the settings are not the
            space's; the first is named.
    """
    if found.layout != LAYOUT:
        raise CompressError(
            f"{found.path} is of the layout {found.layout}, which holds no supernet; leave out "
            "--space to take it in as an encoder"
        )
    trained_as = lighthubert.trained_as(found.file.config)
    chosen = get_space(_space_name(found.path, trained_as, space))
    imported = take_in(found, given=given, table=lighthubert.SUPERNET, sizes=chosen.supernet)
    head = _head(found.path, imported, chosen.supernet.num_layers)
    with torch.device("meta"):  # the file's tensors take the place of random ones
        supernet = Supernet(chosen, target_dim=head.shape[0])
    state = {f"encoder.{name}": tensor for name, tensor in imported.state.items()}
    supernet.load_state_dict(state | {"head.weight": head}, strict=True, assign=True)
    return ImportedSupernet(supernet, imported, trained_as or "not stated")


def save_imported_supernet(
    read: ImportedSupernet, folder: Path, *, source: Path, provenance: Mapping[str, Any]
) -> None:
    """Write what was read as a supernet's checkpoint, whole or not at all.

    Args:
        read: what `import_supernet` gave.
        folder: becomes the checkpoint; an older checkpoint is replaced.
        source: what was read, which must not lie in `folder`.
        provenance: `read.provenance(licence)`, or more.

    Raises:
        TrainError: `folder` holds something else.
        OSError: it cannot be written.
    """
    prepare_place(read.imported, folder, source=source)
    save_supernet(folder, read.supernet, provenance=provenance)


def _space_name(path: Path, trained_as: str | None, asked: str | None) -> str:
    told = None if trained_as is None else _SPACES.get(trained_as)
    if asked is None and told is None:
        said = "does not say in which space it was trained"
        if trained_as is not None:
            said = f"was trained in {trained_as!r}, which is no space here"
        raise CompressError(
            f"{path} {said}; give it by --space, such as --space lighthubert-small, or take its "
            "full net alone by --as-encoder"
        )
    # Stage 1 has trained no subnets: whoever goes on with it may choose any space of its sizes.
    if asked is not None and told not in (None, asked) and trained_as != "full":
        raise CompressError(
            f"{path} was trained in {trained_as!r}, the space {told!r}: subnets of {asked!r} were "
            "not all trained; leave out --space"
        )
    return asked or told or ""


def _head(path: Path, imported: Imported, num_layers: int) -> torch.Tensor:
    """The one head, of the last layer: ours are applied to the last output of any depth."""
    last = f"layer_pred_heads.{num_layers - 1}.weight"
    heads = {} if imported.objective is None else dict(imported.objective[1])
    head = heads.pop(f"target_heads.{num_layers - 1}.weight", None)
    if head is None:
        raise CompressError(
            f"{path} does not fit the layout {LAYOUT}: {last} is missing, by which a supernet is "
            "scored; --as-encoder takes in the full net without it"
        )
    if heads:
        other = next(iter(heads)).replace("target_heads", "layer_pred_heads")
        raise CompressError(
            f"{path} does not fit the layout {LAYOUT}: {other} is unexpected: supernets here have "
            f"one head, {last}"
        )
    return head
