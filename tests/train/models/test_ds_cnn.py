"""The baseline's shapes and its size, counted by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.recipe import check
from train.tasks.keywords import KeywordModel


def closed_form(mels, channels, blocks):
    """Weights of the stem and the blocks, and a scale and a shift for each normalized channel."""
    norm = 2 * channels
    stem = channels * 10 * 4 + norm
    block = channels * 3 * 3 + norm + channels * channels + norm
    return 2 * mels + stem + blocks * block


@pytest.mark.parametrize("sizes", [(40, 64, 4), (10, 3, 0), (23, 8, 2)])
def test_parameters_are_those_of_the_closed_form(sizes):
    mels, channels, blocks = sizes
    model = DsCnn(DsCnnConfig(num_mels=mels, channels=channels, num_blocks=blocks))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == closed_form(mels, channels, blocks)


def test_the_default_is_hello_edges_small_model():
    # 64 channels and four blocks: the paper's small DS-CNN has 38.6 k weights with its classifier
    assert closed_form(40, 64, 4) + 64 * 12 + 12 == pytest.approx(24_000, rel=0.05)


@settings(max_examples=10, deadline=None)
@given(samples=st.integers(400, 20_000), batch=st.integers(1, 3))
def test_any_length_of_a_window_or_more_gives_logits(samples, batch):
    model = KeywordModel(DsCnn(DsCnnConfig(num_mels=8, channels=4, num_blocks=1)), ("a", "b", "c"))
    model.eval()
    waveform = 0.1 * torch.sin(torch.arange(batch * samples) * 0.07).view(batch, samples)
    with torch.inference_mode():
        logits = model(waveform)
        alone = model(waveform[:1])
    assert logits.shape == (batch, 3)
    # convolutions of another batch size may sum in another order
    assert torch.allclose(logits[:1], alone, atol=1e-5)


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(Exception, match="unknown key 'chanels': did you mean 'channels'"):
        check({"chanels": 3}, DsCnnConfig, "a recipe")
