"""Building blocks: together they are the model, and without weights they cost what they cost."""

import json
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compress import CompressError
from compress.building_blocks import (
    AttentionHalf,
    FeedForwardHalf,
    Input,
    Positions,
    building_blocks,
)
from compress.cost import total
from compress.cost.latency import DeviceTable, blocks_of, space_blocks
from compress.spaces import Space, get_space, space_names
from export.blocks import Block, block_graph, without_weights
from export.encoder import export_encoder
from runtime.backends.onnx import Engine
from runtime.blocks import read_blocks
from runtime.cli import main as device
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Conv, StreamingConfig, Wav2Vec2Config

WINDOW = 400
CONFIG = Wav2Vec2Config(
    conv_layers=(Conv(channels=6, kernel=10, stride=5), Conv(channels=8, kernel=3, stride=4)),
    conv_norm="layer",
    normalize_waveform=True,
    embed_dim=16,
    num_heads=(2,),
    ffn_dim=(24,),
    head_dim=8,
    pos_conv_kernel=6,
    pos_conv_groups=4,
    pos_conv_weight_norm=False,
)
SPACE = Space(
    name="one", supernet=CONFIG, embed_dim=(16,), num_heads=(1, 2), ffn_ratio=(1.5,), depth=(1,)
)
"""Eight blocks; two subnets."""


def randomized(module):
    """Ones and zeros hide mistakes."""
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(std=0.3, generator=draws)
    return module.eval()


def chain(encoder):
    """The encoder's own parts, cut into blocks."""
    halves = [half(layer) for layer in encoder.layers for half in (AttentionHalf, FeedForwardHalf)]
    return [
        Input(encoder.config),
        *encoder.feature_extractor,
        nn.Sequential(encoder.feature_norm, encoder.feature_projection),
        Positions(encoder),
        *halves,
    ]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("conv_norm", ["layer", "group"])
def test_the_blocks_of_an_encoder_in_a_row_are_the_encoder(normalize, conv_norm):
    config = replace(
        CONFIG,
        normalize_waveform=normalize,
        conv_norm=conv_norm,
        num_heads=(1, 2, 3),
        ffn_dim=(7, 24, 9),
    )
    encoder = randomized(Wav2Vec2Encoder(config)).double()
    waveform = torch.sin(torch.arange(2 * WINDOW) * 0.05).view(2, WINDOW).double()
    with torch.inference_mode():
        expected = encoder(waveform).output
        signal = waveform
        for module in chain(encoder):
            signal = module(signal)
    torch.testing.assert_close(signal, expected, rtol=0, atol=1e-12)
    assert len(chain(encoder)) == len(blocks_of(config))


