"""Lets tests import `tiny_keywords` of the exports' tests in importlib mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
