"""A stream of phones gives every frame once, in any blocks, and its tail at the end."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_phones import FRAME, FRAMES, HOP, LABELS, RATE, expected, fake_phones, manifest

from runtime.bundle import Decision, Manifest, Streaming, Tensor
from runtime.faults import AudioFault, BundleFault
from runtime.listen import listen
from runtime.manifest import digest_of
from runtime.phone_stream import TAIL_S

TAIL = round(TAIL_S * RATE)


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, num_samples).astype(np.float32)


def joined(parts):
    """Log-posteriors, once it is made sure that the parts follow one another."""
    for before, after in pairwise(parts):
        assert after.first_frame == before.first_frame + len(before.log_posteriors)
        assert after.start_s == pytest.approx(before.end_s)
    return np.concatenate([part.log_posteriors for part in parts])


@given(blocks=st.lists(st.integers(0, 3 * HOP), max_size=9), seed=st.integers(0, 9))
def test_any_blocks_give_what_the_whole_recording_does(blocks, seed):
    waveform = noise(sum(blocks), seed)
    stream = fake_phones().stream()
    ends = np.cumsum(blocks).tolist()
    parts = [
        stream.push(waveform[end - size : end]) for end, size in zip(ends, blocks, strict=True)
    ]
    parts.append(stream.flush())
    frames = joined(parts)
    num_frames = -(-(len(waveform) + TAIL) // FRAME) if len(waveform) else 0
    silence = np.zeros(TAIL + HOP, dtype=np.float32)
    wanted = expected(np.concatenate([waveform, silence]))[:num_frames]
    assert frames.shape == wanted.shape
    assert frames.dtype == np.float32
    assert np.allclose(np.exp(frames), wanted, atol=1e-6)  # float32 beside float64


def test_times_are_those_of_the_samples():
    stream = fake_phones().stream()
    stream.push(noise(HOP + 1))
    frames = stream.push(noise(HOP))
    assert (frames.start_s, frames.end_s) == (HOP / RATE, 2 * HOP / RATE)
    assert frames.frame_s == FRAME / RATE
    assert len(frames.log_posteriors) == FRAMES


def test_a_flushed_stream_and_one_that_was_reset_are_new():
    stream, waveform = fake_phones().stream(), noise(5 * HOP)
    wanted = stream.push(waveform).log_posteriors
    stream.push(waveform[:7])
    stream.flush()
    assert np.array_equal(stream.push(waveform).log_posteriors, wanted)
    stream.reset()
    again = stream.push(waveform)
    assert again.first_frame == 0
    assert np.array_equal(again.log_posteriors, wanted)


def test_silence_is_told_too():
    frames = fake_phones().stream().push(np.zeros(400 * HOP, dtype=np.int16))
    assert len(frames.log_posteriors) == 400 * FRAMES


def test_streams_of_one_model_share_nothing():
    model, waveform = fake_phones(), noise(4 * HOP)
    one, other = model.stream(), model.stream()
    for start in range(0, 4 * HOP, HOP):
        part = one.push(waveform[start : start + HOP])
        other.push(-waveform[start : start + HOP])
    assert np.array_equal(
        part.log_posteriors, fake_phones().stream().push(waveform).log_posteriors[-FRAMES:]
    )


def test_a_posterior_of_zero_has_a_finite_logarithm():
    model = fake_phones()
    run = model.engine.run

    def certain(feeds):
        values = run(feeds)
        values["posteriors"][:] = [1.0, 0.0, 0.0]
        return values

    model.engine.run = certain
    frames = model.stream().push(noise(HOP)).log_posteriors
    assert np.isfinite(frames).all()
    assert (frames[:, 0] == 0.0).all()
    assert frames[:, 1].max() < -80


def test_nan_is_refused_and_leaves_the_stream_as_it_was():
    stream, waveform = fake_phones().stream(), noise(2 * HOP)
    stream.push(waveform[:HOP])
    with pytest.raises(AudioFault):
        stream.push(np.full(HOP, np.nan, dtype=np.float32))
    last = stream.push(waveform[HOP:]).log_posteriors
    assert np.allclose(np.exp(last), expected(waveform)[-FRAMES:], atol=1e-6)


def test_after_a_failure_a_stream_has_lost_its_place():
    model = fake_phones()
    stream = model.stream()
    model.engine.fails = True
    with pytest.raises(BundleFault, match="finite"):
        stream.push(noise(HOP))
    model.engine.fails = False
    with pytest.raises(BundleFault, match=r"reset\(\)"):
        stream.push(noise(HOP))
    stream.reset()
    assert len(stream.push(noise(HOP)).log_posteriors) == FRAMES


def test_what_is_of_keywords_is_refused():
    model = fake_phones()
    with pytest.raises(BundleFault, match="no threshold decides"):
        model.stream(threshold=0.5)
    with pytest.raises(BundleFault, match="'tiny phones' is a bundle of phones, which has no"):
        listen(model, [noise(HOP)])


def test_a_manifest_of_phones_reads_back_and_tells_no_decision():
    text = manifest().to_json()
    assert Manifest.from_json(text) == manifest()
    assert "decision" not in json.loads(text)
    assert manifest().answer_shape == (FRAMES, len(LABELS))
    assert manifest(outputs=()).answer_shape == (1, len(LABELS))


def _outputs(*shape):
    return {"outputs": (Tensor(name="posteriors", shape=shape, dtype="float32"),)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decision": Decision(keywords=("AA",), threshold=0.5)}, "a phone model has none"),
        ({"task": "keywords", "outputs": ()}, "decision is missing"),
        ({"task": "phonemes"}, "did you mean 'phones'"),
        (_outputs(1, 5, 3), r"\(1, a divisor of hop_samples 12, 3\)"),
        (_outputs(1, 0, 3), "a divisor"),
        (_outputs(1, "frames", 3), "a divisor"),
        (_outputs(1, 3, 4), r"of a phone model must be \[posteriors: float32 \(1, 3, 3\)"),
        (_outputs(1, 3), r"of a phone model must be"),
        ({"streaming": Streaming(window_samples=24, hop_samples=12), "states": ()}, "incremental"),
        ({"states": ()}, "has 1 to"),
    ],
)
def test_a_manifest_that_is_none_of_phones_is_refused(changes, words):
    with pytest.raises(BundleFault, match=f"(?i){words}"):
        manifest(**changes)


def test_an_answer_is_bounded():
    streaming = Streaming(form="incremental", window_samples=1 << 20, hop_samples=1 << 20)
    with pytest.raises(BundleFault, match="a divisor"):
        manifest(streaming=streaming, **_outputs(1, 1 << 20, 3))


def test_a_stranger_of_a_task_is_told_by_its_name_whatever_else_it_lacks():
    raw = json.loads(manifest().to_json()) | {"task": "melodies", "schema_version": "1.9"}
    del raw["labels"]
    raw["digest"] = digest_of(raw)
    with pytest.raises(BundleFault, match="task 'melodies' is not known"):
        Manifest.from_json(json.dumps(raw))
