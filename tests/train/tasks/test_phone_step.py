"""Stepping through a stream of phones gives what was trained, frame by frame."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.errors import TrainError
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.models.frontend_config import FrontEndConfig
from train.tasks.phone_step import PhoneStep
from train.tasks.phones import LABELS, PhoneModel

BODIES = {
    "tcn": lambda: CausalTcn(
        CausalTcnConfig(front_end=FrontEndConfig(num_mels=6), channels=5, dilations=(1, 3))
    ),
    "transformer": lambda: CausalKeywordTransformer(
        CausalKeywordTransformerConfig(
            embed_dim=6, num_heads=2, head_dim=3, ffn_dim=5, num_layers=1, left_ms=80, pooled_ms=80
        )
    ),
}


@pytest.fixture(params=BODIES, scope="module")
def model(request):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        model = PhoneModel(BODIES[request.param]())
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.double().eval()


@given(chunk_frames=st.integers(1, 5), steps=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_steps_give_what_was_trained(model, chunk_frames, steps, seed):
    step = PhoneStep(model, chunk_frames)
    generator = torch.Generator().manual_seed(seed)
    num_samples = steps * step.chunk_samples
    waveform = 0.1 * torch.randn(1, num_samples + 7, generator=generator, dtype=torch.float64)
    states = [torch.zeros(state.shape, dtype=torch.float64) for state in step.states]
    with torch.inference_mode():
        answers = step.answers(waveform)
        assert answers.shape == (1, steps, chunk_frames, len(LABELS))
        trained = model(waveform[:, :num_samples]).softmax(-1)
        torch.testing.assert_close(answers.flatten(1, 2), trained, rtol=0, atol=1e-9)
        for number, chunk in enumerate(waveform[:, :num_samples].split(step.chunk_samples, dim=1)):
            posteriors, *states = step(chunk, *states)
            torch.testing.assert_close(posteriors, answers[:, number], rtol=0, atol=1e-9)


def test_a_recording_shorter_than_a_chunk_has_no_answer(model):
    step = PhoneStep(model, 3)
    waveform = torch.zeros(1, step.chunk_samples - 1, dtype=torch.float64)
    assert step.answers(waveform).shape == (1, 0, 3, len(LABELS))


def test_a_chunk_holds_a_frame(model):
    with pytest.raises(TrainError, match="a step takes 1 frame of"):
        PhoneStep(model, 0)
