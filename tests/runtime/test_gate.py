"""The gate: what it leaves out, and that it changes nothing else."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_steps import manifest as step_manifest

from runtime import Event, Model
from runtime.bundle import GOLDEN_FILE, Decision, Manifest, State, Streaming, Tensor, seal
from runtime.gate import FLOOR_S, PRE_ROLL_S, SpeechGate, context_hops, pre_roll_hops

RATE_HZ = 4000
HOP, WINDOW = 80, 400
FILES = {"model.fake": "0" * 64, GOLDEN_FILE: "0" * 64}
Make = Callable[..., Model]
LABELS = ("_silence_", "yes", "no")
DECISION = Decision(
    keywords=("yes", "no"), threshold=0.6, smoothing_windows=3, patience=2, refractory_samples=320
)


def _answer(past: np.ndarray) -> np.ndarray:
    """Of a tone of 240 or 720 Hz in the last WINDOW samples; every sample and its place count."""
    times_s = np.arange(len(past)) / RATE_HZ
    tones = [np.abs(past @ np.exp(2j * np.pi * f * times_s)) / len(past) for f in (240, 720)]
    powers = np.exp([2.0, 60.0 * tones[0] + past[0] + past[-1], 60.0 * tones[1]])
    return np.asarray((powers / powers.sum())[None].astype(np.float32))


class Windows:
    """An engine on windows, which counts its runs."""

    inputs: tuple[Tensor, ...] = ()
    faces: tuple[tuple[Tensor, ...], ...] = ()
    outputs: tuple[Tensor, ...] = ()
    version = "fake"

    def __init__(self) -> None:
        self.runs = 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.runs += 1
        return {"posteriors": _answer(feeds["pcm"][0])}


class Steps(Windows):
    """The same model hop by hop: its states are the window's earlier hops, and a clock."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.runs += 1
        past = np.concatenate([feeds["past"][0], feeds["pcm"][0]])
        return {"posteriors": _answer(past), "past_next": past[None, HOP:]}


def _runs(model: Model) -> int:
    engine = model.engine
    assert isinstance(engine, Windows)
    return engine.runs


def _windows(decision: Decision = DECISION) -> Model:
    made = seal(
        Manifest(
            name="tones",
            labels=LABELS,
            sample_rate=RATE_HZ,
            streaming=Streaming(window_samples=WINDOW, hop_samples=HOP),
            decision=decision,
            files=FILES,
        )
    )
    return Model(manifest=made, engine=Windows())


def _steps(decision: Decision = DECISION) -> Model:
    made = step_manifest(
        FILES,
        hop=HOP,
        window=WINDOW,
        sample_rate=RATE_HZ,
        decision=decision,
        states=(State(name="past", shape=(1, WINDOW - HOP)),),
    )
    return Model(manifest=made, engine=Steps())


def _recording(words: list[tuple[str, int]], noise: float, seed: int) -> np.ndarray:
    """Each word of 0.2 s after so many samples of noise, and a second of it at the end."""
    rng = np.random.default_rng(seed)
    parts = []
    for label, gap_samples in words:
        parts.append(np.zeros(gap_samples))
        frequency_hz = {"yes": 240, "no": 720}[label]
        # Of slightly changing loudness, as speech is.
        loudness = np.linspace(0.2, 0.4, 800)
        parts.append(loudness * np.sin(2 * np.pi * frequency_hz * np.arange(800) / RATE_HZ))
    waveform = np.concatenate([*parts, np.zeros(4_000)])
    return np.asarray((waveform + noise * rng.standard_normal(len(waveform))).astype(np.float32))


def _events(model: Model, waveform: np.ndarray, gate: bool, block: int = 1000) -> list[Event]:
    stream, events = model.stream(gate=gate), []
    for start in range(0, len(waveform), block):
        events += stream.push(waveform[start : start + block])
    return events + stream.flush()


@pytest.mark.parametrize("make", [_windows, _steps])
@settings(max_examples=20, deadline=None)
@given(
    words=st.lists(
        st.tuples(st.sampled_from(["yes", "no"]), st.integers(0, 16_000)), min_size=1, max_size=4
    ),
    noise=st.sampled_from([0.0, 1e-5, 1e-3, 1e-2]),
    smoothing_windows=st.integers(1, 5),
    patience=st.integers(1, 4),
    block=st.sampled_from([7, 79, 80, 333, 100_000]),
    seed=st.integers(0, 99),
)
def test_words_amid_silence_are_the_same_events_with_the_gate_and_without(
    make: Make,
    words: list[tuple[str, int]],
    noise: float,
    smoothing_windows: int,
    patience: int,
    block: int,
    seed: int,
) -> None:
    decision = dataclasses.replace(DECISION, smoothing_windows=smoothing_windows, patience=patience)
    model = make(decision)
    waveform = _recording(words, noise, seed)
    with_gate = _events(model, waveform, True, block)
    assert with_gate == _events(model, waveform, False, len(waveform))
    assert with_gate


@pytest.mark.parametrize("make", [_windows, _steps])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_in_silence_the_model_is_not_run(make: Make, noise: float) -> None:
    model = make()
    waveform = noise * np.random.default_rng(0).standard_normal(40_000)
    stream = model.stream()
    stream.push(waveform)
    at_start = _runs(model)
    assert 0 < at_start * HOP < 2 * RATE_HZ * PRE_ROLL_S
    stream.push(waveform)
    assert _runs(model) == at_start


