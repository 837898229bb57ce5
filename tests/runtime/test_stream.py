"""Streams: any chunking gives the same events."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime
from runtime import AudioFault, BundleFault, Event, Model
from runtime.keyword import KeywordDetector
from runtime.waveform import as_waveform

CUTS = st.lists(st.integers(0, 4000), max_size=12)


def _events(model: Model, waveform: np.ndarray, cuts: list[int]) -> list[Event]:
    stream = model.stream()
    events = []
    for block in np.split(waveform, sorted(cut for cut in cuts if cut <= len(waveform))):
        events += stream.push(block)
    return events + stream.flush()


@given(seed=st.integers(0, 10_000), num_samples=st.integers(0, 400), cuts=CUTS)
def test_any_chunking_gives_the_same_events_with_a_fake_engine(
    fake_model: Model, seed: int, num_samples: int, cuts: list[int]
) -> None:
    waveform = np.random.default_rng(seed).uniform(-1, 1, num_samples).astype(np.float32)
    assert _events(fake_model, waveform, cuts) == _events(fake_model, waveform, [])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), num_samples=st.integers(0, 4000), cuts=CUTS)
def test_any_chunking_gives_the_same_events_with_a_real_engine(
    model: Model, seed: int, num_samples: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.repeat(rng.choice([-0.5, 0.0, 0.5], 5), 800)[:num_samples]
    waveform = (offsets + rng.uniform(-0.1, 0.1, num_samples)).astype(np.float32)
    assert _events(model, waveform, cuts) == _events(model, waveform, [])


def test_one_sample_at_a_time_gives_the_same_events(
    model: Model, speech: Callable[..., np.ndarray]
) -> None:
    waveform = speech((0.02, "yes"), duration_s=0.2)
    events = _events(model, waveform, list(range(len(waveform))))
    assert events == _events(model, waveform, [])
    assert [event.label for event in events] == ["yes"]


def test_the_chunking_law_is_about_events_that_happen(fake_model: Model) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 400).astype(np.float32)
    assert len(_events(fake_model, waveform, [])) >= 3


def test_a_stream_equals_windows_cut_from_the_whole_recording(fake_model: Model) -> None:
    """The equation written plainly: window k ends at sample k * hop, silence lies before 0."""
    waveform = np.random.default_rng(1).uniform(-1, 1, 403).astype(np.float32)
    manifest = fake_model.manifest
    window, hop = manifest.streaming.window_samples, manifest.streaming.hop_samples
    silence = np.zeros(window, dtype=np.float32)
    padded = np.concatenate([silence, waveform])
    detector = KeywordDetector(manifest.decision, manifest.labels, manifest.streaming, 16000)
    expected = []
    for end in range(hop, len(waveform) + 1, hop):
        posteriors = fake_model.posteriors(padded[end : end + window])
        expected += detector.update(posteriors, end)
    assert fake_model.stream().push(waveform) == expected


def test_words_are_heard_once_each_at_their_time(
    model: Model, speech: Callable[..., np.ndarray]
) -> None:
    waveform = speech((0.5, "yes"), (1.2, "no"), (2.0, "yes"), duration_s=3.0)
    events = _events(model, waveform, [])
    assert [event.label for event in events] == ["yes", "no", "yes"]
    for event, start_s in zip(events, (0.5, 1.2, 2.0), strict=True):
        # A window of 50 ms that is full of the word overlaps it; words last 100 ms.
        assert start_s - 0.05 <= event.start_s < event.end_s <= start_s + 0.15
        assert event.score >= 0.6


def test_a_word_in_the_first_hops_is_heard(model: Model, speech: Callable[..., np.ndarray]) -> None:
    (event,) = _events(model, speech((0.0, "no"), duration_s=0.3), [])
    assert (event.label, event.start_s) == ("no", 0.0)


def test_a_word_at_the_very_end_needs_the_flush(
    model: Model, speech: Callable[..., np.ndarray]
) -> None:
    waveform = speech((0.5, "yes"), duration_s=1.0)[: round(0.53 * 16000)]
    stream = model.stream()
    assert stream.push(waveform) == []
    (event,) = stream.flush()
    # The last hop that the recording fills ends at 0.525 s; the agreeing window after it does not.
    assert (event.label, event.end_s) == ("yes", 0.525)
    assert stream.flush() == []


@given(num_samples=st.integers(1, 100), seed=st.integers(0, 1000))
def test_flush_is_a_window_of_silence_less_one_sample(
    fake_model: Model, num_samples: int, seed: int
) -> None:
    waveform = np.random.default_rng(seed).uniform(-1, 1, num_samples).astype(np.float32)
    flushed, pushed = fake_model.stream(), fake_model.stream()
    flushed.push(waveform)
    pushed.push(waveform)
    tail = flushed.flush()
    silent = pushed.push(np.zeros(fake_model.manifest.streaming.window_samples - 1, np.float32))
    assert [(e.label, e.start_s, e.score) for e in tail] == [
        (e.label, e.start_s, e.score) for e in silent
    ]
    assert all(event.start_s < event.end_s <= num_samples / 16000 for event in tail)


def test_reset_and_flush_leave_a_stream_as_new(fake_model: Model) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 403).astype(np.float32)
    stream = fake_model.stream()
    first = stream.push(waveform)
    stream.reset()
    assert stream.push(waveform) == first
    stream.flush()
    assert stream.push(waveform) == first


def test_streams_of_one_model_do_not_disturb_each_other(fake_model: Model) -> None:
    rng = np.random.default_rng(2)
    left, right = (rng.uniform(-1, 1, 300).astype(np.float32) for _ in range(2))
    streams = fake_model.stream(), fake_model.stream()
    found: tuple[list[Event], list[Event]] = ([], [])
    for start in range(0, 300, 7):
        found[0].extend(streams[0].push(left[start : start + 7]))
        found[1].extend(streams[1].push(right[start : start + 7]))
    assert found == (fake_model.stream().push(left), fake_model.stream().push(right))


def test_every_sample_type_means_the_same(model: Model, speech: Callable[..., np.ndarray]) -> None:
    integers = np.round(speech((0.1, "yes"), duration_s=0.5) * 32768).astype(np.int16)
    expected = _events(model, integers, [])
    assert [event.label for event in expected] == ["yes"]
    for block in (integers / 32768, (integers / 32768).astype(np.float32), integers.astype(">i2")):
        assert _events(model, block, []) == expected


@pytest.mark.parametrize(
    "block, words",
    [
        (np.zeros((2, 100), dtype=np.float32), "one channel"),
        (np.float32(0.5), "one channel|array"),
        ([0.0, 0.1], "list"),
        (np.zeros(4, dtype=np.int32), "int32"),
        (np.zeros(4, dtype=np.float16), "float16"),
        (np.zeros(4, dtype=np.complex64), "complex64"),
        (np.array([0.0, np.nan], dtype=np.float32), "NaN"),
        (np.array([0.0, -np.inf]), "infinity"),
        (np.array([12000.0]), "peak of 12000"),
    ],
)
def test_a_wrong_block_is_refused_and_changes_nothing(
    fake_model: Model, block: np.ndarray, words: str
) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, 403).astype(np.float32)
    stream = fake_model.stream()
    events = stream.push(waveform[:201])
    with pytest.raises(AudioFault, match=words):
        stream.push(block)
    events += stream.push(waveform[201:])
    assert events == fake_model.stream().push(waveform)


def test_int16_spans_the_unit_range() -> None:
    block = np.array([-32768, 0, 16384, 32767], dtype=np.int16)
    np.testing.assert_array_equal(as_waveform(block), [-1.0, 0.0, 0.5, 32767 / 32768])


def test_posteriors_are_the_models_own(
    model: Model, expected_posteriors: Callable[[np.ndarray], np.ndarray]
) -> None:
    window = np.random.default_rng(5).uniform(-0.4, 0.4, 800).astype(np.float32)
    posteriors = model.posteriors(window)
    assert posteriors.dtype == np.float32
    np.testing.assert_allclose(posteriors, expected_posteriors(window[None])[0], atol=1e-6)
    with pytest.raises(AudioFault, match="float64"):
        model.posteriors(window.astype(np.float64))


def test_the_threshold_can_be_overridden(model: Model, speech: Callable[..., np.ndarray]) -> None:
    waveform = 0.18 * speech((0.1, "yes"), duration_s=0.5)  # a posterior of 0.96
    assert len(model.stream(threshold=0.9).push(waveform)) == 1
    assert model.stream(threshold=0.99).push(waveform) == []
    with pytest.raises(BundleFault, match="threshold"):
        model.stream(threshold=2.0)


def test_the_public_names_are_sorted_and_there() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    assert all(hasattr(runtime, name) for name in runtime.__all__)


def test_importing_runtime_loads_numpy_and_the_standard_library_only(tmp_path: Path) -> None:
    code = (
        "import sys; import numpy; before = set(sys.modules); import runtime, runtime.cli, json; "
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before} "
        "- set(sys.stdlib_module_names))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == ["runtime"]


def test_runtime_works_under_another_name(bundle: Path, tmp_path: Path) -> None:
    """As the device wheel carries it: otolite_runtime, with no package called runtime."""
    (tmp_path / "otolite_runtime").symlink_to(Path(runtime.__file__).parent)
    code = (
        "import sys; sys.modules['runtime'] = None; import otolite_runtime as o, numpy as np; "
        f"m = o.load({str(bundle)!r}); "
        "print(m.stream().push(np.full(1600, 0.5, np.float32))[0].label)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (result.returncode, result.stdout) == (0, "yes\n"), result.stderr
