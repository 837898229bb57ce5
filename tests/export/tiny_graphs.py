"""A keyword graph of a few hundred weights, as torch's exporter would write one, and its audio."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.gate import Evidence

WINDOW = 800
LAYERS = ("body.first", "body.deep", "body.proj", "classifier")
"""In the order of computation; before them comes body.frontend, twice."""
FEATURES = "log"
"""What the front end makes: (batch, 4, frames)."""


def tiny_graph(*, outlier: float = 0.0, seed: int = 0) -> bytes:
    """Energies of four filters, two convolutions, a mean, two matrix products, a softmax.

    Args:
        outlier: added to a weight of body.deep that multiplies a channel which is always zero: the
            float model does not change.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.5) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(np.float32)

    weights = {
        "axis": np.array([1], dtype=np.int64),
        "time": np.array([2], dtype=np.int64),
        "floor": np.array(1e-5, dtype=np.float32),
        "kernel": normal(6, 1, 16),
        "mel": np.abs(normal(4, 6, 1)),
        "first": normal(8, 4, 3, scale=0.2),
        "first_bias": np.array([-1e3, *normal(7)], dtype=np.float32),
        "deep": normal(8, 8, 3),
        "deep_bias": normal(8),
        "proj": normal(8, 8),
        "proj_bias": normal(8),
        "last": normal(3, 8),
        "last_bias": normal(3),
    }
    weights["deep"][0, 0, 0] += outlier
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["pcm", "axis"], ["row"], "row"),
        node("Conv", ["row", "kernel"], ["filtered"], "body.frontend", strides=[8]),
        node("Mul", ["filtered", "filtered"], ["energy"], "energy"),
        node("Conv", ["energy", "mel"], ["bands"], "body.frontend_2"),
        node("Add", ["bands", "floor"], ["floored"], "floored"),
        node("Log", ["floored"], [FEATURES], "log"),
        node("Conv", [FEATURES, "first", "first_bias"], ["a"], "body.first"),
        node("Relu", ["a"], ["b"], "relu"),
        node("Conv", ["b", "deep", "deep_bias"], ["c"], "body.deep"),
        node("Relu", ["c"], ["d"], "relu_1"),
        node("ReduceMean", ["d", "time"], ["e"], "mean", keepdims=0),
        node("MatMul", ["e", "proj"], ["f"], "body.proj"),
        node("Add", ["f", "proj_bias"], ["g"], "add"),
        node("Gemm", ["g", "last", "last_bias"], ["h"], "classifier", transB=1),
        node("Softmax", ["h"], ["posteriors"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def audio(clips: int, *, seed: int, loudness: float = 1.0) -> np.ndarray:
    """Tones in noise: float32 (clips, WINDOW) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(WINDOW) / 16_000
    tones = 0.5 * np.sin(2 * np.pi * rng.uniform(100, 6_000, (clips, 1)) * time)
    noise = rng.normal(0, 0.05, (clips, WINDOW))
    return (loudness * (tones + noise)).clip(-1, 1).astype(np.float32)


def evidence(*, wanted: np.ndarray | None = None, loudness: float = 1.0) -> Evidence:
    """Loudness is that of the calibration clips alone."""
    return Evidence(
        calibration=audio(16, seed=1, loudness=loudness),
        windows=audio(24, seed=2),
        wanted=wanted,
    )
