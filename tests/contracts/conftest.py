"""Lets tests import `stream_laws`, and `tiny_keywords` of the exports' tests, in importlib mode."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "export"):
    sys.path.insert(0, str(folder))
pytest.register_assert_rewrite("stream_laws")
