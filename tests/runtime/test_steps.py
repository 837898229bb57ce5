"""Streams whose model hands states from hop to hop."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_steps import StepEngine, expected, fake_steps, write_bundle

from runtime import AudioFault, BundleFault, Event, Model, load
from runtime.forms import form_of, incremental
from runtime.keyword import KeywordDetector
from runtime.replay import ask, streamed

CUTS = st.lists(st.integers(0, 4000), max_size=12)
TOLERANCE = 2e-5
"""float32 against float64, through logits of up to 40."""


@pytest.fixture(scope="module")
def steps() -> Model:
    return fake_steps()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_bundle(tmp_path_factory.mktemp("bundles") / "steps"))


def _noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, num_samples).astype(np.float32)


def _blocks(num_samples: int, cuts: list[int]) -> list[int]:
    ends = sorted(cut for cut in cuts if cut <= num_samples)
    return np.diff([0, *ends, num_samples]).tolist()


def _events(model: Model, waveform: np.ndarray, cuts: list[int]) -> list[Event]:
    stream, events, taken = model.stream(), [], 0
    for length in _blocks(len(waveform), cuts):
        events += stream.push(waveform[taken : taken + length])
        taken += length
    return events + stream.flush()


class Failing(StepEngine):
    """Spoils the run of a given number, from 1."""

    def __init__(self, hop: int, at: int, **spoilt: float) -> None:
        super().__init__(hop)
        self._at, self._spoilt = at, spoilt

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = super().run(feeds)
        if self.runs != self._at:
            return values
        if not self._spoilt:
            raise BundleFault("the engine failed")
        return {name: values[name] * np.float32(self._spoilt.get(name, 1.0)) for name in values}


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), num_samples=st.integers(0, 300), cuts=CUTS)
def test_a_stream_answers_what_the_whole_recording_says(
    steps: Model, seed: int, num_samples: int, cuts: list[int]
) -> None:
    waveform = _noise(num_samples, seed)
    answers = streamed(steps, waveform, _blocks(num_samples, cuts))
    wanted = expected(waveform, 5)
    assert answers.shape == wanted.shape == (num_samples // 5, 3)
    np.testing.assert_allclose(answers, wanted, atol=TOLERANCE)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), num_samples=st.integers(200, 2_500), cuts=CUTS)
def test_so_does_a_graph(graph: Model, seed: int, num_samples: int, cuts: list[int]) -> None:
    waveform = _noise(num_samples, seed)
    streaming = graph.manifest.streaming
    answers = streamed(graph, waveform, _blocks(num_samples, cuts))
    np.testing.assert_allclose(answers, expected(waveform, 200), atol=TOLERANCE)
    law = form_of(streaming).offline(lambda pcm: ask(graph, pcm), waveform, streaming)
    np.testing.assert_array_equal(answers, law)


def test_a_trained_module_is_asked_for_the_whole_hops_at_once(steps: Model) -> None:
    asked = []

    def module(pcm: np.ndarray) -> np.ndarray:
        asked.append(pcm.shape)
        return expected(pcm[0], 5)

    waveform = _noise(63)
    law = incremental.offline(module, waveform, steps.manifest.streaming)
    assert asked == [(1, 60)]
    np.testing.assert_allclose(streamed(steps, waveform, [63]), law, atol=TOLERANCE)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), num_samples=st.integers(0, 400), cuts=CUTS)
def test_any_chunking_gives_the_same_events(
    steps: Model, seed: int, num_samples: int, cuts: list[int]
) -> None:
    waveform = _noise(num_samples, seed)
    assert _events(steps, waveform, cuts) == _events(steps, waveform, [])


def test_events_stand_where_the_model_looks_back_to(steps: Model) -> None:
    waveform = np.repeat(np.float32([0.0, 0.5, 0.0, -0.5, 0.0]), 60)
    manifest = steps.manifest
    detector = KeywordDetector(manifest.decision, manifest.labels, manifest.streaming, 16000)
    wanted = [
        event
        for number, row in enumerate(expected(waveform, 5))
        for event in detector.update(row, 5 * (number + 1))
    ]
    events = steps.stream().push(waveform)
    assert {event.label for event in events} == {"yes", "no"}
    for event, other in zip(events, wanted, strict=True):
        assert event == dataclasses.replace(other, score=event.score)
    # patience 2: from the start of the last one's stretch to the end of the first one's
    assert events[-1].end_s - events[-1].start_s == pytest.approx((12 - 5) / 16000)
    first = steps.stream().push(np.full(10, 0.5, dtype=np.float32))
    assert [(event.start_s, event.end_s) for event in first] == [(0.0, 5 / 16000)]


def test_reset_and_flush_leave_a_stream_as_new(steps: Model) -> None:
    waveform = _noise(203)
    stream = steps.stream()
    first = stream.push(waveform)
    assert first
    stream.reset()
    assert stream.push(waveform) == first
    stream.flush()
    assert stream.push(waveform) == first


def test_streams_of_one_model_do_not_disturb_each_other(graph: Model) -> None:
    left, right = _noise(2_000, 1), _noise(2_000, 2)
    memories = [incremental.start(graph) for _ in range(2)]
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for begin in range(0, 2_000, 200):
        for rows, memory, waveform in zip(found, memories, (left, right), strict=True):
            rows.append(memory.answer(waveform[begin : begin + 200]).copy())
    for rows, waveform in zip(found, (left, right), strict=True):
        np.testing.assert_allclose(rows, expected(waveform, 200), atol=TOLERANCE)
    assert memories[0].size_bytes == 4 * (3 + 2)


@pytest.mark.parametrize(
    "spoilt, words",
    [
        ({}, "the engine failed"),
        ({"posteriors": np.nan}, r"\(1, 3\) finite posteriors"),
        ({"tail_next": np.nan}, r"\(1, 3\) finite tail_next"),
        ({"leak_next": np.inf}, r"\(1, 2\) finite leak_next"),
    ],
)
def test_a_failed_step_stops_the_stream_until_its_reset(
    steps: Model, spoilt: dict[str, float], words: str
) -> None:
    model = dataclasses.replace(steps, engine=Failing(5, 3, **spoilt))
    waveform = _noise(100)
    stream = model.stream()
    with pytest.raises(BundleFault, match=words):
        stream.push(waveform)
    for again in (lambda: stream.push(waveform[:1]), stream.flush):
        with pytest.raises(BundleFault, match=r"reset\(\)"):
            again()
    stream.reset()
    assert stream.push(waveform) == steps.stream().push(waveform)


@pytest.mark.parametrize("spoilt", [{}, {"posteriors": np.nan}, {"leak_next": np.nan}])
def test_states_are_replaced_together_or_not_at_all(steps: Model, spoilt: dict[str, float]) -> None:
    waveform = _noise(15)
    memory = incremental.start(dataclasses.replace(steps, engine=Failing(5, 2, **spoilt)))
    memory.answer(waveform[:5])
    with pytest.raises(BundleFault):
        memory.answer(waveform[5:10])
    row = memory.answer(waveform[5:10])  # the same hop again, on the states before it
    np.testing.assert_allclose(row, expected(waveform[:10], 5)[-1], atol=TOLERANCE)


def test_a_stop_from_outside_within_a_step_is_not_passed_over(steps: Model) -> None:
    class Interrupted(StepEngine):
        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            raise KeyboardInterrupt

    stream = dataclasses.replace(steps, engine=Interrupted(5)).stream()
    with pytest.raises(KeyboardInterrupt):
        stream.push(_noise(5))
    with pytest.raises(BundleFault, match="lost its place"):
        stream.push(_noise(5))


def test_posteriors_of_a_window_are_the_last_answer_from_the_initial_states(steps: Model) -> None:
    waveform = _noise(60)
    np.testing.assert_allclose(
        steps.posteriors(waveform), expected(waveform, 5)[-1], atol=TOLERANCE
    )
    for length in (0, 4, 61):
        with pytest.raises(BundleFault, match=r"\(1, n \* 5\)"):
            steps.posteriors(_noise(length))
    with pytest.raises(AudioFault, match="float64"):
        steps.posteriors(np.zeros(5))
    with pytest.raises(BundleFault, match="one recording"):
        ask(steps, np.zeros((2, 10), dtype=np.float32))


def test_the_next_answer_does_not_change_the_last_posteriors(steps: Model) -> None:
    first = steps.posteriors(_noise(10))
    kept = first.copy()
    steps.posteriors(-_noise(10))
    np.testing.assert_array_equal(first, kept)
