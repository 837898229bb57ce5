"""What does leaving the lab cost? Every family as bundles, float and 8 bits, on real speech.

    python benchmarks/bundles.py --data ../shared/data/speech_commands

Each family is trained with three seeds, exported in every precision as ONNX and TFLite, and heard
through the runtime on every engine here, clip by clip. Then hops are timed in turns. Steps are
folders under --runs, so the command goes on where it was stopped; the page goes to docs/results/.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from bundles_page import write_page
from lhotse import CutSet
from tasks import Row, Task, run_all
from torch.utils.flop_counter import FlopCounterMode

from compress.cutting import cut_out
from compress.exporting import DecisionFlags, Int8Flags, export_run
from compress.folders import recipe_folder
from compress.named_subnets import NAMED
from compress.shipped import shipped
from compress.spaces import get_space
from export.quantize import Precision
from runtime.bundle import read_bundle
from runtime.stream import Model, start_all
from train.data.audio import PackedAudio
from train.data.augment import fit_length
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.selection import partition_of
from train.finetune import KeywordsRecipe, finetune
from train.models.wav2vec2 import Wav2Vec2Encoder, save_encoder
from train.models.wav2vec2_config import StreamingConfig
from train.recipe import load_recipe
from train.seeding import seeded
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import load_keywords

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
TRAINING = (
    *("batch.seconds=8.0", "label_smoothing=0.0", "augment.max_shift_ms=0"),
    f"labels={json.dumps(LABELS)}",
)
"""Many small steps, and nothing that pays off in long trainings alone."""
HOP_MS = 80
ROUNDS = 200


@dataclass(frozen=True)
class Family:
    """A model of the table."""

    recipe: str
    settings: tuple[str, ...]
    """Of the recipe, beside `TRAINING`."""
    encoder: str | None = None
    """Where its body comes from: `shipped`, the largest subnet of the supernet that ships with the
    package; `chunked`, its sizes in chunks of a hop, random weights; the name of a subnet, random
    weights."""
    form: str = "sliding_window"
    """How its bundles stream."""


FAMILIES = {
    "DS-CNN": Family("keywords-ds-cnn", ("updates=1000",)),
    "HuBERT subnet, tiny": Family("keywords-tiny", ("updates=700",), "shipped"),
    "HuBERT subnet, a_small": Family("keywords-tiny", ("updates=80",), "a_small"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shared/data/speech_commands")
    parser.add_argument("--runs", type=Path, default=Path("runs/bundles"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--workers", type=int, default=2, help="tasks at once, one core each")
    options = parser.parse_args()
    made = tasks(options.data, options.runs)
    rows = dict(run_all(made, options.runs, workers=options.workers))
    timing = [Task("timed", time_hops, (options.runs,)), Task("macs", count, (options.runs,))]
    rows |= run_all(timing, options.runs, workers=1)
    print(write_page(rows, options.results))


def tasks(data: Path, runs: Path) -> list[Task]:
    made = []
    for seed in SEEDS:
        for name, family in FAMILIES.items():
            place = f"{folder_of(name)}/seed{seed}"
            trained, run = f"{place}/trained", runs / place / "trained/run"
            made.append(Task(trained, train, (data, family, seed)))
            made.append(Task(f"{place}/scored", score, (data, family, run), (trained,)))
    return made


def folder_of(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")


def train(folder: Path, data: Path, family: Family, seed: int) -> Row:
    """A keyword model of a family, from the encoder that it begins with."""
    settings = [*TRAINING, *family.settings, f"seed={seed}"]
    recipe = load_recipe(family.recipe, KeywordsRecipe, recipe_folder("train"), settings)
    encoder = None if family.encoder is None else folder / "encoder"
    if encoder is not None and not encoder.is_dir():
        write_encoder(family.encoder or "", encoder, seed)
    finetune(recipe, data, encoder, folder / "run", random_init=False, resume=True)
    scores = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))
    return {part: scores[part]["accuracy"] for part in ("valid", "test")}


def write_encoder(origin: str, out: Path, seed: int) -> None:
    tiny = get_space("otolite-tiny")
    if origin == "shipped":
        cut_out(shipped("otolite-tiny"), tiny.largest(), out)
        return
    if origin == "chunked":
        config = replace(
            tiny.config(tiny.largest()),
            conv_norm="layer",
            streaming=StreamingConfig(chunk_frames=HOP_MS // 20, left_frames=48),
        )
    else:
        config = get_space(NAMED[origin].space).config(NAMED[origin])
    with seeded(seed):
        encoder = Wav2Vec2Encoder(config)
    save_encoder(out, encoder.config, encoder.state_dict(), provenance={"weights": "random"})


def write_bundle(
    run: Path, out: Path, data: Path, form: str, precision: Precision = Precision.FLOAT32
) -> None:
    """A bundle in both formats, whatever 8 bits cost: the table tells what the gate would say."""
    int8 = Int8Flags(
        precision=precision, calibration=data, min_snr_db=0.1, max_accuracy_drop=1.0
    )
    export_run(
        run,
        out,
        name="keywords",
        flags=DecisionFlags(hop_ms=HOP_MS),
        licence="CC BY 4.0",
        int8=None if precision is Precision.FLOAT32 else int8,
        form=form,
        formats=("onnx", "tflite"),
    )


def score(folder: Path, data: Path, family: Family, run: Path) -> Row:
    """Bundles in every precision, each graph heard by every engine on every test clip."""
    cuts = partition_of(read_corpus(data), "test")
    cuts = cuts.filter(lambda cut: label_of(cut) in LABELS).to_eager()
    packed = PackedAudio.of(cuts)
    row: Row = {"wanted": [LABELS.index(label_of(cut)) for cut in cuts]}
    for precision in Precision:
        write_bundle(run, folder / precision.value, data, family.form, precision)
        bundle = read_bundle(folder / precision.value)
        row[precision.value] = {
            "measured": dict(bundle.manifest.measured),
            "graphs": [
                {
                    "file": file,
                    "engine": model.engine.version,
                    "size_bytes": len(bundle.files[file]),
                    "answers": answers(model, cuts, packed),
                }
                for file, model in start_all(bundle)
            ],
        }
    return row


def answers(model: Model, cuts: CutSet, packed: PackedAudio) -> list[int]:
    """The label that each clip is taken for, by its number."""
    streaming = model.manifest.streaming
    num_samples = -(-streaming.window_samples // streaming.hop_samples) * streaming.hop_samples
    if not model.manifest.states:
        num_samples = streaming.window_samples
    return [
        int(model.posteriors(fit_length(packed.waveform(cut.id), num_samples)).argmax())
        for cut in cuts
    ]
