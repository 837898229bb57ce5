"""Can a search be trusted? Supernets, searches, fine-tunings and DMAE on real speech, 3 seeds.

    python benchmarks/compression.py --data ../shared/data/speech_commands

One HuBERT teacher, three supernets of each kind; every step is a folder under --runs, so the
command goes on where it was stopped. The page and its pictures go to docs/results/.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import dmae
import numpy as np
from compression_page import write_page
from tasks import Row, Task, run_all

from compress.budget import Budget
from compress.distill.stages import DistillRecipe, distill
from compress.feasible import FeasibleSet
from compress.folders import recipe_folder
from compress.search.config import SearchConfig
from compress.search.measure import GRAPH
from compress.search.origins import origin_of
from compress.search.scorers import Setting, build_scorer
from compress.search.winner import Places, search
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from compress.supernet import load_supernet, materialize
from runtime.bench import Run, time_together
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.patches import load_patches
from train.models.wav2vec2 import load_encoder, save_encoder
from train.pretrain import load_pretraining, pretrain
from train.recipe import load_recipe
from train.tasks.probes import encoder_states, patch_states, probe_keywords

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
TEACHER = ["rounds.0.updates=600", "rounds.1.updates=600"]
STAGES = {"two": ["stage1_updates=300", "stage2_updates=700"],
          "one": ["stage1_updates=0", "stage2_updates=1000"]}  # fmt: skip
VARIANTS = {
    "main": ("otolite-tiny", STAGES["two"]),
    "conv": ("otolite-tiny-conv", STAGES["two"]),
    "one-stage": ("otolite-tiny", STAGES["one"]),
    "raw-targets": ("otolite-tiny", [*STAGES["two"], "normalize_targets=false"]),
    "all-frames": ("otolite-tiny", [*STAGES["two"], "frames=all"]),
    "random-start": ("otolite-tiny", [*STAGES["two"], "start=random"]),
}
"""Supernets by name: space, and what their recipe sets."""
FINE_TUNING = [
    *("updates=500", "batch.seconds=8.0", "label_smoothing=0.0", "augment.max_shift_ms=0"),
    f"labels={json.dumps(LABELS)}",
]
"""Many small steps, and nothing that pays off in long trainings alone."""
TARGET_PARAMS = 500_000
TARGET_MACS = 35_000_000
SEARCH = {"num_trials": 48, "population": 12, "num_clips": 96, "polish_updates": 0}
POLISH_UPDATES = 150
RANDOM = 4
"""Subnets a seed that the winner is compared with."""
GROUP = 5
"""Subnets that one task fine-tunes."""
SPREAD, BAND = 10, 10
"""Subnets of all sizes, and of one size, whose scores are compared with what becomes of them."""
BAND_PARAMS = (540_000, 600_000)
MASK_RATIOS = (0.75, 0.9, 0.95)
MAE, DMAE = ["updates=400"], ["updates=200"]
"""Of the masked autoencoder that DMAE's students learn from, and of the students."""
TIMED = (("mae-tiny", 64), ("mae-base", 2))
"""Teachers of DMAE whose early stop is timed, and clips of a pass."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shared/data/speech_commands")
    parser.add_argument("--runs", type=Path, default=Path("runs/compression"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--workers", type=int, default=2, help="tasks at once, one core each")
    options = parser.parse_args()
    rows = run_all(tasks(options.data, options.runs), options.runs, workers=options.workers)
    print(write_page(rows, options.results))


def tasks(data: Path, runs: Path) -> list[Task]:
    """Everything, what others need first, and within a seed what matters most first."""
    made = [Task("teacher", train_teacher, (data,)), Task("mae", train_mae, (data,))]
    for seed in SEEDS:
        made += variant_tasks("main", data, runs, seed)
        made += trust_tasks(data, runs, seed)
        made += budget_tasks(data, runs, seed)
    for seed in SEEDS:
        made += supernet_tasks("conv", data, runs, seed)
        made += macs_tasks(data, runs, seed)
    for seed in SEEDS:
        made += variant_tasks("one-stage", data, runs, seed)
        made += dmae_tasks(data, runs, seed)
    for variant in ("random-start", "raw-targets", "all-frames"):
        for seed in SEEDS:
            made += variant_tasks(variant, data, runs, seed)
    made += [Task(f"teacher-time-{name}", time_teacher, (name, size)) for name, size in TIMED]
    return made


def supernet_tasks(variant: str, data: Path, runs: Path, seed: int) -> list[Task]:
    asked = (data, runs / "teacher" / "run" / "model", variant, seed)
    return [Task(f"seed{seed}/supernet-{variant}", train_supernet, asked, ("teacher",))]


def variant_tasks(variant: str, data: Path, runs: Path, seed: int) -> list[Task]:
    """A supernet and what its subnets know."""
    asked = (data, supernet_of(runs, variant, seed))
    name, needs = f"seed{seed}/variant-{variant}", (f"seed{seed}/supernet-{variant}",)
    return [*supernet_tasks(variant, data, runs, seed), Task(name, probe_subnets, asked, needs)]


def trust_tasks(data: Path, runs: Path, seed: int) -> list[Task]:
    """Scores of subnets, and what becomes of them."""
    supernet, needs = supernet_of(runs, "main", seed), (f"seed{seed}/supernet-main",)
    chosen = drawn(seed)
    made = [Task(f"seed{seed}/scores", score_subnets, (data, supernet, chosen, seed), needs)]
    groups = [chosen[first : first + GROUP] for first in range(0, len(chosen), GROUP)]
    made += [
        Task(f"seed{seed}/became{number}", tune_subnets, (data, supernet, group, seed), needs)
        for number, group in enumerate(groups)
    ]
    return made


def budget_tasks(data: Path, runs: Path, seed: int) -> list[Task]:
    """The winner against what else fits its budget."""
    supernet, needs = supernet_of(runs, "main", seed), (f"seed{seed}/supernet-main",)
    found = f"seed{seed}/search"
    asked = {"target_params": TARGET_PARAMS, **SEARCH}
    made = [Task(found, run_search, (data, supernet, asked, seed), needs)]
    winner = runs / found / "run"
    made += [
        Task(f"seed{seed}/tuned-winner", tune_winner, (data, supernet, winner, seed), (found,)),
        Task(
            f"seed{seed}/tuned-scratch",
            tune_winner,
            (data, supernet, winner, seed, True),
            (found,),
        ),
        Task(
            f"seed{seed}/polished",
            run_search,
            (data, supernet, {**asked, "polish_updates": POLISH_UPDATES}, seed),
            needs,
        ),
        Task(
            f"seed{seed}/tuned-polished",
            tune_checkpoint,
            (data, runs / f"seed{seed}/polished/run/model", seed),
            (f"seed{seed}/polished",),
        ),
        Task(
            f"seed{seed}/tuned-uniform",
            tune_subnet,
            (data, supernet, uniform_subnet(), seed),
            needs,
        ),
    ]
    made += [
        Task(f"seed{seed}/tuned-random{number}", tune_subnet, (data, supernet, subnet, seed), needs)
        for number, subnet in enumerate(random_subnets(seed))
    ]
    for name in ("winner", "uniform", *(f"random{number}" for number in range(RANDOM))):
        cut, tuned = runs / f"seed{seed}/tuned-{name}/cut", f"seed{seed}/tuned-{name}"
        made.append(Task(f"seed{seed}/probed-{name}", probe_checkpoint, (data, cut), (tuned,)))
    polished = runs / f"seed{seed}/polished/run/model"
    needs = (f"seed{seed}/polished",)
    made.append(Task(f"seed{seed}/probed-polished", probe_checkpoint, (data, polished), needs))
    return made


def macs_tasks(data: Path, runs: Path, seed: int) -> list[Task]:
    """The best at equal MACs, with and without an elastic extractor; then how fast they are."""
    made = []
    for variant in ("main", "conv"):
        found = f"seed{seed}/macs-{variant}"
        supernet = supernet_of(runs, variant, seed)
        asked = {"target_macs": TARGET_MACS, **SEARCH}
        needs = (f"seed{seed}/supernet-{variant}",)
        made.append(Task(found, run_search, (data, supernet, asked, seed), needs))
        tuned = (data, supernet, runs / found / "run", seed)
        made.append(Task(f"seed{seed}/tuned-macs-{variant}", tune_winner, tuned, (found,)))
        asked_of = (data, runs / found / "run" / "model")
        made.append(Task(f"seed{seed}/probed-macs-{variant}", probe_checkpoint, asked_of, (found,)))
    graphs = [runs / f"seed{seed}/macs-{variant}/run" / GRAPH for variant in ("main", "conv")]
    needs = (f"seed{seed}/macs-main", f"seed{seed}/macs-conv")
    made.append(Task(f"seed{seed}/latency", time_graphs, (graphs,), needs))
    return made


def dmae_tasks(data: Path, runs: Path, seed: int) -> list[Task]:
    teacher = runs / "mae" / "run" / "model"
    return [
        Task(
            f"seed{seed}/dmae-{ratio:g}-{weight:g}",
            train_dmae,
            (data, teacher, ratio, weight, seed),
            ("mae",),
        )
        for ratio in MASK_RATIOS
        for weight in (1.0, 0.0)
    ]


def supernet_of(runs: Path, variant: str, seed: int) -> Path:
    return runs / f"seed{seed}/supernet-{variant}" / "run"


def space_of(variant: str) -> Space:
    return get_space(VARIANTS[variant][0])


def drawn(seed: int) -> list[Subnet]:
    """Some of every size, the extremes among them, and some of the same size."""
    space, rng = space_of("main"), np.random.default_rng([seed, 7])
    least, most = (
        Budget(params=10**9).cost_of(space, subnet)["params"]
        for subnet in (space.smallest(), space.largest())
    )
    chosen = [space.smallest(), space.largest()]
    for limit in np.linspace(least, most, SPREAD)[1:-1]:
        chosen.append(FeasibleSet(space, Budget(params=int(limit))).largest())
    within = FeasibleSet(space, Budget(params=BAND_PARAMS[1]))
    while len(chosen) < SPREAD + BAND:
        subnet = within.sample(rng)
        size = within.budget.cost_of(space, subnet)["params"]
        if size >= BAND_PARAMS[0] and subnet not in chosen:
            chosen.append(subnet)
    return chosen


def random_subnets(seed: int) -> list[Subnet]:
    """Some that fit the budget, drawn uniformly."""
    within = FeasibleSet(space_of("main"), Budget(params=TARGET_PARAMS))
    rng = np.random.default_rng([seed, 8])
    return [within.sample(rng) for _ in range(RANDOM)]


def uniform_subnet() -> Subnet:
    """The largest within the budget whose layers are all alike."""
    space, budget = space_of("main"), Budget(params=TARGET_PARAMS)
    alike = [
        Subnet(space=space.name, embed_dim=dim, num_heads=(heads,) * depth, ffn_dim=(ffn,) * depth)
        for dim in space.embed_dim
        for depth in space.depth
        for heads in space.num_heads
        for ffn in space.ffn_dims(dim)
    ]
    fitting = [subnet for subnet in alike if budget.holds(budget.cost_of(space, subnet))]
    return max(fitting, key=lambda subnet: budget.cost_of(space, subnet)["params"])


def train_teacher(folder: Path, data: Path) -> Row:
    recipe = load_pretraining("hubert-tiny", recipe_folder("train"), [*TEACHER, "seed=0"])
    model, seconds = timed(pretrain, recipe, data, folder / "run", resume=True)
    return {"cpu_s": seconds, "accuracy": probed(encoder_states(load_encoder(model)), data)}


def train_supernet(folder: Path, data: Path, teacher: Path, variant: str, seed: int) -> Row:
    space, sets = VARIANTS[variant]
    sets = [*sets, f"space={space}", f"seed={seed}"]
    recipe = load_recipe("lighthubert-tiny", DistillRecipe, recipe_folder("compress"), sets)
    _, seconds = timed(distill, recipe, teacher, data, folder / "run", resume=True)
    return {"cpu_s": seconds}


def run_search(folder: Path, data: Path, supernet: Path, asked: dict[str, Any], seed: int) -> Row:
    config = SearchConfig(**asked, seed=seed)
    places = Places(supernet=supernet, data=data, out=folder / "run")
    found, seconds = timed(search, config, places, resume=True)
    return {"cpu_s": seconds, **found.record["winner"], "budgets": found.record["budgets"]}


def score_subnets(
    folder: Path, data: Path, supernet: Path, subnets: list[Subnet], seed: int
) -> Row:
    """Each subnet's score by every scorer, without and with the teacher at hand."""
    origin, corpus = origin_of(supernet), read_corpus(data)
    assert origin.teacher is not None
    assert origin.recipe is not None
    packed = PackedAudio.of(corpus, progress=False)
    row: Row = {"params": [], "subnets": [subnet.to_json() for subnet in subnets]}
    loaded = load_supernet(origin.checkpoint)
    budget = Budget(params=10**9)
    row["params"] = [budget.cost_of(loaded.space, subnet)["params"] for subnet in subnets]
    labelled = corpus.filter(lambda cut: cut.supervisions[0].text in LABELS).to_eager()
    for name, scorer, teacher, cuts in (
        ("distillation loss", "distillation", load_encoder(origin.teacher), corpus),
        ("against the largest subnet", "distillation", None, corpus),
        ("frozen probe", "probe", None, labelled),
    ):
        setting = Setting(
            supernet=loaded,
            teacher=teacher,
            targets=origin.targets,
            cuts=cuts,
            packed=packed,
            num_clips=128,
            min_seconds=origin.recipe.batch.min_seconds,
            seed=seed,
        )
        row[name] = [build_scorer(scorer, setting)(subnet) for subnet in subnets]
    return row


