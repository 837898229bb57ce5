"""Write our encoder in the layout of Hugging Face transformers, for its `from_pretrained`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from runtime.atomic import replacing_folder

from ..errors import LayoutError
from ..nearest import nearest
from .checkpoints import load_config, load_objective
from .layouts import huggingface
from .renames import write_names
from .wav2vec2 import load_encoder
from .wav2vec2_config import Wav2Vec2Config

_CLASSES = {
    "hubert": "HubertModel",
    "wav2vec2": "Wav2Vec2Model",
    "data2vec-audio": "Data2VecAudioModel",
}
"""Of transformers, by its `model_type`."""

_PLAIN = "pos_conv.conv.weight"


def export_huggingface(folder: Path, out: Path, *, model_type: str | None = None) -> dict[str, Any]:
    """Write a checkpoint of ours for transformers; what pretraining alone needs stays behind.

    Args:
        folder: a checkpoint of ours.
        out: becomes a folder with config.json, model.safetensors and preprocessor_config.json; an
            older one of transformers' is replaced.
        model_type: `hubert`, `wav2vec2` or `data2vec-audio`; None: by the positions and what the
            model was pretrained by, else `hubert`.

    Returns:
        what was written: model_type, class, parameters, heads left behind.

    Raises:
        LayoutError: transformers has no class for such an encoder; nothing was written.
        TrainError: no checkpoint, or a damaged one.
        OSError: `out` cannot be written.
    """
    return _Plan(folder, out, model_type).write()


def check_export(folder: Path, out: Path, *, model_type: str | None = None) -> dict[str, Any]:
    """What `export_huggingface` would write; the same errors."""
    return _Plan(folder, out, model_type).summary()


class _Plan:
    """What would be written, checked."""

    def __init__(self, folder: Path, out: Path, model_type: str | None) -> None:
        encoder = load_encoder(folder)
        objective = load_objective(folder)
        self.out = out
        self.heads = sorted(objective[1]) if objective else []
        self.model_type = model_type or _model_type(encoder.config, objective and objective[0])
        _check_place(folder, out)
        _check_class(encoder.config, self.model_type)
        self.config = _config(encoder.config, self.model_type)
        self.config["otolite_provenance"] = load_config(folder, "wav2vec2").get("provenance", {})
        self.preprocessor = _preprocessor(encoder.config)
        state = _with_weight_norm(encoder.state_dict(), encoder.config)
        self.tensors = write_names(state, huggingface.TABLE.encoder, encoder.config)

    def summary(self) -> dict[str, Any]:
        return {
            "model_type": self.model_type,
            "class": _CLASSES[self.model_type],
            "params": sum(tensor.numel() for tensor in self.tensors.values()),
            "left_behind": self.heads,
        }

    def write(self) -> dict[str, Any]:
        with replacing_folder(self.out) as temporary:
            for name, values in (
                ("config.json", self.config),
                ("preprocessor_config.json", self.preprocessor),
            ):
                text = json.dumps(values, indent=2) + "\n"
                (temporary / name).write_text(text, encoding="utf-8")
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            try:
                save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
            except SafetensorError as fault:  # a full disk, in the library's own family
                raise LayoutError(f"{self.out} cannot be written: {fault}") from None
        return self.summary()


def _model_type(config: Wav2Vec2Config, objective: str | None) -> str:
    if config.pos_conv_depth > 1:
        return "data2vec-audio"
    return "wav2vec2" if objective == "wav2vec2" else "hubert"


def _check_place(folder: Path, out: Path) -> None:
    if out.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise LayoutError(f"{folder} lies in {out}, which would be replaced; choose another")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or "otolite_provenance" not in config:
        raise LayoutError(f"{out} is there and was not written by this command; choose another")


def _check_class(config: Wav2Vec2Config, model_type: str) -> None:
    """Raise LayoutError where the class cannot hold such an encoder."""
    if model_type not in _CLASSES:
        raise LayoutError(f"there is no model type {model_type!r}: {nearest(model_type, _CLASSES)}")
    inner = {heads * config.head_dim for heads in config.num_heads}
    stacked = config.pos_conv_depth > 1
    refusals = (
        (config.streaming is not None, "an encoder that streams in chunks"),
        (config.alibi, "attention biases by distance (data2vec 2.0)"),
        (len(inner) > 1 or len(set(config.ffn_dim)) > 1, "layers of different widths"),
        (inner != {config.embed_dim},
         f"heads of {max(inner)} in all in an encoder {config.embed_dim} wide"),
        (stacked and (config.pre_norm or config.conv_norm == "group"),
         "a stack of position convolutions with LayerNorm first or GroupNorm"),
        (stacked != (model_type == "data2vec-audio"),
         f"{config.pos_conv_depth} position convolution(s) as {model_type!r}"),
    )  # fmt: skip
    for refused, what in refusals:
        if refused:
            raise LayoutError(f"transformers has no class for {what}")


def _with_weight_norm(state: Mapping[str, Tensor], config: Wav2Vec2Config) -> dict[str, Tensor]:
    """A folded position convolution as gain and direction: the product is the same weight."""
    unfolded = dict(state)
    if _PLAIN in unfolded:
        weight = unfolded.pop(_PLAIN)
        name = _PLAIN.replace("weight", "parametrizations.weight.original")
        unfolded[f"{name}0"] = weight.norm(dim=(0, 1), keepdim=True)
        unfolded[f"{name}1"] = weight
    return unfolded


def _config(config: Wav2Vec2Config, model_type: str) -> dict[str, Any]:
    """transformers' own config; its defaults are those of no paper, so nothing is left to them."""
    stacked = config.pos_conv_depth > 1
    values: dict[str, Any] = {
        "architectures": [_CLASSES[model_type]],
        "model_type": model_type,
        "dtype": "float32",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads[0],
        "intermediate_size": config.ffn_dim[0],
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "layer_norm_eps": 1e-5,
        "conv_dim": [conv.channels for conv in config.conv_layers],
        "conv_kernel": [conv.kernel for conv in config.conv_layers],
        "conv_stride": [conv.stride for conv in config.conv_layers],
        "conv_bias": config.conv_bias,
        "num_conv_pos_embeddings": config.pos_conv_depth if stacked else config.pos_conv_kernel,
        "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "feat_proj_dropout": config.input_dropout,
        "final_dropout": 0.0,
        "layerdrop": config.layerdrop,
        "apply_spec_augment": config.mask_embedding,
        # Without a share of masked frames transformers makes no mask embedding.
        "mask_time_prob": 0.05 if config.mask_embedding else 0.0,
        "mask_time_length": 10,
        "mask_feature_prob": 0.0,
        "mask_feature_length": 10,
    }
    if stacked:
        return values | {"conv_pos_kernel_size": config.pos_conv_kernel}
    values |= {
        "feat_extract_norm": config.conv_norm,
        "do_stable_layer_norm": config.pre_norm,
    }
    if model_type == "hubert":
        values |= {"feat_proj_layer_norm": True, "conv_pos_batch_norm": False}
    return values


def _preprocessor(config: Wav2Vec2Config) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "do_normalize": config.normalize_waveform,
        "padding_side": "right",
        "padding_value": 0.0,
        # GroupNorm looks at the padding, mask or not; such models were trained without one.
        "return_attention_mask": config.conv_norm == "layer",
    }
