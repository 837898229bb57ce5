"""`compress report` from the command line, and what a dry pretraining tells."""

import csv
import json

import numpy as np
import pytest


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lines = '{"step": 9, "loss": 2.5}\n{"step": 19, "loss": 1.5}\n{"step": 29, "lo'
    (folder / "metrics.jsonl").write_text(lines)
    return folder


def test_a_report_is_written_where_it_is_asked_for(call, run, tmp_path):
    out = tmp_path / "report.html"
    code, said, _ = call("report", str(run), "--out", str(out), "--json")
    assert code == 0
    assert json.loads(said) == {"report": str(out), "updates": 20, "skipped_lines": 1}
    assert "1 damaged lines of the run were left out" in out.read_text()
    assert not (run / "report.html").exists()


def test_without_a_place_it_goes_into_the_run(call, run):
    assert call("report", str(run))[0] == 0
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_a_run_is_one_line(call, tmp_path):
    code, out, err = call("report", str(tmp_path))
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path} holds no run")
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    import soundfile

    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    with (root / "manifest.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("path", "split"))
        for number in range(3):
            soundfile.write(root / f"{number}.wav", rng.normal(0, 0.1, 48_000), 16_000)
            rows.writerow((f"{number}.wav", "train"))
    return root


def test_a_dry_pretraining_tells_size_memory_and_hours(call, clips, tmp_path):
    words = ["pretrain", "hubert-base", "--data", str(clips), "--out", str(tmp_path / "o")]
    plan = [*words, "--dry-run", "--set", "batch.device_seconds=87.5", "--json"]
    code, out, err = call(*plan, "--tflops", "40")
    assert code == 0, err
    found = json.loads(out)
    assert found["encoder_params"] == 94_371_712
    assert found["encoder_gmacs_per_second_of_audio"] == 6.907
    assert found["passes_per_update_on_1_device"] == 32
    assert found["hours_on_1_gpu"] == pytest.approx(32 * found["hours_on_32_gpus"], rel=0.02)
    assert found["hours_assume"].startswith("40 TFLOP/s sustained")
    held = found["memory_gb_of_a_device"]
    assert held["gradients"] == pytest.approx(0.38, abs=0.01)
    # hubert-base trains in bf16: products take copies of half the size.
    assert held["weights"] == pytest.approx(1.5 * held["gradients"], abs=0.02)
    assert found["train_recordings"] == 3
    assert not (tmp_path / "o").exists()


def test_people_read_at_what_rate_hours_are_told(call, clips, tmp_path):
    words = ["pretrain", "hubert-tiny", "--data", str(clips), "--out", str(tmp_path / "o")]
    code, out, _ = call(*words, "--dry-run")
    assert code == 0
    assert "25 TFLOP/s sustained on each GPU (35 % of an RTX 3090's 71 in bf16)" in out


def test_a_rate_that_cannot_be_is_a_wrong_call(call, clips):
    words = ["pretrain", "hubert-tiny", "--data", str(clips), "--out", "o", "--dry-run"]
    code, out, err = call(*words, "--tflops", "0")
    assert (code, out) == (2, "")
    assert "--tflops" in err