def tune_subnet(folder: Path, data: Path, supernet: Path, subnet: Subnet, seed: int) -> Row:
    """Cut a subnet out and fine-tune it for keywords."""
    dense = materialize(load_supernet(supernet / "model"), subnet)
    save_encoder(folder / "cut", dense.config, dense.state_dict(), provenance={})
    return {"subnet": subnet.to_json(), **tune_checkpoint(folder, data, folder / "cut", seed)}


def tune_subnets(folder: Path, data: Path, supernet: Path, subnets: list[Subnet], seed: int) -> Row:
    """Fine-tune each by itself."""
    tuned = [
        tune_subnet(folder / str(number), data, supernet, subnet, seed)
        for number, subnet in enumerate(subnets)
    ]
    return {"accuracies": [row["test"] for row in tuned]}


def probe_subnets(folder: Path, data: Path, supernet: Path) -> Row:
    """What a frozen probe finds in three subnets as they are cut; the mean is what counts."""
    loaded = load_supernet(supernet / "model")
    subnets = (loaded.space.smallest(), uniform_subnet(), loaded.space.largest())
    found = [probed(encoder_states(materialize(loaded, subnet).eval()), data) for subnet in subnets]
    return {"test": float(np.mean(found)), "each": found}


def probe_checkpoint(folder: Path, data: Path, model: Path) -> Row:
    return {"test": probed(encoder_states(load_encoder(model)), data)}


