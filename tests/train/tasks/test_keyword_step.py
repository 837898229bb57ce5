"""Stepping through a stream gives what was trained, at the very sample that was promised."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from train.errors import TrainError
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.models.frontend_config import FrontEndConfig
from train.recipe import check
from train.tasks.bodies import BODIES, CausalBody
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel

SIZES = {"embed_dim": 6, "num_heads": 2, "head_dim": 3, "ffn_dim": 5, "num_layers": 2}
SHAPES = {
    "patches-of-4": {"patch_frames": 4, "left_ms": 120, "pooled_ms": 160},
    "patches-of-2": {"patch_frames": 2, "left_ms": 60, "pooled_ms": 100, "position_kernel": 2},
    "frames": {"patch_frames": 1, "left_ms": 30, "pooled_ms": 20, "position_kernel": 1},
    "mfcc": {"patch_frames": 2, "left_ms": 20, "pooled_ms": 70, "frontend": "tensorflow-mfcc"},
}
TCN = {
    "tcn": {"patch_frames": 2, "dilations": (1, 3, 5)},
    "tcn-of-frames": {"patch_frames": 1, "dilations": (2, 1), "kernel": 2},
}
LABELS = ("a", "b", "c")


def make_model(shape, dtype=torch.float64):
    """Nothing is left at ones and zeros, the running statistics included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        if "dilations" in shape:
            config = CausalTcnConfig(front_end=FrontEndConfig(num_mels=6), channels=5, **shape)
            body = CausalTcn(config)
        else:
            body = CausalKeywordTransformer(CausalKeywordTransformerConfig(**SIZES, **shape))
        for parameter in body.parameters():
            nn.init.normal_(parameter, std=0.5)
        for part in body.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_(-8.0 if part is body.input_norm else 0.0)
                part.running_var.uniform_(1.0, 9.0)
        model = KeywordModel(body, LABELS)
        nn.init.normal_(model.classifier.weight)
    return model.to(dtype)


@pytest.fixture(params=SHAPES | TCN, scope="module")
def model(request):
    return make_model((SHAPES | TCN)[request.param])


