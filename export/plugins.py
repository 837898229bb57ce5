"""Plug-ins of a folder: a file each, whose name is its name."""

import difflib
import importlib
import pkgutil
from types import ModuleType

from . import ExportError


def plugin_names(package: ModuleType) -> list[str]:
    """Of every file of a package, sorted; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def get_plugin(package: ModuleType, name: str, *, kind: str) -> ModuleType:
    """A file of a package by its name.

    Args:
        package: the folder.
        name: the file's, without its ending.
        kind: what it is, for the message.

    Raises:
        ExportError: there is none of that name; the nearest is named.
    """
    names = plugin_names(package)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        told = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
        raise ExportError(f"there is no {kind} {name!r}: {told}")
    return importlib.import_module(f"{package.__name__}.{name}")
