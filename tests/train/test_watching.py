"""What a run shows: numbers at log intervals alone, its pace apart, and a collapse in one line."""

import io
import json
import logging
import re
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train import run
from train.config import BatchConfig, DeviceConfig, LogConfig, OptimizerConfig
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.source import Recordings
from train.errors import CollapseError
from train.learner import Learner
from train.objectives import Loss, Objective
from train.watching import JsonLines, gradient_norm

UPDATES = 10
OPTIMIZER = OptimizerConfig(learning_rate=0.5, warmup_updates=4, clip_norm=0.25, weight_decay=0.0)
BATCH = BatchConfig(seconds=4.0, device_seconds=1.0, crop_seconds=0.6, min_seconds=0.3)


class Line(Objective):
    """Its gradient is 2 for each row, so 2 on average, far above the clip norm."""

    def __init__(self, collapse_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.collapse_at = collapse_at
        self.checked = []

    def forward(self, batch, draws):
        total = 2.0 * self.weight.sum() * len(batch.rows)
        return Loss(total, len(batch.rows), {"mask_fraction": torch.tensor(0.25)})

    def check(self, update, metrics):
        self.checked.append((update, metrics))
        if update == self.collapse_at:
            raise CollapseError("it collapsed")


@pytest.fixture(scope="module")
def source(corpus):
    cuts = read_corpus(corpus)
    packed = PackedAudio.of(cuts, progress=False)
    return Recordings(usable(cuts, partition="train", min_seconds=0.3), packed)


def fit(source, folder, objective=None, log_every=4, updates=UPDATES):
    objective = Line() if objective is None else objective
    learner = Learner(objective, OPTIMIZER, updates=updates, seed=0)
    log = LogConfig(log_every=log_every, checkpoint_every=100)
    run.fit(learner, source, BATCH, log, folder, devices=DeviceConfig())
    return objective


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_line_holds_rate_and_unclipped_gradients_beside_the_objectives_parts(
    source, tmp_path
):
    objective = fit(source, tmp_path)
    lines = lines_of(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [3, 7]
    for line in lines:
        assert set(line) == {"step", "loss", "mask_fraction", "learning_rate", "gradient_norm"}
        assert line["mask_fraction"] == pytest.approx(0.25)
        assert line["gradient_norm"] == pytest.approx(2.0, rel=1e-5)
    learner = Learner(objective, OPTIMIZER, updates=UPDATES, seed=0)
    rates = [0.5 * learner.rate(step) for step in (3, 7)]
    assert [line["learning_rate"] for line in lines] == pytest.approx(rates)


def test_the_objective_is_asked_at_each_log_interval_with_what_is_logged(source, tmp_path):
    objective = fit(source, tmp_path)
    logged = lines_of(tmp_path / "metrics.jsonl")
    assert [update for update, _ in objective.checked] == [4, 8]
    for (_, metrics), line in zip(objective.checked, logged, strict=True):
        assert metrics == {name: value for name, value in line.items() if name != "step"}


def test_a_collapse_ends_the_run_after_its_numbers_are_logged(source, tmp_path):
    with pytest.raises(CollapseError, match="it collapsed"):
        fit(source, tmp_path, Line(collapse_at=8))
    assert [line["step"] for line in lines_of(tmp_path / "metrics.jsonl")] == [3, 7]


def test_the_pace_counts_all_audio_of_every_pass(source, tmp_path):
    fit(source, tmp_path)
    lines = lines_of(tmp_path / "timing.jsonl")
    assert [line["step"] for line in lines] == [3, 7, 9]
    assert all(line["seconds"] > 0 for line in lines)
    batches = iter(source.batches(BATCH, seed=0, start_step=0))
    passes = BATCH.passes(1)
    samples = sum(sum(next(batches).num_samples) for _ in range(UPDATES * passes))
    assert sum(line["audio_seconds"] for line in lines) == pytest.approx(samples / 16_000)


def test_tensorboard_finds_the_curves(source, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(source, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert names >= {"loss", "learning_rate", "gradient_norm", "audio_seconds_per_second"}
    assert [event.step for event in events.Scalars("loss")] == [3, 7]


def test_other_processes_write_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setattr("train.watching.rank", lambda: 1)
    fit(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "state"] == []


def test_a_log_file_gets_a_line_each_fifth_with_pace_and_time_left(source, tmp_path, caplog):
    caplog.set_level(logging.INFO, "train")
    fit(source, tmp_path, log_every=2)
    lines = [r.getMessage() for r in caplog.records if r.name == "train.watching"]
    said = r"update (\d+) of 10, loss -?\d+\.\d{4}, \d+ s of audio a second, \d+ s left"
    found = [re.fullmatch(said, line) for line in lines]
    assert [int(match[1]) for match in found] == [2, 4, 6, 8, 10]


def test_a_terminal_gets_a_bar_over_updates_with_what_was_logged(source, tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(source, tmp_path, log_every=5)
    shown = terminal.getvalue().split("\r")[-1]
    assert "10/10" in shown
    for name in ("audio_s/s=", "loss=", "mask_fraction=0.25", "gradient_norm=2"):
        assert name in shown


def test_no_number_is_read_between_log_intervals(source, tmp_path, monkeypatch):
    """A read waits for the device; only what a log interval needs may."""
    reads = []
    for name in ("item", "__float__"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, original=original):
            reads.append(1)
            return original(tensor)

        monkeypatch.setattr(torch.Tensor, name, counted)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    counts = {}
    for updates in (5, 9):
        reads.clear()
        fit(source, tmp_path / str(updates), log_every=5, updates=updates)
        counts[updates] = len(reads)
    # AdamW counts its updates on the CPU and reads that: one each, whoever watches.
    assert counts[9] - counts[5] <= 4


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_lines_from_the_resumed_update_on_are_dropped(tmp_path_factory, steps, start):
    path = tmp_path_factory.mktemp("lines") / "timing.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in steps) + '{"step": 1, "cut')
    lines = JsonLines(path, start)
    lines.append(start, {"seconds": 1.0})
    kept = [step for step in steps if step < start]
    assert [line["step"] for line in lines_of(path)] == [*kept, start]


def test_the_norm_is_over_all_gradients_together():
    module = torch.nn.Linear(2, 1)
    module.weight.grad, module.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert float(gradient_norm(module)) == pytest.approx(5.0)
    module.bias.grad = None
    assert float(gradient_norm(module)) == pytest.approx(3.0)
