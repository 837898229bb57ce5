"""Our import names are plain words; say so when a foreign file hides one of them."""

import importlib.util
from pathlib import Path

from . import CompressError

_NAMES = ("train", "export", "runtime")


def check_imports() -> None:
    """Make sure that train, export and runtime are ours.

    Raises:
        CompressError: another file or package of that name comes first; the message names it.
    """
    root = Path(__file__).resolve().parent.parent
    for name in _NAMES:
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != root / name / "__init__.py":
            raise CompressError(
                f"{found or name} hides Otolite's package {name!r}; run from another folder, "
                "or take it off PYTHONPATH"
            )
