"""Downloads that break and go on, servers of several kinds, and archives that must not unpack."""

import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from train.data import fetch
from train.data.fetch import Checksum, download, read_url, unpack, unpacked
from train.errors import DataError

DATA = np.random.default_rng(0).bytes(200_000)


@dataclass
class Server:
    """What a test tells the server, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    """Honour Range, as most servers do."""
    break_after: list[int] = field(default_factory=list)
    """For each of the next answers, bytes after which the connection is cut."""
    answers: list[int] = field(default_factory=list)
    """Status codes for the next requests, instead of files."""
    asked: list[str | None] = field(default_factory=list)
    """Each request's Range."""


@pytest.fixture
def server():
    state = Server(files={"/a.bin": DATA})

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked = self.headers.get("Range")
            state.asked.append(asked)
            data = state.files.get(self.path)
            status = state.answers.pop(0) if state.answers else 200 if data is not None else 404
            if status != 200:
                self.send_error(status)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.ranges else 0
            if start >= len(data) and start:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            sent = data[start:]
            if state.break_after:
                sent = sent[: state.break_after.pop(0)]
            self.wfile.write(sent)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        state.address = f"http://127.0.0.1:{listening.server_port}"
        yield state
        listening.shutdown()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """The pauses between tries, instead of waiting for them."""
    pauses = []
    monkeypatch.setattr(fetch.time, "sleep", pauses.append)
    return pauses


def sha256(data=DATA):
    return Checksum("sha256", hashlib.sha256(data).hexdigest(), "the test")


def load(server, path, checksum=None, **more):
    return download(server.address + "/a.bin", path, checksum=checksum, progress=False, **more)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_its_digest_is_told(server, tmp_path):
    assert load(server, tmp_path / "a.bin") == hashlib.sha256(DATA).hexdigest()
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert names(tmp_path) == ["a.bin"]
    assert server.asked == [None]


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path, no_waiting):
    server.break_after = [100_000]
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == [None, "bytes=100000-"]
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert no_waiting == [1.0]


