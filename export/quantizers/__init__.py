"""Libraries that rewrite an ONNX graph's layers in 8 bits, one file each, which gives it its name.

Each offers `in_8_bits(model, names, ranges)`. Which layers, which ranges and whether the result may
leave is decided by quantize.py and gate.py, the same for all.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from .. import ExportError

DEFAULT = "onnxruntime"


def quantizer_names() -> list[str]:
    """Every library's name, sorted; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_quantizer(name: str) -> ModuleType:
    """A library by its name.

    Raises:
        ExportError: there is none of that name; the nearest is named.
    """
    names = quantizer_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        told = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
        raise ExportError(f"there is no quantizer {name!r}: {told}")
    return importlib.import_module(f"{__name__}.{name}")
