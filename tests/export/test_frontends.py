"""Front ends and running normalization as ONNX graphs: exported = torch, stream = offline."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from export.targets import onnx as onnx_target
from export.verify import largest_difference, odd_lengths, probe
from train.models.frontend import FrontEnd
from train.models.frontend_config import PRESETS, RunningNormConfig, preset
from train.models.running_norm import RunningNorm


@pytest.mark.parametrize("name", PRESETS)
def test_a_front_end_is_matrix_products_and_equals_torch(name, tmp_path):
    front_end = FrontEnd(preset(name)).eval()
    path = tmp_path / "frontend.onnx"
    onnx_target.write(front_end, path, window_samples=4_000, output="features")
    lengths = odd_lengths(4_000)
    largest_difference(
        front_end, path.read_bytes(), lengths, output="features", tolerance=1e-5
    )  # raises beyond the tolerance
    operators = [node.op_type for node in onnx.load(path).graph.node]
    # Of windows with both stages' waves, of powers with mel filters; for MFCC of those with cosines
    assert operators.count("MatMul") == (4 if name.endswith("mfcc") else 3)
    assert not {"Conv", "STFT", "DFT", "Loop", "Scan", "If"} & set(operators)


class Offline(nn.Module):
    """The normalized waveform alone."""

    def __init__(self):
        super().__init__()
        self.norm = RunningNorm(RunningNormConfig())

    def forward(self, waveform):
        return self.norm(waveform)[0]


def test_running_normalization_of_any_length_equals_torch(tmp_path):
    path = tmp_path / "norm.onnx"
    onnx_target.write(Offline().eval(), path, window_samples=4_000, output="features")
    lengths = (*odd_lengths(4_000), 70_001)
    found = largest_difference(Offline(), path.read_bytes(), lengths, output="features")
    assert found < 1e-5


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own
def test_a_graph_of_one_step_streams_to_what_torch_gives_offline():
    norm = RunningNorm(RunningNormConfig()).eval()
    step = 160
    first = norm.initial_state(1, like=torch.zeros(1)).clone()
    with torch.inference_mode():
        program = torch.onnx.export(
            norm,
            (torch.zeros(1, step), first),
            input_names=["pcm", "state"],
            output_names=["normalized", "new_state"],
            dynamo=True,
            verbose=False,
        )
    engine = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    pcm = probe(100 * step, batch=1, seed=0)
    state, pieces = first.numpy(), []
    for start in range(0, pcm.shape[1], step):
        feeds = {"pcm": pcm[:, start : start + step], "state": state}
        normalized, state = engine.run(["normalized", "new_state"], feeds)
        pieces.append(normalized)
    whole, end = norm(torch.from_numpy(pcm))
    largest = float(whole.abs().max())
    assert np.abs(np.concatenate(pieces, axis=1) - whole.numpy()).max() < 1e-5 * largest
    np.testing.assert_allclose(state, end.numpy(), rtol=1e-5, atol=1e-4)
