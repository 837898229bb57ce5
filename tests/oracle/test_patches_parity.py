"""The patch encoder with random weights against transformers' ViTMAE."""

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEModel

from train.models.context import Visible
from train.models.patches import PatchEncoder
from train.models.patches_config import PatchesConfig

LAYERS, WIDTH, HEADS, FFN = 3, 32, 4, 48
NAMES = {
    "attention.q_proj": ("q_proj", "attention.attention.query"),
    "attention.k_proj": ("k_proj", "attention.attention.key"),
    "attention.v_proj": ("v_proj", "attention.attention.value"),
    "attention.out_proj": ("o_proj", "attention.output.dense"),
    "ffn.up": ("fc1", "intermediate.dense"),
    "ffn.down": ("fc2", "output.dense"),
    "attention_norm": ("layernorm_before",),
    "ffn_norm": ("layernorm_after",),
}
"""Ours, and how the modules' names end in one version of transformers or another."""


def theirs(mask_ratio):
    """Norms and biases away from ones and zeros; a picture of 6 x 6 patches."""
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FFN,
        image_size=48,
        patch_size=8,
        num_channels=1,
        mask_ratio=mask_ratio,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = ViTMAEModel(config).eval()
    # A new model's constructor leaves its positions at zero: what it flags as done is not.
    for part in (model.embeddings.patch_embeddings.projection, *model.embeddings.parameters()):
        part._is_hf_initialized = False
    model.embeddings.initialize_weights()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.3)
            elif "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif name.endswith("weight"):
                weight.normal_(std=0.2)
            elif name.endswith("cls_token"):
                weight.normal_()
    return model


def ours(model):
    """The same weights, every one of them used."""
    config = PatchesConfig(
        num_mels=48,
        patch_frames=8,
        patch_mels=8,
        mean=0.0,
        scale=1.0,
        embed_dim=WIDTH,
        num_heads=(HEADS,) * LAYERS,
        ffn_dim=(FFN,) * LAYERS,
        head_dim=WIDTH // HEADS,
    )
    encoder = PatchEncoder(config).eval()
    left = dict(model.state_dict())
    del left["embeddings.position_embeddings"]
    state = {
        "cls_token": left.pop("embeddings.cls_token").flatten(),
        "embedding.weight": left.pop("embeddings.patch_embeddings.projection.weight").flatten(1),
        "embedding.bias": left.pop("embeddings.patch_embeddings.projection.bias"),
        "norm.weight": left.pop("layernorm.weight"),
        "norm.bias": left.pop("layernorm.bias"),
    }
    for number in range(LAYERS):
        for mine, endings in NAMES.items():
            for kind in ("weight", "bias"):
                (key,) = (
                    key
                    for key in left
                    if f".{number}." in key
                    and any(key.endswith(f".{ending}.{kind}") for ending in endings)
                    and not (mine == "ffn.down" and ".attention." in key)
                )
                state[f"layers.{number}.{mine}.{kind}"] = left.pop(key)
    assert not left
    encoder.load_state_dict(state, strict=True)
    return encoder


@torch.no_grad()
@pytest.mark.parametrize("mask_ratio", [0.0, 0.75])
def test_every_token_that_is_shown_is_that_of_vit_mae(mask_ratio):
    model = theirs(mask_ratio)
    encoder = ours(model)
    positions = model.embeddings.position_embeddings[0]
    assert torch.allclose(positions[1:], encoder.positions(36), atol=1e-6)
    assert not positions[0].any()
    pictures = torch.randn(2, 1, 48, 48)  # rows are frames, columns are bands
    order = torch.rand(2, 36)
    output = model(pictures, noise=order)
    patches = pictures[:, 0].unflatten(1, (6, 8)).unflatten(3, (6, 8)).transpose(2, 3)
    places = order.argsort(1)[:, : int(36 * (1 - mask_ratio))]
    seen = encoder.encode(patches.flatten(3).flatten(1, 2), visible=Visible(places, None))
    assert seen.normed.shape == output.last_hidden_state.shape
    assert torch.allclose(seen.normed, output.last_hidden_state, atol=1e-5, rtol=1e-5)
