"""Whatever is wrong with a call, a recording or a bundle: one line and exit 1, never a crash."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import MANIFEST_FILE

Run = Callable[..., subprocess.CompletedProcess[str]]
Error = Callable[[subprocess.CompletedProcess[str]], str]


def _damaged_wavs(good: bytes) -> dict[str, tuple[bytes, str]]:
    return {
        "empty": (b"", "is not a WAV file"),
        "text": (b"not a recording, and long enough", "is not a WAV file"),
        "header": (good[:30], "is truncated in its format"),
        "chunks": (good[:40], "ends before its samples"),
        "data": (good[:-3], "is truncated: 2000 bytes of samples stated, 1997 there"),
        "none": (good[:40] + b"\0\0\0\0", "0 bytes of samples"),
        "odd": (good[:40] + b"\3\0\0\0" + good[44:], "3 bytes of samples"),
        "float": (good[:20] + b"\3" + good[21:], "got format 3"),
        "early": (good[:12] + good[36:], "has its samples before their format"),
        "chunk": (good[:12] + b"LIST\xff\xff\xff\xff" + good[12:], "ends before its samples"),
    }


@pytest.mark.parametrize("name", sorted(_damaged_wavs(b"\0" * 2_044)))
def test_a_damaged_recording_is_one_line(
    program: Run, bundle: Path, wav: Path, tmp_path: Path, name: str, error: Error
) -> None:
    data, words = _damaged_wavs(wav.read_bytes())[name]
    path = tmp_path / "damaged.wav"
    path.write_bytes(data)
    done = program(bundle, path)
    assert words in error(done)
    assert done.stdout == ""


def test_a_chunk_of_odd_size_before_the_samples_is_passed_over(
    program: Run, bundle: Path, wav: Path, tmp_path: Path
) -> None:
    good = wav.read_bytes()
    path = tmp_path / "tagged.wav"
    path.write_bytes(good[:36] + b"LIST\3\0\0\0abc\0" + good[36:])
    assert program(bundle, path).stdout == program(bundle, wav).stdout


def test_other_rates_channels_and_absent_files_are_refused(
    program: Run,
    bundle: Path,
    wav: Path,
    tmp_path: Path,
    error: Error,
    write_wav: Callable[..., Path],
    noise: Callable[..., np.ndarray],
) -> None:
    slow = write_wav(tmp_path / "slow.wav", noise(100), rate_hz=8_000)
    stereo = write_wav(tmp_path / "stereo.wav", noise(100), channels=2)
    (tmp_path / "folder" / MANIFEST_FILE).mkdir(parents=True)
    for found_bundle, recording, words in (
        (bundle, slow, "has 8000 samples a second, the model wants 16000"),
        (bundle, stereo, "got format 1, 2 channels"),
        (bundle, tmp_path / "absent.wav", "absent.wav: cannot be read"),
        (bundle, tmp_path, f"{tmp_path}: "),
        (tmp_path / "folder", wav, "manifest.json: cannot be read"),
        (tmp_path / "absent", wav, "absent/manifest.json: cannot be read"),
    ):
        done = program(found_bundle, recording)
        assert words in error(done)
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"schema_version": "1.1"', '"schema_version": "2.0"', "schema_version '2.0' is not run"),
        ('"sliding_window"', '"chunked"', "runs 'sliding_window' and 'incremental'"),
        ('"sliding_window"', '"incremental"', "the form 'incremental' has 1 or more, got 0"),
        ('"task": "keywords"', '"task": "phones"', "task 'phones' is not run"),
        ('"hop_samples": 36', '"hop_samples": 97', "hop_samples must be an integer in [1, 96]"),
        ('"hop_samples": 36', '"hop_samples": 3.6e1', "must be an integer in [1, 96], got 3.6e1"),
        ('"hop_samples": 36', '"hop_samples": 036', "is not valid JSON"),
        ('"hop_samples": 36', '"hop_samples": 1, "hop_samples": 2', "must be there once"),
        ('"hop_samples": 36', '"hop_sample": 36', "streaming.hop_samples must be there once"),
        ('"window_samples": 96', '"window_samples": 99999999999999999999', "got 9999"),
        ('"threshold": 0.5', '"threshold": 1e999', "decision.threshold must be a finite number"),
        ('"threshold": 0.5', '"threshold": 0', "decision.threshold must lie in (0, 1]"),
        ('"_silence_"', '"a\\u0009b"', "cannot be printed"),
        ('"_silence_"', '"\\ud83d"', "cannot be printed"),
        ('"_silence_"', "[[]]", "labels must be a string"),
        ('"_silence_"', "[" * 70 + "]" * 70, "nested at most 64 deep"),
        ('      "no"', '      "na"', "decision.keywords: 'na' is not among the labels"),
        ('"model.onnx"', '"model.tflite"', "Export with --format onnx"),
    ],
)
def test_a_wrong_manifest_is_one_line(
    program: Run,
    bundle: Path,
    wav: Path,
    tmp_path: Path,
    old: str,
    new: str,
    words: str,
    error: Error,
) -> None:
    text = (bundle / MANIFEST_FILE).read_text(encoding="utf-8")
    assert old in text
    text = text.replace(old, new, 1)
    shutil.copy(bundle / "model.onnx", tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(text, encoding="utf-8")
    done = program(tmp_path, wav)
    assert words in error(done)
    assert done.stdout == ""


def test_no_damage_to_a_manifest_crashes(
    program: Run, bundle: Path, wav: Path, tmp_path: Path, error: Error
) -> None:
    """Cut short anywhere it is refused; a changed byte is refused, or lies where none is read."""
    good = (bundle / MANIFEST_FILE).read_bytes()
    rng = np.random.default_rng(11)
    shutil.copy(bundle / "model.onnx", tmp_path)
    for number in range(40):
        damaged = bytearray(good)
        place = int(rng.integers(len(good) - 2))
        if number % 2:
            damaged[place] = int(rng.integers(256))
        else:
            del damaged[place:]
        (tmp_path / MANIFEST_FILE).write_bytes(damaged)
        done = program(tmp_path, wav)
        if number % 2 == 0 or done.returncode:
            assert error(done)


def test_a_damaged_model_is_one_line(
    program: Run,
    bundle: Path,
    wav: Path,
    tmp_path: Path,
    error: Error,
    graph: Callable[[int], bytes],
) -> None:
    shutil.copy(bundle / MANIFEST_FILE, tmp_path)
    assert "model.onnx: cannot be read" in error(program(tmp_path, wav))
    good = (bundle / "model.onnx").read_bytes()
    other = graph(95)  # a window that is not the manifest's
    renamed = good.replace(b"posteriors", b"posteriora")
    for model, words in (
        (good[:-9], "cannot load the model"),
        (b"", "cannot load the model"),
        (other, "cannot run the model"),
        (renamed, "cannot run the model"),
    ):
        (tmp_path / "model.onnx").write_bytes(model)
        assert words in error(program(tmp_path, wav))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a",),
        ("a", "b", "c"),
        ("a", "b", "--threshold"),
        ("a", "b", "--threshold", "nan"),
        ("a", "b", "--threshold", "1.5"),
        ("a", "b", "--block-samples", "1.5"),
        ("a", "b", "--block-samples", "1e9"),
        ("a", "b", "--loud"),
    ],
)
def test_a_wrong_call_shows_the_usage(program: Run, words: tuple[str, ...]) -> None:
    done = program(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_help_is_an_answer(program: Run) -> None:
    done = program("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
