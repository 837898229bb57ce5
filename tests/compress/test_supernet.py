"""Subnets in place and cut out; `tests/oracle/` compares them with transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.cost.params import params
from compress.cutting import cut_out
from compress.spaces import Space, get_space
from compress.supernet import Supernet, load_supernet, materialize, save_supernet
from train.models.streaming import initial
from train.models.wav2vec2 import load_encoder
from train.models.wav2vec2_config import StreamingConfig

SPACE = get_space("otolite-tiny")


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return randomized(SPACE)


@pytest.fixture(scope="module")
def elastic() -> Supernet:
    """One whose feature extractor is elastic too."""
    return randomized(get_space("otolite-tiny-conv"))


@pytest.fixture(scope="module")
def streaming() -> Supernet:
    """One that hears in chunks, its feature extractor elastic."""
    space = get_space("otolite-tiny-conv")
    sizes = replace(
        space.supernet,
        conv_norm="layer",
        normalize_waveform=True,
        streaming=StreamingConfig(chunk_frames=2, left_frames=5),
    )
    return randomized(replace(space, name="streaming", supernet=sizes))


def randomized(space: Space) -> Supernet:
    torch.manual_seed(0)
    made = Supernet(space, target_dim=24)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.normal_(mean=0.7, std=0.3)
    return made.eval()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(800, 9_000))
def test_a_slice_equals_the_materialized_model_bit_for_bit(
    supernet: Supernet, elastic: Supernet, seed: int, samples: int
) -> None:
    rng = np.random.default_rng(seed)
    supernet = elastic if seed % 2 else supernet
    subnet = supernet.space.sample(rng)
    waveform = torch.from_numpy(rng.normal(0, 0.2, (2, samples)).astype(np.float32))
    lengths = torch.tensor([samples, samples * 2 // 3])
    with torch.inference_mode():
        sliced = supernet(subnet, waveform, lengths)
        dense = materialize(supernet, subnet)(waveform, lengths)
    assert len(sliced.hidden_states) == subnet.depth + 1
    for inside, outside in zip(sliced.hidden_states, dense.hidden_states, strict=True):
        assert torch.equal(inside, outside)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(640, 9_000))
def test_a_slice_that_streams_equals_the_materialized_model_bit_for_bit(
    streaming: Supernet, seed: int, samples: int
) -> None:
    rng = np.random.default_rng(seed)
    subnet = streaming.space.sample(rng)
    waveform = torch.from_numpy(rng.normal(0, 0.2, (2, samples)).astype(np.float32))
    lengths = torch.tensor([samples, samples * 2 // 3])
    dense = materialize(streaming, subnet)
    assert dense.config.streaming == streaming.space.supernet.streaming
    with torch.inference_mode():
        sliced, outside = streaming(subnet, waveform, lengths), dense(waveform, lengths)
        for ours, theirs in zip(sliced.hidden_states, outside.hidden_states, strict=True):
            assert torch.equal(ours, theirs)
        # … and that model streams what it gives
        whole = waveform[:, : samples // 640 * 640]
        states = initial(dense.shapes(), 2, like=whole)
        pieces = []
        for start in range(0, whole.shape[1], 640):
            piece, states = dense.stream(whole[:, start : start + 640], states)
            pieces.append(piece.hidden_states[-1])
        # float32: a piece of another length sums in another order
        torch.testing.assert_close(torch.cat(pieces, 1), dense(whole).output, rtol=0, atol=1e-4)


def test_a_subnet_that_is_cut_out_carries_how_it_streams(
    streaming: Supernet, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("compress.supernet.get_space", {"streaming": streaming.space}.get)
    save_supernet(tmp_path / "supernet", streaming, provenance={})
    subnet = streaming.space.smallest()
    cut_out(tmp_path / "supernet", subnet, tmp_path / "cut")
    dense = load_encoder(tmp_path / "cut")
    assert dense.config.streaming == StreamingConfig(chunk_frames=2, left_frames=5)
    waveform = torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(dense.eval()(waveform).output, streaming(subnet, waveform).output)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_closed_form_counts_the_materialized_model(elastic: Supernet, seed: int) -> None:
    space = elastic.space
    subnet = space.sample(np.random.default_rng(seed))
    dense = materialize(elastic, subnet)
    counted = sum(parameter.numel() for parameter in dense.parameters())
    # the authors count the mask embedding at the supernet's width
    uncut_mask = space.supernet.embed_dim - subnet.embed_dim
    assert counted == params(space, subnet) - uncut_mask


def test_the_largest_subnet_is_the_supernet_itself(supernet: Supernet) -> None:
    waveform = torch.randn(2, 8_000)
    with torch.inference_mode():
        sliced = supernet(SPACE.largest(), waveform).output
        whole = supernet.encoder(waveform).output
    assert torch.equal(sliced, whole)


def test_the_head_reads_as_many_of_its_columns_as_the_subnet_is_wide(supernet: Supernet) -> None:
    subnet = SPACE.smallest()
    weight = supernet.head.weight.detach()[:, : subnet.embed_dim]
    with torch.inference_mode():
        output = supernet(subnet, torch.randn(2, 8_000))
        predicted = supernet.predict(output.output)
        expected = torch.einsum("bfe,te->bft", output.output, weight)
    assert predicted.shape[-1] == 24
    assert torch.allclose(predicted, expected, atol=1e-5)


def test_gradients_are_zero_outside_of_the_slice(supernet: Supernet) -> None:
    subnet = SPACE.smallest()
    supernet.zero_grad()
    output = supernet(subnet, torch.randn(2, 8_000))
    supernet.predict(output.output).square().mean().backward()
    width, inner = subnet.embed_dim, subnet.num_heads[0] * SPACE.supernet.head_dim
    weight = supernet.encoder.layers[0].attention.q_proj.weight.grad
    assert weight is not None
    assert weight[:inner, :width].abs().sum() > 0
    assert not weight[inner:].any()
    assert not weight[:, width:].any()
    assert supernet.head.weight.grad is not None
    assert not supernet.head.weight.grad[:, width:].any()
    dropped = set(range(SPACE.supernet.num_layers)) - set(SPACE.kept_layers(subnet.depth))
    for layer in dropped:
        assert supernet.encoder.layers[layer].ffn.up.weight.grad is None


def test_a_saved_supernet_comes_back_whole(supernet: Supernet, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("run") / "model"
    save_supernet(folder, supernet, provenance={"teacher": "digest"})
    loaded = load_supernet(folder)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
