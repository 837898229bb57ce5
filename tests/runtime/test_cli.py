"""Journeys on the device's command line, where nothing of the lab can be imported."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import AudioFault, Event, Model, microphone
from runtime.cli import main, print_events
from runtime.listen import listen, wav_blocks

ROOT = Path(runtime.__file__).parents[1]
LAB = "torch lhotse lightning pydantic typer rich onnx optuna sklearn scipy soundfile soxr"
DEVICE = f"""
import runpy, sys
for name in {LAB!r}.split():
    sys.modules[name] = None
sys.argv[0] = "runtime"
runpy.run_module("runtime", run_name="__main__")
"""


def _device(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m runtime` on a machine without the lab's packages."""
    return subprocess.run(
        [sys.executable, "-c", DEVICE, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )


@pytest.fixture
def recording(
    tmp_path: Path, wav_bytes: Callable[..., bytes], speech: Callable[..., np.ndarray]
) -> Path:
    path = tmp_path / "kitchen.wav"
    path.write_bytes(wav_bytes(speech((0.5, "yes"), (1.2, "no"), duration_s=2.0)))
    return path


def test_listen_prints_events_on_stdout_and_status_on_stderr(bundle: Path, recording: Path) -> None:
    result = _device("listen", bundle, "--wav", recording)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[4] for line in lines] == ["yes", "no"]
    assert [float(line[0]) for line in lines] == pytest.approx([0.5, 1.2], abs=0.05)
    assert "offset keywords" in result.stderr
    assert "2 events" in result.stderr


def test_listen_prints_lines_of_json(bundle: Path, recording: Path, model: Model) -> None:
    result = _device("listen", bundle, "--wav", recording, "--json")
    events = [Event(**json.loads(line)) for line in result.stdout.splitlines()]
    assert events == list(listen(model, wav_blocks(recording, 16000)))
    assert [event.label for event in events] == ["yes", "no"]


