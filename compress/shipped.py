"""Models that ship with the package: something to begin with where nothing better is at hand."""

from importlib.resources import files
from pathlib import Path

from . import CompressError
from .folders import checkpoint_in

SHIPPED = ("otolite-tiny",)
"""Names that stand for a supernet wherever a run folder could; the first is taken unasked."""
PHONES = "otolite-phones"
"""The name that stands for a model of phones wherever one to start from could."""

_FILES = ("config.json", "model.safetensors")


def shipped(name: str) -> Path:
    """The checkpoint folder of a model that ships with the package.

    Args:
        name: one of `SHIPPED`, or `PHONES`.

    Raises:
        CompressError: the installation lacks it.
    """
    kind = "phones" if name == PHONES else "supernets"
    folder = Path(str(files("compress"))) / kind / name
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if missing:
        raise CompressError(
            f"the model {name} should ship with the package, and {folder / missing[0]} is not "
            "there: install otolite again, or name a model of your own"
        )
    return folder


def model_in(path: Path) -> Path:
    """A checkpoint to start from: one that ships, by its name; of a run folder, or itself."""
    return shipped(PHONES) if is_shipped_phones(path) else checkpoint_in(path)


def is_shipped_phones(path: Path) -> bool:
    """Whether a path is the name of the model that ships, and no folder of the user's."""
    return str(path) == PHONES and not path.exists()
