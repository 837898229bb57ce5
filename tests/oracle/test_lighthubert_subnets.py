"""Subnets of a file in LightHuBERT's layout, at full size, against transformers' HubertModel.

transformers has one number of heads and one feed-forward width for all layers, and heads that add
up to the encoder's width; a HubertModel of a subnet's width and depth is taken, and those linear
layers of its blocks whose sizes differ are made anew at the subnet's. Its code is run as it is; of
the smallest and the largest subnet of each space it is the class unchanged.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import foreign_names as names
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from compress.importing import import_supernet
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from compress.supernet import Supernet, materialize
from train.models.importing import recognize
from train.models.layouts import huggingface
from train.models.renames import write_names

SIZES = names.Sizes(layered=True)
SHAPES = (
    names.fairseq(SIZES) | names.hubert_heads(SIZES) | {"layer_pred_heads.11.weight": (768, 768)}
)
LAYER = [
    name.removeprefix("encoder.layers.0.")
    for name in SHAPES
    if name.startswith("encoder.layers.0.")
]
SPACES = ("lighthubert-base", "lighthubert-small")
NUM_SUBNETS = 20
NUM_SAMPLES = 2_000
"""Five frames: enough for attention and positions to mix them."""


def random_tensors(shapes: names.Shapes) -> dict[str, Tensor]:
    """Of the scales that training gives; norms that are not ones, biases that are not zeros."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("bias"):
            values *= 0.3
        elif len(shape) == 1 or name.endswith("weight_g"):
            values = 1.0 + 0.2 * values
        else:
            values *= np.prod(shape[1:]) ** -0.5
        tensors[name] = values
    return tensors


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """380 MB, written once and removed at once."""
    path = tmp_path_factory.mktemp("published") / "lighthubert.pt"
    # as in the released files; s3prl tells the spaces apart by these two
    model = {"_name": "hubert_pruner", "pruner_supernet": "/job/conf/Supernet-Small.yaml"}
    torch.save({"cfg": {"model": model}, "model": random_tensors(SHAPES)}, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def tensors(file: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True, mmap=True)["model"]
    return loaded


@pytest.fixture(scope="module")
def supernets(file: Path) -> dict[str, Supernet]:
    """The file in both spaces, which store the same tensors."""
    small = import_supernet(recognize(file)).supernet.eval()
    assert small.space.name == "lighthubert-small"
    with torch.device("meta"):
        base = Supernet(get_space("lighthubert-base"), small.head.out_features)
    base.load_state_dict(small.state_dict(), strict=True, assign=True)
    return {"lighthubert-small": small, "lighthubert-base": base.eval()}


def chosen(name: str) -> list[Subnet]:
    """The smallest and the largest, and as many random ones as make twenty different."""
    space, rng = get_space(name), np.random.default_rng(7)
    subnets = {space.smallest(): None, space.largest(): None}
    while len(subnets) < NUM_SUBNETS:
        subnets[space.sample(rng)] = None
    return list(subnets)


def their_model(space: Space, subnet: Subnet, state: dict[str, Tensor]) -> HubertModel:
    """transformers' model of the subnet's sizes, filled strictly."""
    width, head = subnet.embed_dim, space.supernet.head_dim
    config = HubertConfig(
        hidden_size=width,
        num_hidden_layers=subnet.depth,
        num_attention_heads=width // head,
        intermediate_size=subnet.ffn_dim[0],
        feat_extract_norm="layer",
    )
    with torch.device("meta"):
        model = HubertModel(config).eval()
        positions = model.encoder.pos_conv_embed.conv
        torch.nn.utils.parametrize.remove_parametrizations(positions, "weight")
        layers = zip(model.encoder.layers, subnet.num_heads, subnet.ffn_dim, strict=True)
        for layer, heads, ffn in layers:
            attention, forward, inner = layer.attention, layer.feed_forward, heads * head
            assert attention.head_dim == head
            attention.num_heads = heads
            if inner != width:
                for projection in ("q_proj", "k_proj", "v_proj"):
                    setattr(attention, projection, nn.Linear(width, inner))
                attention.out_proj = nn.Linear(inner, width)
            if ffn != subnet.ffn_dim[0]:
                forward.intermediate_dense = nn.Linear(width, ffn)
                forward.output_dense = nn.Linear(ffn, width)
    model.load_state_dict(state, strict=True, assign=True)
    return model


def cut_by_hand(tensors: dict[str, Tensor], subnet: Subnet) -> dict[str, Tensor]:
    """The file's tensors, cut as spec 6.2 says in words, under transformers' names."""
    width = subnet.embed_dim
    gain, direction = (tensors[f"encoder.pos_conv.0.weight_{part}"] for part in "gv")
    positions = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
    cut = {
        "masked_spec_embed": tensors["mask_emb"][:width],
        "encoder.pos_conv_embed.conv.weight": positions[:width, : width // 16],
        "encoder.pos_conv_embed.conv.bias": tensors["encoder.pos_conv.0.bias"][:width],
    }
    for conv in range(7):
        name = f"feature_extractor.conv_layers.{conv}"
        cut[f"{name}.conv.weight"] = tensors[f"{name}.0.weight"]
    for kind in ("weight", "bias"):
        for conv in range(7):
            name = f"feature_extractor.conv_layers.{conv}"
            cut[f"{name}.layer_norm.{kind}"] = tensors[f"{name}.2.1.{kind}"]
        cut[f"feature_projection.layer_norm.{kind}"] = tensors[f"layer_norm.{kind}"]
        cut[f"feature_projection.projection.{kind}"] = tensors[f"post_extract_proj.{kind}"][:width]
        cut[f"encoder.layer_norm.{kind}"] = tensors[f"encoder.layer_norm.{kind}"][:width]
    dropped = {12: (), 11: (11,), 10: (7, 11)}[subnet.depth]
    kept = [layer for layer in range(12) if layer not in dropped]
    for new, old in enumerate(kept):
        inner, units = 64 * subnet.num_heads[new], hidden_units(width, subnet.ffn_dim[new])
        here, there = f"encoder.layers.{new}", f"encoder.layers.{old}"

        of = {name: tensors[f"{there}.{name}"] for name in LAYER}
        for proj in ("q_proj", "k_proj", "v_proj"):
            cut[f"{here}.attention.{proj}.weight"] = of[f"self_attn.{proj}.weight"][:inner, :width]
            cut[f"{here}.attention.{proj}.bias"] = of[f"self_attn.{proj}.bias"][:inner]
        cut[f"{here}.attention.out_proj.weight"] = of["self_attn.out_proj.weight"][:width, :inner]
        cut[f"{here}.attention.out_proj.bias"] = of["self_attn.out_proj.bias"][:width]
        cut[f"{here}.feed_forward.intermediate_dense.weight"] = of["fc1.weight"][units, :width]
        cut[f"{here}.feed_forward.intermediate_dense.bias"] = of["fc1.bias"][units]
        cut[f"{here}.feed_forward.output_dense.weight"] = of["fc2.weight"][:width, units]
        cut[f"{here}.feed_forward.output_dense.bias"] = of["fc2.bias"][:width]
        for kind in ("weight", "bias"):
            cut[f"{here}.layer_norm.{kind}"] = of[f"self_attn_layer_norm.{kind}"][:width]
            cut[f"{here}.final_layer_norm.{kind}"] = of[f"final_layer_norm.{kind}"][:width]
    return cut


def hidden_units(width: int, ffn: int) -> list[int]:
    """`width` of each block of 768, and what is left of the next."""
    blocks, rest = divmod(ffn, width)
    whole = [768 * block + unit for block in range(blocks) for unit in range(width)]
    return whole + [768 * blocks + unit for unit in range(rest)]


@pytest.mark.parametrize("name", SPACES)
def test_a_subnet_of_the_file_is_a_hubert_of_transformers_and_equals_the_slice(
    name: str, supernets: dict[str, Supernet], tensors: dict[str, Tensor]
) -> None:
    supernet, space = supernets[name], get_space(name)
    generator = torch.Generator().manual_seed(1)
    waveform = torch.randn((1, NUM_SAMPLES), generator=generator)
    # In double precision: sums of single ones in another order differ by more than they should.
    waveform = waveform.double()
    normalized = nn.functional.layer_norm(waveform, (NUM_SAMPLES,))
    subnets = chosen(name)
    assert len({len(set(subnet.num_heads)) > 1 for subnet in subnets}) == 2
    precise = copy.deepcopy(supernet).double()
    for subnet in subnets:
        dense = materialize(supernet, subnet)
        state = write_names(dense.state_dict(), huggingface.TABLE.encoder, dense.config)
        by_hand = cut_by_hand(tensors, subnet)
        assert state.keys() == by_hand.keys()
        for key, tensor in by_hand.items():
            # the positions' weight is a quotient of float32: all else is copied
            exact = key != "encoder.pos_conv_embed.conv.weight"
            assert (
                torch.equal(state[key], tensor)
                if exact
                else torch.allclose(state[key], tensor, rtol=1e-5, atol=1e-8)
            ), key
        with torch.inference_mode():
            other_model = their_model(space, subnet, state).double()
            theirs = other_model(normalized, output_hidden_states=True)
            ours = precise(subnet, waveform).hidden_states
        assert len(ours) == subnet.depth + 1
        for index, (mine, other) in enumerate(zip(ours, theirs.hidden_states, strict=True)):
            # what the positions' quotient leaves of values up to about 5
            assert torch.allclose(mine, other, atol=5e-6, rtol=0.0), f"{subnet}: state {index}"
