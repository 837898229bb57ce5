"""What ships with the package is whole, small, and says what it was trained on."""

import json

import pytest
import torch

from compress.shipped import SHIPPED, shipped
from compress.spaces import get_space
from compress.supernet import load_supernet

MOST_BYTES = 4_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_supernet_loads_and_names_its_data_and_licence(name):
    folder = shipped(name)
    supernet = load_supernet(folder)
    assert supernet.space == get_space(name)
    tensors = supernet.state_dict().values()
    assert all(tensor.dtype == torch.float32 for tensor in tensors)
    assert all(torch.isfinite(tensor).all() for tensor in tensors)
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    assert "licence" in json.dumps(json.loads((folder / "config.json").read_text())["provenance"])
