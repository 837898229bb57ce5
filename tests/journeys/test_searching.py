"""A search that is disturbed, through the command line: nothing lost, or one clear line."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from compress.cost.latency import definition, space_blocks
from compress.spaces import get_space

from .conftest import Answer, digest

NUM_TRIALS = 12
SAME = ("winner", "score", "predicted")
"""What two searches of the same arguments print alike; latency is measured anew."""


def asked(journey, out, *more, num_trials=NUM_TRIALS):
    """The journey's search with another folder and more to do."""
    return [
        *(journey.root / "supernet", "--target-params", "400k", "--data", journey.corpus),
        *("--out", out, "--num-trials", num_trials, "--population", 4, "--num-clips", 3, *more),
    ]


@pytest.fixture
def device(tmp_path):
    """A table as `python -m runtime bench` writes it: each block takes 1 ms."""

    def write(space_name):
        space = get_space(space_name)
        table = {
            "schema_version": 1,
            "space": space.name,
            "definition": definition(space),
            "window_samples": 8_000,
            "threads": 1,
            "rounds": 5,
            "machine": "Linux aarch64",
            "processor": "Cortex-A72",
            "cores": 4,
            "engine": "onnxruntime 1.32.0",
            "date": "2026-01-01T00:00:00+00:00",
            "overhead_ns": 1_000,
            "blocks": {
                key: {"median_ns": 1_001_000, "p90_ns": 1_100_000} for key in space_blocks(space)
            },
        }
        path = tmp_path / f"{space_name}.json"
        path.write_text(json.dumps(table))
        return path

    return write


def told(answer):
    """What it found, without what depends on the machine and the place."""
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    return {key: found[key] for key in SAME}


def start(*words):
    """A search in a process of its own, up to its first score."""
    main = "from compress.cli import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", main, "search", *map(str, words), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    said = []
    for line in running.stderr:
        said.append(line)
        if line.startswith("candidate"):
            return running
    raise AssertionError("".join(said))


