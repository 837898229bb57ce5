"""Streams of phrases' events: the same in any blocks and behind a gate, none lost at the end."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_phones import FRAME, LABELS, RATE, phone_model, posteriors_of, waveform_of

import runtime
from runtime.faults import BundleFault
from runtime.keyword import Event, KeywordDetector
from runtime.manifest import Manifest
from runtime.phone_stream import PhoneStream
from runtime.phrases.scorer import PhraseScorer
from runtime.stream import Model

ASKED = {"a b": ["A B", "A A B"], "a b c": ["A B C"], "cab": ["C A B"], "c": ["C"]}
FRAME_S = FRAME / RATE


def _events(model: Model, waveform: np.ndarray, cuts: list[int], **how) -> list[Event]:
    stream = model.stream(**how)
    events = [event for part in np.split(waveform, sorted(cuts)) for event in stream.push(part)]
    return [*events, *stream.flush()]


def _deciding(model: Model, **changes) -> Model:
    phrases = model.manifest.phrases
    decision = dataclasses.replace(phrases.decision, **changes)
    phrases = dataclasses.replace(phrases, decision=decision)
    return dataclasses.replace(model, manifest=dataclasses.replace(model.manifest, phrases=phrases))


def _random(frames: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).dirichlet(np.full(len(LABELS), 0.2), size=frames)
    return waveform_of(rows)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 480), max_size=8),
    seed=st.integers(0, 10**6),
    smoothing=st.integers(1, 3),
    patience=st.integers(1, 2),
)
def test_any_blocks_give_the_same_events(
    cuts: list[int], seed: int, smoothing: int, patience: int
) -> None:
    model = _deciding(
        phone_model(ASKED), smoothing_windows=smoothing, patience=patience, refractory_samples=20
    )
    waveform = _random(60, seed)
    whole = _events(model, waveform, [])
    assert _events(model, waveform, cuts) == whole
    end_s = len(waveform) / RATE
    assert all(0.0 <= event.start_s <= event.end_s <= end_s for event in whole)


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_events_are_what_the_detector_makes_of_the_scores(frames: int, seed: int) -> None:
    model = _deciding(phone_model(ASKED), refractory_samples=0)
    manifest, waveform = model.manifest, _random(frames, seed)
    heard = PhoneStream(model)
    logs = np.concatenate([heard.push(waveform).log_posteriors, heard.flush().log_posteriors])
    scorer = PhraseScorer(manifest.phrases.pronunciations, LABELS, FRAME_S)
    detector = KeywordDetector(
        manifest.keyword_decision, manifest.score_labels, manifest.streaming, RATE
    )
    expected = [
        (event.label, event.score)
        for frame, scores in enumerate(scorer.push(logs), start=1)
        for event in detector.update(scores, frame * FRAME)
    ]
    events = _events(model, waveform, [])
    assert [(event.label, event.score) for event in events] == expected


def _told(events: list[Event]) -> list[tuple[str, int, int]]:
    """Label, first frame and the one past the last."""
    return [
        (event.label, round(event.start_s / FRAME_S), round(event.end_s / FRAME_S))
        for event in events
    ]


def test_a_phrase_and_one_that_begins_with_it_are_both_told() -> None:
    model = phone_model({"a b": ["A B"], "a b c": ["A B C"]})
    events = _events(model, waveform_of(posteriors_of("- A - B - C - -")), [])
    assert _told(events) == [("a b", 1, 4), ("a b c", 1, 6)]
    alone = _events(phone_model({"a b c": ["A B C"]}), waveform_of(posteriors_of("A B A B C")), [])
    assert _told(alone) == [("a b c", 2, 5)]


def test_any_of_its_pronunciations_is_the_phrase() -> None:
    model = phone_model({"either": ["A B", "C B"], "other": ["A A"]})
    for said in ("A - B", "C - B"):
        (event,) = _events(model, waveform_of(posteriors_of(f"- {said} -")), [])
        assert _told([event]) == [("either", 1, 4)]
    assert [e.label for e in _events(model, waveform_of(posteriors_of("A - A")), [])] == ["other"]


def test_a_phrase_that_ends_with_the_recording_is_told() -> None:
    for before in range(4):  # in each place of a hop
        said = f"{'- ' * before}A B"
        (event,) = _events(phone_model({"a b": ["A B"]}), waveform_of(posteriors_of(said)), [])
        assert event.label == "a b"


def test_what_is_told_in_the_tail_ends_with_the_recording() -> None:
    """A causal model tells its last phone late: here in the silence after half a frame."""
    waveform = waveform_of(posteriors_of("A B"))[: FRAME + FRAME // 2]
    (event,) = _events(phone_model({"a b": ["A B"]}), waveform, [], threshold=0.2)
    assert event.end_s == len(waveform) / RATE


@settings(max_examples=25, deadline=None)
@given(pause_s=st.sampled_from([0.1, 0.7, 3.0, 9.0]), seed=st.integers(0, 10**6))
def test_the_gate_leaves_silence_out_and_changes_no_event(pause_s: float, seed: int) -> None:
    model = _deciding(phone_model(ASKED), refractory_samples=20)
    pause = np.zeros(round(pause_s * RATE), dtype=np.float32)
    waveform = np.concatenate([_random(20, seed), pause, _random(20, seed + 1), pause])
    runs = []
    for gate in (True, False):
        counted = dataclasses.replace(model, engine=Counting(model.engine))
        runs.append((_events(counted, waveform, [], gate=gate), counted.engine.runs))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] < runs[1][1] or pause_s < 3.0


class Counting:
    def __init__(self, engine) -> None:
        self._engine, self.runs = engine, 0
        self.inputs, self.outputs, self.faces = engine.inputs, engine.outputs, engine.faces
        self.version = engine.version

    def run(self, feeds):
        self.runs += 1
        return self._engine.run(feeds)


def test_listening_takes_keywords_in_phones() -> None:
    waveform = waveform_of(posteriors_of("- A - B -"))
    plain = phone_model()
    events = list(runtime.listen(plain, [waveform], keywords={"a b": [["A", "B"]]}))
    assert _told(events) == [("a b", 1, 4)]
    assert list(runtime.listen(phone_model({"c": ["C"]}), [waveform], threshold=0.9)) == []
    with pytest.raises(BundleFault, match="which has no keywords to listen for"):
        runtime.listen(plain, [waveform])
    assert isinstance(plain.stream(), PhoneStream)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "no keyword is asked for"),
        ({"": [["A"]]}, "printable characters and not blank"),
        ({"a\nb": [["A"]]}, "printable characters and not blank"),
        ({"a": []}, "the keyword 'a' has no phones"),
        ({"a": [["A"], []]}, "the keyword 'a' has no phones"),
        ({"a": [["A1"]]}, r"the keyword 'a' has a phone 'A1' .*\(A B C\)"),
        ({"a": [["SIL"]]}, "has a phone 'SIL'"),
        ({"a": [["_blank_"]]}, "has a phone '_blank_'"),
        ({"a": [["ERR"]]}, "has a phone 'ERR'"),
        ({"a": [["A", "B"] * 500]}, r"phones of the keyword 'a' must lie in \[1, 100\], got 1000"),
        ({str(number): [["A"]] for number in range(1001)}, r"must lie in \[1, 1000\], got 1001"),
        ({str(number): [["A"] * 100] * 2 for number in range(501)}, "give fewer keywords"),
    ],
)
def test_keywords_that_cannot_be_are_refused_in_a_line(keywords: dict, message: str) -> None:
    with pytest.raises(BundleFault, match=message) as refused:
        runtime.listen(phone_model(), [], keywords=keywords)
    assert "\n" not in str(refused.value)


def test_a_thousand_phrases_are_scored_in_bounded_memory(at_most) -> None:
    rng = np.random.default_rng(0)
    keywords = {
        str(number): [" ".join(rng.choice(["A", "B", "C"], size=20))] for number in range(1000)
    }
    model = phone_model(keywords)
    with at_most(8):
        stream = model.stream(gate=False)
        for _ in range(20):
            stream.push(np.zeros(960, dtype=np.float32))


def test_a_model_of_keywords_is_asked_for_no_others(fake_model: Model) -> None:
    with pytest.raises(BundleFault, match="'offset keywords' tells keywords"):
        runtime.listen(fake_model, [], keywords={"a": [["A"]]})


def test_phrases_are_read_back_as_written() -> None:
    manifest = phone_model(ASKED).manifest
    sealed = runtime.manifest.seal(manifest)
    assert Manifest.from_json(sealed.to_json()) == sealed
    assert sealed.score_labels == tuple(ASKED)
