"""Train the spotters that ship with the project, measure them, and put them into spotters/.

    python benchmarks/shipped_spotters.py --data ../shared/data

Wake words of wake_words_picovoice: a model of phones first, then the words on running sound from
its weights, exported in 8 bits, given thresholds on held-out speech and heard on test recordings,
with three seeds. The one of the fewest misses on the valid partition ships. Steps are folders under
--runs, so the command goes on where it was stopped; the page goes to docs/results/.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lhotse import MonoCut
from shipped_spotters_page import write_page
from tasks import Row, Task, options_of, run_all

from compress.detection.calibrating import Target, calibrate
from compress.detection.det_plot import write_plot
from compress.detection.evaluation import evaluate
from compress.detection.results import Plan
from compress.exporting import DecisionFlags, GraphFlags, Int8Flags, export_run
from compress.folders import recipe_folder
from compress.forms import FormFlags
from export.quantize import Precision
from runtime.atomic import replacing_folder
from train.data.corpora import speechocean762
from train.data.corpus import read_corpus
from train.data.cuts import hashed_share, label_of
from train.data.label_share import speaker_of
from train.data.layouts import cuts as cuts_layout
from train.data.spoken import holds, spoken_text
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.phone_training import train_phones
from train.phones_recipe import PhonesRecipe
from train.recipe import load_recipe
from train.tasks.phones import load_phones, save_phones

Recipe = TypeVar("Recipe", KeywordsRecipe, PhonesRecipe)

SEEDS = (0, 1, 2)
SMOOTHING = 2
"""Answers averaged, 80 ms each: what a word's end is told late by at the least."""
HELD_SHARE = 0.6
"""Of the speakers of speechocean762's train partition: heard for thresholds and not in training."""
SNRS_DB = (10.0, 5.0, 0.0)
PROJECT = Path(__file__).parent.parent
PLACE, PHONES_PLACE = PROJECT / "spotters", PROJECT / "compress/phones/otolite-phones"


@dataclass(frozen=True)
class Spotter:
    """One that ships."""

    name: str
    title: str
    keywords: tuple[str, ...]
    data: str
    """Folder of its clips below --data."""
    phones: str
    """Recipe of the model that it starts from."""
    spoken: tuple[str, ...]
    """Folders whose phones or words are told: what that model learns from."""
    recipe: str
    settings: tuple[str, ...]
    negatives: tuple[str, ...]
    """Folders of speech without the keywords; speechocean762 is divided, of the others the train
    partitions are learned from and the rest is not."""
    rate_per_hour: float
    """False alarms that thresholds are chosen for: at least one in the hours that are held back."""
    licence: str
    sources: str


SPOTTERS = (
    Spotter(
        name="wake-words",
        title="Wake words",
        keywords=("alexa", "computer", "smart_mirror", "snowboy"),
        data="wake_words_picovoice",
        phones="phones-tcn",
        spoken=(
            "speechocean762",
            "ljspeech_excerpt",
            "speech_commands",
            "wake_words_picovoice",
            "wake_words_mycroft",
        ),
        recipe="spotter-tcn",
        settings=("updates=3500",),
        negatives=(
            "speechocean762",
            "librispeech_excerpt",
            "ljspeech_excerpt",
            "speech_commands",
            "wake_words_mycroft",
        ),
        rate_per_hour=0.5,
        licence="Apache-2.0 (keywords); CC BY 4.0 and public domain (other speech, noises)",
        sources="wake_words_picovoice, speechocean762, librispeech_excerpt, ljspeech_excerpt, "
        "speech_commands, wake_words_mycroft, noise_rir",
    ),
)


@dataclass(frozen=True)
class Setting:
    """What every task is told."""

    data: Path
    runs: Path
    scale: float = 1.0
    """Share of all updates; below 1 only to try the way."""


def main() -> None:
    parser = options_of(__doc__, data="shared/data", runs="spotters")
    parser.add_argument("--place", type=Path, default=PLACE, help="where bundles that ship go")
    parser.add_argument(
        "--phones-place", type=Path, default=PHONES_PLACE, help="the same of phones"
    )
    parser.add_argument("--only", choices=[spotter.name for spotter in SPOTTERS])
    options = parser.parse_args()
    setting = Setting(options.data, options.runs, options.scale)
    chosen = [spotter for spotter in SPOTTERS if options.only in (None, spotter.name)]
    for spotter in chosen:
        divide(spotter, setting)
        gather(spotter, setting)
    tasks = [Task(first(spotter), hear_phones, (setting, spotter)) for spotter in chosen] + [
        Task(f"{spotter.name}/seed{seed}", spot, (setting, spotter, seed), (first(spotter),))
        for spotter in chosen
        for seed in SEEDS[: options.seeds]
    ]
    rows = run_all(tasks, options.runs, workers=options.workers)
    for spotter in chosen:
        own = {
            seed: {**rows[f"{spotter.name}/seed{seed}"], **rows[first(spotter)]}
            for seed in SEEDS[: options.seeds]
        }
        best = min(own, key=lambda seed: own[seed]["valid_misses"])
        ship(options.runs / f"{spotter.name}/seed{best}", options.place / spotter.name)
        ship_phones(spotter, setting, options.phones_place)
        print(write_page(spotter, own, best, options.runs, options.results))


