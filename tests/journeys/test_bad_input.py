"""What goes wrong ends in one line, an exit code, and a disk as it was."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .conftest import KEYWORDS, TEACHER, digest, sets


@pytest.fixture
def recordings(tmp_path):
    """Six seconds of noise in six files."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, 16_000), 16_000)
    return folder


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """Files cannot grow past a size: write() fails as it does where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def hidden(folder: Path) -> list[Path]:
    """Temporary files and folders start with a dot."""
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def spoil_empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def spoil_text(folder: Path) -> None:
    (folder / "3.wav").write_text("this is a text, not a recording")


def spoil_truncated(folder: Path) -> None:
    path = folder / "3.wav"
    path.write_bytes(path.read_bytes()[:9_000])


def spoil_absent(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_empty, "holds no audio"),
        (spoil_text, "3.wav"),
        (spoil_truncated, "3.wav: is truncated"),
        (spoil_absent, "does not exist"),
    ],
)
@pytest.mark.parametrize("verb", ["pretrain", "distill", "search", "finetune"])
def test_a_corpus_that_cannot_be_read_is_named_before_anything_is_written(
    journey, call, recordings, tmp_path, verb, spoil, said
):
    if verb == "finetune":
        rows = "".join(f"{number}.wav,{'no' if number % 2 else 'yes'}\n" for number in range(6))
        (recordings / "manifest.csv").write_text(f"path,label\n{rows}")
    spoil(recordings)
    words = list(journey.calls[verb])
    words[words.index("--data") + 1] = recordings
    words[words.index("--out") + 1] = tmp_path / "runs" / "out"
    answer = call(verb, *words, *(sets(("min_clips_per_label=1",)) if verb == "finetune" else []))
    assert answer.code == 1
    assert said in answer.error
    assert not (tmp_path / "runs").exists()


def test_recordings_of_8_khz_and_in_stereo_are_trained_on_and_listened_to(
    journey, call, recordings, recording, tmp_path
):
    shutil.copy(recording, recordings / "stereo.wav")
    rng = np.random.default_rng(2)
    soundfile.write(recordings / "slow.wav", rng.uniform(-0.3, 0.3, 8_000), 8_000)
    out = tmp_path / "teacher"
    answer = call("pretrain", "hubert-tiny", "--data", recordings, "--out", out, *sets(TEACHER))
    assert answer.code == 0, answer.err
    assert (out / "model" / "model.safetensors").is_file()
    assert call("listen", journey.bundle, "--wav", recordings / "stereo.wav").code == 0
    assert call("listen", journey.bundle, "--wav", recordings / "slow.wav").code == 0


def test_a_target_below_the_smallest_subnet_is_refused_before_anything_is_written(
    journey, call, tmp_path
):
    words = [journey.root / "supernet", "--target-params", "100k", "--data", journey.corpus]
    for flags in ([], ["--dry-run"]):
        answer = call("search", *words, "--out", tmp_path / "out", *flags)
        assert answer.code == 1
        assert "fits 100,000 parameters: the least is 197,248 parameters" in answer.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "optimizer.lerning_rate=1"], "did you mean 'learning_rate'?"),
        (["--set", "rounds.0.update=3"], "did you mean 'updates'?"),
        (["--set", "sed=3"], "did you mean 'seed'?"),
        (["--set", "final_dim=-3"], "final_dim must be 1 or more"),
        (["--set", "mask"], "--set takes key=value"),
        (["--set", "mask.prob=2"], "prob must lie in [0, 1]"),
        (["--set", "seed=-1"], "seed: Input should be greater than or equal to 0"),
        (["--set", "seed=many"], "seed: Input should be a valid integer"),
    ],
)
def test_a_value_that_no_recipe_has_names_the_nearest(call, recordings, tmp_path, flags, said):
    out = tmp_path / "out"
    answer = call("pretrain", "hubert-tiny", "--data", recordings, "--out", out, *flags)
    assert answer.code == 2
    assert said in answer.error
    assert not out.exists()


def test_a_typo_in_an_edited_recipe_names_file_key_and_the_nearest(call, recordings, tmp_path):
    recipe = tmp_path / "my.toml"
    recipe.write_text(call("recipes", "hubert-tiny").out.replace("final_dim", "finl_dim"))
    answer = call("pretrain", recipe, "--data", recordings, "--out", tmp_path / "out")
    assert answer.code == 2
    assert answer.error == (f"error: {recipe}: unknown key 'finl_dim': did you mean 'final_dim'?")
    recipe.write_text("objective = ")
    answer = call("pretrain", recipe, "--data", recordings, "--out", tmp_path / "out")
    assert answer.code == 2
    assert f"{recipe} is not valid TOML" in answer.error
    assert not (tmp_path / "out").exists()


def test_an_unknown_recipe_names_the_nearest(call, recordings, tmp_path):
    words = ["--data", recordings, "--out", tmp_path / "out"]
    answer = call("pretrain", "hubert-tny", *words)
    assert answer.code == 2
    assert "there is no recipe 'hubert-tny': did you mean 'hubert-tiny'?" in answer.error
    assert call("pretrain", tmp_path / "absent.toml", *words).code == 2
    assert "did you mean 'lighthubert-tiny'" in call("recipes", "lighthubert-tny").error
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_another_verb_is_refused(call, recordings, tmp_path):
    answer = call("pretrain", "keywords-tiny", "--data", recordings, "--out", tmp_path / "out")
    assert answer.code == 2
    assert answer.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
@pytest.mark.parametrize("verb", ["listen", "doctor"])
def test_a_bundle_with_a_changed_byte_is_not_run(journey, call, recording, tmp_path, verb, name):
    bundle = tmp_path / "damaged.bundle"
    shutil.copytree(journey.bundle, bundle)
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    answer = call(verb, bundle, *(["--wav", recording] if verb == "listen" else []))
    assert answer.code == 1
    assert name in answer.error
    assert not answer.out


def test_listening_to_what_is_not_there_is_said(journey, call, recording, tmp_path):
    absent = tmp_path / "absent.wav"
    assert f"{absent}: cannot be read" in call("listen", journey.bundle, "--wav", absent).error
    answer = call("listen", tmp_path / "absent.bundle", "--wav", recording)
    assert answer.code == 1
    assert "no such bundle" in answer.error
    text = tmp_path / "text.wav"
    text.write_text("this is a text, not a recording")
    assert "is not a WAV file" in call("listen", journey.bundle, "--wav", text).error


def test_a_teacher_that_is_not_there_or_none_is_refused(journey, call, tmp_path):
    words = ["--data", journey.corpus, "--out", tmp_path / "out"]
    answer = call("distill", "lighthubert-tiny", "--teacher", tmp_path / "absent", *words)
    assert answer.code == 1
    assert f"{tmp_path / 'absent'} is not a checkpoint: there is no such folder" in answer.error
    answer = call("distill", "lighthubert-tiny", "--teacher", journey.root / "supernet", *words)
    assert answer.code == 1
    assert "holds a checkpoint of 'supernet', not of 'wav2vec2'" in answer.error
    assert not (tmp_path / "out").exists()


def test_a_supernet_that_is_none_is_refused(journey, call, tmp_path):
    words = ["--target-params", "400k", "--data", journey.corpus, "--out", tmp_path / "out"]
    for supernet in (tmp_path / "absent", journey.root / "teacher"):
        answer = call("search", supernet, *words)
        assert answer.code == 1
        assert answer.error
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_a_recipe_needs_or_has_no_use_for_is_said(journey, call, tmp_path):
    words = ["--data", journey.corpus, "--out", tmp_path / "out", "--set", "min_clips_per_label=4"]
    for flags in ([], ["--dry-run"]):
        assert "needs --model" in call("finetune", "keywords-tiny", *words, *flags).error
        given = ["--model", journey.root / "search"]
        assert "takes no --model" in call("finetune", "keywords-ds-cnn", *words, *given).error
    assert not (tmp_path / "out").exists()


def test_clips_without_labels_make_no_keywords(journey, call, recordings, tmp_path):
    words = ["--model", journey.root / "search", "--data", recordings, "--out", tmp_path / "out"]
    answer = call("finetune", "keywords-tiny", *words)
    assert answer.code == 1
    assert "two labels or more" in answer.error
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_is_not_exported(journey, call, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(journey.root / "keywords", unfinished)
    (unfinished / "scores.json").unlink()
    for folder, said in (
        (unfinished, "scores.json is missing"),
        (tmp_path / "absent", "there is no folder"),
        (journey.root / "teacher", "is not a finished run of compress finetune"),
    ):
        for flags in ([], ["--dry-run"]):
            answer = call("export", folder, "--out", tmp_path / "out.bundle", *flags)
            assert answer.code == 1
            assert said in answer.error
    assert not (tmp_path / "out.bundle").exists()


def test_a_bundle_takes_the_place_of_nothing_but_a_bundle(journey, call, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for place in (tmp_path, tmp_path / "thesis.tex"):
        answer = call("export", journey.root / "keywords", "--out", place)
        assert answer.code == 1
        assert "is no bundle to replace; choose another --out" in answer.error
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_full_disk_while_pretraining_is_one_line_and_the_run_goes_on_later(
    journey, call, tmp_path
):
    out = tmp_path / "teacher"
    words = ["hubert-tiny", "--data", journey.corpus, "--out", out, *sets(TEACHER)]
    for free_bytes in (1_000, 1_000_000):  # no config fits; then no state and no model
        with full_disk(free_bytes):
            answer = call("pretrain", *words, "--resume")
        assert answer.code == 1
        assert answer.error.endswith("nothing half-written was kept; make room, then call again")
        assert not hidden(tmp_path)
        assert not list(tmp_path.rglob("last.ckpt"))
        assert not (out / "model").exists()
    assert call("pretrain", *words, "--resume").code == 0
    assert (out / "model" / "model.safetensors").read_bytes() == (
        journey.root / "teacher" / "model" / "model.safetensors"
    ).read_bytes()


def test_a_full_disk_while_audio_is_decoded_leaves_no_cache(
    call, recordings, tmp_path, monkeypatch
):
    monkeypatch.setenv("OTOLITE_CACHE", str(tmp_path / "cache"))
    words = ["--data", recordings, "--out", tmp_path / "out", *sets(TEACHER)]
    with full_disk(100_000):
        answer = call("pretrain", "hubert-tiny", *words)
    assert answer.code == 1
    assert "make room there, or set OTOLITE_CACHE" in answer.error
    assert not any((tmp_path / "cache").iterdir())
    assert not (tmp_path / "out").exists()


def test_a_full_disk_while_fine_tuning_leaves_no_half_of_a_model(journey, call, tmp_path):
    out = tmp_path / "keywords"
    words = ["keywords-tiny", "--model", journey.root / "search", "--data", journey.corpus]
    with full_disk(1_000_000):
        answer = call(
            "finetune", *words, "--out", out, *sets((*KEYWORDS, "log.checkpoint_every=100"))
        )
    assert answer.code == 1
    assert "too large" in answer.error.lower()
    assert not hidden(tmp_path)
    assert not (out / "model").exists()


def test_a_full_disk_while_searching_is_one_line(journey, call, tmp_path):
    words = list(journey.calls["search"])
    words[words.index("--out") + 1] = tmp_path / "search"
    with full_disk(20_000):
        answer = call("search", *words)
    assert answer.code == 1
    assert answer.error
    assert not hidden(tmp_path)
    assert not (tmp_path / "search" / "model").exists()


def test_a_full_disk_while_exporting_leaves_the_older_bundle(journey, call, tmp_path):
    bundle = tmp_path / "keywords.bundle"
    shutil.copytree(journey.bundle, bundle)
    before = digest(tmp_path)
    with full_disk(500_000):
        answer = call("export", journey.root / "keywords", "--out", bundle)
    assert answer.code == 1
    assert "too large" in answer.error.lower()
    assert digest(tmp_path) == before


def test_ctrl_c_ends_in_one_line_and_resume_goes_on(journey, call, tmp_path):
    out = tmp_path / "teacher"
    many = ("rounds.0.updates=400", "log.checkpoint_every=2")
    words = ["hubert-tiny", "--data", journey.corpus, "--out", out, *sets((*TEACHER, *many))]
    # A shell's background jobs start deaf to Ctrl-C, and so would what they start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from compress.cli import main; main()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, "pretrain", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy(),
    )  # fmt: skip
    state = out / "round1" / "state" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not state.is_file() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    printed, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert said.splitlines()[-1] == "error: interrupted; the same command with --resume goes on"
    assert "Traceback" not in said
    assert not printed
    assert state.is_file()
    again = call("pretrain", *words, "--resume", "--dry-run")
    assert again.code == 0
