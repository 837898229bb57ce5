"""The baseline's shapes and its size, counted by hand; MLPerf Tiny's published sizes."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.errors import RecipeError
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.models.frontend_config import preset
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


@pytest.fixture
def mlperf_tiny():
    sizes = {"front_end": "mlperf-tiny-mfcc", "normalize_input": False}
    config = check(sizes, DsCnnConfig, "a recipe")
    return KeywordModel(DsCnn(config), tuple("abcdefghijkl")).eval()


def test_mlperf_tinys_model_has_its_parameters(mlperf_tiny):
    trained = sum(parameter.numel() for parameter in mlperf_tiny.parameters())
    norms = [part for part in mlperf_tiny.modules() if isinstance(part, nn.BatchNorm2d)]
    channels = sum(norm.num_features for norm in norms)
    assert channels == 9 * 64
    assert trained == 23_180
    # a norm's scale goes into its convolution's weights, its shift becomes the bias
    assert trained - channels == 22_604
    # theirs trains a bias of each convolution too, although the norm takes it away again
    assert trained + channels == 23_756
    assert trained + channels + 2 * channels == 24_908  # running means and variances


def test_mlperf_tinys_model_has_its_multiplications(mlperf_tiny):
    shapes = []
    mlperf_tiny.body.stem.register_forward_hook(
        lambda _, inputs, output: shapes.extend([inputs[0].shape, output.shape])
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        mlperf_tiny(torch.zeros(1, 16_000))
    assert shapes == [(1, 1, 49, 10), (1, 64, 25, 5)]
    front_end = sum(counter.get_flop_counts()["KeywordModel.body.frontend"].values())
    assert (counter.get_total_flops() - front_end) // 2 == 2_656_768


def test_sizes_saved_before_there_were_front_ends_still_read():
    old = {"num_mels": 12, "channels": 6, "num_blocks": 1, "dropout": 0.2}
    config = check(old, DsCnnConfig, "a checkpoint")
    assert config.features == dataclasses.replace(preset("kaldi-logmel"), num_mels=12)
    state = DsCnn(config).state_dict()
    assert state["input_norm.weight"].shape == (12,)
    assert not any(name.startswith("frontend") for name in state)


def test_what_is_saved_is_the_front_end_itself_and_not_its_name():
    config = check({"front_end": "tensorflow-mfcc"}, DsCnnConfig, "a recipe")
    saved = dataclasses.asdict(config)
    assert saved["front_end"]["num_cepstra"] == 40
    assert check(saved, DsCnnConfig, "a checkpoint") == config


def test_two_numbers_of_mels_are_refused():
    with pytest.raises(RecipeError, match=r"set front_end\.num_mels"):
        check({"front_end": "kaldi-logmel", "num_mels": 8}, DsCnnConfig, "a recipe")


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(Exception, match="unknown key 'chanels': did you mean 'channels'"):
        check({"chanels": 3}, DsCnnConfig, "a recipe")
