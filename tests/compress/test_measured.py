"""What is measured of an exported winner is what was predicted of it."""

import pytest
import torch

from compress.budget import Budget
from compress.search.measure import GRAPH, measured
from compress.spaces import get_space
from compress.supernet import Supernet, materialize
from train.seeding import seeded


def randomized(supernet):
    """No two tensors alike: the exporter writes equal ones once."""
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return supernet.eval()


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("otolite-tiny", "largest"),
        ("otolite-tiny", "smallest"),
        ("otolite-tiny-conv", "smallest"),  # whose largest is that of the other
    ],
)
def test_a_file_is_never_larger_than_predicted_and_parameters_are_exact(name, end, tmp_path):
    """At both ends of a space; a prediction is a sum, so what lies between them is as far off."""
    space = get_space(name)
    subnet = space.largest() if end == "largest" else space.smallest()
    with seeded(3):
        supernet = randomized(Supernet(space, 16))
    predicted = Budget(params=10**9).cost_of(space, subnet)
    found = measured(materialize(supernet, subnet), tmp_path, window_samples=4_000)
    # Authors count the mask embedding at the supernet's width; the dense model cuts it.
    uncut_mask = space.supernet.embed_dim - subnet.embed_dim
    assert found["params"] == predicted["params"] - uncut_mask
    assert found["size_bytes"] == (tmp_path / GRAPH).stat().st_size
    # An upper bound, and no idle one.
    assert 0.95 * predicted["size_bytes"] < found["size_bytes"] <= predicted["size_bytes"]
    assert 0 < found["latency_ns"] <= found["latency_p90_ns"]
    assert found["window_samples"] == 4_000
