"""Time what a DMAE student's teacher costs: a pass that stops at 3/4 depth against a whole one.

Three passes take turns (A B C A B C ...), so that whatever else the machine does hits all: the
teacher's layers up to 3/4 over the shown patches, all its layers over them, and all its layers
over all patches. The spectrogram, which the student makes anyway, is not in any.
Example: python benchmarks/dmae.py --recipe mae-base --rounds 8
"""

import argparse
import json
import platform
import statistics
import time
from typing import Any

import numpy as np
import torch

from compress.cost.patches import patch_macs
from compress.folders import recipe_folder
from train.data.cuts import SAMPLE_RATE
from train.data.masking import num_kept, random_masks
from train.models.patches import PatchEncoder
from train.objectives._parts import shown
from train.objectives.dmae import Recipe
from train.pretrain import load_pretraining
from train.seeding import Draws, seeded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="mae-base", help="whose encoder is the teacher")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--batch", type=int, default=2, help="clips of a pass, a crop long")
    parser.add_argument("--rounds", type=int, default=8, help="timed passes of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="numbers instead of lines")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(
        options.recipe,
        mask_ratio=options.mask_ratio,
        batch=options.batch,
        rounds=options.rounds,
        threads=options.threads,
    )
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):34} {value}")


def measure(
    name: str, *, mask_ratio: float, batch: int, rounds: int, threads: int
) -> dict[str, Any]:
    """Medians, and ratios pair by pair, of processor time; layers and products they should follow.

    Args:
        name: the recipe of the teacher.
        mask_ratio: share of patches hidden.
        batch: clips of a pass, a crop long.
        rounds: timed passes of each kind.
        threads: as torch was told.
    """
    recipe = load_pretraining(name, recipe_folder("train"))
    assert isinstance(recipe, Recipe)
    config = recipe.encoder
    samples = round(recipe.batch.crop_seconds * SAMPLE_RATE)
    patches, stop = config.num_patches(samples), recipe.stop(config)
    with seeded(0):
        teacher = PatchEncoder(config).eval()
        cut = teacher.patches(torch.randn(batch, samples) * 0.1)
    lengths = np.full(batch, patches)
    rngs = Draws(0, 0).rows(list(range(batch)))
    visible = shown(random_masks(lengths, ratio=mask_ratio, rngs=rngs), lengths, cut.device)
    passes = {
        "stopped": {"visible": visible, "stop_after": stop},
        "whole": {"visible": visible},
        "unmasked": {},
    }
    times: dict[str, list[float]] = {kind: [] for kind in passes}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for kind, arguments in passes.items():
                begin = time.process_time()
                teacher.encode(cut, **arguments)
                if number:  # the first is a warm-up
                    times[kind].append(time.process_time() - begin)
    few = num_kept(patches, mask_ratio)
    macs = {
        "stopped": patch_macs(config, samples, shown=few, stop_after=stop),
        "whole": patch_macs(config, samples, shown=few),
        "unmasked": patch_macs(config, samples),
    }
    products = {kind: part.projection + part.layers for kind, part in macs.items()}
    return {
        "machine": f"{platform.machine()}, {threads} thread(s), no GPU",
        "teacher": f"{name}, {config.num_layers} layers of {config.embed_dim}",
        "tokens": f"{few} of {patches} patches, {batch} clips",
        "layers_run": f"{stop} of {config.num_layers}",
        **{f"{kind}_ms": round(1e3 * statistics.median(times[kind]), 2) for kind in passes},
        "layers_stopped_over_whole": round(stop / config.num_layers, 3),
        "macs_stopped_over_whole": round(products["stopped"] / products["whole"], 3),
        "time_stopped_over_whole": _ratio(times["stopped"], times["whole"]),
        "macs_stopped_over_unmasked": round(products["stopped"] / products["unmasked"], 3),
        "time_stopped_over_unmasked": _ratio(times["stopped"], times["unmasked"]),
    }


def _ratio(first: list[float], second: list[float]) -> float:
    """The median over rounds of one pass's time over another's."""
    return round(statistics.median(a / b for a, b in zip(first, second, strict=True)), 3)


if __name__ == "__main__":
    main()