def children_of(pid):
    """Processes that a process started and that search."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def alone(journey, program, tmp_path_factory):
    """What one undisturbed process finds."""
    out = tmp_path_factory.mktemp("alone") / "search"
    return told(program("search", *asked(journey, out), "--json"))


def test_a_search_that_was_killed_with_its_helper_is_ended_by_those_who_join(
    journey, call, alone, tmp_path
):
    out = tmp_path / "search"
    running = start(*asked(journey, out, "--workers", 2))
    running.kill()
    running.communicate(timeout=60)  # a helper that went on would hold the pipe to the last score
    joined = call("search", *asked(journey, out), "--join", "--json")
    assert joined.code == 0, joined.err
    assert 0 < json.loads(joined.out)["scored_here"] < NUM_TRIALS
    ended = call("search", *asked(journey, out), "--resume", "--json")
    assert "candidate" not in ended.err  # all were scored
    assert told(ended) == alone


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds processes by /proc")
def test_a_worker_that_is_lost_midway_costs_the_search_nothing(journey, alone, tmp_path):
    running = start(*asked(journey, tmp_path / "search", "--workers", 2))
    (helper,) = children_of(running.pid)
    os.kill(helper, signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert told(Answer(running.returncode, out, err)) == alone


def test_two_workers_with_a_journal_find_what_one_finds(journey, program, call, alone, tmp_path):
    storage = ["--storage", tmp_path / "shared.log"]
    words = asked(journey, tmp_path / "two", *storage)
    assert told(program("search", *words, "--workers", 2, "--json")) == alone
    assert json.loads(call("search", *words, "--join", "--json").out) == {"scored_here": 0}


def test_there_must_be_a_search_to_join(journey, call, tmp_path):
    answer = call("search", *asked(journey, tmp_path / "none"), "--join")
    assert answer.code == 1
    assert "holds no search to join; start it without --join" in answer.error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--target-params", "350k"], "recipe.target_params: 400000, now 350000"),
        (["--target-macs", "60M"], "recipe.target_macs: None, now 60000000"),
        (["--scorer", "probe"], "recipe.scorer: 'distillation', now 'probe'"),
        (["--seed", "1"], "recipe.seed: 0, now 1"),
    ],
)
@pytest.mark.parametrize("how", ["--resume", "--join"])
def test_a_search_goes_on_only_as_it_was_asked(journey, call, change, said, how):
    before = digest(journey.root)
    answer = call("search", *journey.calls["search"], *change, how)
    assert answer.code == 1
    assert f"was started with another recipe ({said})" in answer.error
    assert digest(journey.root) == before


def spoil_text(path):
    path.write_text("no database, but a text that is long enough to be read as one " * 20)


def spoil_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def spoil_tables(path):
    with sqlite3.connect(path) as base:
        base.execute("DROP TABLE trials")


@pytest.mark.parametrize("spoil", [spoil_text, spoil_half, spoil_tables])
def test_a_study_that_is_damaged_is_one_line_and_the_rest_stays(journey, call, tmp_path, spoil):
    run = tmp_path / "search"
    shutil.copytree(journey.root / "search", run)
    spoil(run / "study.db")
    before = digest(run / "model")
    words = list(journey.calls["search"])
    words[words.index("--out") + 1] = run
    answer = call("search", *words, "--resume")
    assert answer.code == 1
    assert f"the study {run / 'study.db'} cannot be read or written" in answer.error
    assert "choose another --out" in answer.error
    assert digest(run / "model") == before


def test_a_journal_that_is_damaged_is_one_line(journey, call, tmp_path):
    storage = tmp_path / "shared.log"
    storage.write_text("no journal\n")
    answer = call("search", *asked(journey, tmp_path / "search", "--storage", storage))
    assert answer.code == 1
    assert "holds a search already" in answer.error
    answer = call("search", *asked(journey, tmp_path / "search", "--storage", storage), "--resume")
    assert answer.code == 1
    assert f"the study {storage} cannot be read or written" in answer.error


def test_a_device_table_of_another_space_is_refused(journey, call, device, tmp_path):
    table = device("otolite-tiny-conv")
    for more in ([], ["--dry-run"]):
        limit = ["--latency-ms", "50ms", "--device", table]
        answer = call("search", *asked(journey, tmp_path / "out", *limit, *more))
        assert answer.code == 1
        assert "measured for space 'otolite-tiny-conv', and the search is in" in answer.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (["--target-params", "100k"], "100,000 parameters: the least is 197,248 parameters"),
        (["--target-macs", "1M"], "1,000,000 MACs a second of audio: the least is 27,659,456 MACs"),
        (["--size-mb", "0.5"], "0.500 MB: the least is 0.836 MB"),
        (["--latency-ms", "8ms"], "8.000 ms: the least is 18.001 ms"),
    ],
)
def test_a_limit_that_nothing_keeps_is_told_with_the_least(
    journey, call, device, tmp_path, limit, said
):
    table = ["--device", device("otolite-tiny")] if limit[0] == "--latency-ms" else []
    words = [journey.root / "supernet", *limit, *table, "--data", journey.corpus]
    for more in ([], ["--dry-run"]):
        answer = call("search", *words, "--out", tmp_path / "out", *more)
        assert answer.code == 1
        assert said in answer.error
        assert f"raise {limit[0]}" in answer.error
    assert not (tmp_path / "out").exists()


def test_the_winner_is_timed_over_the_window_of_the_devices_table(journey, call, device, tmp_path):
    limit = ["--latency-ms", "22.5ms", "--device", device("otolite-tiny")]
    answer = call("search", *asked(journey, tmp_path / "out", *limit, num_trials=3), "--json")
    found = json.loads(answer.out)
    assert found["predicted"]["latency_ns"] <= 22_500_000
    assert found["measured"]["window_samples"] == 8_000


def test_a_polished_winner_keeps_both_limits_as_it_was_measured(journey, call, tmp_path):
    limits = ["--target-macs", "50M", "--size-mb", "1.6"]
    out = tmp_path / "search"
    words = asked(journey, out, *limits, "--polish-updates", 4, num_trials=3)
    found = json.loads(call("search", *words, "--json").out)
    predicted, measured = found["predicted"], found["measured"]
    assert predicted["params"] <= 400_000
    assert predicted["macs"] <= 50_000_000
    assert measured["size_bytes"] <= predicted["size_bytes"] <= 1_600_000
    space = get_space(found["winner"]["space"])
    uncut_mask = space.supernet.embed_dim - found["winner"]["embed_dim"]
    assert measured["params"] == predicted["params"] - uncut_mask
    polished = found["fine_tuned"]
    assert polished["updates"] == 4
    assert polished["score_before"] == found["score"]
    assert polished["score_after"] != found["score"]
    # The same winner as it was cut has other weights.
    cut = json.loads(
        call("search", *asked(journey, tmp_path / "cut", *limits, num_trials=3), "--json").out
    )
    assert (cut["winner"], cut["score"], cut["fine_tuned"]) == (
        found["winner"], found["score"], "no",
    )  # fmt: skip
    assert load_file(out / "model" / "model.safetensors").keys() == (
        load_file(tmp_path / "cut" / "model" / "model.safetensors").keys()
    )
    assert digest(out / "model") != digest(tmp_path / "cut" / "model")
    assert not list(out.rglob("last.ckpt"))
    again = call("search", *words, "--resume", "--json")
    assert json.loads(again.out) == found
    feasibility = json.loads((out / "search.json").read_text())["feasibility"]
    assert set(feasibility["within_each"]) == {"params", "macs", "size_bytes"}
    assert feasibility["within"] <= min(feasibility["within_each"].values())