def divide(spotter: Spotter, setting: Setting) -> None:
    """Write two corpora: what is learned from, and what thresholds and figures come from."""
    learned, held = [], []
    for folder in spotter.negatives:
        for cut in read_corpus(setting.data / folder):
            text = spoken_text(label_of(cut))
            if any(holds(text, spoken_text(word)) for word in spotter.keywords):
                continue
            cut.id = f"{folder}/{cut.id}"
            divided = cut.partition == "train" and folder == "speechocean762"
            if divided and hashed_share(speaker_of(cut)) < HELD_SHARE:
                cut.custom["partition"] = "valid"
            (learned if cut.partition == "train" else held).append(cut)
    for name, cuts in (("learned", learned), ("held", held)):
        folder = corpora(setting, spotter, name)
        folder.mkdir(parents=True, exist_ok=True)
        cuts_layout.write(cuts, folder)


def gather(spotter: Spotter, setting: Setting) -> None:
    """Write the corpus of phones: recordings whose phones or words are told, and the clips."""
    told = []
    for folder in spotter.spoken:
        read = speechocean762.cuts if folder == "speechocean762" else read_corpus
        for cut in read(setting.data / folder):
            if folder == "wake_words_mycroft" and not _is_english(cut):
                continue
            cut.id = f"{folder}/{cut.id}"
            told.append(cut)
    place = setting.runs / spotter.name / "spoken"
    place.mkdir(parents=True, exist_ok=True)
    cuts_layout.write(told, place)


def _is_english(cut: MonoCut) -> bool:
    """Not those in Spanish, nor `not-wake-words`, whose words nobody has written down."""
    return "_en/" in cut.id and not label_of(cut).startswith("not")


def first(spotter: Spotter) -> str:
    """The name of the model of phones that all seeds start from."""
    return f"{spotter.name}/phones"


def hear_phones(folder: Path, setting: Setting, spotter: Spotter) -> Row:
    """Train the model of phones that a spotter starts from."""
    recipe = scaled(load_recipe(spotter.phones, PhonesRecipe, recipe_folder("train")), setting)
    train_phones(
        recipe,
        setting.runs / spotter.name / "spoken",
        folder / "run",
        resume=True,
        surroundings=setting.data / "noise_rir",
    )
    scores = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))
    return {"phone_error_rate": scores["test"]["phone_error_rate"]}


def ship_phones(spotter: Spotter, setting: Setting, place: Path) -> None:
    """Put the model of phones where the package keeps it."""
    made = setting.runs / first(spotter) / "run"
    model = load_phones(made / "model")
    scores = json.loads((made / "scores.json").read_text(encoding="utf-8"))
    provenance = {
        "made_by": "benchmarks/shipped_spotters.py",
        "recipe": spotter.phones,
        "data": ", ".join(spotter.spoken),
        "licence_of_data": spotter.licence,
        "phone_error_rate": {part: row["phone_error_rate"] for part, row in scores.items()},
    }
    save_phones(place, model, provenance=provenance)


def scaled(recipe: Recipe, setting: Setting) -> Recipe:
    """The recipe with its share of updates."""
    updates = max(2, round(setting.scale * recipe.updates))
    warmup = min(recipe.optimizer.warmup_updates, updates // 2)
    return replace(
        recipe, updates=updates, optimizer=replace(recipe.optimizer, warmup_updates=warmup)
    )


def corpora(setting: Setting, spotter: Spotter, name: str) -> Path:
    return setting.runs / spotter.name / "negatives" / name


def spot(folder: Path, setting: Setting, spotter: Spotter, seed: int) -> Row:
    """Train, export, choose thresholds and measure."""
    data, noise = setting.data / spotter.data, setting.data / "noise_rir"
    changes = [f"labels={json.dumps(spotter.keywords)}", f"seed={seed}", *spotter.settings]
    recipe = load_recipe(spotter.recipe, KeywordsRecipe, recipe_folder("train"), changes)
    finetune(
        scaled(recipe, setting),
        data,
        setting.runs / first(spotter) / "run/model",
        folder / "run",
        random_init=False,
        resume=True,
        surroundings=noise,
        negatives=[corpora(setting, spotter, "learned")],
    )
    bundle = folder / f"{spotter.name}.bundle"
    manifest = export_run(
        folder / "run",
        bundle,
        name=spotter.name,
        flags=DecisionFlags(smoothing_windows=SMOOTHING, refractory_ms=1_000),
        form=FormFlags(),
        licence=f"{spotter.licence}: {spotter.sources}",
        int8=Int8Flags(
            precision=Precision.INT8_STATIC,
            calibration=data,
            keep_float=("auto",),
            max_accuracy_drop=0.02,
        ),
        graphs=GraphFlags(formats=("onnx", "tflite")),
    )
    held = corpora(setting, spotter, "held")
    chosen = calibrate(
        bundle, held, Target(false_alarms_per_hour=spotter.rate_per_hour), positives=data
    )
    plan = Plan(rates_per_hour=(0.5, 1.0, 10.0), snrs_db=SNRS_DB)
    found = evaluate(bundle, data, negatives=held, noise=noise, plan=plan)
    write_plot(found, folder / "det.png")
    words = [row["words"] for row in chosen["keywords"]]
    missed = sum(row["words"] * row.get("miss_ratio", 0.0) for row in chosen["keywords"])
    return {
        "updates": scaled(recipe, setting).updates,
        "valid_misses": missed / sum(words),
        "calibration": chosen,
        "test": {key: value for key, value in found.to_dict().items() if key != "curves"},
        "measured": dict(manifest.measured),
        "bundle_bytes": sum(path.stat().st_size for path in bundle.iterdir()),
    }


def ship(made: Path, place: Path) -> None:
    """Put the bundle of a seed where the project keeps it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(place) as temporary:
        for path in next(made.glob("*.bundle")).iterdir():
            shutil.copyfile(path, temporary / path.name)


if __name__ == "__main__":
    main()
