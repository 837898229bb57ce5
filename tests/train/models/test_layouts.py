"""Checkpoints of other toolkits: every published set of names, and every way to break one."""

import math
from pathlib import Path
from typing import Any

import foreign_names as names
import pytest
import torch
from foreign_names import (
    EMA,
    GIVEN,
    LARGE,
    STACK,
    TINIES,
    Shapes,
    Sizes,
    data2vec2_pretraining,
    fairseq_wav2vec2,
    filled,
    huggingface_pretraining,
)

from train.errors import LayoutError
from train.models import importing
from train.models.foreign_files import ForeignFile
from train.models.foreign_sizes import parse_conv_layers
from train.models.importing import Imported, import_checkpoint
from train.models.renames import write_names
from train.models.wav2vec2 import Wav2Vec2Encoder

BASE = Sizes()
LAYERED = Sizes(layered=True)
DATA2VEC = Sizes(**STACK)
XLARGE = Sizes(embed_dim=1280, ffn_dim=5120, num_layers=48, num_heads=16, layered=True,
               final_dim=1024)  # fmt: skip
LV60 = Sizes(**LARGE, layered=True, conv_bias=True)
HUBERT_LARGE = Sizes(**LARGE, layered=True)
DATA2VEC2_LARGE = Sizes(**LARGE, **STACK, prenet=8)
TUNED = "w2v_encoder.w2v_model."
CTC = names.linear("w2v_encoder.proj", 1024, 32)

