"""Lets tests import `foreign_names` of the layouts' tests in importlib mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train" / "models"))
