"""Calls the command line in this process; lets tests import `tiny_spaces` in importlib mode."""

import sys
from pathlib import Path

import pytest

from compress.cli import main

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a command in this process: exit code, standard output, standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["compress", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
