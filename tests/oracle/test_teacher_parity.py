"""Teachers of other toolkits, imported, against transformers' own forward pass; and back again."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    Data2VecAudioModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)
from transformers.modeling_outputs import BaseModelOutput

from train.errors import LayoutError
from train.models.checkpoints import load_objective
from train.models.huggingface_export import export_huggingface
from train.models.importing import Imported, import_checkpoint, save_imported
from train.models.wav2vec2 import (
    EncoderOutput,
    Wav2Vec2Encoder,
    load_encoder,
    normalize_waveform,
    save_encoder,
)
from train.models.wav2vec2_config import StreamingConfig, paper_conv_layers
from train.models.wav2vec2_config import Wav2Vec2Config as OursConfig

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
HUBERT = SIZES | {"num_conv_pos_embeddings": 16}
DATA2VEC = SIZES | {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7}

MODELS = {
    "hubert-base": (HubertModel, HubertConfig, HUBERT),
    "hubert-layer": (HubertModel, HubertConfig, HUBERT | {"feat_extract_norm": "layer"}),
    "hubert-large": (
        HubertModel,
        HubertConfig,
        HUBERT | {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    ),
    "wav2vec2-base": (Wav2Vec2Model, Wav2Vec2Config, HUBERT),
    "wav2vec2-layer": (Wav2Vec2Model, Wav2Vec2Config, HUBERT | {"feat_extract_norm": "layer"}),
    "wav2vec2-lv60": (
        Wav2Vec2Model,
        Wav2Vec2Config,
        HUBERT | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    ),
    "data2vec-base": (Data2VecAudioModel, Data2VecAudioConfig, DATA2VEC),
}


def randomized(model: nn.Module) -> nn.Module:
    """Norms of ones and zeros would hide mistakes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def make(name: str) -> PreTrainedModel:
    kind, config, sizes = MODELS[name]
    torch.manual_seed(0)
    return randomized(kind(config(**sizes)))


def states(output: BaseModelOutput) -> tuple[Tensor, ...]:
    """Every state, the last one after the final norm: transformers 5 lists it before."""
    return (*output.hidden_states[:-1], output.last_hidden_state)


def assert_agree(
    theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...], tolerance: float = 1e-5
) -> None:
    assert len(theirs) == len(ours) == 4
    for index, (expected, actual) in enumerate(zip(theirs, ours, strict=True)):
        # float32 sums in another order; the states are of order one
        assert torch.allclose(actual, expected, atol=tolerance, rtol=tolerance), index


def imported_encoder(imported: Imported, folder: Path, source: Path) -> Wav2Vec2Encoder:
    save_imported(imported, folder, source=source, licence="none")
    return load_encoder(folder).eval()


def run(model: nn.Module, waveform: Tensor, lengths: Tensor | None) -> BaseModelOutput:
    attention = None
    if lengths is not None:
        attention = (torch.arange(waveform.shape[1]) < lengths.unsqueeze(1)).long()
    with torch.inference_mode():
        return model(waveform, attention_mask=attention, output_hidden_states=True)


