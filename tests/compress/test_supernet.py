"""Subnets in place, cut out, and against transformers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import HubertConfig, HubertModel

from compress.cost.params import params
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from compress.supernet import Supernet, load_supernet, materialize, save_supernet

SPACE = get_space("otolite-tiny")


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return randomized(SPACE)


@pytest.fixture(scope="module")
def elastic() -> Supernet:
    """One whose feature extractor is elastic too."""
    return randomized(get_space("otolite-tiny-conv"))


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


def test_gradients_are_zero_outside_of_the_slice(supernet: Supernet) -> None:
    subnet = SPACE.smallest()
    supernet.zero_grad()
    output = supernet(subnet, torch.randn(2, 8_000))
    supernet.predict(output).square().mean().backward()
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
    save_supernet(folder, supernet, teacher="digest")
    loaded = load_supernet(folder)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_cut_of_the_small_space_is_an_ordinary_hubert() -> None:
    """Spec 6.2: the same indices in a plain HubertModel give the same states."""
    space = get_space("lighthubert-small")
    subnet = Subnet(space=space.name, embed_dim=384, num_heads=(6,) * 10, ffn_dim=(1344,) * 10)
    torch.manual_seed(0)
    supernet = Supernet(space, target_dim=8).eval()
    dense = materialize(supernet, subnet)
    config = HubertConfig(
        hidden_size=384,
        num_hidden_layers=10,
        num_attention_heads=6,
        intermediate_size=1344,
        feat_extract_norm="layer",
    )
    theirs = HubertModel(config).eval()
    torch.nn.utils.parametrize.remove_parametrizations(theirs.encoder.pos_conv_embed.conv, "weight")
    theirs.load_state_dict(_as_transformers(dense.state_dict()), strict=True)
    waveform = torch.nn.functional.layer_norm(torch.randn(1, 4_000), (4_000,))
    with torch.inference_mode():
        expected = theirs(waveform, output_hidden_states=True).hidden_states
        actual = supernet(subnet, waveform).hidden_states
    for ours, reference in zip(actual, expected, strict=True):
        assert torch.allclose(ours, reference, atol=1e-5)


def _as_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {
        "mask_embedding": "masked_spec_embed",
        "feature_norm": "feature_projection.layer_norm",
        "feature_projection": "feature_projection.projection",
        "pos_conv.conv": "encoder.pos_conv_embed.conv",
        "norm": "encoder.layer_norm",
    }
    inner = {
        "attention_norm": "layer_norm",
        "ffn_norm": "final_layer_norm",
        "ffn.up": "feed_forward.intermediate_dense",
        "ffn.down": "feed_forward.output_dense",
    }
    renamed = {}
    for name, tensor in state.items():
        stem, _, leaf = name.rpartition(".")
        if name == "mask_embedding":
            renamed["masked_spec_embed"] = tensor
        elif name.startswith("layers."):
            _, layer, part = stem.split(".", 2)
            renamed[f"encoder.layers.{layer}.{inner.get(part, part)}.{leaf}"] = tensor
        elif name.startswith("feature_extractor."):
            _, conv, part = stem.split(".")
            part = part.replace("norm", "layer_norm")
            renamed[f"feature_extractor.conv_layers.{conv}.{part}.{leaf}"] = tensor
        else:
            renamed[f"{names[stem]}.{leaf}"] = tensor
    return renamed
