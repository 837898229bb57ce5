"""Train the supernet that ships with the package, and put it into compress/supernets/.

    python benchmarks/shipped_supernet.py --data ../shared/data/speech_commands

A HuBERT teacher of hubert-tiny, then both stages of lighthubert-tiny, longer than their recipes:
about a quarter of an hour on one core, resumable. Tensors are stored in float16.
"""

import argparse
import json
from pathlib import Path

import torch

from compress.distill.stages import DistillRecipe, distill
from compress.folders import recipe_folder
from compress.supernet import FAMILY
from train.models.checkpoints import load_checkpoint, save_checkpoint
from train.pretrain import load_pretraining, pretrain
from train.recipe import load_recipe

NAME = "otolite-tiny"
TEACHER = ["rounds.0.updates=600", "rounds.1.updates=1800"]
SUPERNET = ["stage1_updates=300", "stage2_updates=1700"]
DATA = "Google Speech Commands excerpts: the train partition, labels not read"
LICENCE = "CC BY 4.0"
PLACE = Path(__file__).parent.parent / "compress" / "supernets" / NAME


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shared/data/speech_commands")
    parser.add_argument("--runs", type=Path, default=Path("runs/shipped-supernet"))
    parser.add_argument("--teacher", type=Path, help="a run of hubert-tiny to take instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = options.teacher
    if teacher is None:
        recipe = load_pretraining("hubert-tiny", recipe_folder("train"), TEACHER)
        teacher = pretrain(recipe, options.data, options.runs / "teacher", resume=True)
    recipe = load_recipe("lighthubert-tiny", DistillRecipe, recipe_folder("compress"), SUPERNET)
    trained = distill(recipe, teacher, options.data, options.runs / "supernet", resume=True)
    config, state = load_checkpoint(trained, FAMILY)
    provenance = {
        **config["provenance"],
        "made_by": "benchmarks/shipped_supernet.py",
        "teacher_made_by": f"hubert-tiny {' '.join(TEACHER)}",
        "recipe": f"lighthubert-tiny {' '.join(SUPERNET)}",
        "data": DATA,
        "licence_of_data": LICENCE,
    }
    half = {name: tensor.to(torch.float16) for name, tensor in state.items()}
    save_checkpoint(PLACE, {**config, "provenance": provenance}, half)
    size = sum(file.stat().st_size for file in PLACE.iterdir())
    print(json.dumps({"supernet": str(PLACE), "size_bytes": size, **provenance}, indent=1))


if __name__ == "__main__":
    main()