PUBLISHED: dict[str, tuple[str, Sizes, Shapes, str | None, int | None]] = {
    "hubert_base": (
        "fairseq", BASE, names.fairseq(BASE) | names.hubert_heads(BASE), "hubert", 94_371_712,
    ),
    "hubert_xlarge": (
        "fairseq", XLARGE, names.fairseq(XLARGE) | names.hubert_heads(XLARGE), "hubert", None,
    ),
    "hubert_large_ctc": (
        "fairseq", HUBERT_LARGE,
        names.prefixed(
            TUNED, names.fairseq(HUBERT_LARGE) | {"label_embs_concat": (504, 768)}
        ) | CTC,
        None, 315_435_136,
    ),
    "wav2vec2_base": ("fairseq", BASE, fairseq_wav2vec2(BASE), "wav2vec2", 94_371_712),
    "wav2vec2_lv60": ("fairseq", LV60, fairseq_wav2vec2(LV60), "wav2vec2", 315_438_720),
    "wav2vec2_lv60_ctc": (
        "fairseq", LV60, names.prefixed(TUNED, names.fairseq(LV60)) | CTC, None, 315_438_720,
    ),
    "data2vec_base": (
        "fairseq", DATA2VEC,
        names.fairseq(DATA2VEC) | names.linear("final_proj.0", 768, 768) | EMA,
        "data2vec", 93_164_288,
    ),
    "hf_wav2vec2_pretraining": (
        "huggingface", BASE, huggingface_pretraining(BASE), "wav2vec2", 94_371_712,
    ),
    "hf_data2vec_ctc": (
        "huggingface", DATA2VEC,
        names.prefixed("data2vec_audio.", names.huggingface(DATA2VEC))
        | names.linear("lm_head", 768, 32),
        None, 93_164_288,
    ),
    "ta_hubert_base": ("torchaudio", BASE, names.torchaudio(BASE), None, 94_370_944),
    "ta_wav2vec2_large_ctc": (
        "torchaudio", Sizes(**LARGE),
        names.torchaudio(Sizes(**LARGE)) | names.linear("aux", 1024, 29), None, 315_427_968,
    ),
    "ta_hubert_large": (
        "torchaudio", HUBERT_LARGE, names.torchaudio(HUBERT_LARGE), None, 315_434_112,
    ),
    "ta_hubert_pretraining": (
        "torchaudio", Sizes(units=100), names.torchaudio_pretraining(Sizes(units=100)), "hubert",
        94_371_712,
    ),
    "lighthubert": (
        "lighthubert", LAYERED,
        names.fairseq(LAYERED) | names.hubert_heads(LAYERED)
        | {"layer_pred_heads.11.weight": (768, 768)},
        None, 94_377_856,
    ),
    "data2vec2_base": (
        "data2vec2", DATA2VEC, data2vec2_pretraining(DATA2VEC), "data2vec2", 93_163_532,
    ),
    "data2vec2_large": (
        "data2vec2", DATA2VEC2_LARGE, data2vec2_pretraining(DATA2VEC2_LARGE), "data2vec2", None,
    ),
}  # fmt: skip
"""Layout, sizes, names and shapes, objective, parameters of the encoder where they are known."""


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import tensors of these shapes that take no memory."""

    def run(shapes: Shapes, config: dict[str, Any] | None = None, **arguments: Any) -> Imported:
        tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
        file = ForeignFile(tensors, config or {}, ())
        monkeypatch.setattr(importing, "read_foreign", lambda path: file)
        return import_checkpoint(Path("file.pt"), **arguments)

    return run


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_of_names_loads_strictly(name, take):
    layout, sizes, shapes, objective, params = PUBLISHED[name]
    imported = take(shapes)
    assert imported.layout == layout
    config = imported.config
    assert config.embed_dim == sizes.embed_dim
    assert config.num_heads == (sizes.num_heads,) * sizes.num_layers
    assert config.ffn_dim == (sizes.ffn_dim,) * sizes.num_layers
    assert [conv.kernel for conv in config.conv_layers] == list(sizes.kernels)
    assert config.stride_samples == 320
    assert config.conv_norm == ("layer" if sizes.layered else "group")
    assert config.normalize_waveform is sizes.layered
    assert config.pre_norm is (sizes.layered and sizes.embed_dim > 768 and sizes.pos_depth == 1)
    assert (config.pos_conv_kernel, config.pos_conv_depth) == (sizes.pos_kernel, sizes.pos_depth)
    assert params in (None, imported.num_params()["encoder"])
    if not imported.dropped:
        assert sum(imported.num_params().values()) == sum(map(math.prod, shapes.values()))
    assert (imported.objective and imported.objective[0]) == objective
    with torch.device("meta"):
        Wav2Vec2Encoder(config).load_state_dict(imported.state, strict=True, assign=True)


def test_the_rows_of_fairseqs_symbols_are_left_out_and_torchaudios_rows_are_kept(take):
    fairseq = take(PUBLISHED["hubert_base"][2])
    assert fairseq.objective[1]["unit_embeddings"].shape == (500, 256)
    assert "symbols of fairseq's dictionary" in " ".join(fairseq.dropped)
    torchaudio = take(PUBLISHED["ta_hubert_pretraining"][2])
    assert torchaudio.objective[1]["unit_embeddings"].shape == (100, 256)
    assert torchaudio.dropped == {}
    other = take(names.fairseq(BASE) | names.hubert_heads(Sizes(units=2000)))
    assert other.objective[1]["unit_embeddings"].shape == (2000, 256)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("data2vec_base", ["_ema.layers.0.fc1.weight"]),
        ("hubert_large_ctc",
         [f"{TUNED}label_embs_concat", "2 tensors from w2v_encoder.proj.weight on"]),
        ("hf_data2vec_ctc", ["2 tensors from lm_head.weight on"]),
        ("ta_wav2vec2_large_ctc", ["2 tensors from aux.weight on"]),
        ("lighthubert",
         ["2 tensors from final_proj.weight on", "label_embs_concat",
          "layer_pred_heads.11.weight"]),
        ("wav2vec2_base", []),
    ],
)  # fmt: skip
def test_what_is_left_out_is_said(name, left_out, take):
    dropped = take(PUBLISHED[name][2]).dropped
    found = sorted(dropped.values())
    if name == "lighthubert":
        assert found == ["3 tensors from label_embs_concat on", "layer_pred_heads.11.weight"]
    else:
        assert found == sorted(left_out)
    assert all(len(why) > 10 for why in dropped)


OPTIONAL = ("masked_spec_embed", "mask_generator.", "layer_pred_heads.")
"""What only some files of a layout hold, so that its absence is no fault."""

TELLING = ("label_embs_concat", "logit_generator.label_embeddings")
"""Without these a HuBERT looks like a data2vec with a strange projection."""


@pytest.mark.parametrize("name", TINIES)
def test_each_missing_tensor_is_named(name, take):
    shapes = TINIES[name]
    assert take(shapes, **GIVEN).layout == name.split()[0]
    for key in shapes:
        if name.startswith("huggingface") and key.endswith("masked_spec_embed"):
            continue
        if key.startswith(OPTIONAL):
            continue
        rest = {other: shape for other, shape in shapes.items() if other != key}
        with pytest.raises(LayoutError) as fault:
            take(rest, **GIVEN)
        bare = key.removeprefix("wav2vec2.").replace("final_proj.0.", "final_proj.")
        bare = bare.replace("pos_conv_embed.conv.weight_g", "pos_conv_embed.conv.")
        bare = bare.replace("pos_conv_embed.conv.weight_v", "pos_conv_embed.conv.")
        assert bare in str(fault.value) or key in TELLING, key
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize("name", TINIES)
def test_each_misshapen_tensor_is_refused(name, take):
    shapes = TINIES[name]
    tables = ("label_embs_concat", "label_embeddings", "layer_pred_heads.1.weight")
    for key, shape in shapes.items():
        if key.endswith(tables):
            continue
        for odd in ((shape[0] + 1, *shape[1:]), (*shape, 2)):
            with pytest.raises(LayoutError):
                take(shapes | {key: odd}, **GIVEN)


def test_the_last_convolution_may_not_be_missing_though_nothing_else_tells_of_it(take):
    shapes = dict(PUBLISHED["hubert_base"][2])
    del shapes["feature_extractor.conv_layers.6.0.weight"]
    with pytest.raises(LayoutError, match=r"conv_layers\.6\.0\.weight is missing"):
        take(shapes)


@pytest.mark.parametrize(
    ("name", "key", "shape", "said"),
    [
        ("fairseq hubert", "encoder.layers.1.fc2.bias", (9,), r"\(9,\) where \(8,\) is needed"),
        ("fairseq hubert", "layer_norm.weight", (7,), r"\(7,\) where \(6,\)"),
        ("torchaudio", "logit_generator.final_proj.bias", (5,), "5 should be 4"),
        ("data2vec2", "blocks.0.attn.qkv.weight", (23, 8), "multiple of 3"),
        ("data2vec2", "modality_encoders.AUDIO.alibi_scale", (2, 1, 2, 1, 1), "a vector"),
        ("huggingface", "project_hid.bias", (4, 1), "1 axes are needed"),
        ("lighthubert", "post_extract_proj.weight", (), "2 axes are needed"),
        ("data2vec2", "blocks.0.attn.qkv.bias", (), "multiple of 3"),
    ],
)
def test_a_misshapen_tensor_is_named_with_its_shape(name, key, shape, said, take):
    with pytest.raises(LayoutError, match=said) as fault:
        take(TINIES[name] | {key: shape}, **GIVEN)
    assert key in str(fault.value)


@pytest.mark.parametrize("name", TINIES)
@pytest.mark.parametrize(
    "extra", ["encoder.layers.0.adapter.weight", "mystery", "blocks.0.ls1", "encoder.layers.x.fc1"]
)
def test_an_unknown_tensor_is_named(name, extra, take):
    with pytest.raises(LayoutError, match=f"layout {name.split()[0]}: {extra} is unexpected"):
        take(TINIES[name] | {extra: (3,)}, **GIVEN)


@pytest.mark.parametrize("layer", [1_000_000_000, 4])
def test_a_layer_far_off_is_a_fault_not_a_long_wait(layer, take):
    shapes = TINIES["fairseq hubert"] | names.linear(f"encoder.layers.{layer}.fc1", 8, 12)
    with pytest.raises(LayoutError, match=r"encoder\.layers\.2\.self_attn\.q_proj.* is missing"):
        take(shapes, **GIVEN)
    decoder = "modality_encoders.AUDIO.decoder.blocks.{}.0.bias"
    with pytest.raises(LayoutError, match=r"decoder\.blocks\.\d+\.0\.bias is (miss|unexp)"):
        take(TINIES["data2vec2"] | {decoder.format(layer): (4,)}, **GIVEN)


def test_the_same_tensor_under_two_names_is_refused(take):
    shapes = TINIES["fairseq hubert"]
    with pytest.raises(LayoutError, match=r"mask_emb and w2v_encoder.* are the same tensor"):
        take(shapes | {f"{TUNED}mask_emb": (8,)}, **GIVEN)


def test_settings_of_the_file_win_over_what_would_be_assumed_and_those_given_over_both(take):
    shapes = names.fairseq(LAYERED)
    assert take(shapes).assumed["pre_norm"] is False
    told = {
        "model": {
            "layer_norm_first": True, "dropout": 0.2, "encoder_layerdrop": 0.0,
            "encoder_attention_heads": 16, "feature_grad_mult": 0.0, "encoder_layers": 12,
            "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
        },
        "task": {"normalize": False},
    }  # fmt: skip
    imported = take(shapes, told)
    config = imported.config
    assert (config.pre_norm, config.normalize_waveform) == (True, False)
    assert (config.dropout, config.layerdrop) == (0.2, 0.0)
    assert (config.num_heads[0], config.head_dim) == (16, 48)
    assert config.feature_grad_mult == 0.1
    assert set(imported.assumed) == {
        "attention_dropout", "activation_dropout", "input_dropout", "feature_grad_mult",
    }  # fmt: skip
    tuned = {"model": {"w2v_args": told, "layer_norm_first": False}}
    assert take(shapes, tuned).config.pre_norm is True
    assert take(shapes, told, given={"pre_norm": False}).config.pre_norm is False


@pytest.mark.parametrize(
    ("config", "given", "said"),
    [
        ({"encoder_layers": 13}, {}, "num_layers 13, its tensors 12"),
        ({"encoder_embed_dim": 512}, {}, "embed_dim 512, its tensors 768"),
        ({"activation_fn": "relu"}, {}, "activation_fn 'relu'; our encoder is built for 'gelu'"),
        ({"encoder_attention_heads": 7}, {}, "cannot have 7 heads"),
        ({"encoder_attention_heads": "many"}, {}, "a whole number"),
        ({"conv_feature_layers": "[(512, 10, 5)]"}, {}, "of convolutions, its tensors"),
        ({"conv_feature_layers": "[(512, 8, 5)] * 7"}, {}, "of convolutions, its tensors"),
        ({"pos_conv_depth": 5}, {}, "pos_conv_depth 5, its tensors 1"),
        ({"conv_feature_layers": "__import__('os')"}, {}, "cannot be read"),
        ({"dropout": 1.5}, {}, r"dropout must lie in \[0, 1\)"),
        ({}, {"pre_nom": True}, "did you mean 'pre_norm'"),
        ({}, {"strides": [2]}, "7 convolutions have as many strides"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_in_a_line(config, given, said, take):
    with pytest.raises(LayoutError, match=said) as fault:
        take(names.fairseq(BASE), config, given=given)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "text", ["[(512, 10, 5)] * 1000", "9 ** 9", "[(1, 2)]", "", "(1, 2, 3)", "[" * 5000, "[x]"]
)
def test_a_text_of_convolutions_is_parsed_never_evaluated(text):
    assert parse_conv_layers("[(512, 10, 5)] + [(512, 2, 2)] * 2") == [
        (512, 10, 5), (512, 2, 2), (512, 2, 2),
    ]  # fmt: skip
    with pytest.raises(LayoutError, match="cannot be read"):
        parse_conv_layers(text)


@pytest.mark.parametrize("name", TINIES)
def test_ours_written_in_a_layout_and_read_again_is_the_same(name, tmp_path):
    torch.save(filled(TINIES[name]), tmp_path / "theirs.pt")
    imported = import_checkpoint(tmp_path / "theirs.pt", **GIVEN)
    table = importing.get_layout(imported.layout).TABLE
    written = write_names(imported.state, table.encoder, imported.config)
    if imported.objective is not None:
        written |= write_names(imported.objective[1], table.heads, imported.config)
    torch.save({"model": written}, tmp_path / "back.pt")
    again = import_checkpoint(tmp_path / "back.pt", layout=imported.layout, **GIVEN)
    assert again.config == imported.config
    assert again.state.keys() == imported.state.keys()
    assert all(torch.equal(again.state[key], value) for key, value in imported.state.items())
    if imported.objective is not None:
        heads = again.objective[1]
        assert heads.keys() == imported.objective[1].keys()
        assert all(torch.equal(heads[key], value) for key, value in imported.objective[1].items())
    if imported.layout == "fairseq":
        assert {key.replace("final_proj.0", "final_proj") for key in TINIES[name]} == set(written)