@pytest.fixture(params=list(MODELS))
def teacher(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[PreTrainedModel, Path]:
    model = make(request.param)
    model.save_pretrained(tmp_path / "theirs")
    return model, tmp_path / "theirs"


def test_every_hidden_state_of_an_imported_teacher_equals_transformers(
    teacher: tuple[PreTrainedModel, Path], tmp_path: Path
) -> None:
    model, source = teacher
    imported = import_checkpoint(source)
    assert imported.layout == "huggingface"
    assert imported.objective is None
    assert imported.dropped == {}
    assert imported.config.pre_norm is getattr(model.config, "do_stable_layer_norm", False)
    encoder = imported_encoder(imported, tmp_path / "ours", source)
    waveform = torch.randn(2, 16_080)
    lengths = None
    if encoder.config.conv_norm == "layer":  # GroupNorm looks at padding
        lengths = torch.tensor([16_080, 9_000])
        waveform[1, 9_000:] = 0.0
    with torch.inference_mode():
        actual: EncoderOutput = encoder(waveform, lengths)
    theirs = waveform
    if encoder.config.normalize_waveform:
        theirs = normalize_waveform(waveform, lengths)
    if lengths is None:
        assert_agree(states(run(model, theirs, None)), actual.hidden_states)
        return
    for row, (length, frames) in enumerate([(16_080, 50), (9_000, 27)]):
        alone = states(run(model, theirs[row : row + 1, :length], None))
        assert_agree(alone, tuple(state[row : row + 1, :frames] for state in actual.hidden_states))
    if encoder.config.pos_conv_depth > 1:
        return  # there, padding leaks into a stack's later convolutions: alone is what is right
    assert actual.padding_mask is not None
    valid = ~actual.padding_mask
    assert valid.sum(1).tolist() == [50, 27]
    assert_agree(
        tuple(state[valid] for state in states(run(model, theirs, lengths))),
        tuple(state[valid] for state in actual.hidden_states),
    )


def test_what_we_write_for_transformers_is_what_it_wrote(
    teacher: tuple[PreTrainedModel, Path], tmp_path: Path
) -> None:
    model, source = teacher
    imported_encoder(import_checkpoint(source), tmp_path / "ours", source)
    kind = model.config.model_type
    written = export_huggingface(tmp_path / "ours", tmp_path / "back", model_type=kind)
    assert written["class"] == type(model).__name__
    back, report = type(model).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert type(AutoModel.from_pretrained(tmp_path / "back")) is type(model)
    state = model.state_dict()
    assert state.keys() == back.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.state_dict().items())
    config = AutoConfig.from_pretrained(tmp_path / "back")
    for name in ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"):
        assert getattr(config, name) == getattr(model.config, name)
    waveform = torch.randn(1, 8_000)
    assert torch.equal(
        run(model, waveform, None).last_hidden_state,
        run(back.eval(), waveform, None).last_hidden_state,
    )


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_model_of_ours_is_the_same_in_transformers_with_its_own_feature_extractor(
    norm: str, tmp_path: Path, ours_config: OursConfig
) -> None:
    config = dataclasses.replace(
        ours_config,
        conv_norm=norm,
        normalize_waveform=norm == "layer",
        pos_conv_weight_norm=False,
        mask_embedding=norm == "group",
    )
    torch.manual_seed(0)
    encoder = randomized(Wav2Vec2Encoder(config))
    save_encoder(tmp_path / "ours", config, encoder.state_dict(), provenance={"licence": "mine"})
    export_huggingface(tmp_path / "ours", tmp_path / "theirs")
    model, report = HubertModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.otolite_provenance["licence"] == "mine"
    waveform = torch.randn(8_000) * 0.1 + 0.05
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "theirs")
    features = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    assert ("attention_mask" in features) is (norm == "layer")
    expected = run(model.eval(), features["input_values"], None)
    with torch.inference_mode():
        actual = encoder(waveform.unsqueeze(0)).hidden_states
    # their extractor adds 1e-7 to a variance of 0.01, we 1e-5 as torch does: 5e-4 of the waveform
    assert_agree(states(expected), actual, tolerance=1e-5 if norm == "group" else 5e-3)


def test_the_heads_of_wav2vec_2_come_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = HUBERT | {
        "num_codevectors_per_group": 6,
        "num_codevector_groups": 2,
        "codevector_dim": 8,
        "proj_codevector_dim": 10,
    }
    model = randomized(Wav2Vec2ForPreTraining(Wav2Vec2Config(**sizes)))
    model.save_pretrained(tmp_path / "theirs")
    imported = import_checkpoint(tmp_path / "theirs")
    encoder = imported_encoder(imported, tmp_path / "ours", tmp_path / "theirs")
    stored = load_objective(tmp_path / "ours")
    assert stored is not None
    name, heads = stored
    assert name == "wav2vec2"
    assert torch.equal(heads["quantizer.codevectors"], model.quantizer.codevectors)
    assert heads["quantizer.codevectors"].shape == (1, 12, 4)
    for ours, theirs in (
        ("quantizer.weight_proj", model.quantizer.weight_proj),
        ("project_q", model.project_q),
        ("final_proj", model.project_hid),
    ):
        assert torch.equal(heads[f"{ours}.weight"], theirs.weight)
        assert torch.equal(heads[f"{ours}.bias"], theirs.bias)
    assert len(heads) == 7
    waveform = torch.randn(1, 8_000)
    expected = run(model.wav2vec2, waveform, None)
    with torch.inference_mode():
        assert_agree(states(expected), encoder(waveform).hidden_states)
    written = export_huggingface(tmp_path / "ours", tmp_path / "back")
    assert written["class"] == "Wav2Vec2Model"
    assert written["left_behind"] == sorted(heads)


