"""Where things lie: recipes of a package, the checkpoint of a run."""

from importlib.resources import files
from pathlib import Path


def recipe_folder(package: str) -> Path:
    """The recipes that ship with a package."""
    return Path(str(files(package))) / "recipes"


def checkpoint_in(path: Path) -> Path:
    """A checkpoint given itself or by the run folder that holds it as `model`."""
    inner = path / "model"
    return inner if inner.is_dir() else path