def recording(samples, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    loud = torch.rand(samples // 800 + 1, generator=generator).repeat_interleave(800)[:samples]
    return (0.2 * loud * torch.randn(samples, generator=generator)).to(dtype)[None]


def stepped(step, waveform):
    """(1, steps, labels): what a device gets, one chunk after another."""
    states = [torch.full(state.shape, state.initial).to(waveform.dtype) for state in step.states]
    answers = []
    for chunk in waveform.split(step.chunk_samples, dim=1):
        if chunk.shape[1] < step.chunk_samples:
            break
        posteriors, *states = step(chunk, *states)
        assert [tuple(state.shape) for state in states] == [s.shape for s in step.states]
        answers.append(posteriors)
    return torch.stack(answers, dim=1)


@given(chunk_frames=st.integers(1, 6), steps=st.integers(1, 9), data=st.data())
@settings(max_examples=8, deadline=None)
def test_steps_give_what_was_trained(model, chunk_frames, steps, data):
    step = KeywordStep(model, chunk_frames)
    rest = data.draw(st.integers(0, step.chunk_samples - 1))
    waveform = recording(steps * step.chunk_samples + rest, data.draw(st.integers(0, 99)))
    with torch.inference_mode():
        answers = step.answers(waveform)
        assert answers.shape == (1, steps, len(LABELS))
        torch.testing.assert_close(stepped(step, waveform), answers, rtol=0, atol=1e-9)
        torch.testing.assert_close(answers.sum(-1), torch.ones(1, steps, dtype=torch.float64))


def test_in_float32_they_do_within_its_rounding(model):
    for chunk_frames in (1, 2, 5):
        step = KeywordStep(model, chunk_frames).float()
        waveform = recording(6 * step.chunk_samples, chunk_frames, torch.float32)
        with torch.inference_mode():
            answers = step.answers(waveform)
            torch.testing.assert_close(stepped(step, waveform), answers, rtol=0, atol=1e-5)


@given(chunk_frames=st.integers(1, 4), place=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_an_answer_hears_its_last_sample_and_none_after(model, chunk_frames, place, seed):
    step = KeywordStep(model, chunk_frames)
    waveform = recording(6 * step.chunk_samples, seed)
    end = (place + 1) * step.chunk_samples
    later, last = waveform.clone(), waveform.clone()
    later[:, end:] += 0.3
    last[:, end - 1] += 0.3
    with torch.inference_mode():
        answers, after_later, after_last = map(step.answers, (waveform, later, last))
    assert torch.equal(answers[:, : place + 1], after_later[:, : place + 1])
    # A window is next to nothing at its last sample; rounding is a thousandth of this.
    assert (answers[:, place] - after_last[:, place]).abs().max() > 1e-12
    torch.testing.assert_close(answers[:, :place], after_last[:, :place], rtol=0, atol=1e-12)


@given(samples=st.integers(1, 9_000), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_a_clip_is_judged_as_a_stream_of_it_at_its_end(model, samples, seed):
    waveform = recording(samples, seed)
    hop_samples = model.body.hop_samples
    silence = waveform.new_zeros(1, -samples % hop_samples)
    with torch.inference_mode():
        wanted = KeywordStep(model, 1).answers(torch.cat([silence, waveform], dim=1))[:, -1]
        torch.testing.assert_close(model.eval()(waveform).softmax(-1), wanted)


def test_rows_of_a_batch_are_recordings_of_their_own(model):
    step = KeywordStep(model, 1)
    rows = [recording(5 * step.chunk_samples, seed) for seed in (1, 2)]
    with torch.inference_mode():
        together = step.answers(torch.cat(rows))
        torch.testing.assert_close(together, torch.cat([step.answers(row) for row in rows]))


def test_a_recording_shorter_than_a_chunk_has_no_answer(model):
    step = KeywordStep(model, 3)
    assert step.answers(recording(step.chunk_samples - 1, 0)).shape == (1, 0, len(LABELS))


def test_a_step_says_what_it_takes():
    model = make_model(SHAPES["patches-of-4"]).train()
    step = KeywordStep(model, 2)
    assert (step.chunk_samples, step.window_samples) == (1_280, 4 * 640)
    shapes = {state.name: state.shape for state in step.states}
    assert shapes["pcm_tail"] == (1, 240)  # a frame of 400 samples ends with its hop of 160
    assert shapes["seen"] == (1, 3)
    assert shapes["layer1_memory"] == shapes["layer0_memory"] == (1, 4, 3, 3)
    assert shapes["mean_tail"] == (1, 3, 7)
    assert len(shapes) == len(step.states) == 6
    assert model.training
    assert not step.training
    assert not any(parameter.requires_grad for parameter in step.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "name", [name for name in BODIES if not hasattr(BODIES[name].build, "stream")]
)
def test_a_body_that_looks_ahead_is_refused_with_the_reason(name):
    kind = BODIES[name]
    model = KeywordModel(kind.build(kind.config()), LABELS)
    assert not isinstance(model.body, CausalBody)
    message = r"its stream would differ from what was trained, because .*causal_keyword_transformer"
    with pytest.raises(TrainError, match=message):
        KeywordStep(model, 1)


def test_a_chunk_without_a_frame_is_refused():
    with pytest.raises(TrainError, match="1 frame of 640 samples or more, got 0"):
        KeywordStep(make_model(SHAPES["patches-of-4"]), 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_frames": 0}, "patch_frames"),
        ({"left_ms": 0}, "left_ms"),
        ({"pooled_ms": 40}, "pooled_ms must span two tokens or more, got 40"),
        ({"dropout": -0.1}, "dropout must lie in"),
        ({"frontend": "librosa-logmel"}, "looks ahead of a frame's window"),
        ({"frontend": "kaldi-mfcc"}, "looks ahead of a frame's window"),
        ({"frontend": "kaldi-logmels"}, "did you mean 'kaldi-logmel'"),
    ],
)
def test_what_a_stream_cannot_have_is_refused(values, message):
    with pytest.raises(Exception, match=message):
        check(values, CausalKeywordTransformerConfig, "a recipe")
