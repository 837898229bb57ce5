"""A search that is asked for little takes something sensible and says what."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from compress import BudgetError, CompressError, published, shipped
from compress.search import defaults
from compress.search.config import SearchConfig
from compress.search.record import plain
from compress.search.winner import Places, search
from compress.spaces import get_space
from compress.supernet import Supernet, save_supernet
from train.data import fetch
from train.errors import DataError
from train.seeding import seeded

SPACE = get_space("otolite-tiny")


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package that ships a supernet of random weights in half precision, in a fresh folder."""
    with seeded(0):
        supernet = Supernet(SPACE, 16).half()
    save_supernet(
        tmp_path / "package" / "supernets" / "otolite-tiny", supernet, provenance={"licence": "any"}
    )
    monkeypatch.setattr(shipped, "files", lambda name: tmp_path / "package")
    monkeypatch.setenv("OTOLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(defaults, "_CLIPS", (10, 10, 10))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    return tmp_path / "package" / "supernets" / "otolite-tiny"


def test_a_target_alone_is_enough(package, call, caplog, monkeypatch, tmp_path):
    caplog.set_level("INFO", logger="compress")
    words = ["search", "--target-params", "30M", "--num-trials", 2, "--population", 2, "--json"]
    code, out, err = call(*words)
    assert code == 0, err
    found = json.loads(out)
    assert found["model"] == "runs/search-30M/model"
    assert Path("runs/search-30M/search.json").is_file()
    said = caplog.text
    for words_said in (
        "otolite-tiny, which ships with the package",
        f"{tmp_path / 'cache' / 'speech-1'}, made by espeak-ng",
        "30,000,000 parameters: 1,791,153 of 1,791,153 subnets fit",
        "distillation, for 2 of them",
        "no teacher is at hand: subnets are compared with the largest of them",
        "scoring on 6 held-out clips",
        "it ruled none out: the largest has 1,281,920 parameters. Try --target-params 740k",
        "compress report runs/search-30M",
        "compress search --supernet lighthubert-small",
    ):
        assert words_said in said
    assert "study" not in err  # optuna's own talk

    def made(*_args, **_kwargs):
        raise AssertionError("made again")

    monkeypatch.setattr(defaults, "make_keyword_corpus", made)
    code, again, err = call(*words[:-1], "--resume", "--supernet", package, "--json")
    assert code == 0, err
    assert json.loads(again) == found


def test_the_folder_is_named_after_the_budget(package, monkeypatch):
    monkeypatch.setattr(defaults, "_speech", lambda: Path("speech"))

    def out_of(**limits):
        asked = SearchConfig(**limits)
        return defaults.settle(asked, supernet=None, data=None, out=None).out

    assert out_of(target_params=30_000_000) == Path("runs/search-30M")
    assert out_of(target_params=30_000_001) == Path("runs/search-30000001")
    assert out_of(target_macs=60_000_000, size_bytes=2_500_000) == Path("runs/search-60Mmacs-2.5MB")


def test_nothing_is_made_or_downloaded_for_a_budget_that_nothing_fits(package, monkeypatch):
    def had(*_args, **_kwargs):
        raise AssertionError("asked for")

    monkeypatch.setattr(defaults, "make_keyword_corpus", had)
    monkeypatch.setattr(published, "download", had)
    for supernet in (None, "lighthubert-small"):
        asked = SearchConfig(target_params=1000)
        with pytest.raises(BudgetError, match="the least is"):
            defaults.settle(asked, supernet=supernet, data=None, out=None)


def test_a_published_supernet_without_a_network_says_how_to_bring_it(package, call, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    known = published.PUBLISHED["lighthubert-small"]
    gone = dataclasses.replace(known, url="http://127.0.0.1:1/lighthubert_small.pt")
    monkeypatch.setitem(published.PUBLISHED, "lighthubert-small", gone)
    code, out, err = call("search", "--supernet", "lighthubert-small", "--target-params", "30M")
    assert (code, out) == (1, "")
    assert "lighthubert-small cannot be had" in err
    assert "`compress import lighthubert_small.pt --out runs/lighthubert-small`" in err
    assert not Path("runs").exists()
    # What fits is known without it.
    code, out, err = call(
        "search", "--supernet", "lighthubert-small", "--target-params", "30M", "--dry-run", "--json"
    )
    assert json.loads(out)["subnets_within"] == 634_600_506_760


def test_an_installation_without_the_supernet_says_so(package, call):
    (package / "model.safetensors").unlink()
    for words in (["search", "--target-params", "500k"], ["cut", "otolite-tiny", "smallest"]):
        code, _, err = call(*words, "--out", "out")
        assert code == 1
        assert "the model otolite-tiny should ship with the package" in err
    code, _, err = call("search", "otolite-tny", "--target-params", "500k")
    assert code == 1
    assert "neither a folder nor the name of a supernet: did you mean 'otolite-tiny'?" in err


def test_without_espeak_a_corpus_is_asked_for(package, monkeypatch):
    def missing(*_args, **_kwargs):
        raise DataError("espeakng-loader is missing")

    monkeypatch.setattr(defaults, "make_keyword_corpus", missing)
    with pytest.raises(CompressError, match=r"espeakng-loader is missing\. Give --data"):
        defaults.settle(SearchConfig(target_params=10**6), supernet=None, data=None, out=None)


def test_polish_without_a_run_is_refused_before_anything_is_scored(package, corpus, monkeypatch):
    def scored(*_args, **_kwargs):
        raise AssertionError("scored")

    monkeypatch.setattr("compress.search.encoders.build_scorer", scored)
    config = SearchConfig(target_params=500_000, polish_updates=4)
    with pytest.raises(CompressError, match=r"run of compress distill .* --polish-updates 0"):
        search(config, Places(supernet=package, data=corpus, out=Path("out")), resume=False)
    assert not Path("out").exists()


def test_a_shipped_supernet_is_cut_as_any_other(package, call):
    subnet = SPACE.sample(np.random.default_rng(0))
    code, out, err = call("cut", "otolite-tiny", subnet.to_json(), "--out", "cut", "--json")
    assert code == 0, err
    assert json.loads(out)["subnet"] == plain(subnet)
