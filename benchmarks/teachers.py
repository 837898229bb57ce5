"""Which teacher learns most from the same CPU minutes? Four objectives, frozen probes, 3 seeds.

    python benchmarks/teachers.py --data ../shared/data

Every teacher of the tiny recipes trains for the same processor time on the same unlabelled audio;
then a linear model is fitted on its frozen features: keywords (speech_commands) and phones
(speechocean762). Each job is a folder under --runs, so the command goes on where it was stopped.
The table and the picture go to docs/results/.
"""

import argparse
import json
import logging
import multiprocessing
import platform
import shutil
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from alignments import aligned
from lhotse import CutSet

from compress.folders import recipe_folder
from runtime.atomic import replacing_file
from train.config import PretrainRecipe
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.source import Recordings
from train.models.wav2vec2 import load_encoder
from train.pretrain import load_pretraining, train_from
from train.targets.purity import measure
from train.targets.units import Units
from train.tasks.probes import (
    Extractor,
    encoder_states,
    log_mel,
    probe_keywords,
    probe_phones,
)
from train.teacher import new_encoder

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
UNLABELLED = ("speech_commands", "speechocean762", "librispeech_excerpt")
SEEDS = (0, 1, 2)
TEACHERS = ("wav2vec2", "hubert", "data2vec", "data2vec2")
RACERS = ("data2vec", "data2vec2")
"""Trained for parts of the time, too: the paper claims that the second is faster."""
FRACTIONS = (0.5, 0.25)
TIMES = (*sorted(FRACTIONS), 1.0)
MINUTES = 4.0
"""Processor time of a training."""
CALIBRATION_UPDATES = 40
ALIGNMENTS = "alignments.json"
EVERY_NTH_UTTERANCE = 3
"""Of speechocean762, for the phone probe: a third tells enough."""


@dataclass(frozen=True)
class Job:
    """One model and what is asked of it."""

    name: str
    """`log-mel`, `random-<teacher>` or a teacher."""
    seed: int
    fraction: float = 1.0

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.fraction:g}-seed{self.seed}"


