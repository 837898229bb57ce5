"""What every library that rewrites a graph in 8 bits offers, asked of every file found."""

import inspect

import pytest

from compress.verbs.export import Quantizer as Flag
from export import ExportError
from export.quantizers import DEFAULT, get_quantizer, quantizer_names
from export.targets import onnx


@pytest.mark.parametrize("name", quantizer_names())
def test_a_library_is_found_by_its_files_name_and_says_what_it_is(name):
    library = get_quantizer(name)
    assert list(inspect.signature(library.in_8_bits).parameters) == ["model", "names", "ranges"]
    assert (library.__doc__ or "").strip()


def test_the_command_line_offers_every_library_and_the_default_is_one():
    assert sorted(flag.value for flag in Flag) == quantizer_names()
    assert DEFAULT in quantizer_names()
    assert sorted(onnx.QUANTIZERS) == quantizer_names()


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(ExportError, match="no quantizer 'optimun': did you mean 'optimum'"):
        get_quantizer("optimun")
    with pytest.raises(ExportError, match="known are onnxruntime, optimum"):
        get_quantizer("x")
