"""Is a search for keyword models worth it? On real speech, under three budgets.

    python benchmarks/keyword_search.py --data ../shared/data/speech_commands

One supernet of Keyword Transformers a seed. Under each budget of parameters three models are cut
from it and fine-tuned alike: the one that the search finds, one drawn uniformly from all that fit,
and the largest that fits of those whose sizes grow together. Steps are folders under --runs, so the
command goes on where it was stopped; the page and its picture go to docs/results/.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from keyword_search_page import Table, write_page
from tasks import Row, Task, options_of, run_all

from compress.cost.keyword_bodies import keyword_costs
from compress.distill.in_place import KeywordSupernetRecipe
from compress.distill.keyword_training import train_keyword_supernet
from compress.feasible import feasible_set
from compress.folders import recipe_folder
from compress.keyword_spaces import KeywordSpace, KeywordSubnet
from compress.keyword_supernet import keyword_space
from compress.search.config import SearchConfig
from compress.search.keyword_models import KeywordModels
from compress.search.subject import Places
from compress.search.winner import search
from train.recipe import load_recipe

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
RECIPE = "keyword-space-tiny"
BUDGETS = (36_000, 116_000, 231_000)
"""Most parameters; sizes that grow together fill each of them to within 1 %."""
METHODS = {
    "searched": "found by the search",
    "random": "drawn from all that fit",
    "scaled": "all sizes grown together",
}
SUPERNET_UPDATES, TUNE_UPDATES = 400, 60
NUM_TRIALS, POPULATION, NUM_CLIPS = 40, 10, 300


@dataclass(frozen=True)
class Plan:
    """What every task is told."""

    data: Path
    runs: Path
    scale: float = 1.0
    """Share of all updates and trials; below 1 only to try the way."""

    def count(self, number: int) -> int:
        return max(2, round(self.scale * number))

    def recipe(self, seed: int) -> KeywordSupernetRecipe:
        updates = self.count(SUPERNET_UPDATES)
        changes = [
            f"labels={json.dumps(LABELS)}",
            f"updates={updates}",
            f"optimizer.warmup_updates={updates // 10}",
            f"log.log_every={min(20, updates)}",
            f"seed={seed}",
        ]
        return load_recipe(RECIPE, KeywordSupernetRecipe, recipe_folder("compress"), changes)

    def config(self, seed: int, budget: int) -> SearchConfig:
        return SearchConfig(
            target_params=budget,
            num_trials=self.count(NUM_TRIALS),
            population=max(2, min(POPULATION, self.count(NUM_TRIALS))),
            num_clips=NUM_CLIPS,
            polish_updates=self.count(TUNE_UPDATES),
            seed=seed,
        )

    def places(self, seed: int, out: Path) -> Places:
        return Places(supernet=self.runs / supernet(seed) / "run", data=self.data, out=out)


def main() -> None:
    options = options_of(
        __doc__, data="shared/data/speech_commands", runs="keyword-search"
    ).parse_args()
    seeds = SEEDS[: options.seeds]
    plan = Plan(options.data, options.runs, options.scale)
    rows = run_all(tasks(plan, seeds), options.runs, workers=options.workers)
    table = Table(
        space=plan.recipe(0).space,
        budgets=BUDGETS,
        methods=METHODS,
        seeds=seeds,
        supernet_updates=plan.count(SUPERNET_UPDATES),
        tune_updates=plan.count(TUNE_UPDATES),
        num_trials=plan.count(NUM_TRIALS),
        num_clips=NUM_CLIPS,
    )
    print(write_page(rows, table, options.results))


def tasks(plan: Plan, seeds: tuple[int, ...]) -> list[Task]:
    made = []
    for seed in seeds:
        first = supernet(seed)
        made.append(Task(first, train_one, (plan, seed)))
        for budget in BUDGETS:
            arguments = (plan, seed, budget)
            made.append(Task(model(seed, budget, "searched"), searched, arguments, (first,)))
            for method in ("random", "scaled"):
                name = model(seed, budget, method)
                made.append(Task(name, chosen, (*arguments, method), (first,)))
    return made


def supernet(seed: int) -> str:
    return f"seed{seed}/supernet"


def model(seed: int, budget: int, method: str) -> str:
    return f"seed{seed}/{budget}/{method}"


def train_one(folder: Path, plan: Plan, seed: int) -> Row:
    """A supernet; its row is what its extremes reach as they are."""
    train_keyword_supernet(plan.recipe(seed), plan.data, folder / "run", resume=True)
    scores: Row = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))["valid"]
    return scores


def searched(folder: Path, plan: Plan, seed: int, budget: int) -> Row:
    """The search's winner, fine-tuned by the search itself."""
    places = plan.places(seed, folder / "run")
    found = search(plan.config(seed, budget), places, resume=True)
    winner = found.record["winner"]
    within = found.record["feasibility"]["within"]
    return {
        "subnet": winner["subnet"],
        "params": winner["predicted"]["params"],
        "score": winner["score"],
        "within": within,
        **winner["accuracy"],
    }


def chosen(folder: Path, plan: Plan, seed: int, budget: int, method: str) -> Row:
    """A model that no search has looked for, made in the same way."""
    subject = KeywordModels(plan.config(seed, budget), plan.places(seed, folder / "run"))
    space = keyword_space(subject.space.name)
    space = replace(space, num_labels=len(LABELS))
    if method == "random":
        subnet = feasible_set(space, subject.budget).sample(np.random.default_rng([seed, budget]))
    else:
        subnet = scaled(space, budget)
    accuracy = subject.made(subnet, folder / "run")
    return {
        "subnet": json.loads(subnet.to_json()),
        "params": keyword_costs(space, subnet)["params"],
        "score": subject.scorer()(subnet),
        **accuracy,
    }


def scaled(space: KeywordSpace, budget: int) -> KeywordSubnet:
    """The largest that fits of those in which every size stands as far along its choices."""
    found = []
    for share in np.linspace(0.0, 1.0, 101):
        genes = {
            choice.name: choice.values[round(share * (len(choice.values) - 1))]
            for choice in space.choices
        }
        subnet = space.subnet_of(genes)
        params = keyword_costs(space, subnet)["params"]
        if params <= budget:
            found.append((params, subnet))
    return max(found, key=lambda pair: pair[0])[1]


if __name__ == "__main__":
    main()
