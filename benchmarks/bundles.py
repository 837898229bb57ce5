"""What does leaving the lab cost? Every family as bundles, float and 8 bits, on real speech.

    python benchmarks/bundles.py --data ../shared/data/speech_commands

Each family is trained with three seeds, exported in every precision as ONNX and TFLite, and heard
through the runtime on every engine here, clip by clip. Then hops are timed in turns. Steps are
folders under --runs, so the command goes on where it was stopped; the page goes to docs/results/.
"""

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bundles_page import write_page
from lhotse import CutSet
from tasks import Row, Task, run_all

from compress.cutting import cut_out
from compress.exporting import DecisionFlags, GraphFlags, Int8Flags, export_run
from compress.folders import recipe_folder
from compress.forms import INCREMENTAL, SLIDING_WINDOW, FormFlags
from compress.named_subnets import NAMED
from compress.shipped import shipped
from compress.spaces import get_space
from export import ExportError
from export.gate import AUTO
from export.quantize import Precision
from runtime.bundle import read_bundle
from runtime.stream import Model, start_all
from train.data.audio import PackedAudio
from train.data.augment import fit_length
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.selection import partition_of
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.wav2vec2 import Wav2Vec2Encoder, save_encoder
from train.recipe import load_recipe
from train.seeding import seeded

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
TRAINING = ("batch.seconds=16.0", f"labels={json.dumps(LABELS)}")
WINDOW, HOP_MS = 16_000, 80
ROUNDS = 100
"""Hops that are timed, of each graph."""
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Family:
    """A model of the table."""

    recipe: str
    updates: int
    encoder: str | None = None
    """Where its body comes from: `shipped`, the largest subnet of the supernet that ships with the
    package; or the name of a subnet, random weights."""
    form: str = SLIDING_WINDOW
    """How its bundles stream."""
    every: int = 1
    """Its 8 bits are calibrated, gated and tested on one clip in so many."""
    seeds: tuple[int, ...] = SEEDS
    keep_float: tuple[str, ...] = (AUTO,)
    """Layers that 8 bits leave out."""
    gated: bool = True
    """The export's limits hold; else its 8 bits are written whatever they cost."""


