"""A stream's answers, whatever the blocks, are those of windows cut from the whole recording."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.backends import onnx
from runtime.bundle import Golden, read_bundle
from runtime.faults import BundleFault, EngineMissing
from runtime.forms import form_of
from runtime.manifest import Streaming
from runtime.replay import ask, chunkings, difference, replay, streamed
from runtime.stream import Model, start_all


def _golden(model: Model, pcm: np.ndarray) -> Golden:
    answers = np.concatenate([ask(model, row[None]) for row in pcm])
    return Golden(pcm=pcm, posteriors=answers, tolerance=1e-6)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


@given(num_samples=st.integers(1, 5_000), hop_samples=st.integers(1, 700))
def test_chunkings_cut_a_recording_whole(num_samples: int, hop_samples: int) -> None:
    ways = chunkings(num_samples, hop_samples)
    assert str(num_samples) in ways
    for name, blocks in ways.items():
        assert sum(blocks) == num_samples
        assert min(blocks) >= 0
        if name.isdecimal():
            assert set(blocks[:-1]) <= {int(name)}
            assert blocks[-1] <= int(name)
        else:
            assert max(blocks) <= 2 * hop_samples + 1
    sizes = {int(name) for name in ways if name.isdecimal()}
    assert {hop_samples, 7} & set(range(num_samples + 1)) <= sizes
    assert any(size % hop_samples for size in sizes) or num_samples < 7 or hop_samples in (1, 7)
    assert chunkings(num_samples, hop_samples) == ways


@given(
    seed=st.integers(0, 10_000),
    blocks=st.lists(st.integers(0, 40), min_size=1, max_size=12),
)
def test_a_streams_answers_are_the_equation_written_plainly(
    fake_model: Model, seed: int, blocks: list[int]
) -> None:
    """Window k holds the 12 samples before sample 5 (k + 1), silence before 0."""
    waveform = np.random.default_rng(seed).uniform(-1, 1, sum(blocks)).astype(np.float32)
    padded = np.concatenate([np.zeros(12, dtype=np.float32), waveform])
    expected = [
        fake_model.posteriors(padded[end : end + 12]) for end in range(5, len(waveform) + 1, 5)
    ]
    answers = streamed(fake_model, waveform, blocks)
    assert answers.tolist() == [row.tolist() for row in expected]
    if expected:
        streaming = fake_model.manifest.streaming
        law = form_of(streaming).offline(lambda pcm: ask(fake_model, pcm), waveform, streaming)
        assert np.array_equal(answers, law)


@given(window=st.integers(1, 60), hop=st.integers(1, 60), num_samples=st.integers(1, 130))
def test_the_answer_that_sees_all_is_told(window: int, hop: int, num_samples: int) -> None:
    streaming = Streaming(window_samples=window, hop_samples=min(hop, window))
    form = form_of(streaming)
    waveform = np.arange(1, num_samples + 1, dtype=np.float32)
    seen: list[np.ndarray] = []

    def keep(pcm: np.ndarray) -> np.ndarray:
        seen.append(pcm[0])
        return np.zeros((1, 1), dtype=np.float32)

    if num_samples >= streaming.hop_samples:
        form.offline(keep, waveform, streaming)
    whole = [number for number, pcm in enumerate(seen) if np.array_equal(pcm, waveform)]
    assert list(form.in_stream(num_samples, streaming)) == whole[:1]


def test_the_answers_of_a_replay_are_worth_comparing(fake_model: Model) -> None:
    answers = streamed(fake_model, _noise(60), [60])
    assert len(answers) == 12
    assert np.abs(np.diff(answers, axis=0)).max(axis=1).min() > 1e-3


def test_a_golden_of_less_than_a_hop_is_not_streamed(fake_model: Model) -> None:
    golden = _golden(fake_model, _noise(1, 4))
    (cell,) = replay("model.fake", fake_model, golden)
    assert (cell.form, cell.chunk_samples, cell.passed) == ("offline", "4", True)


def test_a_golden_that_no_answer_sees_whole_is_held_to_the_offline_answers_alone(
    fake_model: Model,
) -> None:
    golden = _golden(fake_model, _noise(1, 12))  # a hop of 5 does not divide it
    first, *streams = replay("model.fake", fake_model, golden)
    assert first.against == "golden"
    assert {cell.against for cell in streams} == {"offline"}
    assert [cell.chunk_samples for cell in streams] == ["12", "5", "4", "7", "0 to 11"]


def test_a_long_golden_is_not_streamed_for_ever(fake_model: Model) -> None:
    *_, last = replay("model.fake", fake_model, _golden(fake_model, _noise(1, 5_000)))
    assert last.form == "sliding_window"
    calls = []

    class Counting:
        inputs, outputs, version = fake_model.engine.inputs, fake_model.engine.outputs, "fake"
        faces = (inputs,)

        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            calls.append(1)
            return fake_model.engine.run(feeds)

    counted = dataclasses.replace(fake_model, engine=Counting())
    assert all(cell.passed for cell in replay("f", counted, _golden(fake_model, _noise(1, 5_000))))
    assert len(calls) == 1 + 24 + 5 * 24


def test_an_engine_that_remembers_what_it_should_not_fails_as_a_stream(fake_model: Model) -> None:
    class Remembering:
        inputs, outputs, version = fake_model.engine.inputs, fake_model.engine.outputs, "fake"
        faces = (inputs,)
        calls = 0

        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            answer = fake_model.engine.run(feeds)["posteriors"]
            self.calls += 1
            return {"posteriors": answer + np.float32(1e-4 * (self.calls > 5))}

    model = dataclasses.replace(fake_model, engine=Remembering())
    first, *streams = replay("model.fake", model, _golden(fake_model, _noise(1, 15)))
    assert first.passed
    assert [cell.passed for cell in streams] == [False] * 5
    assert streams[0].largest_difference == pytest.approx(1e-4, rel=1e-2)


def test_what_already_fails_offline_is_not_streamed(fake_model: Model) -> None:
    golden = _golden(fake_model, _noise(1, 15))
    off = dataclasses.replace(golden, posteriors=golden.posteriors + np.float32(1e-3))
    (cell,) = replay("model.fake", fake_model, off)
    assert not cell.passed


def test_answers_of_another_shape_than_the_goldens_are_a_fault(fake_model: Model) -> None:
    golden = _golden(fake_model, _noise(2, 15))  # the fake answers one row, whatever the batch
    with pytest.raises(BundleFault, match=r"\(1, 3\) to the golden input.*\(2, 3\)"):
        next(replay("model.fake", fake_model, golden))


def test_no_number_and_no_answer_are_infinitely_far() -> None:
    row = np.array([[0.1, 0.9]], dtype=np.float32)
    assert difference(row, row) == 0.0
    assert difference(row, row + np.float32(0.25)) == pytest.approx(0.25)
    assert difference(np.array([[0.1, np.nan]]), row) == np.inf
    assert difference(row[:0], row) == np.inf
    assert difference(np.concatenate([row, row]), row) == np.inf


class _Absent:
    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        raise EngineMissing("a second engine is not installed")


class _Second(onnx.Engine):
    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        super().__init__(model, threads=threads)
        self.version = "second 2.0"


def test_every_engine_that_is_installed_is_started(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "ENGINES", (onnx.Engine, _Absent, _Second))
    started = list(start_all(read_bundle(bundle)))
    assert [name for name, _ in started] == ["model.onnx"] * 2
    assert started[0][1].engine.version.startswith("onnxruntime ")
    assert started[1][1].engine.version == "second 2.0"


def test_without_any_engine_its_absence_is_the_fault(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "ENGINES", (_Absent,))
    with pytest.raises(BundleFault, match="a second engine is not installed"):
        list(start_all(read_bundle(bundle)))


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_one_or_more(bundle: Path, threads: int) -> None:
    with pytest.raises(BundleFault, match="threads must be 1 or more"):
        next(start_all(read_bundle(bundle), threads=threads))