@pytest.mark.parametrize(
    ("kind", "config", "sizes"),
    [
        (HubertForCTC, HubertConfig, HUBERT),
        (Data2VecAudioForCTC, Data2VecAudioConfig, DATA2VEC),
    ],
)
def test_a_recognizers_letters_are_left_out_and_its_encoder_is_read(kind, config, sizes, tmp_path):
    torch.manual_seed(0)
    model = randomized(kind(config(**sizes, vocab_size=11, mask_time_prob=0.0)))
    model.save_pretrained(tmp_path / "theirs")
    imported = import_checkpoint(tmp_path / "theirs")
    assert list(imported.dropped.values()) == ["2 tensors from lm_head.bias on"]
    assert not imported.config.mask_embedding
    encoder = imported_encoder(imported, tmp_path / "ours", tmp_path / "theirs")
    waveform = torch.randn(1, 8_000)
    heard = normalize_waveform(waveform) if encoder.config.normalize_waveform else waveform
    expected = run(model.base_model, heard, None)
    with torch.inference_mode():
        assert_agree(states(expected), encoder(waveform).hidden_states)


def data2vec_multi(encoder: Wav2Vec2Encoder, prenet: int) -> dict[str, Tensor]:
    """An encoder of ours as fairseq's data2vec_multi names it, written down by hand."""
    state, audio = encoder.state_dict(), "modality_encoders.AUDIO."
    file = {audio + "alibi_scale": state["alibi.scale"].reshape(1, 1, -1, 1, 1)}
    for end in ("weight", "bias"):
        file[f"{audio}project_features.1.{end}"] = state[f"feature_norm.{end}"]
        file[f"{audio}project_features.2.{end}"] = state[f"feature_projection.{end}"]
        file[f"{audio}context_encoder.norm.{end}"] = state[f"norm.{end}"]
        for i in range(7):
            norm = f"{audio}local_encoder.conv_layers.{i}.2.1.{end}"
            file[norm] = state[f"feature_extractor.{i}.norm.{end}"]
        for i in range(encoder.config.pos_conv_depth):
            conv = f"{audio}relative_positional_encoder.{i + 1}.0.{end}"
            file[conv] = state[f"pos_conv.convs.{i}.{end}"]
        for layer in range(encoder.config.num_layers):
            place = f"{audio}context_encoder.blocks.{layer}."
            if layer >= prenet:
                place = f"blocks.{layer - prenet}."
            ours = f"layers.{layer}."
            file[f"{place}attn.qkv.{end}"] = torch.cat(
                [state[f"{ours}attention.{part}_proj.{end}"] for part in "qkv"]
            )
            file[f"{place}attn.proj.{end}"] = state[f"{ours}attention.out_proj.{end}"]
            file[f"{place}norm1.{end}"] = state[f"{ours}attention_norm.{end}"]
            file[f"{place}norm2.{end}"] = state[f"{ours}ffn_norm.{end}"]
            file[f"{place}mlp.fc1.{end}"] = state[f"{ours}ffn.up.{end}"]
            file[f"{place}mlp.fc2.{end}"] = state[f"{ours}ffn.down.{end}"]
    for i in range(7):
        conv = f"{audio}local_encoder.conv_layers.{i}.0.weight"
        file[conv] = state[f"feature_extractor.{i}.conv.weight"]
    return file


