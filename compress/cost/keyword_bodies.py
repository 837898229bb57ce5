"""What keyword models cost, part by part, in closed form and without a model.

Parameters are all that is trained, the classifier included, so that they are those of the published
tables. Multiply-accumulates are of one answer, on one window, and include the front end, which a
device computes too; norms, activations and means over all frames are left out. A causal body is
counted over one pass: a stream's steps look at as much or less.
"""

from collections.abc import Callable, Iterator
from typing import Any

from train.models.bc_resnet import STRIDES, BcResNetConfig
from train.models.causal_keyword_transformer import CausalKeywordTransformerConfig
from train.models.ds_cnn import DsCnnConfig
from train.models.frontend_config import FrontEndConfig, preset
from train.models.keyword_transformer_config import KeywordTransformerConfig

from ..keyword_spaces import KeywordSpace, KeywordSubnet
from .front_end import frame_macs
from .keyword_transformer import keyword_macs
from .layers import LayerCost
from .macs import layer_macs

Parts = Iterator[LayerCost]


def keyword_parts(space: KeywordSpace, subnet: KeywordSubnet) -> tuple[LayerCost, ...]:
    """Split a keyword model's costs over its parts, in audio's order.

    Raises:
        SubnetError: the subnet is not of this space.
    """
    config = space.config(subnet)
    return (
        *COUNTED[space.body](config, space.window_samples),
        _linear("classifier", _output_dim(config), space.num_labels),
    )


def keyword_costs(space: KeywordSpace, subnet: KeywordSubnet) -> dict[str, int]:
    """Parameters and multiply-accumulates of a keyword model, by the names that budgets have."""
    parts = keyword_parts(space, subnet)
    return {cost: sum(getattr(part, cost) for part in parts) for cost in ("params", "macs")}


def _output_dim(config: Any) -> int:
    if isinstance(config, BcResNetConfig):
        return 4 * config.base_channels
    return config.channels if isinstance(config, DsCnnConfig) else int(config.embed_dim)


def _linear(name: str, inputs: int, outputs: int) -> LayerCost:
    sizes = {"inputs": inputs, "outputs": outputs}
    return LayerCost(name, sizes, (inputs + 1) * outputs, inputs * outputs)


def _front_end(config: FrontEndConfig, frames: int) -> LayerCost:
    sizes = {"frames": frames, "features": config.output_dim}
    return LayerCost("front end", sizes, 0, frames * frame_macs(config))


def _transformer(config: KeywordTransformerConfig, window_samples: int) -> Parts:
    frontend, frames, width = preset(config.frontend), config.window_frames, config.embed_dim
    counted = keyword_macs(config)
    yield _front_end(frontend, frames)
    tokens = (frames + 2) * width  # positions, the class token and its own position
    weights = (frontend.output_dim + 1) * width + tokens
    yield LayerCost("tokens", {"embed_dim": width}, weights, counted.projection)
    inner = config.num_heads * config.head_dim
    output = (inner + 1) * width if config.projects else 0
    attention = 3 * width * inner + output
    layer = attention + 4 * width + (width + 1) * config.ffn_dim + (config.ffn_dim + 1) * width
    sizes = {"heads": config.num_heads, "ffn_dim": config.ffn_dim}
    for number in range(1, config.num_layers + 1):
        yield LayerCost(f"layer {number}", sizes, layer, counted.layers // config.num_layers)
    if config.pre_norm:
        yield LayerCost("norm", {"embed_dim": width}, 2 * width, 0)


def _causal_transformer(config: CausalKeywordTransformerConfig, window_samples: int) -> Parts:
    frontend, width = preset(config.frontend), config.embed_dim
    tokens = -(-window_samples // config.hop_samples)  # silence fills up the first
    bands = frontend.output_dim
    yield _front_end(frontend, tokens * config.patch_frames)
    patch = bands * config.patch_frames * width
    weights = 2 * bands + patch + width
    yield LayerCost("tokens", {"embed_dim": width}, weights, tokens * patch)
    positions = width * config.position_kernel
    sizes = {"embed_dim": width, "kernel": config.position_kernel}
    yield LayerCost("positions", sizes, positions + width, tokens * positions)
    heads, ffn = config.num_heads, config.ffn_dim
    inner, keys = heads * config.head_dim, config.left_frames + tokens
    weights = 3 * (width + 1) * inner + (inner + 1) * width + heads * (config.left_frames + 1)
    weights += 4 * width + (width + 1) * ffn + (ffn + 1) * width
    products = layer_macs(width, heads, ffn, config.head_dim, num_frames=tokens, num_keys=keys)
    for number in range(1, config.num_layers + 1):
        yield LayerCost(f"layer {number}", {"heads": heads, "ffn_dim": ffn}, weights, products)
    # The mean over the last frames is a product with ones, which counts the frames as well.
    pooled = tokens * (config.pooled_frames - 1 + tokens) * (width + 1)
    yield LayerCost("norm and mean", {"frames": config.pooled_frames}, 2 * width, pooled)


def _ds_cnn(config: DsCnnConfig, window_samples: int) -> Parts:
    frames, bands = config.features.num_frames(window_samples), config.features.output_dim
    channels = config.channels
    yield _front_end(config.features, frames)
    if config.normalize_input:
        yield LayerCost("input norm", {"features": bands}, 2 * bands, 0)
    # The stem's kernel is 10 x 4, its padding 5 x 1, and it strides by 2 in both directions.
    places = (frames // 2 + 1) * ((bands - 2) // 2 + 1)
    stem = 10 * 4 * channels
    yield LayerCost("stem", {"channels": channels}, stem + 2 * channels, places * stem)
    block = 9 * channels + channels**2
    for number in range(1, config.num_blocks + 1):
        name, sizes = f"block {number}", {"channels": channels}
        yield LayerCost(name, sizes, block + 4 * channels, places * block)


def _bc_resnet(config: BcResNetConfig, window_samples: int) -> Parts:
    frames = config.front_end.num_frames(window_samples)
    bands, base = config.front_end.output_dim // 2, config.base_channels
    yield _front_end(config.front_end, frames)
    before = 2 * base
    sizes = {"channels": before}
    yield LayerCost("stem", sizes, 25 * before + 2 * before, frames * bands * 25 * before)
    stages = zip(config.num_blocks, config.widths, STRIDES, strict=True)
    for stage, (blocks, width, stride) in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            params = products = 0
            if block == 1:  # a transition widens first, then strides
                params += before * width + 2 * width
                products += frames * bands * before * width
                bands //= stride
            # Over frequency, with a norm of five sub-bands; then over time, and all channels.
            params += (3 + 10) * width + (3 + 2 + width) * width
            products += frames * bands * 3 * width + frames * (3 + width) * width
            yield LayerCost(f"block {stage}.{block}", {"channels": width}, params, products)
        before = width
    outputs = _output_dim(config)
    params = (25 + outputs) * before + 2 * outputs
    products = frames * (bands - 4) * (25 + outputs) * before
    yield LayerCost("tail", {"channels": outputs}, params, products)


COUNTED: dict[str, Callable[[Any, int], Parts]] = {
    "keyword_transformer": _transformer,
    "causal_keyword_transformer": _causal_transformer,
    "ds_cnn": _ds_cnn,
    "bc_resnet": _bc_resnet,
}
"""Parts of a body but its classifier, of its config and the samples of a window."""
