"""Distil as one of several processes, or alone, what a list of tasks says.

python distilling.py TASKS.json OUT: writes OUT/<task>.pt, gradients of the first update, weights
and metrics of each. For test_distributed_distillation.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from processes import OPTIMIZER, Watched, encoder_config, source

from compress.distill.lighthubert import LightHubert
from compress.spaces import Space
from compress.supernet import Supernet
from train import run
from train.config import BatchConfig, DeviceConfig, LogConfig, MaskConfig
from train.distributed import joined, rank
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.seeding import seeded

SEED = 7


def space(layerdrop: float) -> Space:
    """Nothing is random but masks, subnets and layerdrop."""
    return Space(
        name="processes",
        supernet=encoder_config("lighthubert", layerdrop),
        embed_dim=(8, 16),
        num_heads=(1, 2),
        ffn_ratio=(1.0, 1.5),
        depth=(1, 2, 3),
    )


def train(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fit as `sampling`, `layerdrop` and `device_seconds` say, 3 updates."""
    with seeded(0):
        teacher = Wav2Vec2Encoder(encoder_config("teacher", 0.0))
        supernet = Supernet(space(task.get("layerdrop", 0.0)), teacher.config.embed_dim)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective = LightHubert(
        teacher,
        supernet,
        mask=MaskConfig(prob=0.5, span=3),
        top_layers=2,
        normalize_targets=True,
        frames="masked",
        sampling=task["sampling"],
        num_random=1,
    )
    learner = Watched(objective, OPTIMIZER, updates=3, seed=SEED)
    batch = BatchConfig(
        seconds=4.8, crop_seconds=0.6, min_seconds=0.1, device_seconds=task.get("device_seconds")
    )
    log = LogConfig(log_every=1, checkpoint_every=1)
    run.fit(learner, source(), batch, log, folder, devices=DeviceConfig())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    lines = (folder / "metrics.jsonl").read_text().splitlines() if rank() == 0 else []
    return {
        "gradients": learner.gradients,
        "weights": supernet.state_dict(),
        "losses": [json.loads(line)["loss"] for line in lines],
    }


def main(tasks: Path, out: Path) -> None:
    """Do every task in turn."""
    with joined():
        for name, task in json.loads(tasks.read_text()).items():
            result = train(task, out / name)
            if rank() == 0:
                torch.save(result, out / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
