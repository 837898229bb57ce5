"""A bundle of phones whose model was never trained."""

import json
from pathlib import Path

import torch

from compress.exporting import DecisionFlags, export_run
from compress.forms import FormFlags
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.tasks.phones import PhoneModel, save_phones

RECIPE = {
    "task": "phones",
    "body": "causal_tcn",
    "causal_tcn": {"channels": 8, "dilations": [1, 2]},
    "updates": 1,
    "optimizer": {"learning_rate": 1e-3},
    "batch": {"seconds": 4.0, "crop_seconds": 1.0, "min_seconds": 0.3},
}


def export_untrained(folder: Path) -> Path:
    """Write `folder/phones.bundle`, in steps of 80 ms, and the run that it comes from beside it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = PhoneModel(CausalTcn(CausalTcnConfig(channels=8, dilations=(1, 2))))
        model.classifier.weight.mul_(8)
    run, out = folder / "run", folder / "phones.bundle"
    save_phones(run / "model", model)
    (run / "config.json").write_text(json.dumps({"recipe": RECIPE, "from": {}}))
    (run / "scores.json").write_text("{}")
    export_run(run, out, flags=DecisionFlags(), form=FormFlags(chunk_ms=80), licence="CC0")
    return out