def test_a_later_call_asks_for_the_rest_only(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(DATA[:150_000])
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == ["bytes=150000-"]
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert names(tmp_path) == ["a.bin"]


def test_a_part_that_is_already_whole_is_taken_as_it_is(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(DATA)
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == [f"bytes={len(DATA)}-"]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_loaded_anew(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(DATA + b"more")
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == [f"bytes={len(DATA) + 4}-", None]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    server.ranges = False
    server.break_after = [50_000]
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == [None, "bytes=50000-"]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_wrong_checksum_is_told_and_the_file_is_dropped(server, tmp_path):
    wrong = Checksum("md5", "0" * 32, "the test")
    with pytest.raises(DataError) as raised:
        load(server, tmp_path / "a.bin", wrong)
    said = str(raised.value)
    assert hashlib.md5(DATA).hexdigest() in said
    assert "0" * 32 in said
    assert "Call again" in said
    assert "\n" not in said
    assert names(tmp_path) == []


def test_a_wrong_size_is_told_where_there_is_no_checksum(server, tmp_path):
    with pytest.raises(DataError, match="200,000 bytes, not 7"):
        load(server, tmp_path / "a.bin", size_bytes=7)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_verified_and_not_loaded(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(DATA)
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked == []
    (tmp_path / "a.bin").write_bytes(DATA[:-1])
    with pytest.raises(DataError, match="not the published file"):
        load(server, tmp_path / "a.bin", sha256())
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again_with_longer_pauses(server, tmp_path, no_waiting):
    server.answers = [503, 429, 500]
    load(server, tmp_path / "a.bin", sha256())
    assert no_waiting == [1.0, 2.0, 4.0]


def test_a_server_that_stays_away_is_given_up_and_the_part_is_kept(server, tmp_path, no_waiting):
    server.break_after = [10_000] + [0] * 9
    with pytest.raises(DataError, match=r"does not come .*10,000 of 200,000 bytes.*call again"):
        load(server, tmp_path / "a.bin", sha256())
    assert names(tmp_path) == ["a.bin.part"]
    assert len(server.asked) == 1 + 6
    server.break_after = []
    load(server, tmp_path / "a.bin", sha256())
    assert server.asked[-1] == "bytes=10000-"


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_file_that_is_not_there_is_told_at_once(server, tmp_path, code):
    server.answers = [code]
    with pytest.raises(DataError, match=f"the server answers {code}"):
        load(server, tmp_path / "a.bin")
    assert server.asked == [None]


def test_nobody_at_the_address_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/x does not come .*refused"):
        download("http://127.0.0.1:1/x", tmp_path / "x", checksum=None, progress=False)


def test_a_small_file_is_read_with_the_same_patience(server):
    server.answers = [503]
    server.break_after = [5]
    assert read_url(server.address + "/a.bin") == DATA
    assert len(server.asked) == 3


def make_tar(path, members, mode="w:gz"):
    """Write a tar of (name, content) or ready TarInfo."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, content = member
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_an_archive_is_unpacked_once_and_joins_what_is_there(tmp_path):
    out = tmp_path / "out"
    first = make_tar(tmp_path / "1.tar.gz", [("c/README", b"old"), ("c/one/a", b"1")])
    second = make_tar(tmp_path / "2.tar", [("./c/README", b"new"), ("./c/two/b", b"2")], "w")
    unpack(first, out, name="one", progress=False)
    unpack(second, out, name="two", progress=False)
    assert (out / "c/README").read_text() == "new"
    assert (out / "c/one/a").read_text() == "1"
    assert (out / "c/two/b").read_text() == "2"
    assert unpacked(out, "one")
    assert not unpacked(out, "three")
    assert not list(out.glob(".unpacking*"))
    first.unlink()
    unpack(first, out, name="one", progress=False)  # nothing to do, so nothing to read


def test_an_unpacking_that_was_stopped_begins_anew(tmp_path, stopping):
    out = tmp_path / "out"
    archive = make_tar(tmp_path / "1.tar.gz", [(f"c/{index}", b"1") for index in range(5)])
    (out / ".unpacking-one").mkdir(parents=True)
    (out / ".unpacking-one" / "rest").touch()  # as a killed process leaves it
    with stopping(tarfile.TarFile, "extract", at=3):
        unpack(archive, out, name="one", progress=False)
    assert not (out / "c").exists()
    assert not unpacked(out, "one")
    unpack(archive, out, name="one", progress=False)
    assert names(out / "c") == ["0", "1", "2", "3", "4"]
    assert not (out / "rest").exists()


@pytest.mark.parametrize(
    "bad",
    [
        ("../outside", b"x"),
        ("c/../../outside", b"x"),
        link("c/way", "/etc"),
        link("c/way", "../../.."),
        link("c/way", "/etc/passwd", tarfile.LNKTYPE),
        link("c/pipe", "", tarfile.FIFOTYPE),
    ],
    ids=["parent", "deep", "absolute link", "link out", "hard link", "fifo"],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, bad):
    archive = make_tar(tmp_path / "bad.tar.gz", [("c/good", b"1"), bad])
    with pytest.raises(DataError, match="not safe to unpack"):
        unpack(archive, tmp_path / "out", name="bad", progress=False)
    assert names(tmp_path) == ["bad.tar.gz", "out"]
    assert names(tmp_path / "out") == []


def test_an_absolute_name_lands_inside(tmp_path):
    archive = make_tar(tmp_path / "a.tar.gz", [("/etc/otolite-test", b"1")])
    unpack(archive, tmp_path / "out", name="a", progress=False)
    assert (tmp_path / "out/etc/otolite-test").read_bytes() == b"1"


@pytest.mark.parametrize("cut", [30, 2000, 6000])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, cut):
    archive = make_tar(tmp_path / "a.tar.gz", [("c/a", DATA[:5000]), ("c/b", DATA[5000:9000])])
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.tar\.gz is damaged"):
        unpack(archive, tmp_path / "out", name="a", progress=False)
    assert names(tmp_path / "out") == []
    archive.write_bytes(gzip.compress(b"no tar at all" * 100))
    with pytest.raises(DataError, match=r"a\.tar\.gz is damaged"):
        unpack(archive, tmp_path / "out", name="a", progress=False)
