"""Audio without keywords: what is heard of a corpus, in which pieces, at which rate."""

import numpy as np
import pytest
import soundfile
from tiny_corpus import write_corpus

from compress.detection import negatives
from compress.detection.negatives import Piece, read_negatives
from train.errors import DataError

QUIET = np.zeros(1600, dtype=np.float32)


def test_sentences_with_a_keyword_are_left_out_and_partitions_told_apart(tmp_path):
    rows = [
        ("a.wav", "Go on, please.", "s", "train"),
        ("b.wav", "Only going", "s", "train"),
        ("c.wav", "", "s", "test"),
    ]
    root = write_corpus(tmp_path / "speech", rows, {row[0]: QUIET for row in rows})
    found = read_negatives(root, ["on", "stop"], testing=False)
    assert [piece.path.name for piece in found.pieces] == ["b.wav"]
    assert (found.partitions, found.left_out) == (("train",), 1)
    found = read_negatives(root, ["on", "stop"], testing=True)
    assert [piece.path.name for piece in found.pieces] == ["c.wav"]
    assert found.hours == pytest.approx(0.1 / 3600)


@pytest.mark.parametrize("testing", [False, True])
def test_a_plain_folder_is_heard_whole_either_way(tmp_path, testing):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, QUIET, 16_000)
    found = read_negatives(tmp_path, ["on"], testing=testing)
    assert [piece.path.name for piece in found.pieces] == ["a.wav", "b.wav"]


def test_long_recordings_are_read_in_pieces_that_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(negatives, "_PIECE_S", 0.25)
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (8000 * 7 // 10, 2))
    soundfile.write(tmp_path / "a.wav", stereo, 8000, "FLOAT")
    found = read_negatives(tmp_path, ["on"], testing=True)
    assert [round(piece.duration_s, 3) for piece in found.pieces] == [0.25, 0.25, 0.2]
    read = np.concatenate([piece.read(8000) for piece in found.pieces])
    np.testing.assert_allclose(read, stereo.mean(axis=1), atol=1e-6)
    assert len(found.pieces[0].read(16_000)) == 4000


def test_what_cannot_be_heard_is_one_line(tmp_path):
    with pytest.raises(DataError, match="holds no audio"):
        read_negatives(tmp_path, ["on"], testing=True)
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"broken\.flac cannot be decoded"):
        Piece(broken, 0.0, 1.0).read(16_000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan), 16_000, "FLOAT")
    with pytest.raises(DataError, match="no finite ones"):
        Piece(tmp_path / "nan.wav", 0.0, 1.0).read(16_000)
    rows = [("a.wav", "on", "s", "train")]
    root = write_corpus(tmp_path / "said", rows, {"a.wav": QUIET})
    with pytest.raises(DataError, match="every one of the 1 recordings holds a keyword"):
        read_negatives(root, ["on"], testing=True)
