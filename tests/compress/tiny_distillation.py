"""A supernet of three layers and its teacher, for tests of distillation and of scorers."""

from dataclasses import replace

import torch

from compress.spaces import Space
from train.models.wav2vec2_config import Conv, Wav2Vec2Config

CONFIG = Wav2Vec2Config(
    conv_layers=(Conv(channels=6, kernel=20, stride=10), Conv(channels=6, kernel=4, stride=4)),
    conv_norm="layer",
    normalize_waveform=True,
    embed_dim=16,
    num_heads=(2,) * 3,
    ffn_dim=(32,) * 3,
    head_dim=4,
    pos_conv_kernel=4,
    pos_conv_groups=4,
    layerdrop=0.0,
)
SPACE = Space(
    name="tiny",
    supernet=CONFIG,
    embed_dim=(8, 16),
    num_heads=(1, 2),
    ffn_ratio=(1.0, 2.0),
    depth=(2, 3),
)
TEACHER = replace(CONFIG, embed_dim=12, num_heads=(3,) * 4, ffn_dim=(20,) * 4, layerdrop=0.4)


def randomized(module, seed):
    """Norms and biases away from ones and zeros, and feed-forward outputs that vary over time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.3)
                elif "norm" in name:
                    parameter.uniform_(0.5, 1.5)
                elif "ffn" in name:
                    parameter.normal_(std=0.3)
    return module
