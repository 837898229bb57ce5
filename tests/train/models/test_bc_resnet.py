"""Sizes against the published ones, the blocks against their formula, any length."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from train.errors import RecipeError
from train.models.bc_resnet import (
    LOG_MEL,
    BcResNet,
    BcResNetConfig,
    BroadcastedBlock,
    SubSpectralNorm,
)
from train.models.frontend import FrontEnd
from train.recipe import check
from train.tasks.keywords import KeywordModel, load_keywords, save_keywords

LABELS = tuple(f"word {number}" for number in range(12))
SIZES = {  # tau: parameters and MACs here; parameters and millions of MACs in the paper's table 3
    1: (9_232, 2_408_440, "9.2k", 3.1),
    1.5: (17_154, 4_471_140, "17.2k", 5.5),
    2: (27_284, 7_106_160, "27.3k", 8.5),
    3: (54_168, 14_093_160, "54.2k", 16.2),
    6: (187_812, 48_789_840, "188k", 53.1),
    8: (321_068, 83_367_360, "321k", 89.1),
}


def make(tau=0.5, labels=LABELS):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = KeywordModel(BcResNet(BcResNetConfig(tau=tau)), labels)
        return randomized(model).eval()


def randomized(module):
    """Norms that are not the identity."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(std=0.3)
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 1.5)
    return module


@pytest.mark.parametrize("tau", SIZES)
def test_parameters_of_twelve_classes_are_the_published_ones(tau):
    exact, _, published, _ = SIZES[tau]
    model = KeywordModel(BcResNet(BcResNetConfig(tau=tau)), LABELS)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == exact
    decimals = 1 if counted < 100_000 else 0
    assert f"{counted / 1000:.{decimals}f}k" == published


@pytest.mark.parametrize("tau", SIZES)
def test_multiplications_for_a_second_are_the_published_ones(tau):
    """The paper does not say what it counts.

    All six of its figures come out, rounded to 0.1 M, as the convolutions and the classifier over
    98 frames, and two for each number that a norm gives, one for each that a ReLU of its own or a
    mean sees; the ReLU after a block's sum and the front end are not in it.
    """
    _, exact, _, published = SIZES[tau]
    model = make(tau)
    elements = Counter()

    def count(module, inputs, output):
        if isinstance(module, nn.BatchNorm2d):
            elements["norms"] += 2 * output.numel()
        elif isinstance(module, nn.ReLU):
            elements["relus"] += output.numel()
        elif module is model.body.tail or (
            isinstance(module, nn.Sequential) and isinstance(module[-1], SubSpectralNorm)
        ):
            elements["means"] += output.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 16_000))
    of_front_end = sum(counter.get_flop_counts()["KeywordModel.body.frontend"].values())
    macs = (counter.get_total_flops() - of_front_end) // 2
    assert macs == exact
    assert round((macs + elements.total()) / 1e6, 1) == published


@settings(max_examples=10, deadline=None)
@given(samples=st.integers(480, 9_000), batch=st.integers(1, 3))
def test_any_length_of_a_frame_or_more_gives_logits(samples, batch):
    model = make(labels=("a", "b", "c"))
    waveform = 0.1 * torch.sin(torch.arange(batch * samples) * 0.07).view(batch, samples)
    with torch.inference_mode():
        logits = model(waveform)
        alone = model(waveform[:1])
    assert logits.shape == (batch, 3)
    # convolutions of another batch size may sum in another order
    torch.testing.assert_close(logits[:1], alone, rtol=1e-4, atol=1e-5)


def test_log_mel_is_torchaudios_formula_on_frames_within_the_clip():
    waveform = torch.randn(1, 2_000, generator=torch.Generator().manual_seed(0)).double() * 0.1
    frames = waveform[0].numpy()[
        np.arange(480) + 160 * np.arange((2_000 - 480) // 160 + 1)[:, None]
    ]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    mels = np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 42)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hertz = np.linspace(0, 8_000, 257)[:, None]
    up = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    wanted = np.log(power @ np.clip(np.minimum(up, down), 0, None) + 1e-6)
    found = FrontEnd(LOG_MEL, dtype=torch.float64)(waveform)[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_sub_bands_have_statistics_of_their_own():
    norm = SubSpectralNorm(2, 5).double().train()
    image = torch.randn(3, 2, 10, 7, generator=torch.Generator().manual_seed(1)).double()
    image += torch.arange(10.0).double()[:, None] ** 2  # loud bands must not hide soft ones
    found = norm(image)
    for channel in range(2):
        for low in range(0, 10, 2):
            band = image[:, channel, low : low + 2]
            wanted = (band - band.mean()) / (band.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(found[:, channel, low : low + 2], wanted)


@pytest.mark.parametrize(("in_channels", "stride"), [(3, 1), (2, 2)])
def test_a_block_is_equation_3(in_channels, stride):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        block = BroadcastedBlock(in_channels, 3, stride=stride, dilation=2, dropout=0.1)
        block = randomized(block).double().eval()
        image = torch.randn(2, in_channels, 10, 9).double()
    weights = block.state_dict()

    def norm(signal, name):
        mean, var, scale, shift = (
            weights[f"{name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (signal - mean) / (var + 1e-5).sqrt() * scale + shift

    widened, place = image, 0
    if in_channels != 3:
        mixed = torch.einsum("oi,bift->boft", weights["over_frequency.0.weight"][..., 0, 0], image)
        widened, place = norm(mixed, "over_frequency.1").relu(), 3
    kernel = weights[f"over_frequency.{place}.weight"]
    spectral = functional.conv2d(widened, kernel, stride=(stride, 1), padding=(1, 0), groups=3)
    bands = spectral.shape[2]
    # (batch, channels, sub-bands, bands of each, frames), normalized by channel and sub-band
    split = spectral.view(2, 15, bands // 5, 9)
    spectral = norm(split, f"over_frequency.{place + 1}.norm").view(2, 3, bands, 9)
    mean = spectral.mean(2)  # (batch, channels, frames)
    padded = functional.pad(mean, (2, 2))
    taps = weights["over_time.0.weight"][:, 0, 0]  # (channels, 3)
    temporal = sum(taps[:, tap, None] * padded[:, :, 2 * tap : 2 * tap + 9] for tap in range(3))
    temporal = functional.silu(norm(temporal.unsqueeze(2), "over_time.1")[:, :, 0])
    temporal = torch.einsum("oi,bit->bot", weights["over_time.3.weight"][..., 0, 0], temporal)
    wanted = spectral + temporal.unsqueeze(2)
    if in_channels == 3:
        wanted = wanted + image
    torch.testing.assert_close(block(image), wanted.relu())


def test_a_checkpoint_gives_it_back(tmp_path):
    model = make(labels=("no", "yes"))
    save_keywords(tmp_path / "model", model)
    back = load_keywords(tmp_path / "model").eval()
    assert isinstance(back.body, BcResNet)
    assert back.body.config == BcResNetConfig(tau=0.5)
    waveform = 0.1 * torch.sin(torch.arange(4_000) * 0.07).view(1, 4_000)
    with torch.inference_mode():
        assert torch.equal(back(waveform), model(waveform))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"tau": 0.1}, "tau must be 0.5 or more, got 0.1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"front_end": "tensorflow-mfcc", "taus": 1}, "unknown key 'taus'.*'tau'"),
        ({"front_end": "kaldi-mfcc"}, "a multiple of 40 bands.*got 39"),
        ({"front_end": "kaldi-logmell"}, "no front end 'kaldi-logmell'.*'kaldi-logmel'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(RecipeError, match=message):
        check(sizes, BcResNetConfig, "a recipe")
