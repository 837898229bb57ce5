"""Bytes of a subnet's exported graph, in float32: its weights and what the graph itself takes.

The graph holds no mask embedding, which only training needs. What nodes and names take was measured
on exported encoders of the family (tests do it again): 13.5 kB and 7.1 kB a transformer layer,
whatever their widths. Rounded up here, so that a file never exceeds its prediction.
"""

from train.models.wav2vec2_config import Wav2Vec2Config

from . import params

_FLOAT = 4
_GRAPH_BYTES = 16_000
_LAYER_BYTES = 8_000


def rest(full: Wav2Vec2Config, dense: Wav2Vec2Config) -> int:
    """Bytes of all but the transformer's layers."""
    return _FLOAT * (params.rest(full, dense) - full.embed_dim) + _GRAPH_BYTES


def layer(dense: Wav2Vec2Config, heads: int, ffn: int) -> int:
    """Bytes of one transformer layer."""
    return _FLOAT * params.layer(dense, heads, ffn) + _LAYER_BYTES
