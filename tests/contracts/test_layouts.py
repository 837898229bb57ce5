"""What the file of a checkpoint layout must offer, asked of every file found."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from train.models.foreign_sizes import settings
from train.models.heads import objective_of
from train.models.importing import get_layout, layout_names
from train.models.renames import Rule, Table, read_names, write_names
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Conv, Wav2Vec2Config

SMALL = Wav2Vec2Config(
    conv_layers=(Conv(channels=6, kernel=3, stride=2), Conv(channels=6, kernel=2, stride=2)),
    embed_dim=8,
    head_dim=4,
    num_heads=(2, 2),
    ffn_dim=(12, 12),
    pos_conv_kernel=4,
    pos_conv_groups=2,
)
LAYERED = dataclasses.replace(SMALL, conv_norm="layer", conv_bias=True)
STACKED = dataclasses.replace(
    LAYERED, conv_bias=False, pos_conv_depth=2, pos_conv_weight_norm=False
)
CONFIGS = {
    "group": SMALL,
    "layer": LAYERED,
    "stack": STACKED,
    "alibi": dataclasses.replace(STACKED, alibi=True, mask_embedding=False),
}

WRITABLE = [
    *((name, config) for name in ("fairseq", "huggingface") for config in CONFIGS
      if config != "alibi"),
    ("torchaudio", "group"),
    ("torchaudio", "layer"),
    ("lighthubert", "layer"),
    ("data2vec2", "alibi"),
]  # fmt: skip
"""Layouts with the encoders that they can hold; a new layout must be entered here."""


def tensors(config: Wav2Vec2Config) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {key: torch.randn_like(value) for key, value in
            Wav2Vec2Encoder(config).state_dict().items()}  # fmt: skip


def extras(name: str) -> dict[str, torch.Tensor]:
    """What tells LightHuBERT from fairseq, whose names it has."""
    return {"layer_pred_heads.1.weight": torch.ones(8, 8)} if name == "lighthubert" else {}


def test_every_layout_is_tried_with_an_encoder():
    assert {name for name, _ in WRITABLE} == set(layout_names())


@pytest.mark.parametrize("name", layout_names())
def test_a_layout_says_what_it_is_and_has_the_four_parts(name):
    layout = get_layout(name)
    assert Path(layout.__file__).stem == name
    assert (layout.__doc__ or "").strip()
    assert list(inspect.signature(layout.recognizes).parameters) == ["keys", "config"]
    assert layout.recognizes([], {}) is False
    assert isinstance(layout.TABLE, Table)
    assert all(isinstance(place, str) for place in layout.MUST)
    by_shapes = {"num_layers", "embed_dim", "ffn_dim", "conv_layers", "pos_conv_depth"}
    assert {ours for _, ours in layout.FIELDS} <= {*settings(), *by_shapes}


@pytest.mark.parametrize(("name", "config"), WRITABLE)
def test_a_layout_and_no_other_recognizes_what_its_table_writes_and_reads_it_back(name, config):
    table, state = get_layout(name).TABLE, tensors(CONFIGS[config])
    written = write_names(state, table.encoder, CONFIGS[config]) | extras(name)
    for prefix in ("", *table.prefixes):
        file = {prefix + key: tensor for key, tensor in written.items()}
        takers = [other for other in layout_names() if get_layout(other).recognizes(file, {})]
        assert takers == [name], prefix
        found = read_names(file, table)
        assert found.encoder.keys() == state.keys()
        assert all(torch.equal(found.encoder[key], tensor) for key, tensor in state.items())
        assert set(found.origin) == set(state)


@pytest.mark.parametrize("name", layout_names())
def test_no_two_rules_of_a_table_read_the_same_name_and_a_reason_stands_beside_each_drop(name):
    table = get_layout(name).TABLE
    rules: tuple[Rule, ...] = (*table.encoder, *table.heads)
    assert len({rule.theirs for rule in rules}) == len(rules)
    assert all(len(drop.why) > 10 for drop in table.dropped)
    assert objective_of(read_names({}, table).heads) is None
    for index, prefix in enumerate(table.prefixes):  # a shorter one would hide it
        assert not prefix.startswith(table.prefixes[:index])