def jobs() -> list[Job]:
    """Whole trainings first, then what they are compared with, then the parts."""
    whole = [Job(teacher, seed) for seed in SEEDS for teacher in TEACHERS]
    random = [Job(f"random-{teacher}", seed) for seed in SEEDS for teacher in TEACHERS[1:]]
    parts = [Job(name, seed, part) for part in FRACTIONS for seed in SEEDS for name in RACERS]
    return [*whole, Job("log-mel", 0), *random, *parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the audio sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/teachers"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="processor time of each")
    parser.add_argument("--workers", type=int, default=2, help="jobs at once, one core each")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, initializer=prepare) as pool:
        names = list(TEACHERS)
        args = [options.data] * len(names), [options.runs] * len(names)
        seconds = dict(zip(names, pool.map(calibrated, names, *args), strict=True))
        planned = jobs()
        folders = [options.data] * len(planned), [options.runs] * len(planned)
        list(pool.map(train_job, planned, repeat(seconds), repeat(options.minutes), *folders))
        aligned(options.data / "speechocean762", EVERY_NTH_UTTERANCE, options.runs / ALIGNMENTS)
        rows = list(pool.map(probe_job, planned, *folders))
    page = report(rows, seconds, options.minutes)
    with replacing_file(options.results / "teachers.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    picture(rows, options.results / "teachers.png")
    print(page)


def prepare() -> None:
    """One thread a worker: two jobs side by side beat one job on two threads."""
    torch.set_num_threads(1)
    logging.basicConfig(format="%(process)d %(message)s", level=logging.WARNING)


def unlabelled(data: Path) -> Recordings:
    """Every train recording of the sets, without its label."""
    cuts: list[Any] = []
    for name in UNLABELLED:
        for cut in usable(read_corpus(data / name), partition="train", min_seconds=0.3):
            cuts.append(cut.with_id(f"{name}/{cut.id}"))
    merged = CutSet.from_cuts(cuts)
    return Recordings(merged, PackedAudio.of(merged, progress=False))


def recipe_of(teacher: str, seed: int, updates: int) -> PretrainRecipe:
    """The tiny recipe, so many updates long; HuBERT's rounds share them."""
    sets = [f"updates={updates}"]
    if teacher == "hubert":
        sets = [f"rounds.{number}.updates={max(1, updates // 2)}" for number in (0, 1)]
    return load_pretraining(f"{teacher}-tiny", recipe_folder("train"), [*sets, f"seed={seed}"])


def trained(teacher: str, seed: int, updates: int, source: Recordings, out: Path) -> float:
    """Train into a folder; the processor time in seconds, missing targets and all."""
    begin = time.process_time()
    train_from(recipe_of(teacher, seed, updates), source, out, provenance={"data": UNLABELLED})
    return time.process_time() - begin


def calibrated(teacher: str, data: Path, runs: Path) -> dict[str, float]:
    """Seconds before the first update and of each update, from short trainings."""
    done, out = runs / f"calibration-{teacher}.json", runs / f"calibration-{teacher}"
    if not done.is_file():
        shutil.rmtree(out, ignore_errors=True)
        source = unlabelled(data)
        seconds = []
        for count in (CALIBRATION_UPDATES, CALIBRATION_UPDATES, 3 * CALIBRATION_UPDATES):
            seconds.append(trained(teacher, 0, count, source, out))
            for path in out.rglob("*"):  # the next one finds HuBERT's units made
                if path.is_file() and path.name != "units.npz":
                    path.unlink()
            for path in sorted(out.rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        whole, short, long = seconds
        update_s = (long - short) / (2 * CALIBRATION_UPDATES)
        write(done, {"update_s": update_s, "start_s": whole - CALIBRATION_UPDATES * update_s})
    return dict(json.loads(done.read_text(encoding="utf-8")))


def train_job(
    job: Job, seconds: dict[str, dict[str, float]], minutes: float, data: Path, runs: Path
) -> None:
    """Train if there is something to train, and keep what it took."""
    folder = runs / job.folder
    done = folder / "trained.json"
    if job.name not in TEACHERS or done.is_file():
        return
    cost = seconds[job.name]
    left_s = 60 * minutes * job.fraction - max(0.0, cost["start_s"])
    updates = max(1, int(left_s / cost["update_s"]))
    shutil.rmtree(folder / "run", ignore_errors=True)  # its time would be counted in part
    cpu_s = trained(job.name, job.seed, updates, unlabelled(data), folder / "run")
    write(done, {"updates": updates, "cpu_s": cpu_s})
    print(job.folder, updates, "updates in", round(cpu_s), "s", flush=True)


def probe_job(job: Job, data: Path, runs: Path) -> dict[str, Any]:
    """Ask what a linear model finds in a job's features, and keep the answers."""
    folder = runs / job.folder
    done = folder / "row.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    row: dict[str, Any] = {"name": job.name, "seed": job.seed, "fraction": job.fraction}
    extract: Extractor
    if job.name == "log-mel":
        extract = log_mel()
    elif job.name.startswith("random-"):
        recipe = recipe_of(job.name.removeprefix("random-"), job.seed, 1)
        extract = encoder_states(new_encoder(recipe, None))
    else:
        row |= json.loads((folder / "trained.json").read_text(encoding="utf-8"))
        encoder = load_encoder(folder / "run" / "model")
        extract = encoder_states(encoder)
    row |= probed(extract, data, runs / ALIGNMENTS, phones=job.fraction == 1.0)
    if job.name == "hubert":
        row["pnmi"] = [
            units_pnmi(folder / "run" / f"round{number}" / "units.npz", data, runs / ALIGNMENTS)
            for number in (1, 2)
        ]
    write(done, row)
    print(row, flush=True)
    return row


def probed(extract: Extractor, data: Path, alignments: Path, *, phones: bool) -> dict[str, Any]:
    """Keyword accuracy, and phone accuracy where it is asked for."""
    commands = read_corpus(data / "speech_commands")
    packed = PackedAudio.of(commands, progress=False)
    keywords = probe_keywords(extract, commands, packed, LABELS)
    row: dict[str, Any] = {"keywords": keywords.accuracy, "layer": keywords.layer}
    if phones:
        folder = data / "speechocean762"
        corpus = read_corpus(folder)
        packed = PackedAudio.of(corpus, progress=False)
        said = aligned(folder, EVERY_NTH_UTTERANCE, alignments)
        row["phones"] = probe_phones(extract, corpus, packed, said)
    return row


def units_pnmi(units: Path, data: Path, alignments: Path) -> float:
    """How much of the phones' entropy a round's units take away, on the aligned utterances."""
    said = aligned(data / "speechocean762", EVERY_NTH_UTTERANCE, alignments)
    found = measure(Units.load(units), {f"speechocean762/{key}": row for key, row in said.items()})
    assert found is not None, "the aligned utterances are among the unlabelled ones"
    return found.pnmi


def write(path: Path, values: dict[str, Any]) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")


def of(rows: list[dict[str, Any]], name: str, key: str, fraction: float = 1.0) -> list[float]:
    """A figure over the seeds."""
    return [row[key] for row in rows if row["name"] == name and row["fraction"] == fraction]


TITLES = {
    "log-mel": "log-mel, 80 bands",
    "random-hubert": "random weights, GroupNorm extractor (wav2vec 2.0, HuBERT)",
    "random-data2vec": "random weights, data2vec's sizes",
    "random-data2vec2": "random weights, data2vec 2.0's sizes",
    "wav2vec2": "wav2vec 2.0",
    "hubert": "HuBERT, two rounds",
    "data2vec": "data2vec",
    "data2vec2": "data2vec 2.0",
}


def cell(values: list[float], scale: float = 100.0, digits: int = 1) -> str:
    """Mean and deviation over seeds, then each seed; a lone value as it is."""
    scaled = [scale * value for value in values]
    if len(scaled) == 1:
        return f"{scaled[0]:.{digits}f}"
    each = ", ".join(f"{value:.{digits}f}" for value in scaled)
    mean, deviation = statistics.mean(scaled), statistics.stdev(scaled)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f} ({each})"


def main_row(rows: list[dict[str, Any]], name: str) -> str:
    """What a kind of features cost, and what the probes found in them."""
    cost = ["–", "–"]
    if name in TEACHERS:
        updates = of(rows, name, "updates")[0]
        cost = [f"{updates:,.0f}", cell(of(rows, name, "cpu_s"), 1 / 60)]
    figures = [cell(of(rows, name, "keywords")), cell(of(rows, name, "phones"))]
    return f"| {TITLES[name]} | {' | '.join([*cost, *figures])} |"


def race_row(rows: list[dict[str, Any]], name: str, fraction: float) -> str:
    """What a part of the time was worth."""
    minutes = cell(of(rows, name, "cpu_s", fraction), 1 / 60)
    updates = of(rows, name, "updates", fraction)[0]
    keywords = cell(of(rows, name, "keywords", fraction))
    return f"| {TITLES[name]} | {fraction:g} | {minutes} | {updates:,} | {keywords} |"


def report(rows: list[dict[str, Any]], seconds: dict[str, dict[str, float]], minutes: float) -> str:
    """The page docs/results/teachers.md."""
    table = "\n".join(main_row(rows, name) for name in TITLES)
    race = "\n".join(race_row(rows, name, part) for name in RACERS for part in TIMES)
    units = [row["pnmi"] for row in rows if row["name"] == "hubert"]
    pnmi = [cell([row[number] for row in units], 1.0, 3) for number in (0, 1)]
    units_s = seconds["hubert"]["start_s"]
    steps = ", ".join(f"{TITLES[name]} {cost['update_s']:.2f} s" for name, cost in seconds.items())
    return f"""# Teachers: what four objectives learn in the same {minutes:g} CPU minutes

Made by `make teachers` (`benchmarks/teachers.py`). Unlabelled audio: the train partitions of
{", ".join(UNLABELLED)} (all CC BY 4.0), the same for every teacher. Sizes and rates: the four
`-tiny` recipes, 1.3 M parameters each. Seeds {", ".join(map(str, SEEDS))}. Machine:
{platform.machine()}, no GPU, one core a job. An update costs {steps} (processor time, targets,
teachers and masks included), so the same minutes are different numbers of updates. HuBERT's two
sets of units take {units_s:.0f} s of its minutes. Updates were set by a calibration to {minutes:g}
minutes; what the trainings took beside other programs on the same cores is in the table.

Probes: everything of the model is frozen. Keywords: logistic regression on mean and deviation over
time of one layer, chosen on the valid partition; 12 classes of speech_commands, our
speaker-disjoint split, test accuracy. Phones: logistic regression for each 20 ms on a weighted sum
of all layers; speechocean762 train → test, every {EVERY_NTH_UTTERANCE}rd utterance, 39 phones of
its learners of English where pocketsphinx's forced alignment puts them, silence left out.

**Not comparable with published figures**: 1.3 M parameters and minutes of one core instead of 95 M
and days of many GPUs; narrower probes than SUPERB's; an excerpt of the keyword set.

| features | updates | CPU minutes | keywords, accuracy % | phones, accuracy % of frames |
|---|---|---|---|---|
{table}

HuBERT's units on the aligned utterances, PNMI over the seeds: MFCC clusters (round 1)
{pnmi[0]}, clusters of layer 4 (round 2) {pnmi[1]}.

## Does each learn more than random weights know, and more than log-mel shows?

Points of accuracy, teacher minus the random encoder of its sizes and seed, and minus log-mel.

| teacher | keywords: over random | over log-mel | phones: over random | over log-mel |
|---|---|---|---|---|
{gains(rows)}

## Does data2vec 2.0 get there sooner than data2vec?

Complete trainings of a part of the time, each with its own schedule.

| teacher | share of the time | CPU minutes | updates | keywords, accuracy % |
|---|---|---|---|---|
{race}

{verdict(rows)}

![Probe accuracies, and accuracy against processor time](teachers.png)
"""


def gains(rows: list[dict[str, Any]]) -> str:
    """Table rows: each teacher's points over its random encoder, seed by seed, and over log-mel."""
    lines = []
    for name in TEACHERS:
        untrained = "random-hubert" if name == "wav2vec2" else f"random-{name}"
        cells = []
        for key in ("keywords", "phones"):
            reached = of(rows, name, key)
            for base in (of(rows, untrained, key), of(rows, "log-mel", key) * len(reached)):
                points = [100 * (one - other) for one, other in zip(reached, base, strict=True)]
                each = ", ".join(f"{value:+.1f}" for value in points)
                cells.append(f"{statistics.mean(points):+.1f} ({each})")
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(rows: list[dict[str, Any]]) -> str:
    """How long each racer takes to what the other reaches, by interpolation over log time."""
    minutes, accuracies, deviations = {}, {}, {}
    for name in RACERS:
        minutes[name] = [statistics.mean(of(rows, name, "cpu_s", part)) / 60 for part in TIMES]
        each = [[100 * value for value in of(rows, name, "keywords", part)] for part in TIMES]
        accuracies[name] = [statistics.mean(values) for values in each]
        deviations[name] = statistics.stdev(each[-1])
    slow, goal = minutes["data2vec"][-1], accuracies["data2vec"][-1]
    reached = np.maximum.accumulate(accuracies["data2vec2"])
    spread = " and ".join(f"{deviation:.1f}" for deviation in deviations.values())
    if goal > reached[-1]:
        answer = f"data2vec 2.0 does not within {minutes['data2vec2'][-1]:.1f}"
    else:
        quick = float(np.exp(np.interp(goal, reached, np.log(minutes["data2vec2"]))))
        answer = f"data2vec 2.0 in {quick:.1f}: a factor of {slow / quick:.1f}"
    return f"""data2vec reaches {goal:.1f} % in {slow:.1f} minutes, {answer}. The seeds of either
deviate by {spread} points at the end, so no factor near 1 can be told from it. The paper's 10.6 is
data2vec 2.0 against wav2vec 2.0 at Base size on LibriSpeech, another quantity. An update of four
masks costs more than one of data2vec (the layers see four halves of every utterance, the decoder
all four copies), and what more it learns from them does not show in minutes."""


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars with every seed as a dot, and accuracy against processor time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ("log-mel", "random-hubert", "random-data2vec", "random-data2vec2", *TEACHERS)
    figure, axes = pyplot.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
    for axis, key, title in (
        (axes[0], "keywords", "keywords: accuracy, %"),
        (axes[1], "phones", "phones: frame accuracy, %"),
    ):
        for place, name in enumerate(names):
            values = [100 * value for value in of(rows, name, key)]
            axis.bar(place, statistics.mean(values), color="C0" if name in TEACHERS else "0.7")
            axis.plot([place] * len(values), values, "k.", markersize=5)
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axis.set_title(title)
    for name in RACERS:
        times = [np.mean(of(rows, name, "cpu_s", part)) / 60 for part in TIMES]
        values = [[100 * v for v in of(rows, name, "keywords", p)] for p in TIMES]
        spread = [statistics.stdev(row) for row in values]
        means = [statistics.mean(row) for row in values]
        axes[2].errorbar(times, means, yerr=spread, marker="o", capsize=3, label=name)
    axes[2].set_xscale("log")
    axes[2].set_xlabel("processor minutes")
    axes[2].set_title("keywords: accuracy, %, by training time")
    axes[2].legend()
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


if __name__ == "__main__":
    main()
