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
        found = _place(name)
        if found is None:
            raise CompressError(f"Otolite's package {name!r} is missing beside {root / 'compress'}")
        if found != root / name / "__init__.py":
            raise CompressError(
                f"{found} hides Otolite's package {name!r}; run from another folder, "
                "or take it off PYTHONPATH"
            )


def _place(name: str) -> Path | None:
    """The file that `import name` would run; the folder where there is one without __init__.py."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None