@pytest.fixture
def ours_config() -> OursConfig:
    return OursConfig(
        conv_layers=paper_conv_layers(32),
        embed_dim=64,
        head_dim=16,
        num_heads=(4, 4, 4),
        ffn_dim=(128, 128, 128),
        pos_conv_kernel=16,
        pos_conv_groups=4,
    )


@pytest.fixture
def data2vec2(ours_config: OursConfig) -> Wav2Vec2Encoder:
    torch.manual_seed(0)
    config = dataclasses.replace(
        ours_config,
        conv_norm="layer",
        normalize_waveform=True,
        pos_conv_kernel=7,
        pos_conv_depth=5,
        pos_conv_weight_norm=False,
        alibi=True,
        mask_embedding=False,
    )
    encoder = Wav2Vec2Encoder(config)
    with torch.no_grad():
        encoder.alibi.scale.uniform_(0.5, 1.5)
    return randomized(encoder)


@pytest.mark.parametrize("prenet", [0, 1])
@pytest.mark.parametrize("scale_axes", [5, 4])
def test_a_data2vec_2_file_gives_the_encoder_that_it_was_made_of(
    data2vec2: Wav2Vec2Encoder, prenet: int, scale_axes: int, tmp_path: Path
) -> None:
    file: dict[str, object] = dict(data2vec_multi(data2vec2, prenet))
    if scale_axes == 4:
        name = "modality_encoders.AUDIO.alibi_scale"
        file[name] = file[name].squeeze(0)
    decoder = {
        "decoder.blocks.0.0.weight": torch.randn(24, 16, 7),
        "decoder.blocks.0.0.bias": torch.randn(24),
        "decoder.blocks.1.0.weight": torch.randn(24, 6, 7),
        "decoder.blocks.1.0.bias": torch.randn(24),
        "decoder.proj.weight": torch.randn(64, 24),
        "decoder.proj.bias": torch.randn(64),
    }
    file |= {f"modality_encoders.AUDIO.{name}": tensor for name, tensor in decoder.items()}
    file["_ema"] = {"blocks.0.norm1.weight": torch.ones(64)}
    torch.save({"model": file, "cfg": {"model": {"num_heads": 4}}}, tmp_path / "base_libri.pt")
    imported = import_checkpoint(tmp_path / "base_libri.pt")
    assert imported.layout == "data2vec2"
    assert imported.objective is not None
    assert imported.objective[0] == "data2vec2"
    assert torch.equal(imported.objective[1]["decoder.convs.1.weight"],
                       decoder["decoder.blocks.1.0.weight"])  # fmt: skip
    assert list(imported.dropped.values()) == ["_ema.blocks.0.norm1.weight"]
    encoder = imported_encoder(imported, tmp_path / "ours", tmp_path / "base_libri.pt")
    assert encoder.config == data2vec2.config
    waveform = torch.randn(2, 8_000)
    with torch.inference_mode():
        expected, actual = data2vec2(waveform), encoder(waveform)
    for one, two in zip(expected.hidden_states, actual.hidden_states, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_heads": (2, 2, 2)}, "heads of 32 in all in an encoder 64 wide"),
        ({"ffn_dim": (128, 96, 128)}, "layers of different widths"),
        ({"num_heads": (4, 2, 4)}, "layers of different widths"),
        ({"alibi": True}, "data2vec 2.0"),
        ({"conv_norm": "layer", "streaming": StreamingConfig()}, "streams in chunks"),
        (
            {"pos_conv_depth": 2, "pos_conv_weight_norm": False, "pre_norm": True},
            "a stack of position convolutions",
        ),
    ],
)
def test_what_transformers_has_no_class_for_is_refused_in_a_line(
    changes: dict[str, object], said: str, ours_config: OursConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(ours_config, **changes)
    state = Wav2Vec2Encoder(config).state_dict()
    save_encoder(tmp_path / "ours", config, state, provenance={})
    with pytest.raises(LayoutError, match=said) as fault:
        export_huggingface(tmp_path / "ours", tmp_path / "theirs")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "theirs").exists()