def test_a_norm_before_its_half_stays_before_it():
    encoder = randomized(Wav2Vec2Encoder(replace(CONFIG, pre_norm=True))).double()
    layer, hidden = encoder.layers[0], torch.randn(
        2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )  # fmt: skip
    with torch.inference_mode():
        halves = FeedForwardHalf(layer)(AttentionHalf(layer)(hidden))
        torch.testing.assert_close(halves, layer(hidden, None)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", space_names())
def test_every_block_of_a_space_runs_and_leads_to_the_next(name):
    space = get_space(name)
    blocks = dict(building_blocks(space, 1_600))
    assert list(blocks) == space_blocks(space)
    outputs = {}
    for key, block in blocks.items():
        assert block.shape[0] == 1
        with torch.inference_mode():
            outputs[key] = tuple(block.module(torch.zeros(block.shape)).shape)
    for subnet in (space.smallest(), space.largest()):
        config = space.config(subnet)
        keys = blocks_of(config)
        assert blocks["input"].shape == (1, 1_600)
        for before, after in pairwise(keys):
            assert outputs[before] == blocks[after].shape, (before, after)
        assert outputs[keys[-1]] == (1, config.num_frames(1_600), config.embed_dim)


@pytest.mark.parametrize("name", space_names())
def test_the_blocks_of_a_subnet_have_its_parameters_and_no_more(name):
    space = get_space(name)
    counts = {
        key: sum(weight.numel() for weight in block.module.parameters())
        for key, block in building_blocks(space, 1_600)
    }
    for subnet in (space.smallest(), space.largest()):
        config = space.config(subnet)
        with torch.device("meta"):
            dense = Wav2Vec2Encoder(config)
        wanted = sum(weight.numel() for weight in dense.parameters()) - config.embed_dim
        assert sum(counts[key] for key in blocks_of(config)) == wanted  # no mask embedding


def test_a_window_of_too_few_frames_is_refused():
    with pytest.raises(CompressError, match=r"gives 1 frames .*Raise --window-ms"):
        building_blocks(SPACE, 30)


@pytest.fixture(scope="module")
def graphs():
    """Each block of the space with its module and its graph with weights."""
    return {
        key: (block, block_graph(Block(randomized(block.module), block.shape)))
        for key, block in building_blocks(SPACE, WINDOW)
    }


def optimized(model, path):
    """Operators that the engine really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_a_blocks_graph_computes_the_block(graphs):
    rng = np.random.default_rng(0)
    for key, (block, model) in graphs.items():
        signal = rng.uniform(-1, 1, block.shape).astype(np.float32)
        with torch.inference_mode():
            expected = block.module(torch.from_numpy(signal))[:, :1].numpy()
        (frame,) = Engine(model.SerializeToString()).run({"signal": signal}).values()
        np.testing.assert_allclose(frame, expected, rtol=0, atol=2e-5, err_msg=key)


def test_a_graph_without_weights_runs_the_same_operators_on_tensors_of_the_same_sizes(
    graphs, tmp_path
):
    rng = np.random.default_rng(0)
    for key, (block, model) in graphs.items():
        bare = without_weights(model)
        real, without = (optimized(this, tmp_path / "graph.onnx") for this in (model, bare))
        # the engine orders the same arithmetic of sizes in more ways than one
        shuffles = ("Shape", "Gather", "Slice", "Concat", "Transpose", "Reshape", "Add", "Squeeze")
        for operator in (real | without).keys() - set(shuffles):
            assert real[operator] == without[operator], (key, operator)
        assert "ConstantOfShape" not in without, "the engine fills weights once, when it loads"
        kept = [np.prod(list(tensor.dims)) for tensor in bare.graph.initializer]
        assert max(kept, default=0) <= 4
        signal = rng.uniform(-1, 1, block.shape).astype(np.float32)
        (frame,) = Engine(bare.SerializeToString()).run({"signal": signal}).values()
        assert np.isfinite(frame).all()


def test_no_two_weights_of_a_graph_are_filled_alike(graphs):
    """Else queries and keys would be one product, computed once."""
    _, model = graphs["attention.16.2"]
    fills = [
        onnx.numpy_helper.to_array(node.attribute[0].t).item()
        for node in without_weights(model).graph.node
        if node.op_type == "ConstantOfShape"
    ]
    assert len(fills) == 10  # four projections and their biases, a norm's gain and bias
    assert len(set(fills)) == len(fills)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A subnet as exported."""
    path = tmp_path_factory.mktemp("whole") / "encoder.onnx"
    encoder = randomized(Wav2Vec2Encoder(SPACE.config(SPACE.largest())))
    difference = export_encoder(encoder, path, window_samples=WINDOW)
    return encoder, path, difference


def test_the_operators_of_a_subnets_blocks_are_those_of_the_subnet(graphs, whole, tmp_path):
    _, path, _ = whole
    model = optimized(onnx.load(path), tmp_path / "graph.onnx")
    blocks = Counter()
    for key in blocks_of(SPACE.config(SPACE.largest())):
        blocks += optimized(graphs[key][1], tmp_path / "graph.onnx")
    # arithmetic of sizes is done once, or once in each; a block gives its first frame alone
    sizes = ("Shape", "Gather", "Slice", "Concat", "Squeeze", "Div", "Add", "Sub", "Mul", "Floor")
    reshaping = ("Reshape", "Transpose", "Unsqueeze", "Expand", "Cast", "Range")
    for operator in (model | blocks).keys() - {*sizes, *reshaping}:
        assert model[operator] == blocks[operator], operator


def test_an_encoder_is_exported_as_one_graph_that_agrees_with_torch(whole):
    encoder, path, difference = whole
    assert 0.0 <= difference <= 1e-4
    pcm = np.random.default_rng(2).uniform(-0.5, 0.5, (3, WINDOW + 77)).astype(np.float32)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(pcm)).output.numpy()
    features = Engine(path.read_bytes()).run({"pcm": pcm})["features"]
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert [file.name for file in path.parent.iterdir()] == ["encoder.onnx"]


@pytest.fixture
def one_space(monkeypatch):
    monkeypatch.setitem(get_space.__globals__["_SPACES"], SPACE.name, SPACE)


def test_from_the_lab_to_the_device_and_back(one_space, call, tmp_path):
    zipped, table = tmp_path / "blocks.zip", tmp_path / "table.json"
    code, out, err = call("blocks", "one", "--out", zipped, "--window-ms", 25, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["blocks"], told["window_ms"]) == (8, 25)
    assert told["size_bytes"] == zipped.stat().st_size < 50_000
    assert device(["bench", "--blocks", str(zipped), "--out", str(table), "--rounds", "2"]) == 0
    measured = DeviceTable.read(table)
    measured.check(SPACE)
    assert measured.window_samples == 400
    assert total(measured, SPACE, SPACE.largest()) >= measured.overhead_ns
    with zipfile.ZipFile(zipped) as archive:
        names = set(archive.namelist())
    assert names == {
        "blocks.json",
        "overhead.onnx",
        *(f"{key}.onnx" for key in space_blocks(SPACE)),
    }
    assert read_blocks(zipped).contents.blocks["conv.1.6.8"].shape == (1, 79, 6)


def test_a_dry_run_and_wrong_calls_write_nothing(call, tmp_path):
    out = tmp_path / "blocks.zip"
    code, told, _ = call("blocks", "lighthubert-small", "--out", out, "--dry-run", "--json")
    assert (code, json.loads(told)["blocks"]) == (0, 32)
    code, _, err = call("blocks", "otolite-tinny", "--out", out)
    assert code == 1
    assert "otolite-tiny" in err
    code, _, err = call("blocks", "otolite-tiny", "--out", out, "--window-ms", "30")
    assert code == 1
    assert "--window-ms" in err
    assert not list(tmp_path.iterdir())


def test_blocks_of_subnets_that_stream_are_not_timed_over_windows():
    sizes = replace(CONFIG, conv_layers=CONFIG.conv_layers[:1], streaming=StreamingConfig())
    with pytest.raises(CompressError, match="subnets of space 'one' stream"):
        building_blocks(replace(SPACE, supernet=sizes), WINDOW)
