"""The command line in this process, a server beside it; and what lies beside can be imported."""

import http.server
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from compress.cli import main

TESTS = Path(__file__).parents[1]
for folder in (
    Path(__file__).parent,
    TESTS / "train",
    TESTS / "train" / "models",
    TESTS / "export",
):
    sys.path.insert(0, str(folder))


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


@pytest.fixture
def mirror(tmp_path):
    """A folder behind an address: files put there are served, and requests listed."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=folder)
    ) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()
