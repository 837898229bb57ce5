"""How well do small phone models check a pronunciation? Held to experts, and beside pocketsphinx.

    python benchmarks/pronunciation.py --data ../shared/data

Phone models by the recipe that ships, with three seeds; each exported in float and in 8 bits,
taught to grade by speechocean762's train half, and held to its experts on the test half. Then who
tells a wrong word from a right one, our checker or pocketsphinx, in turns. Steps are folders under
--runs, so the command goes on where it was stopped; the page goes to docs/results/.
"""

import json
from pathlib import Path

import wrong_words
from pronunciation_page import write_page
from shipped_spotters import SPOTTERS, Setting, gather, scaled
from tasks import Row, Task, options_of, run_all

from compress.exporting import DecisionFlags, Int8Flags, export_run
from compress.folders import recipe_folder
from compress.forms import FormFlags
from compress.pronunciation.grading import agree, teach
from export.quantize import Precision
from train.phone_training import train_phones
from train.phones_recipe import PhonesRecipe
from train.recipe import load_recipe

SEEDS = (0, 1, 2)
PRECISIONS = ("float32", "int8-static")
SPOTTER = SPOTTERS[0]
"""What it learns to hear phones from is what its wake words start from."""
JUDGED = "speechocean762"
EVERY = 4
"""Of the test sentences, one is asked for with a word that was not read."""


def main() -> None:
    options = options_of(__doc__, data="shared/data", runs="pronunciation").parse_args()
    setting = Setting(options.data, options.runs, options.scale)
    seeds = SEEDS[: options.seeds]
    gather(SPOTTER, setting)
    tasks = []
    for seed in seeds:
        tasks.append(Task(f"seed{seed}/phones", hear, (setting, seed)))
        tasks += [
            Task(
                graded(seed, precision), grade, (setting, seed, precision), (f"seed{seed}/phones",)
            )
            for precision in PRECISIONS
        ]
    first = graded(seeds[0], PRECISIONS[-1])
    tasks.append(Task("wrong-words", compare, (setting, first), tuple(t.name for t in tasks)))
    rows = run_all(tasks, options.runs, workers=options.workers)
    print(write_page(rows, seeds, PRECISIONS, SPOTTER, options.results))


def graded(seed: int, precision: str) -> str:
    return f"seed{seed}/{precision}"


def hear(folder: Path, setting: Setting, seed: int) -> Row:
    """Train a phone model."""
    changes = [f"seed={seed}"]
    recipe = load_recipe(SPOTTER.phones, PhonesRecipe, recipe_folder("train"), changes)
    train_phones(
        scaled(recipe, setting),
        spoken(setting),
        folder / "run",
        resume=True,
        surroundings=setting.data / "noise_rir",
    )
    scores = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))
    return {"updates": scaled(recipe, setting).updates, **scores}


def grade(folder: Path, setting: Setting, seed: int, precision: str) -> Row:
    """Export it, teach it to grade, and hold it to the experts."""
    int8 = None
    if precision != PRECISIONS[0]:
        int8 = Int8Flags(
            precision=Precision(precision),
            calibration=spoken(setting),
            keep_float=("auto",),
            max_accuracy_drop=0.02,
        )
    bundle = folder / "phones.bundle"
    export_run(
        setting.runs / f"seed{seed}/phones/run",
        bundle,
        flags=DecisionFlags(),
        form=FormFlags(),
        licence=f"{SPOTTER.licence}: {', '.join(SPOTTER.spoken)}",
        int8=int8,
    )
    data = setting.data / JUDGED
    taught = teach(bundle, data, seed=seed, dry_run=False)
    return {
        "taught": taught,
        "levels": agree(bundle, data).to_dict(),
        "bundle_bytes": sum(path.stat().st_size for path in bundle.iterdir()),
    }


def compare(folder: Path, setting: Setting, bundle: str) -> Row:
    """Right words against wrong ones, in one run with the peer."""
    data = setting.data / JUDGED
    return dict(
        wrong_words.compare(
            {
                "Otolite": (wrong_words.otolite, (setting.runs / bundle / "phones.bundle",)),
                "pocketsphinx": (wrong_words.pocketsphinx, (data, EVERY)),
            },
            data,
            EVERY,
        )
    )


def spoken(setting: Setting) -> Path:
    return setting.runs / SPOTTER.name / "spoken"


if __name__ == "__main__":
    main()
