"""Where things lie: recipes of a package, the checkpoint of a run; and whose a folder is."""

import json
from importlib.resources import files
from pathlib import Path


def recipe_folder(package: str) -> Path:
    """The recipes that ship with a package."""
    return Path(str(files(package))) / "recipes"


def checkpoint_in(path: Path) -> Path:
    """A checkpoint given itself or by the run folder that holds it as `model`."""
    inner = path / "model"
    return inner if inner.is_dir() else path


def is_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is one of Hugging Face transformers, of any architecture."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config
