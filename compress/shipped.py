"""Supernets that ship with the package: something to search where nothing better is at hand."""

from importlib.resources import files
from pathlib import Path

from . import CompressError

SHIPPED = ("otolite-tiny",)
"""Names that stand for a supernet wherever a run folder could; the first is taken unasked."""

_FILES = ("config.json", "model.safetensors")


def shipped(name: str) -> Path:
    """The checkpoint folder of a supernet that ships with the package.

    Args:
        name: one of `SHIPPED`.

    Raises:
        CompressError: the installation lacks it.
    """
    folder = Path(str(files("compress"))) / "supernets" / name
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if missing:
        raise CompressError(
            f"the supernet {name} should ship with the package, and {folder / missing[0]} is not "
            "there: install otolite again, or name a supernet of your own (compress distill makes "
            "one)"
        )
    return folder