FAMILIES = {
    "DS-CNN": Family("keywords-ds-cnn", 1000),
    "BC-ResNet-1": Family("keywords-bc-resnet", 1000),
    "Keyword Transformer, KWT-1": Family("keywords-kwt", 700),
    "Keyword Transformer, causal": Family("keywords-kwt-causal", 1500, form=INCREMENTAL),
    "conformer, causal": Family("keywords-conformer", 700, form=INCREMENTAL),
    "HuBERT subnet, tiny": Family("keywords-tiny", 450, "shipped"),
    # The gate would quantize its 108 MB a hundred times to find layers, so it is told those that
    # it finds in the tiny subnets.
    "HuBERT subnet, a_small": Family(
        "keywords-tiny",
        12,
        "a_small",
        every=16,
        seeds=SEEDS[:1],
        keep_float=("body.encoder.feature_extractor.*",),
        gated=False,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shared/data/speech_commands")
    parser.add_argument("--runs", type=Path, default=Path("runs/bundles"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--workers", type=int, default=2, help="tasks at once, one core each")
    options = parser.parse_args()
    rows = dict(run_all(tasks(options.data, options.runs), options.runs, workers=options.workers))
    # Alone, once nothing else runs.
    rows |= run_all([Task("timed", time_hops, (options.runs,))], options.runs, workers=1)
    names = {folder_of(name): name for name in FAMILIES}
    print(write_page(rows, names, options.results))


def tasks(data: Path, runs: Path) -> list[Task]:
    thinned = {family.every for family in FAMILIES.values()} - {1}
    made = [Task(f"every{every}", thin_out, (data, every)) for every in sorted(thinned)]
    for seed in SEEDS:
        for name, family in FAMILIES.items():
            if seed not in family.seeds:
                continue
            place = f"{folder_of(name)}/seed{seed}"
            thin = () if family.every == 1 else (f"every{family.every}",)
            made.append(Task(f"{place}/trained", train, (data, family, seed)))
            made.append(
                Task(
                    f"{place}/scored",
                    score,
                    (runs / thin[0] if thin else data, family, runs / place / "trained/run"),
                    (*thin, f"{place}/trained"),
                )
            )
    return made


def folder_of(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")


def thin_out(folder: Path, data: Path, every: int) -> Row:
    """A corpus of some of the clips, that lie where they are."""
    with (data / MANIFEST).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[::every]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for top in sorted({row["path"].split("/")[0] for row in rows}):
        if not (folder / top).exists():
            (folder / top).symlink_to((data / top).resolve())
    return {"clips": len(rows)}


def train(folder: Path, data: Path, family: Family, seed: int) -> Row:
    """A keyword model of a family, from the encoder that it begins with."""
    warmup = f"optimizer.warmup_updates={min(60, family.updates // 5)}"
    settings = [*TRAINING, f"updates={family.updates}", warmup, f"seed={seed}"]
    recipe = load_recipe(family.recipe, KeywordsRecipe, recipe_folder("train"), settings)
    encoder = None if family.encoder is None else folder / "encoder"
    if encoder is not None and not encoder.is_dir():
        write_encoder(family.encoder or "", encoder, seed)
    finetune(recipe, data, encoder, folder / "run", random_init=False, resume=True)
    scores = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))
    return {part: scores[part]["accuracy"] for part in ("valid", "test")}


def write_encoder(origin: str, out: Path, seed: int) -> None:
    if origin == "shipped":
        tiny = get_space("otolite-tiny")
        cut_out(shipped("otolite-tiny"), tiny.largest(), out)
        return
    config = get_space(NAMED[origin].space).config(NAMED[origin])
    with seeded(seed):
        encoder = Wav2Vec2Encoder(config)
    save_encoder(out, encoder.config, encoder.state_dict(), provenance={"weights": "random"})


def write_bundle(run: Path, out: Path, data: Path, family: Family, precision: Precision) -> None:
    """A bundle in both formats."""
    limits = {} if family.gated else {"min_snr_db": 0.1, "max_accuracy_drop": 1.0}
    int8 = Int8Flags(precision=precision, calibration=data, keep_float=family.keep_float, **limits)
    hop = {"chunk_ms": HOP_MS} if family.form == INCREMENTAL else {"hop_ms": HOP_MS}
    export_run(
        run,
        out,
        name="keywords",
        flags=DecisionFlags(),
        form=FormFlags(form=family.form, **hop),
        licence="CC BY 4.0",
        int8=None if precision is Precision.FLOAT32 else int8,
        graphs=GraphFlags(formats=("onnx", "tflite")),
    )


def score(folder: Path, data: Path, family: Family, run: Path) -> Row:
    """Bundles in every precision, each graph heard by every engine on the test clips."""
    cuts = partition_of(read_corpus(data), "test")
    cuts = CutSet.from_cuts([cut for cut in cuts if label_of(cut) in LABELS])
    packed = PackedAudio.of(cuts, progress=False)
    row: Row = {"wanted": [LABELS.index(label_of(cut)) for cut in cuts]}
    for precision in Precision:
        out = folder / precision.value
        try:
            write_bundle(run, out, data, family, precision)
        except ExportError as refusal:
            row[precision.value] = {"refused": str(refusal)}
            continue
        bundle = read_bundle(out)
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
    """The label that each clip is taken for, by its number; steps end with the clip."""
    lead = -WINDOW % model.manifest.streaming.hop_samples if model.manifest.states else 0
    found = []
    for cut in cuts:
        clip = fit_length(packed.waveform(cut.id), WINDOW)
        found.append(int(model.posteriors(np.pad(clip, (lead, 0))).argmax()))
    return found


def time_hops(folder: Path, runs: Path) -> Row:
    """Median milliseconds that a stream takes for a hop, a family's graphs in turns."""
    rng = np.random.default_rng(0)
    row: Row = {}
    for place in map(folder_of, FAMILIES):
        streams, times_ms = {}, {}
        for precision in Precision:
            out = runs / place / f"seed{SEEDS[0]}/scored" / precision.value
            if not out.is_dir():  # the gate refused it
                continue
            bundle = read_bundle(out)
            for file, model in start_all(bundle):
                streams[f"{precision.value}/{file}"] = model.stream(gate=False)
        times_ms = {key: np.zeros(ROUNDS) for key in streams}
        for number in range(ROUNDS):
            hop = rng.uniform(-0.1, 0.1, HOP_MS * 16).astype(np.float32)
            for key, stream in streams.items():
                started_ns = time.perf_counter_ns()
                stream.push(hop)
                times_ms[key][number] = 1e-6 * (time.perf_counter_ns() - started_ns)
        row[place] = {key: float(np.median(spent)) for key, spent in times_ms.items()}
    return row


if __name__ == "__main__":
    main()