def tune_winner(
    folder: Path, data: Path, supernet: Path, found: Path, seed: int, scratch: bool = False
) -> Row:
    """Fine-tune what a search found, from its weights or (`scratch`) from random ones."""
    subnet = Subnet.from_json((found / "winner.json").read_text(encoding="utf-8"))
    if scratch:
        return tune_checkpoint(folder, data, found / "model", seed, scratch=True)
    return tune_subnet(folder, data, supernet, subnet, seed)


def tune_checkpoint(folder: Path, data: Path, model: Path, seed: int, scratch: bool = False) -> Row:
    recipe = load_recipe(
        "keywords-tiny", KeywordsRecipe, recipe_folder("train"), [*FINE_TUNING, f"seed={seed}"]
    )
    run = folder / "run"
    _, seconds = timed(finetune, recipe, data, model, run, random_init=scratch, resume=True)
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    return {
        "cpu_s": seconds,
        "valid": scores["valid"]["accuracy"],
        "test": scores["test"]["accuracy"],
        "test_clips": scores["test"]["clips"],
    }


def time_graphs(folder: Path, graphs: list[Path]) -> Row:
    """Median and p90 of a one-second window, in turns."""
    pcm = np.random.default_rng(0).normal(0, 0.1, (1, 16_000)).astype(np.float32)
    runs = {str(number): Run(path.read_bytes(), {"pcm": pcm}) for number, path in enumerate(graphs)}
    timings = time_together(runs, rounds=200)
    return {name: [timing.median_ns, timing.p90_ns] for name, timing in timings.items()}


