"""README's commands, one after the other, on a corpus and with models of seconds."""

import json
from pathlib import Path

import pytest

import compress.pipeline
from compress.cost.params import params
from compress.pipeline import Effort, run_demo
from compress.search_file import SearchFile
from compress.spaces import get_space
from compress.subnet import Subnet

from .conftest import KEYWORDS, SMALL_BATCHES, SUPERNET, TARGET_PARAMS, TEACHER, digest


def test_every_verb_names_what_it_made_as_json(journey):
    assert Path(journey.results("pretrain")["teacher"]) == journey.root / "teacher" / "model"
    assert Path(journey.results("distill")["supernet"]) == journey.root / "supernet" / "model"
    assert Path(journey.results("search")["model"]) == journey.root / "search" / "model"
    assert Path(journey.results("finetune")["model"]) == journey.root / "keywords" / "model"
    assert Path(journey.results("export")["bundle"]) == journey.bundle
    for folder in ("teacher", "supernet", "search", "keywords"):
        assert (journey.root / folder / "model" / "model.safetensors").is_file()


def test_the_winner_is_within_its_budget_and_as_small_as_it_says(journey):
    found = journey.results("search")
    winner = Subnet.from_json((journey.root / "search" / "winner.json").read_text())
    assert json.loads(winner.to_json()) == found["winner"]
    space = get_space(winner.space)
    assert params(space, winner) == found["predicted"]["params"] <= TARGET_PARAMS
    # Authors count the mask embedding at the supernet's width; the dense model cuts it.
    uncut_mask = space.supernet.embed_dim - winner.embed_dim
    assert found["measured"]["params"] == found["predicted"]["params"] - uncut_mask
    assert found["measured"]["size_bytes"] <= found["predicted"]["size_bytes"]


def test_a_searchs_record_is_what_its_page_and_show_tell_of(journey, call, tmp_path, html_page):
    run = journey.root / "search"
    recorded = json.loads((run / "search.json").read_text())
    found = SearchFile.of(recorded)
    printed = journey.results("search")
    assert found.winner.predicted == printed["predicted"]
    assert found.winner.measured == {key: printed["measured"][key] for key in found.winner.measured}
    assert set(found.winner.measured) == {"params", "size_bytes", "latency_ns"}
    assert found.budgets == {"params": TARGET_PARAMS}
    assert found.asked["scorer"] == {"name": "distillation", "num_clips": 3}
    assert (len(found.scored), found.skipped) == (4, 0)
    page = tmp_path / "report.html"
    answer = call("report", run, "--out", page, "--json")
    assert json.loads(answer.out)["scored"] == 4, answer.err
    text = html_page(page).text
    assert "winner as exported" in text
    assert "scorer distillation" in text
    shown = json.loads(call("show", run, "--json").out)
    assert shown["params"] == printed["predicted"]["params"]
    assert shown["macs_per_second_of_audio"] == printed["predicted"]["macs"]


def test_a_run_keeps_no_state_to_resume_from_once_it_is_done(journey):
    assert not list(journey.root.rglob("state"))
    assert not [path for path in journey.root.rglob(".*") if path.name.startswith(".")]


def test_the_bundle_passes_the_doctor_of_either_command_line(journey, program):
    assert journey.results("doctor")["passed"] is True
    alone = program("doctor", journey.bundle, "--json", module="runtime")
    assert alone.code == 0
    assert json.loads(alone.out)["passed"] is True


def test_the_bundle_says_where_it_came_from(journey):
    manifest = json.loads((journey.bundle / "manifest.json").read_text())
    assert manifest["provenance"]["licence_of_training_data"] == "made in a test"
    assert manifest["provenance"]["recipe"]["updates"] == 4
    assert set(manifest["decision"]["keywords"]) == {"no", "yes"}


def test_listening_prints_a_line_of_json_for_each_event(journey, recording, program):
    for module in ("compress", "runtime"):
        heard = program(
            "listen", journey.bundle, "--wav", recording, "--threshold", 0.01, "--json",
            module=module,
        )  # fmt: skip
        assert heard.code == 0, heard.err
        events = [json.loads(line) for line in heard.out.splitlines()]
        assert events
        for event in events:
            assert event["label"] in ("no", "yes")
            assert 0.0 <= event["start_s"] < event["end_s"] <= 3.5
            assert 0.01 <= event["score"] <= 1.0


@pytest.mark.parametrize("verb", ["pretrain", "distill", "search", "finetune", "export"])
def test_a_dry_run_says_what_would_be_done_and_changes_nothing(journey, call, tmp_path, verb):
    before, out = digest(journey.root), tmp_path / "out"
    words = list(journey.calls[verb])
    words[words.index("--out") + 1] = out
    for format_flags in ([], ["--json"]):
        answer = call(verb, *words, "--dry-run", *format_flags)
        assert answer.code == 0, answer.err
        assert answer.out.strip()
    assert json.loads(answer.out)
    assert not out.exists()
    assert digest(journey.root) == before


@pytest.mark.parametrize("verb", ["pretrain", "distill", "search", "finetune"])
def test_a_finished_run_is_not_made_again(journey, call, monkeypatch, verb):
    def trained(*_args, **_kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("train.run.fit", trained)
    before = digest(journey.root / "teacher"), digest(journey.root / "keywords")
    answer = call(verb, *journey.calls[verb], "--resume", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == journey.results(verb)
    assert (digest(journey.root / "teacher"), digest(journey.root / "keywords")) == before


@pytest.mark.parametrize("verb", ["pretrain", "distill", "search", "finetune"])
def test_a_folder_that_holds_a_run_is_not_written_over(journey, call, verb):
    before = digest(journey.root)
    answer = call(verb, *journey.calls[verb])
    assert answer.code == 1
    assert "holds a run already; go on with --resume or choose another --out" in answer.error
    assert digest(journey.root) == before


def test_another_recipe_does_not_resume_a_run(journey, call):
    before = digest(journey.root)
    answer = call("pretrain", *journey.calls["pretrain"], "--set", "mask.span=7", "--resume")
    assert answer.code == 1
    assert "was started with another recipe (recipe.mask.span" in answer.error
    assert digest(journey.root) == before


def test_the_demonstration_runs_to_its_end_and_makes_nothing_twice(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="compress")
    effort = Effort(
        clips_per_keyword=10,
        clips_unknown=10,
        clips_silence=10,
        teacher=TEACHER,
        supernet=SUPERNET,
        keywords=(*SMALL_BATCHES, *KEYWORDS),
        num_trials=3,
        population=2,
        num_clips=3,
    )
    out = tmp_path / "demo"
    told: list[str] = []
    run_demo(out, data=None, seed=0, tell=told.append, effort=effort)
    assert "[7/7]" in caplog.text
    assert "of 8 keywords heard" in told[-1]
    first = digest(out)

    def made(*_args, **_kwargs):
        raise AssertionError("made again")

    monkeypatch.setattr("train.run.fit", made)
    monkeypatch.setattr(compress.pipeline, "export_run", made)
    monkeypatch.setattr(compress.pipeline, "make_keyword_corpus", made)
    told.clear()
    run_demo(out, data=None, seed=0, tell=told.append, effort=effort)
    assert "of 8 keywords heard" in told[-1]
    assert digest(out) == first
