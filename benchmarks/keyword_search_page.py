"""The page of benchmarks/keyword_search.py and its picture, from its rows."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy.stats import spearmanr
from tables import line, spread

from runtime.atomic import replacing_file

matplotlib.use("Agg")

from matplotlib import pyplot

Rows = Mapping[str, dict[str, Any]]
PICTURE = "keyword-search.png"


@dataclass(frozen=True)
class Table:
    """What was run."""

    space: str
    budgets: Sequence[int]
    methods: Mapping[str, str]
    """How a model was chosen, and what that is called; what is compared comes first."""
    seeds: Sequence[int]
    supernet_updates: int
    tune_updates: int
    num_trials: int
    num_clips: int


def write_page(rows: Rows, table: Table, results: Path) -> str:
    """Write docs/results/keyword-search.md and its picture; returns the page."""
    results.mkdir(parents=True, exist_ok=True)
    page = PROSE.format(
        machine=platform.machine(),
        space=table.space,
        seeds=", ".join(map(str, table.seeds)),
        supernet=table.supernet_updates,
        tune=table.tune_updates,
        trials=table.num_trials,
        clips=table.num_clips,
        picture=PICTURE,
        largest=spread([100 * rows[f"seed{seed}/supernet"]["largest"] for seed in table.seeds]),
        smallest=spread([100 * rows[f"seed{seed}/supernet"]["smallest"] for seed in table.seeds]),
        accuracy="\n".join(accuracy_rows(rows, table)),
        gains="\n".join(gain_rows(rows, table)),
        models="\n".join(model_rows(rows, table)),
        ranks=spread(ranks(rows, table, "score"), digits=2),
        ranks_by_size=spread(ranks(rows, table, "params"), digits=2),
    )
    draw(rows, table, results / PICTURE)
    with replacing_file(results / "keyword-search.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def of(rows: Rows, table: Table, budget: int, method: str, key: str) -> list[Any]:
    """A column of the rows, one value a seed."""
    return [rows[f"seed{seed}/{budget}/{method}"][key] for seed in table.seeds]


def tested(rows: Rows, table: Table, budget: int, method: str) -> list[float]:
    """Test accuracies in percent."""
    return [100 * value for value in of(rows, table, budget, method, "test")]


def accuracy_rows(rows: Rows, table: Table) -> list[str]:
    made = []
    for budget in table.budgets:
        cells = [spread(tested(rows, table, budget, method)) for method in table.methods]
        made.append(line(f"{budget:,}", *cells))
    return made


def gain_rows(rows: Rows, table: Table) -> list[str]:
    first, *others = table.methods
    made = []
    for budget in table.budgets:
        best = tested(rows, table, budget, first)
        cells = []
        for method in others:
            pairs = zip(best, tested(rows, table, budget, method), strict=True)
            cells.append(spread([one - other for one, other in pairs], signed=True))
        made.append(line(f"{budget:,}", *cells))
    return made


def model_rows(rows: Rows, table: Table) -> list[str]:
    made = []
    for budget in table.budgets:
        for method, name in table.methods.items():
            for seed in table.seeds:
                row = rows[f"seed{seed}/{budget}/{method}"]
                sizes = ", ".join(
                    f"{key.replace('_', ' ')} {value}"
                    for key, value in row["subnet"].items()
                    if key != "space"
                )
                cells = (f"{row['params']:,}", sizes, f"{row['score']:.3f}")
                made.append(
                    line(f"{budget:,}", name, str(seed), *cells, f"{100 * row['test']:.1f}")
                )
    return made


def ranks(rows: Rows, table: Table, key: str) -> list[float]:
    """For each seed how well its models are ranked before any is fine-tuned; 1 is perfectly."""
    found = []
    for seed in table.seeds:
        models = [
            rows[f"seed{seed}/{b}/{method}"] for b in table.budgets for method in table.methods
        ]
        told = [row[key] for row in models]
        sign = -1.0 if key == "score" else 1.0  # a low score is a good one
        reached = [row["test"] for row in models]
        found.append(sign * float(spearmanr(told, reached).statistic))
    return found


def draw(rows: Rows, table: Table, path: Path) -> None:
    """Accuracy over parameters: each model, and the means of each way to choose."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for method, name in table.methods.items():
        params = np.array([of(rows, table, budget, method, "params") for budget in table.budgets])
        accuracy = np.array([tested(rows, table, budget, method) for budget in table.budgets])
        (drawn,) = axes.plot(params.mean(1), accuracy.mean(1), marker="o", label=name)
        axes.scatter(params, accuracy, s=10, alpha=0.5, color=drawn.get_color())
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy in percent")
    axes.legend()
    with replacing_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


PROSE = """# Searching keyword models

Made by `make keyword-search` (`python benchmarks/keyword_search.py --data
../shared/data/speech_commands`).

One supernet of the space `{space}` a seed, {supernet} updates of 32 clips; under each budget of
parameters three models are cut from it and fine-tuned alike for {tune} updates. The search scores
{trials} models by their loss on {clips} clips of the valid partition; the random model is drawn
uniformly from all that fit; the third is the largest that fits of those whose sizes stand equally
far along their choices. Twelve classes; seeds {seeds}; cells hold mean ± deviation over seeds (each
seed). Machine: {machine}, no GPU. As the supernets come out of training, their largest model has
{largest} % and their smallest {smallest} % of the valid clips.

**Not comparable with published figures**: minutes of training on an excerpt of the data.

## Test accuracy

Percent.

| budget | found by the search | drawn from all that fit | all sizes grown together |
|---|---|---|---|
{accuracy}

What the search adds, in points, each seed against itself:

| budget | to a random one | to one of sizes grown together |
|---|---|---|
{gains}

![accuracy over parameters]({picture})

## Does the score tell?

Rank correlation (Spearman) over the models of a seed between what is known before fine-tuning and
the test accuracy after it: of the score in the supernet {ranks}, of the number of parameters
{ranks_by_size}.

## The models

| budget | chosen | seed | parameters | sizes | score | test, % |
|---|---|---|---|---|---|---|
{models}
"""