@pytest.mark.parametrize("make", [_windows, _steps])
def test_what_is_kept_for_the_opening_is_bounded_and_long_enough(make: Make) -> None:
    model = make()
    stream = model.stream()
    silence = np.zeros(40_000, dtype=np.float32)
    stream.push(silence)
    before = _runs(model)
    stream.push(_recording([("yes", 0)], 0.0, 0)[:HOP])
    kept = pre_roll_hops(model.manifest)
    assert kept * HOP >= RATE_HZ * PRE_ROLL_S + (3 - 1 + 2 - 1) * HOP
    assert (context_hops(model.manifest) + 1) * HOP >= WINDOW
    # Windows are filled without a run; states are not.
    warmed = context_hops(model.manifest) if model.manifest.states else 0
    assert _runs(model) - before == kept + warmed + 1


def test_after_a_short_closure_states_go_on_as_though_nothing_had_been_left_out() -> None:
    """States that nothing forgets: a sum of all that was heard, with which answers change."""

    class Sums(Steps):
        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            total = feeds["past"] + np.abs(feeds["pcm"]).sum()
            share = np.float32(0.5 + 0.5 * np.sin(total[0, 0]))
            posteriors = np.array([[1 - share, share, 0]], dtype=np.float32)
            return {"posteriors": posteriors, "past_next": total}

    decision = Decision(keywords=("yes",), threshold=0.9)
    model = Model(manifest=_steps(decision).manifest, engine=Sums())
    kept = context_hops(model.manifest) + pre_roll_hops(model.manifest)
    closes_after = RATE_HZ * PRE_ROLL_S // HOP + 2
    rng = np.random.default_rng(0)
    loud = 0.1 * rng.standard_normal(400)
    quiet = 1e-4 * rng.standard_normal(round(HOP * (closes_after + kept - 5)))
    waveform = np.concatenate([loud, quiet, loud, quiet, loud])
    assert _events(model, waveform, True) == _events(model, waveform, False)


def test_a_held_keyword_keeps_the_gate_open() -> None:
    gate = SpeechGate(HOP, RATE_HZ, hold_hops=5)
    silence = np.zeros(HOP, dtype=np.float32)
    heard = [gate.hears(silence, at_rest=False) for _ in range(20)]
    assert all(heard)
    assert not gate.hears(silence, at_rest=True)
    assert not gate.hears(silence, at_rest=False)  # nobody has asked the model since


def test_the_gate_opens_within_the_hop_that_stands_out() -> None:
    gate = SpeechGate(320, 16_000, hold_hops=5)
    rng = np.random.default_rng(0)
    noise = (1e-3 * rng.standard_normal((400, 320))).astype(np.float32)
    opened = [gate.hears(hop, at_rest=True) for hop in noise]
    assert opened[:4] == [True] * 4  # the floor is unknown at the start
    assert not any(opened[5:])
    assert gate.hears(2.5 * noise[0], at_rest=True)
    assert [gate.hears(hop, at_rest=True) for hop in noise[:6]] == [True] * 4 + [False] * 2


def test_a_new_steady_noise_is_silence_once_the_floor_has_risen() -> None:
    gate = SpeechGate(320, 16_000, hold_hops=5)
    rng = np.random.default_rng(0)
    hops = rng.standard_normal((500, 320)).astype(np.float32)
    for hop in hops[:200]:
        gate.hears(1e-4 * hop, at_rest=True)
    opened = [gate.hears(1e-2 * hop, at_rest=True) for hop in hops[200:]]
    floor_hops = round(FLOOR_S * 50)
    assert all(opened[:floor_hops])
    assert not any(opened[floor_hops + 10 :])
    # And it falls at once.
    assert not any(gate.hears(1e-4 * hop, at_rest=True) for hop in hops[:2])
    assert gate.hears(1e-3 * hops[0], at_rest=True)


def test_an_offset_and_one_step_of_16_bits_are_silence() -> None:
    rng = np.random.default_rng(0)
    for offset in (0.0, 0.25, -0.6):
        gate = SpeechGate(1280, 16_000, hold_hops=5)
        hops = offset + rng.integers(-1, 2, (30, 1280)) / 32_768
        opened = [gate.hears(hop.astype(np.float32), at_rest=True) for hop in hops]
        assert not any(opened[7:])


@settings(max_examples=30, deadline=None)
@given(hop=st.integers(1, 2000), rate_hz=st.integers(4000, 48_000))
def test_any_hop_and_rate_has_a_gate(hop: int, rate_hz: int) -> None:
    gate = SpeechGate(hop, rate_hz, hold_hops=3)
    silence = np.zeros(hop, dtype=np.float32)
    opened = [gate.hears(silence, at_rest=True) for _ in range(5)]
    assert opened == [True, True, False, False, False]
    assert gate.hears(silence + 0.5, at_rest=True)


def test_a_model_that_looks_back_for_long_has_no_gate() -> None:
    of = functools.partial(_windows, dataclasses.replace(DECISION, smoothing_windows=10_000))
    assert SpeechGate.of(of().manifest) is None
    model = of()
    model.stream().push(np.zeros(8000, dtype=np.float32))
    assert _runs(model) == 100


def test_flush_and_reset_leave_a_stream_with_a_gate_as_new() -> None:
    model = _steps()
    waveform = _recording([("yes", 9000), ("no", 30_000)], 1e-3, 0)
    stream = model.stream()
    first = stream.push(waveform)
    assert [event.label for event in first] == ["yes", "no"]
    stream.reset()
    assert stream.push(waveform) == first
    stream.flush()
    assert stream.push(waveform) == first
