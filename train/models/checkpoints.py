"""Checkpoints are folders: `config.json` says what it is, `model.safetensors` holds tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime.atomic import replacing_folder

from ..errors import TrainError


def save_checkpoint(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        folder: becomes the checkpoint; an older one is replaced.
        config: JSON values, with `family` naming what reads it back.
        state: tensors by name.
    """
    with replacing_folder(folder) as temporary:
        text = json.dumps(config, indent=2) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, temporary / "model.safetensors")


def load_config(folder: Path, family: str) -> dict[str, Any]:
    """Read a checkpoint's config alone.

    Raises:
        TrainError: there is none, it is damaged, or it is of another family.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise TrainError(f"{folder} is not a checkpoint: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise TrainError(f"the checkpoint {folder} is damaged: {fault}") from None
    if not isinstance(config, dict) or config.get("family") != family:
        found = config.get("family") if isinstance(config, dict) else None
        raise TrainError(f"{folder} holds a checkpoint of {found!r}, not of {family!r}")
    return config


def load_checkpoint(folder: Path, family: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint back: its config and its tensors.

    Raises:
        TrainError: there is none, it is damaged, or it is of another family.
    """
    config = load_config(folder, family)
    try:
        return config, load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as fault:
        raise TrainError(f"the checkpoint {folder} is damaged: {fault}") from None
