"""Read the checkpoint files of other toolkits without running anything that is in them."""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import LayoutError

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".th")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_BODIES = ("model", "state_dict", "model_state_dict")
_CONFIGS = ("cfg", "args", "config", "hyper_parameters")


@dataclass(frozen=True)
class ForeignFile:
    """What a checkpoint of another toolkit holds."""

    values: dict[str, object]
    """By their names, nested ones joined with dots; tensors, but for oddities."""
    config: dict[str, Any]
    """The file's own settings, as plain values; empty where it holds none."""
    paths: tuple[Path, ...]
    """The files that the tensors came from."""

    def digests(self) -> dict[str, str]:
        """sha256 in hex of each file, by its name."""
        found = {}
        for path in self.paths:
            with path.open("rb") as stream:
                found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return found


def read_foreign(path: Path) -> ForeignFile:
    """Read a file, or a folder of Hugging Face's.

    Args:
        path: .pt, .pth, .ckpt, .bin or .safetensors; or a folder with config.json and
            model.safetensors or pytorch_model.bin, in one piece or in shards with an index.

    Raises:
        LayoutError: it is not there, damaged, holds no tensors, or is a pickle of more than tensors
            and plain values; none such is ever unpickled.
    """
    if path.is_dir():
        weights = _weights(path)
        config = _json(path / "config.json") if (path / "config.json").is_file() else {}
        if "family" in config:
            raise LayoutError(f"{path} is a checkpoint of Otolite's already")
    elif path.is_file():
        weights = (path,)
        beside = path.parent / "config.json"
        config = _json(beside) if path.name in _WEIGHTS and beside.is_file() else {}
    else:
        raise LayoutError(f"there is no file or folder {path}")
    if config and (path if path.is_dir() else path.parent).joinpath(_PREPROCESSOR).is_file():
        folder = path if path.is_dir() else path.parent
        config["preprocessor_config"] = _json(folder / _PREPROCESSOR)
    values: dict[str, object] = {}
    for file in weights:
        loaded = _load(file)
        body, inner = _body(loaded, file)
        values |= _flat(body)
        config = config or inner
    if not any(isinstance(value, Tensor) for value in values.values()):
        raise LayoutError(f"{path} holds no tensors")
    return ForeignFile(values, config, weights)


_PREPROCESSOR = "preprocessor_config.json"


def _weights(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that hold its tensors."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        shards = _json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise LayoutError(f"{index} is damaged: it has no weight_map")
        names = sorted(set(map(str, shards.values())))
        for shard in names:
            if Path(shard).name != shard:
                raise LayoutError(f"{index} names {shard!r}, which is no file beside it")
            if not (folder / shard).is_file():
                raise LayoutError(f"{folder} is incomplete: {shard} is missing")
        return tuple(folder / shard for shard in names)
    raise LayoutError(f"{folder} holds neither {' nor '.join(_WEIGHTS)}; name a file of weights")


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise LayoutError(f"{path} is damaged: {fault}") from None
    if not isinstance(values, dict):
        raise LayoutError(f"{path} is damaged: it holds no JSON object")
    return values


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as fault:
            raise LayoutError(f"{path} is damaged: {fault}") from None
    if path.suffix not in _PICKLES:
        known = ", ".join((*_PICKLES, ".safetensors"))
        raise LayoutError(f"{path} ends in {path.suffix!r}; checkpoints end in {known}")
    try:
        # Only the newer, zipped files can be mapped into memory.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as fault:  # a damaged pickle raises anything
        wanted = _wanted(path, fault)
        if wanted:
            raise LayoutError(
                f"{path} is a pickle that wants {wanted}, which is code to run, so it is not "
                "opened; load it where you trust it and write its tensors alone: "
                "torch.save({'model': checkpoint['model']}, 'tensors.pt')"
            ) from None
        reason = next(iter(str(fault).splitlines()), "") or type(fault).__name__
        raise LayoutError(f"{path} cannot be read, it may be damaged: {reason}") from None


def _wanted(path: Path, fault: Exception) -> str:
    """Classes that a pickle asks for beside tensors and plain values; empty: it is broken."""
    if not isinstance(fault, pickle.UnpicklingError):
        return ""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an older file has no index to look into: the first class must do
        names = re.findall(r"(?:GLOBAL|class) ([\w.]+\.\w+)", str(fault))[:1]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _body(loaded: object, path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The tensors' mapping inside what was loaded, and the settings beside it."""
    if isinstance(loaded, Mapping):
        for key in _BODIES:
            if isinstance(loaded.get(key), Mapping):
                configs = (loaded.get(name) for name in _CONFIGS)
                return loaded[key], next((dict(c) for c in configs if isinstance(c, Mapping)), {})
        if any(isinstance(value, Tensor) for value in loaded.values()):
            return loaded, {}
    raise LayoutError(
        f"{path} holds no tensors by name, neither itself nor under {', '.join(_BODIES)}"
    )


def _flat(values: Mapping[Any, Any], start: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{start}{key}.")
        else:
            flat[f"{start}{key}"] = value
    return flat
