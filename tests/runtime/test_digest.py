"""Digests are hashlib's, without what it loads."""

import hashlib
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runtime.digest import sha256

STREAMING = """
import sys
import runtime
model = runtime.load(sys.argv[1])
model.stream().push(__import__("numpy").zeros(4_000, dtype="int16"))
print(*sys.modules)
"""


@given(pieces=st.lists(st.binary(max_size=200), max_size=4))
def test_they_are_hashlibs(pieces: list[bytes]) -> None:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    whole = b"".join(pieces)
    assert digest.hexdigest() == sha256(whole).hexdigest() == hashlib.sha256(whole).hexdigest()


def test_a_stream_loads_neither_openssl_nor_what_zips_and_reports_need(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STREAMING, str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    loaded = set(done.stdout.split())
    assert "runtime.stream" in loaded
    assert not loaded & {"_hashlib", "zipfile", "importlib.metadata", "tempfile"}
