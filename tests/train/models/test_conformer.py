"""Cutting a stream changes nothing, nothing looks ahead, and a block is the paper's formula."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from train.errors import RecipeError
from train.models.causal_frontend import CausalFrontEnd
from train.models.conformer import (
    Conformer,
    ConformerBlock,
    ConformerConfig,
    ConformerEncoder,
    Subsampling,
)
from train.models.frontend import FrontEnd
from train.models.frontend_config import FrontEndConfig, preset
from train.models.streaming import initial, part
from train.recipe import check
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel, load_keywords, save_keywords

SIZES = {
    "stem_channels": 3,
    "embed_dim": 8,
    "num_layers": 2,
    "num_heads": 2,
    "ffn_dim": 12,
    "conv_kernel": 4,
    "left_frames": 3,
    "pooled_frames": 4,
}
TINY = {
    "by 4": ConformerConfig(front_end=FrontEndConfig(num_mels=11), subsampling=4, **SIZES),
    "by 2": ConformerConfig(front_end=FrontEndConfig(num_mels=8), subsampling=2, **SIZES),
    "window inside the FFT": ConformerConfig(
        front_end=FrontEndConfig(num_mels=8, framing="fft"), subsampling=2, **SIZES
    ),
}
FRAMES = 12


def randomized(make, seed=3):
    """A module in eval mode whose norms and biases are not the identity."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = make()
        for name, tensor in module.state_dict().items():
            if "running_var" in name or name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bias") or "running_mean" in name:
                tensor.normal_(std=0.3)
    return module.eval()


