"""`compress prepare`, from an address to a corpus that training reads, on archives of a test."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from train.data.corpora import librispeech, speech_commands
from train.data.corpus import read_corpus
from train.data.shards import find_shards, waveforms


def audio(seconds, kind):
    stream = io.BytesIO()
    rng = np.random.default_rng(int(seconds * 1000))
    samples = rng.normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(stream, samples, 16_000, format=kind)
    return stream.getvalue()


def pack(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def offer(monkeypatch, corpus, path, part, checksum=True):
    """Let the corpus have only this part, with the archive's true digest or none."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    archive = corpus.PARTS[part]
    told = replace(archive.checksum, hexadecimal=digest) if checksum else None
    changed = replace(archive, checksum=told, size_bytes=path.stat().st_size)
    monkeypatch.setitem(corpus.PARTS, part, changed)
    return digest


def offer_librispeech(monkeypatch, folder, part, **more):
    path = folder / f"{part}.tar.gz"
    base = f"LibriSpeech/{part}/{len(part)}/2"
    name = f"{len(part)}-2-0000"
    pack(
        path,
        {
            "LibriSpeech/README.TXT": b"about",
            f"{base}/{name}.flac": audio(1.5, "flac"),
            f"{base}/{len(part)}-2.trans.txt": f"{name} A SENTENCE\n".encode(),
        },
    )
    return offer(monkeypatch, librispeech, path, part, **more)


def test_a_corpus_is_loaded_verified_unpacked_and_readable(call, mirror, monkeypatch, tmp_path):
    folder, address, asked = mirror
    for part in ("train-clean-100", "dev-clean"):
        offer_librispeech(monkeypatch, folder, part)
    out = tmp_path / "out"
    words = ["prepare", "librispeech", "--out", out, "--mirror", address + "/", "--json"]
    code, text, err = call(*words, "--part", "dev-clean")
    assert code == 0, err
    hours = round(1.5 / 3600, 3)
    assert json.loads(text) == {
        "corpus": str(out),
        "licence": "CC BY 4.0",
        "valid": {"recordings": 1, "hours": hours},
    }
    assert len(asked) == 1
    assert [path.name for path in sorted(out.iterdir())] == [
        ".unpacked", "LibriSpeech", "cuts.jsonl.gz",
    ]  # fmt: skip
    # A second part joins the first, which is not loaded again.
    code, text, _ = call(*words, "--part", "train-clean-100", "--part", "dev-clean")
    assert code == 0
    assert sorted(json.loads(text))[2:] == ["train", "valid"]
    assert len(asked) == 2
    cuts = list(read_corpus(out))
    assert [cut.partition for cut in cuts] == ["valid", "train"]
    assert {cut.supervisions[0].text for cut in cuts} == {"A SENTENCE"}


def test_speech_commands_lies_as_it_always_did(call, mirror, monkeypatch, tmp_path):
    folder, address, _ = mirror
    path = folder / "speech_commands_v0.02.tar.gz"
    pack(
        path,
        {
            "./yes/a_nohash_0.wav": audio(1.0, "wav"),
            "./no/b_nohash_0.wav": audio(1.0, "wav"),
            "./validation_list.txt": b"no/b_nohash_0.wav\n",
            "./testing_list.txt": b"\n",
        },
    )
    offer(monkeypatch, speech_commands, path, "v0.02")
    out = tmp_path / "out"
    code, text, err = call(
        "prepare", "speech_commands", "--out", out, "--mirror", address, "--keep-archives"
    )
    assert code == 0, err
    assert "recordings 1" in text
    assert (out / "archives" / path.name).is_file()
    assert [cut.id for cut in read_corpus(out)] == ["no/b_nohash_0.wav", "yes/a_nohash_0.wav"]


def test_a_wrong_archive_ends_with_1_and_the_way_out(call, mirror, monkeypatch, tmp_path):
    folder, address, _ = mirror
    offer_librispeech(monkeypatch, folder, "dev-clean")
    archive = folder / "dev-clean.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    out = tmp_path / "out"
    code, text, err = call(
        "prepare", "librispeech", "--part", "dev-clean", "--out", out, "--mirror", address
    )
    assert (code, text) == (1, "")
    assert err.startswith("error: dev-clean.tar.gz is not the published file: its sha256 is ")
    assert "name another --mirror" in err
    assert err.count("\n") == 1
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_an_archive_that_cannot_be_verified_is_said_to_be(
    call, mirror, monkeypatch, tmp_path, caplog
):
    folder, address, _ = mirror
    digest = offer_librispeech(monkeypatch, folder, "dev-clean", checksum=False)
    words = ["prepare", "librispeech", "--part", "dev-clean", "--out", tmp_path / "out"]
    code, text, _ = call(*words, "--mirror", address, "--dry-run")
    assert (code, "nothing: no checksum is known" in text) == (0, True)
    code, text, _ = call(*words, "--mirror", address, "--json")
    assert code == 0
    assert json.loads(text)["unverified_sha256"] == {"dev-clean.tar.gz": digest}
    assert f"cannot be verified: no checksum of it is published; its sha256 is {digest}" in (
        caplog.text
    )


def test_a_folder_of_ones_own_becomes_shards(call, corpus, tmp_path):
    out = tmp_path / "out"
    words = ["prepare", "folder", "--from", corpus, "--out", out]
    code, text, _ = call(*words, "--dry-run")
    assert (code, "recordings 18" in text, out.exists()) == (0, True, False)
    code, text, err = call(*words, "--shards", "--shard-seconds", "5", "--json")
    assert code == 0, err
    result = json.loads(text)
    cuts = read_corpus(corpus)
    assert sorted(read_corpus(out).ids) == sorted(cuts.ids)
    for partition, num_shards in result["shards"].items():
        shards = find_shards(out / "shards" / partition)
        assert len(shards) == num_shards
        expected = sorted(cut.id for cut in cuts if cut.partition == partition)
        assert sorted(cut_id for cut_id, _ in waveforms(shards)) == expected
    assert sorted(result["shards"]) == ["test", "train", "valid"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("prepare librispech --out o", "did you mean 'librispeech'"),
        ("prepare librispeech --out o", "61 GB of archives together"),
        ("prepare librispeech --out o --part dev", "has no part 'dev'"),
        ("prepare folder --out o", "with --from"),
        ("prepare librispeech --out o --from d --part all", "leave out --part"),
        ("prepare librispeech --out o --shard-seconds 0", "--shard-seconds"),
        ("prepare librispeech", "--out"),
    ],
)
def test_a_wrong_call_ends_with_2_and_writes_nothing(call, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert not any(tmp_path.iterdir())


def test_a_dry_run_lists_all_parts_and_writes_nothing(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, _ = call("prepare", "libri_light", "--out", "o", "--dry-run", "--json")
    assert code == 0
    listed = json.loads(text)
    assert listed["hours"] == 57_704
    assert listed["parts"]["large"]["size"] == "about 3.05 TB"
    assert listed["parts"]["small"]["url"].endswith("/librilight/data/small.tar")
    assert not any(tmp_path.iterdir())
