"""Published supernets come once, are checked, and say how to be had where they cannot come."""

import dataclasses
import hashlib
import json
import urllib.parse

import pytest
import torch
from tiny_lighthubert import LAST_HEAD, SPACE, write_file

from compress import CompressError, spaces
from compress.published import PUBLISHED, find_supernet, published, space_of
from compress.spaces import space_names
from compress.supernet import load_supernet
from train.data import fetch
from train.data.fetch import Checksum
from train.models.wav2vec2 import load_encoder

NAME = "lighthubert-small"


@pytest.fixture(autouse=True)
def own_world(monkeypatch, tmp_path):
    """A cache of its own, the tiny space, and no pauses."""
    monkeypatch.setenv("OTOLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(spaces._SPACES, "tiny", SPACE)
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)


@pytest.fixture
def offer(monkeypatch, mirror):
    """Serve a file of the layout in place of the published one."""
    folder, address, asked = mirror

    def serve(checksum="true", **settings):
        path = folder / "lighthubert_small.pt"
        tensors = write_file(path, **settings)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        told = {"true": Checksum("sha256", digest, "the test"), "none": None,
                "wrong": Checksum("sha256", "0" * 64, "the test")}[checksum]  # fmt: skip
        known = dataclasses.replace(
            PUBLISHED[NAME], url=f"{address}/{path.name}", space="tiny", checksum=told
        )
        monkeypatch.setitem(PUBLISHED, NAME, known)
        return tensors, digest, asked

    return serve


def test_the_table_names_files_of_the_authors_by_addresses_that_cannot_change():
    assert set(PUBLISHED) == {"lighthubert-base", "lighthubert-small", "lighthubert-stage1"}
    for name, known in PUBLISHED.items():
        address = urllib.parse.urlsplit(known.url)
        assert (address.scheme, address.hostname) == ("https", "huggingface.co")
        assert len(address.path.split("/resolve/")[1].split("/")[0]) == 40  # a commit, no branch
        assert known.file_name == name.replace("-", "_") + ".pt"
        assert known.space in space_names()
        if known.checksum:
            assert len(known.checksum.hexadecimal) == 64
    assert space_of("lighthubert-stage1").name == "lighthubert-base"


def test_a_supernet_is_downloaded_once_and_says_where_it_came_from(offer, tmp_path):
    tensors, digest, asked = offer()
    folder = published(NAME, progress=False)
    assert torch.equal(load_supernet(folder).head.weight, tensors[LAST_HEAD])
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert provenance["sha256"] == {"lighthubert_small.pt": digest}
    assert provenance["url"] == PUBLISHED[NAME].url
    assert provenance["verified_by"] == "the test"
    assert provenance["licence"].startswith("Apache-2.0")
    assert folder.is_relative_to(tmp_path / "cache")
    assert [path.name for path in folder.parent.iterdir()] == [NAME]  # the file itself is gone
    assert find_supernet(NAME) == folder
    assert len(asked) == 1


def test_without_a_checksum_that_is_said_and_the_digest_is_kept(offer, caplog):
    _, digest, _ = offer(checksum="none")
    with caplog.at_level("INFO"):
        folder = published(NAME, progress=False)
    assert "no checksum of it is known here" in caplog.text
    assert f"cannot be verified; its sha256 is {digest}" in caplog.text
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert provenance["verified_by"] == "nothing"
    assert provenance["sha256"] == {"lighthubert_small.pt": digest}


def test_without_a_network_the_way_by_hand_is_told(monkeypatch, tmp_path):
    gone = dataclasses.replace(PUBLISHED[NAME], url="http://127.0.0.1:1/lighthubert_small.pt")
    monkeypatch.setitem(PUBLISHED, NAME, gone)
    with pytest.raises(CompressError) as fault:
        published(NAME, progress=False)
    said = str(fault.value)
    assert "does not come" in said
    assert "http://127.0.0.1:1/lighthubert_small.pt" in said
    assert "`compress import lighthubert_small.pt --out runs/lighthubert-small`" in said
    assert "--mirror" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checksum": "wrong"}, "is not the published file"),
        ({"pruner_supernet": "Supernet-Base.yaml"}, "subnets of 'tiny' were not all trained"),
        ({"layer_norm_first": True}, "pre_norm True where False is needed"),
    ],
)
def test_another_file_than_the_published_one_is_no_supernet(settings, said, offer, tmp_path):
    offer(**settings)
    with pytest.raises(CompressError, match=said):
        published(NAME, progress=False)
    assert not (tmp_path / "cache" / "supernets" / NAME).exists()


def test_a_cut_names_a_published_supernet_as_it_would_a_folder(offer, call, tmp_path):
    _, _, asked = offer()
    code, _, err = call("cut", NAME, "smallest", "--out", tmp_path / "cut", "--dry-run")
    assert code == 0, err
    assert asked == []  # planning downloads nothing
    code, _, err = call("cut", NAME, "smallest", "--out", tmp_path / "cut")
    assert code == 0, err
    assert load_encoder(tmp_path / "cut").config == SPACE.config(SPACE.smallest())