def noise(batch, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, samples, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module", params=TINY)
def body(request):
    return randomized(lambda: Conformer(TINY[request.param])).double()


def streamed(model, waveform, cuts):
    """Outputs of pieces that end at these hops, one after the other."""
    hop, shapes = model.hop_samples, model.shapes()
    states = initial(shapes, len(waveform), like=waveform)
    outputs = []
    for start, end in zip([0, *cuts], [*cuts, waveform.shape[1] // hop], strict=True):
        output, states = model.stream(waveform[:, start * hop : end * hop], states)
        assert {name: state.shape[1:] for name, state in states.items()} == shapes
        outputs.append(output)
    return torch.cat(outputs, dim=1)


@given(cuts=st.sets(st.integers(1, FRAMES - 1), max_size=FRAMES - 1), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_cutting_a_stream_anywhere_changes_nothing(body, cuts, seed):
    waveform = noise(2, FRAMES * body.hop_samples, seed)
    with torch.inference_mode():
        whole = streamed(body, waveform, [])
        assert whole.shape == (2, FRAMES, body.output_dim)
        torch.testing.assert_close(streamed(body, waveform, sorted(cuts)), whole)
        torch.testing.assert_close(body(waveform), whole[:, -1])
        frames = body.encoder(waveform)
        torch.testing.assert_close(streamed(body.encoder, waveform, sorted(cuts)), frames)


@given(frame=st.integers(1, FRAMES - 1), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_nothing_looks_ahead_and_a_frame_hears_its_last_sample(body, frame, seed):
    """Frame t hears samples before (t + 1) * hop, all of them where frames fill their window."""
    hop = body.hop_samples
    waveform = noise(1, FRAMES * hop, seed)
    later = waveform.clone()
    later[:, frame * hop :] += noise(1, (FRAMES - frame) * hop, seed + 1)
    with torch.inference_mode():
        for run in (lambda w: streamed(body, w, []), body.encoder):
            before, changed = run(waveform), run(later)
            assert torch.equal(changed[:, :frame], before[:, :frame])
            assert not torch.allclose(changed[:, frame], before[:, frame])
        if body.config.front_end.framing == "window":
            last = waveform.clone()
            last[:, frame * hop - 100 : frame * hop] += 1.0
            assert not torch.allclose(
                body.encoder(last)[:, frame - 1], body.encoder(waveform)[:, frame - 1]
            )


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_padding_changes_nothing(body, data):
    hop = body.hop_samples
    lengths = data.draw(st.lists(st.integers(hop, FRAMES * hop), min_size=1, max_size=3))
    waveform = noise(len(lengths), max(lengths) + data.draw(st.integers(0, 500)))
    with torch.inference_mode():
        together = body(waveform, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = body(waveform[row : row + 1, :length])
            torch.testing.assert_close(together[row : row + 1], alone)


def test_less_than_a_hop_is_refused(body):
    hop = body.hop_samples
    with pytest.raises(ValueError, match=f"a hop of {hop} samples or more, got {hop - 1}"):
        body(noise(1, hop - 1))
    with pytest.raises(ValueError, match=f"a hop of {hop} samples or more, got 7"):
        body(noise(2, 2 * hop), torch.tensor([2 * hop, 7]))


def test_the_mean_and_the_attention_reach_as_far_as_they_say(body):
    hop, config = body.hop_samples, body.config
    assert body.window_samples == config.pooled_frames * hop
    assert body.encoder.shapes()["seen"] == (config.left_frames,)
    waveform = noise(1, FRAMES * hop)
    with torch.inference_mode():
        frames = body.encoder(waveform)
        pooled = streamed(body, waveform, [])
    torch.testing.assert_close(pooled[:, -1], frames[:, -config.pooled_frames :].mean(1))
    torch.testing.assert_close(pooled[:, 1], frames[:, :2].mean(1))


def test_the_first_frames_are_those_of_silence_before_the_recording():
    config = preset("kaldi-logmel")
    causal = CausalFrontEnd(config).double()
    waveform = noise(1, 960)
    found, _ = causal(waveform, initial(causal.shapes(), 1, like=waveform))
    before = torch.zeros(1, config.window_samples - config.hop_samples).double()
    wanted = FrontEnd(config).double()(torch.cat([before, waveform], dim=1))
    assert found.shape == (1, 6, 40)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("stride", [1, 2])
def test_subsampling_is_padded_convolutions(stride):
    config = dataclasses.replace(TINY["by 4"], subsampling=2 * stride)
    stem = randomized(lambda: Subsampling(config)).double()
    features = noise(2, 16 * 11).view(2, 16, 11)
    found, _ = stem(features, initial(stem.shapes(), 2, like=features))
    weights = stem.state_dict()
    mean, var, scale, shift = (
        weights[f"norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
    )
    image = ((features - mean) / (var + 1e-5).sqrt() * scale + shift).transpose(1, 2).unsqueeze(1)
    for name, step in (("first", 2), ("second", stride)):
        padded = functional.pad(image, (3 - step, 0, 1, 1))  # past frames; bands on both sides
        image = functional.conv2d(
            padded,
            weights[f"{name}.conv.weight"],
            weights[f"{name}.conv.bias"],
            stride=(2, step),
        ).relu()
    assert image.shape == (2, 3, 3, 8 // stride)
    wanted = image.flatten(1, 2).transpose(1, 2) @ weights["project.weight"].T
    torch.testing.assert_close(found, wanted + weights["project.bias"])


def test_a_block_is_the_papers_formula():
    config = TINY["by 4"]
    block = randomized(lambda: ConformerBlock(config)).double()
    nn.init.normal_(block.attention.distance_bias, generator=torch.Generator().manual_seed(1))
    hidden = noise(2, 9 * 8).view(2, 9, 8) * 10
    seen = torch.zeros(2, config.left_frames).double()
    found, _ = block(hidden, initial(block.shapes(), 2, like=hidden), seen)
    weights = block.state_dict()

    def norm(signal, name):
        return functional.layer_norm(
            signal, (8,), weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    def linear(signal, name):
        return functional.linear(signal, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def feed_forward(signal, name):
        inner = linear(norm(signal, f"{name}.norm"), f"{name}.up")
        return linear(inner * inner.sigmoid(), f"{name}.down")

    def attend(signal):
        normed = norm(signal, "attention_norm")
        query, key, value = (
            linear(normed, f"attention.{name}_proj").view(2, 9, 2, 4).transpose(1, 2)
            for name in "qkv"
        )
        ago = torch.arange(9)[:, None] - torch.arange(9)
        bias = weights["attention.distance_bias"][:, ago.clamp(0, config.left_frames)]
        bias = bias.masked_fill((ago < 0) | (ago > config.left_frames), -torch.inf)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return linear(mixed.transpose(1, 2).reshape(2, 9, 8), "attention.out_proj")

    def convolve(signal):
        wide = linear(norm(signal, "conv.norm"), "conv.widen")
        gated = (wide[..., :8] * wide[..., 8:].sigmoid()).transpose(1, 2)
        taps = weights["conv.depthwise.conv.weight"]  # (channels, 1, kernel)
        mixed = functional.conv1d(functional.pad(gated, (3, 0)), taps, groups=8).transpose(1, 2)
        mean, var, scale, shift = (
            weights[f"conv.batch_norm.{key}"]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        mixed = (mixed - mean) / (var + 1e-5).sqrt() * scale + shift
        return linear(mixed * mixed.sigmoid(), "conv.project")

    wanted = hidden + feed_forward(hidden, "first_half") / 2
    wanted = wanted + attend(wanted)
    wanted = wanted + convolve(wanted)
    wanted = norm(wanted + feed_forward(wanted, "second_half") / 2, "norm")
    torch.testing.assert_close(found, wanted)


def test_states_of_ten_layers_and_more_are_kept_apart():
    config = dataclasses.replace(TINY["by 2"], num_layers=11)
    encoder = randomized(lambda: ConformerEncoder(config)).double()
    assert set(part(encoder.shapes(), "layer1")) == {"memory", "conv_tail"}
    waveform = noise(1, 6 * encoder.hop_samples)
    with torch.inference_mode():
        torch.testing.assert_close(
            streamed(encoder, waveform, [1, 4]), streamed(encoder, waveform, [])
        )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"embed_dim": 10}, "embed_dim must be a multiple of num_heads, got 10 and 4"),
        ({"front_end": "librosa-logmel"}, "of their own samples alone.*got top_db 80"),
        ({"front_end": "kaldi-mfcc"}, "num_deltas 2"),
        ({"front_end": {"hop_samples": 500}}, "at most a frame, 400, for a stream; got 500"),
        ({"subsampling": 3}, "subsampling"),
        ({"num_layers": 0}, "1 or more"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(RecipeError, match=message):
        check(sizes, ConformerConfig, "a recipe")


def test_a_checkpoint_gives_it_back_with_its_front_end(tmp_path):
    model = randomized(lambda: KeywordModel(Conformer(TINY["by 2"]), ("no", "yes")))
    save_keywords(tmp_path / "model", model)
    back = load_keywords(tmp_path / "model").eval()
    assert isinstance(back.body, Conformer)
    assert back.body.config == TINY["by 2"]
    waveform = noise(2, 2_000).float()
    with torch.inference_mode():
        assert torch.equal(back(waveform), model(waveform))


def test_it_runs_as_the_step_of_a_keyword_stream():
    model = randomized(lambda: KeywordModel(Conformer(TINY["by 4"]), ("no", "yes"))).double()
    step = KeywordStep(model, chunk_frames=3)
    waveform = noise(1, 4 * step.chunk_samples)
    states = [torch.zeros(state.shape, dtype=torch.float64) for state in step.states]
    answers = []
    with torch.inference_mode():
        for chunk in waveform.split(step.chunk_samples, dim=1):
            posteriors, *states = step(chunk, *states)
            answers.append(posteriors)
        torch.testing.assert_close(torch.stack(answers, dim=1), step.answers(waveform))
        torch.testing.assert_close(answers[-1], model(waveform).softmax(-1))