def test_doctor_passes_without_the_lab(bundle: Path) -> None:
    result = _device("doctor", bundle, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is True
    assert report["max_error"] <= report["tolerance"]


def test_the_module_runs_by_its_name(bundle: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "runtime", "doctor", str(bundle)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert "passed" in result.stdout


def test_a_reader_that_leaves_early_is_no_error(bundle: Path, recording: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "runtime", "listen", str(bundle), "--wav", str(recording)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(writer)
    assert result.returncode == 0
    assert "rror" not in result.stderr


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
def test_any_rate_and_stereo_give_the_same_words(
    bundle: Path,
    tmp_path: Path,
    wav_bytes: Callable[..., bytes],
    speech: Callable[..., np.ndarray],
    capsys: pytest.CaptureFixture[str],
    rate_hz: int,
) -> None:
    waveform = speech((0.5, "yes"), (1.2, "no"), duration_s=2.0, rate_hz=rate_hz)
    stereo = np.stack([waveform, 0.8 * waveform], axis=1)
    (tmp_path / "a.wav").write_bytes(wav_bytes(stereo, rate_hz))
    assert main(["listen", str(bundle), "--wav", str(tmp_path / "a.wav"), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["label"] for event in events] == ["yes", "no"]
    starts_s = [event["start_s"] for event in events]
    assert starts_s == pytest.approx([0.5, 1.2], abs=0.06)


def test_the_threshold_flag_reaches_the_detector(
    bundle: Path,
    tmp_path: Path,
    wav_bytes: Callable[..., bytes],
    speech: Callable[..., np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "quiet.wav"
    path.write_bytes(wav_bytes(0.18 * speech((0.5, "yes"), duration_s=1.0)))
    for threshold, num_events in (("0.9", 1), ("0.99", 0)):
        assert main(["listen", str(bundle), "--wav", str(path), "--threshold", threshold]) == 0
        assert len(capsys.readouterr().out.splitlines()) == num_events


@pytest.mark.parametrize(
    "content, words",
    [(None, "No such file"), (b"", "empty"), (b"just text\n", "not a WAV"), (b"cut", "truncated")],
)
def test_a_bad_recording_is_one_line_and_exit_code_1(
    bundle: Path,
    recording: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    words: str,
) -> None:
    path = recording.parent / "bad.wav"
    if content == b"cut":
        path.write_bytes(recording.read_bytes()[:-1000])
    elif content is not None:
        path.write_bytes(content)
    assert main(["listen", str(bundle), "--wav", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {path}: ")
    assert words in line


@pytest.mark.parametrize("command", ["listen", "doctor"])
def test_a_changed_byte_is_one_line_and_exit_code_1(
    bundle: Path, tmp_path: Path, command: str
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    result = _device(command, copy)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "model.onnx was changed" in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["listen"],
        ["dance", "x"],
        ["listen", "x", "--threshold", "1.5"],
        ["listen", "x", "--threshold", "nan"],
        ["listen", "x", "--threads", "0"],
        ["listen", "x", "--wav", "a.wav", "--device", "usb"],
    ],
)
def test_a_wrong_call_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["listen", "doctor"])
def test_help_shows_defaults_and_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "default: 1" in text
    assert "example: python -m runtime" in text


def test_a_failing_doctor_says_so_and_is_exit_code_1(
    make_bundle: Callable[..., Path],
    golden_bytes: Callable[..., bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = golden_bytes(posteriors=np.zeros((2, 3), dtype=np.float32))
    assert main(["doctor", str(make_bundle(tmp_path / "b", golden=other))]) == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert captured.err.startswith("error: the model answers")


def test_ctrl_c_ends_the_microphone_and_not_a_recording(
    bundle: Path,
    recording: Path,
    speech: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[np.ndarray]:
        yield speech((0.1, "yes"), duration_s=1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(microphone, "blocks", interrupted)
    assert main(["listen", str(bundle)]) == 0
    captured = capsys.readouterr()
    assert " s  yes  1.00" in captured.out
    assert captured.err.endswith("stopped\n")
    monkeypatch.setattr("runtime.cli.wav_blocks", interrupted)
    assert main(["listen", str(bundle), "--wav", str(recording)]) == 128 + signal.SIGINT


def test_an_event_is_a_line_with_its_time_label_and_score(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = [Event("yes", 1.2, 2.0, 0.966), Event("right", 61.0, 62.0, 1.0)]
    assert print_events(events, label_width=5) == 2
    assert capsys.readouterr().out == (
        "  1.20 -   2.00 s  yes    0.97\n 61.00 -  62.00 s  right  1.00\n"
    )


def test_a_label_that_the_terminal_cannot_show_is_escaped(
    make_bundle: Callable[..., Path], recording: Path, tmp_path: Path
) -> None:
    decision = runtime.bundle.Decision(keywords=("はい",), threshold=0.6)
    labels = ("_silence_", "はい", "no")
    path = make_bundle(tmp_path / "b", labels=labels, decision=decision)
    result = subprocess.run(
        [sys.executable, "-m", "runtime", "listen", str(path), "--wav", str(recording)],
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 0, result.stderr
    assert rb"\u306f\u3044" in result.stdout


def test_wav_blocks_have_the_asked_size_and_the_files_samples(
    tmp_path: Path, wav_bytes: Callable[..., bytes]
) -> None:
    waveform = np.round(np.random.default_rng(0).uniform(-1, 1, 1000) * 2**14) / 2**15
    (tmp_path / "a.wav").write_bytes(wav_bytes(waveform))
    blocks = list(wav_blocks(tmp_path / "a.wav", 16000, block_samples=300))
    assert [len(block) for block in blocks] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate(blocks), waveform)
    with pytest.raises(AudioFault, match="block_samples"):
        wav_blocks(tmp_path / "a.wav", 16000, block_samples=0)
    with pytest.raises(AudioFault, match="absent"):
        wav_blocks(tmp_path / "absent.wav", 16000)  # at the call, not at the first block
