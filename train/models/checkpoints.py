"""Checkpoints are folders: `config.json` says what it is, `model.safetensors` holds tensors.

What only pretraining needs (a quantizer, a label table) lies beside them in
`objective.safetensors`, and `"objective"` in config.json names what it belongs to.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from runtime.atomic import replacing_folder

from ..errors import TrainError


def digest(folder: Path) -> str:
    """sha256 in hex of a checkpoint's tensors.

    Raises:
        TrainError: there are none.
    """
    try:
        with (folder / "model.safetensors").open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise TrainError(f"{folder} is not a checkpoint: {fault.strerror}") from None


def check_place(folder: Path) -> None:
    """Make sure that a checkpoint may take the place of `folder`.

    Raises:
        TrainError: what is there is no checkpoint, and would be lost.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or "family" not in config:
        raise TrainError(f"{folder} is there and is no checkpoint to replace; choose another place")


def save_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    objective: tuple[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        folder: becomes the checkpoint; an older one is replaced.
        config: JSON values, with `family` naming what reads it back.
        state: tensors by name.
        objective: name and tensors of what the model was pretrained by.

    Raises:
        TrainError, OSError: the disk is full; an older checkpoint is left as it was.
    """
    files = {"model.safetensors": state}
    if objective is not None:
        config = {**config, "objective": objective[0]}
        files["objective.safetensors"] = objective[1]
    with replacing_folder(folder) as temporary:
        text = json.dumps(config, indent=2) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")
        for file, named in files.items():
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
            try:
                save_file(tensors, temporary / file)
            except SafetensorError as fault:  # a full disk, in the library's own family
                raise TrainError(f"the checkpoint {folder} cannot be written: {fault}") from None


def stated_family(folder: Path) -> str:
    """What a checkpoint says it is; an encoder where it says nothing, for the reader to refuse."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["family"])
    except (OSError, ValueError, KeyError, TypeError):
        return "wav2vec2"


def load_config(folder: Path, family: str, *needed: str) -> dict[str, Any]:
    """Read a checkpoint's config alone; `needed` are the keys that it must have.

    Raises:
        TrainError: there is none, it is damaged, or it is of another family.
    """
    path = folder / "config.json"
    if not path.is_file():
        reason = "it has no config.json" if folder.is_dir() else "there is no such folder"
        raise TrainError(f"{folder} is not a checkpoint: {reason}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise TrainError(f"the checkpoint {folder} is damaged: {fault}") from None
    if not isinstance(config, dict) or config.get("family") != family:
        found = config.get("family") if isinstance(config, dict) else None
        raise TrainError(f"{folder} holds a checkpoint of {found!r}, not of {family!r}")
    for key in needed:
        if key not in config:
            raise TrainError(f"the checkpoint {folder} is damaged: config.json lacks {key!r}")
    return config


def load_checkpoint(
    folder: Path, family: str, *needed: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint back: its config, with the keys `needed`, and its tensors.

    Raises:
        TrainError: there is none, it is damaged, or it is of another family.
    """
    config = load_config(folder, family, *needed)
    return config, _tensors(folder, "model.safetensors")


def load_objective(folder: Path, family: str = "wav2vec2") -> tuple[str, dict[str, Tensor]] | None:
    """What a checkpoint's model was pretrained by: its name and tensors; None: not stored.

    Raises:
        TrainError: there is no checkpoint, it is damaged, or of another family.
    """
    name = load_config(folder, family).get("objective")
    if name is None:
        return None
    return str(name), _tensors(folder, "objective.safetensors")


def _tensors(folder: Path, file: str) -> dict[str, Tensor]:
    try:
        return load_file(folder / file)
    except (OSError, SafetensorError) as fault:
        raise TrainError(f"the checkpoint {folder} is damaged: {fault}") from None


def restore(module: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Fill a module with a checkpoint's tensors, every one accounted for.

    Raises:
        TrainError: a tensor is missing, unknown, or of another shape; the first is named.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | state.keys()):
        found, wanted = (
            str(tuple(tensors[name].shape)) if name in tensors else "nothing"
            for tensors in (state, own)
        )
        if found != wanted:
            raise TrainError(
                f"the checkpoint {folder} does not fit its config: {name} holds {found} where the "
                f"model has {wanted}"
            )
    module.load_state_dict(dict(state), strict=True)