def train_mae(folder: Path, data: Path) -> Row:
    recipe = load_pretraining("mae-tiny", recipe_folder("train"), [*MAE, "seed=0"])
    model, seconds = timed(pretrain, recipe, data, folder / "run", resume=True)
    return {"cpu_s": seconds, "accuracy": probed(patch_states(load_patches(model)), data)}


def train_dmae(
    folder: Path, data: Path, teacher: Path, ratio: float, weight: float, seed: int
) -> Row:
    """A student at a mask ratio; weight 0 is a plain masked autoencoder of its sizes."""
    sets = [*DMAE, f"mask_ratio={ratio}", f"feature_weight={weight}", f"seed={seed}"]
    recipe = load_pretraining("dmae-tiny", recipe_folder("train"), sets)
    learns_from = teacher if weight else None
    model, seconds = timed(pretrain, recipe, data, folder / "run", resume=True, teacher=learns_from)
    return {"cpu_s": seconds, "accuracy": probed(patch_states(load_patches(model)), data)}


def time_teacher(folder: Path, name: str, batch: int) -> Row:
    return dmae.measure(name, mask_ratio=0.75, batch=batch, rounds=20, threads=1)


def probed(extract: Any, data: Path) -> float:
    """Test accuracy of a linear keyword probe on frozen features."""
    corpus = read_corpus(data)
    packed = PackedAudio.of(corpus, progress=False)
    return probe_keywords(extract, corpus, packed, LABELS).accuracy


def timed(function: Any, *args: Any, **kwargs: Any) -> tuple[Any, float]:
    """What it gives, and the processor time it took in s; what was done before is not counted."""
    before = time.process_time()
    result = function(*args, **kwargs)
    return result, time.process_time() - before


if __name__ == "__main__":
    main()
