"""The page and the pictures of benchmarks/compression.py, from its rows."""

import platform
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy.stats import spearmanr
from tables import spread

from compress.budget import Budget
from compress.spaces import get_space
from compress.subnet import Subnet
from runtime.atomic import replacing_file

matplotlib.use("Agg")

from matplotlib import pyplot

Rows = Mapping[str, dict[str, Any]]

SEEDS = (0, 1, 2)
SCORES = ("distillation loss", "against the largest subnet", "frozen probe")
SPREAD = 10
MASK_RATIOS = (0.75, 0.9, 0.95)


def write_page(rows: Rows, results: Path) -> str:
    """Write docs/results/compress.md and its picture; returns the page."""
    page = PROSE.format(
        machine=platform.machine(),
        teacher=percent(rows["teacher"]["accuracy"]),
        teacher_minutes=f"{rows['teacher']['cpu_s'] / 60:.1f}",
        clips=f"{rows['seed0/tuned-winner']['test_clips']:,}",
        trust=trust_table(rows),
        winner=winner_table(rows),
        stages=stages_table(rows),
        macs=macs_table(rows),
        dmae=dmae_table(rows),
        dmae_gain=spread(
            [
                100 * (of(rows, seed, f"dmae-{r:g}-1") - of(rows, seed, f"dmae-{r:g}-0"))
                for r in MASK_RATIOS
                for seed in SEEDS
            ],
            signed=True,
        ),
        mae=percent(rows["mae"]["accuracy"]),
        teacher_time=teacher_table(rows),
    )
    with replacing_file(results / "compress.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    picture(rows, results / "compress.png")
    return page


def trust_table(rows: Rows) -> str:
    """Spearman's correlation of each score with the accuracy after fine-tuning."""
    lines = []
    for name in (*SCORES, "parameters alone"):
        cells = []
        for part in ("all", "band"):
            found = [correlation(rows, seed, name, part) for seed in SEEDS]
            cells.append(spread(found, digits=2))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correlation(rows: Rows, seed: int, name: str, part: str) -> float:
    """How well lower scores, or more parameters, tell higher accuracies; 1 is perfect."""
    scored = rows[f"seed{seed}/scores"]
    told = scored["params"] if name == "parameters alone" else [-x for x in scored[name]]
    came = outcomes(rows, seed)
    first = SPREAD if part == "band" else 0
    return float(spearmanr(told[first:], came[first:]).statistic)


def outcomes(rows: Rows, seed: int) -> list[float]:
    """Test accuracy of each subnet, once it was fine-tuned."""
    groups = [name for name in rows if re.fullmatch(rf"seed{seed}/became\d+", name)]
    ordered = sorted(groups, key=lambda name: int(name.rpartition("became")[2]))
    return [value for name in ordered for value in rows[name]["accuracies"]]


def winner_table(rows: Rows) -> str:
    """What the budget buys, fine-tuned for keywords."""
    named = (
        ("the search's winner", ["winner"]),
        ("the winner, distilled alone for 150 more updates", ["polished"]),
        ("a random subnet that fits (four a seed)", [f"random{number}" for number in range(4)]),
        ("the largest with all layers alike", ["uniform"]),
        ("the winner's sizes from scratch, no pretraining", ["scratch"]),
    )
    lines = []
    for label, names in named:
        params = [size for seed in SEEDS for name in names for size in sizes(rows, seed, name)]
        cells = [f"{min(params):,} to {max(params):,}"]
        for kind in ("tuned", "probed"):
            if f"seed0/{kind}-{names[0]}" not in rows:
                cells += ["–", ""]
                continue
            found = [
                100 * statistics.mean(of(rows, seed, f"{kind}-{name}") for name in names)
                for seed in SEEDS
            ]
            gain = [
                100 * of(rows, seed, f"{kind}-winner") - value
                for seed, value in zip(SEEDS, found, strict=True)
            ]
            cells += [spread(found), "" if "winner" in names else spread(gain, signed=True)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sizes(rows: Rows, seed: int, name: str) -> list[int]:
    """Parameters of what was tuned."""
    if name in ("scratch", "polished"):
        found = rows[f"seed{seed}/{'search' if name == 'scratch' else 'polished'}"]
        return [found["predicted"]["params"]]
    subnet = Subnet.from_json(rows[f"seed{seed}/tuned-{name}"]["subnet"])
    space = get_space(subnet.space)
    return [Budget(params=10**9).cost_of(space, subnet)["params"]]


def stages_table(rows: Rows) -> str:
    """The same subnet out of differently trained supernets."""
    named = (
        ("two stages, targets normalized, hidden frames count (default)", "variant-main"),
        ("one stage: sampled subnets from the start", "variant-one-stage"),
        ("targets not normalized", "variant-raw-targets"),
        ("all frames count", "variant-all-frames"),
        ("from random weights, not the teacher's", "variant-random-start"),
    )
    lines = []
    for label, name in named:
        if any(f"seed{seed}/{name}" not in rows for seed in SEEDS):
            continue
        found = [of(rows, seed, name) for seed in SEEDS]
        gain = [
            100 * (value - of(rows, seed, "variant-main"))
            for seed, value in zip(SEEDS, found, strict=True)
        ]
        difference = "" if name == "variant-main" else spread(gain, signed=True)
        lines.append(f"| {label} | {spread([100 * x for x in found])} | {difference} |")
    return "\n".join(lines)


def macs_table(rows: Rows) -> str:
    """Winners at equal MACs, by space."""
    lines = []
    for number, (variant, label) in enumerate(
        (("main", "otolite-tiny: the extractor is fixed"), ("conv", "otolite-tiny-conv: elastic"))
    ):
        found = [rows[f"seed{seed}/macs-{variant}"] for seed in SEEDS]
        macs = spread([row["predicted"]["macs"] / 1e6 for row in found])
        params = spread([row["predicted"]["params"] / 1e3 for row in found], digits=0)
        latency = spread(
            [rows[f"seed{seed}/latency"][str(number)][0] / 1e6 for seed in SEEDS], digits=2
        )
        accuracy = spread([100 * of(rows, seed, f"tuned-macs-{variant}") for seed in SEEDS])
        probe = spread([100 * of(rows, seed, f"probed-macs-{variant}") for seed in SEEDS])
        lines.append(f"| {label} | {macs} | {params} | {latency} | {probe} | {accuracy} |")
    return "\n".join(lines)


def dmae_table(rows: Rows) -> str:
    """Probe accuracy by mask ratio, with and without the feature loss."""
    lines = []
    for ratio in MASK_RATIOS:
        both = [
            [100 * of(rows, seed, f"dmae-{ratio:g}-{weight}") for seed in SEEDS]
            for weight in (1, 0)
        ]
        gain = [a - b for a, b in zip(*both, strict=True)]
        cells = [spread(both[0]), spread(both[1]), spread(gain, signed=True)]
        lines.append(f"| {100 * ratio:.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def teacher_table(rows: Rows) -> str:
    """What a pass of DMAE's teacher takes, stopped and whole."""
    lines = []
    for name in ("mae-tiny", "mae-base"):
        row = rows[f"teacher-time-{name}"]
        cells = [row[key] for key in ("teacher", "layers_run", "tokens", "stopped_ms", "whole_ms")]
        ratios = [row["time_stopped_over_whole"], row["time_stopped_over_unmasked"]]
        lines.append(f"| {' | '.join(map(str, [*cells, *ratios]))} |")
    return "\n".join(lines)


def of(rows: Rows, seed: int, name: str) -> float:
    """Test accuracy of a row, a share."""
    row = rows[f"seed{seed}/{name}"]
    return float(row["test"] if "test" in row else row["accuracy"])


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def picture(rows: Rows, path: Path) -> None:
    """Scores against what became of the subnets, and DMAE by mask ratio."""
    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    scatter(axes[0], rows, "distillation loss")
    scatter(axes[1], rows, "frozen probe")
    for weight, label in ((1, "with the feature loss"), (0, "reconstruction alone")):
        points = [[100 * of(rows, s, f"dmae-{r:g}-{weight}") for s in SEEDS] for r in MASK_RATIOS]
        mean, deviation = np.mean(points, 1), np.std(points, 1, ddof=1)
        axes[2].errorbar(
            [100 * r for r in MASK_RATIOS], mean, deviation, marker="o", capsize=3, label=label
        )
    axes[2].set(title="DMAE", xlabel="patches hidden, %", ylabel="keyword probe, %")
    axes[2].legend(frameon=False)
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


def scatter(axes: Any, rows: Rows, name: str) -> None:
    for seed in SEEDS:
        scored = rows[f"seed{seed}/scores"]
        came = [100 * value for value in outcomes(rows, seed)]
        sized: Iterable[float] = [count / 12_000 for count in scored["params"]]
        axes.scatter(scored[name], came, s=list(sized), alpha=0.6, label=f"seed {seed}")
    axes.set(
        title=f"score: {name}",
        xlabel="score (lower is better)",
        ylabel="after its own fine-tuning, %",
    )
    axes.legend(frameon=False)


PROSE = """# Can a search be trusted?

Made by `make compression` (`benchmarks/compression.py`). Data: `speech_commands` (Google Speech
Commands excerpts, CC BY 4.0), our speaker-disjoint split: teachers and supernets see every train
clip without its label; fine-tuning sees 12 classes and is tested on {clips} clips. Seeds 0, 1, 2
draw supernets, searches, subnets, heads and orders anew; one teacher, a HuBERT of 1.3 M parameters
after {teacher_minutes} CPU minutes (its own frozen keyword probe: {teacher}), serves all of them.
Supernets start from its weights: 300 updates of the largest subnet, then 700 of sampled ones, 16 s
of audio each. Fine-tuning: 500 updates of 8 clips, one and a half passes over the labelled clips:
accuracies are low, and compare starts, not best models. Machine: {machine}, no GPU, one core a
task. Cells hold mean ± deviation over seeds (each seed).

**Not comparable with published figures**: models of a million parameters, minutes of training, an
excerpt of the data, another split. {clips} test clips leave a standard error of about 1.7 points on
any single accuracy.

## (a) Does a subnet's score tell what becomes of it?

Spearman's rank correlation between the score of a subnet in its supernet, before anything of it is
trained, and its accuracy after it is cut out and fine-tuned by itself; 1 is perfect. Per seed 20
subnets: 10 of sizes from the smallest to the largest, 10 drawn among those of 540,000 to 600,000
parameters.

| score | all 20 subnets | the 10 of one size |
|---|---|---|
{trust}

The last row is what a ruler would do: rank by number of parameters. Scores are worth their price
where they beat it.

## (b) What does a budget of 500,000 parameters buy?

Searches score 48 subnets on 96 held-out clips. Fine-tuned end to end for 12 keywords, and frozen
under a linear probe.

| model | parameters | fine-tuned, % | winner minus this | frozen probe, % | winner minus this |
|---|---|---|---|---|---|
{winner}

## (c) How should a supernet be trained?

Mean accuracy of a frozen probe on three subnets as they are cut (the smallest, the largest of
500,000 parameters with all layers alike, the largest), of supernets of 1,000 updates each.

| supernet | frozen probe, % | against the default, points |
|---|---|---|
{stages}

## (d) An elastic feature extractor at equal MACs

Winners of searches for at most 35 M multiply-accumulates per second of audio (48 subnets scored);
the fixed extractor takes 19.4 M of them. Latency: the exported encoder, one second of audio, this
machine, one thread, both in turns.

| space | M MACs | thousand parameters | latency, ms | frozen probe, % | fine-tuned, % |
|---|---|---|---|---|---|
{macs}

## (e) Masked feature distillation (DMAE)

Students of four layers on log-mel patches, 200 updates of 64 clips each, with and without the loss
on the features of a frozen masked autoencoder of six layers (400 updates; its probe: {mae}), cut at
3/4 of its depth. Frozen keyword probe, accuracy in %.

| patches hidden | with feature loss | reconstruction alone | difference, points |
|---|---|---|---|
{dmae}

Over all ratios and seeds the feature loss is worth {dmae_gain} points.

A pass of the teacher over the shown quarter of the patches, stopped and whole, in processor time of
one thread, in turns (`benchmarks/dmae.py`); the last column is against all layers over all patches.

| teacher | layers run | tokens | stopped, ms | whole, ms | stopped / whole | stopped / unmasked |
|---|---|---|---|---|---|---|
{teacher_time}

![Scores against accuracies; DMAE by mask ratio](compress.png)
"""
