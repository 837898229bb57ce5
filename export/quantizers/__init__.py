"""Libraries that rewrite an ONNX graph's layers in 8 bits, one file each, which gives it its name.

Each offers `in_8_bits(model, names, ranges)`. Which layers, which ranges and whether the result may
leave is decided by quantize.py and gate.py, the same for all.
"""

import sys
from types import ModuleType

from ..plugins import get_plugin, plugin_names

DEFAULT = "onnxruntime"


def quantizer_names() -> list[str]:
    """Every library's name, sorted; none is imported."""
    return plugin_names(sys.modules[__name__])


def get_quantizer(name: str) -> ModuleType:
    """A library by its name.

    Raises:
        ExportError: there is none of that name; the nearest is named.
    """
    return get_plugin(sys.modules[__name__], name, kind="quantizer")
