"""A small audio classifier of transformers, as its `save_pretrained` writes one."""

from pathlib import Path
from typing import Any

import torch
import transformers

LABELS = ("_silence_", "no", "yes")
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
}
_LAYER_NORMS = {
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "use_weighted_layer_sum": True,
}


def save(folder: Path, architecture: str, *, normalize: bool = True, large: bool = False) -> None:
    """Write a model of random weights whose answers differ from one sound to another.

    Args:
        folder: becomes the checkpoint.
        architecture: class of transformers.
        normalize: what its feature extractor does to waveforms.
        large: norms where the large models have them, and hidden layers summed by weights.
    """
    model_class = getattr(transformers, architecture)
    sizes: dict[str, Any] = _SIZES | (_LAYER_NORMS if large else {})
    if architecture.startswith("Data2Vec"):  # its layers have one form
        sizes |= {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}
        for name in ("feat_extract_norm", "do_stable_layer_norm"):
            sizes.pop(name, None)
    else:
        sizes |= {"num_conv_pos_embeddings": 16}
    labels = dict(enumerate(LABELS))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**sizes, id2label=labels))
        for parameter in model.parameters():  # norms of ones and zeros hide mistakes
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.classifier.weight.mul_(20)
    model.save_pretrained(folder)
    # The large ones mask what is padded, and windows are not.
    transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalize, return_attention_mask=large
    ).save_pretrained(folder)
