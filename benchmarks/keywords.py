"""What is pretraining worth to a small Keyword Transformer? On real speech, with few labels.

    python benchmarks/keywords.py --data ../shared/data/speech_commands

data2vec-KWS pretraining on the train partition's clips without their labels, then 5, 20 and 100 %
of the labels, from it and from scratch; frozen probes; controls whose targets tell nothing; and
BC-ResNet and DS-CNN with the same labels. Steps are folders under --runs, so the command goes on
where it was stopped; the page goes to docs/results/.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from keywords_page import Table, write_page
from lhotse import CutSet
from tasks import Row, Task, options_of, run_all

from compress.folders import recipe_folder
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.keyword_transformer import KeywordEncoder, load_keyword_encoder
from train.pretrain import load_pretraining, pretrain
from train.recipe import load_recipe
from train.seeding import seeded
from train.tasks.probes import keyword_states, probe_keywords

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
SHARES = (0.05, 0.2, 1.0)
CONTROLS = {"shuffled": "the teacher's, in another order", "noise": "normal numbers"}
CONTROL_SHARE = 0.2
"""Controls are fine-tuned with this share of the labels."""


@dataclass(frozen=True)
class Size:
    """A Keyword Transformer of the table: the published width with fewer layers."""

    embed_dim: int
    num_heads: int
    ffn_dim: int
    num_layers: int = 3


SIZES = {"kwt-1": Size(64, 1, 256)}
NAMES = {"kwt-1": "Keyword Transformer, 64 wide"}
"""Wider ones train by the same code; here one size with more updates tells more than three that
have learned little."""
CONTROLLED = "kwt-1"
PRETRAIN_UPDATES = 2000
TUNE_UPDATES = {0.05: 400, 0.2: 800, 1.0: 1600}
"""By share of the labels: what is seldom seen needs longer. With fewer, a transformer of all labels
knows less than a linear model on random weights."""
BASELINES = {"BC-ResNet-1": "keywords-bc-resnet", "DS-CNN": "keywords-ds-cnn"}
BASELINE_UPDATES = {0.05: 200, 0.2: 300, 1.0: 500}
"""Convolutions learn in fewer, and each costs several of a transformer's this small."""


@dataclass(frozen=True)
class Plan:
    """What every task is told."""

    data: Path
    runs: Path
    scale: float = 1.0
    """Share of all updates; below 1 only to try the way."""

    def updates(self, number: int) -> int:
        return max(2, round(self.scale * number))

    def model(self, size: str, seed: int, targets: str = "teacher") -> Path:
        return self.runs / pretrained(size, seed, targets) / "run/model"


def main() -> None:
    options = options_of(__doc__, data="shared/data/speech_commands", runs="keywords").parse_args()
    seeds = SEEDS[: options.seeds]
    plan = Plan(options.data, options.runs, options.scale)
    rows = run_all(tasks(plan, seeds), options.runs, workers=options.workers)
    table = Table(
        sizes=NAMES,
        baselines=tuple(BASELINES),
        controls=CONTROLS,
        shares=tuple(percent(share) for share in SHARES),
        control_share=percent(CONTROL_SHARE),
        seeds=seeds,
        pretrain_updates=plan.updates(PRETRAIN_UPDATES),
        tune_updates=[plan.updates(TUNE_UPDATES[share]) for share in SHARES],
        baseline_updates=[plan.updates(BASELINE_UPDATES[share]) for share in SHARES],
    )
    print(write_page(rows, table, options.results))


def tasks(plan: Plan, seeds: tuple[int, ...]) -> list[Task]:
    made = []
    for seed in seeds:
        for size in SIZES:
            first = pretrained(size, seed)
            made.append(Task(first, pretrain_one, (plan, size, seed, "teacher")))
            for start in ("scratch", "teacher"):
                for share in SHARES:
                    name, arguments = (
                        tuned(size, seed, share, start),
                        (plan, size, seed, share, start),
                    )
                    made.append(Task(name, tune, arguments, (first,)))
            for start in ("random", "teacher"):
                made.append(
                    Task(probed(size, seed, start), probe, (plan, size, seed, start), (first,))
                )
        for targets in CONTROLS:
            first = pretrained(CONTROLLED, seed, targets)
            told = (plan, CONTROLLED, seed, targets)
            name = tuned(CONTROLLED, seed, CONTROL_SHARE, targets)
            arguments = (plan, CONTROLLED, seed, CONTROL_SHARE, targets)
            made.append(Task(first, pretrain_one, told))
            made.append(Task(name, tune, arguments, (first,)))
            made.append(Task(probed(CONTROLLED, seed, targets), probe, told, (first,)))
    return made + [
        Task(tuned(name, seed, share, "scratch"), baseline, (plan, name, seed, share))
        for seed in seeds
        for name in BASELINES
        for share in SHARES
    ]


def pretrained(size: str, seed: int, targets: str = "teacher") -> str:
    return f"{size}/seed{seed}/pretrained-{targets}"


def tuned(size: str, seed: int, share: float, start: str) -> str:
    return f"{size}/seed{seed}/tuned-{start}-{percent(share)}"


def percent(share: float) -> int:
    return round(100 * share)


def probed(size: str, seed: int, start: str) -> str:
    return f"{size}/seed{seed}/probed-{start}"


def pretrain_one(folder: Path, plan: Plan, size: str, seed: int, targets: str) -> Row:
    """A Keyword Transformer by data2vec-KWS, or by a control of it."""
    sizes, updates = SIZES[size], plan.updates(PRETRAIN_UPDATES)
    changes = [
        f"encoder.embed_dim={sizes.embed_dim}",
        f"encoder.num_heads={sizes.num_heads}",
        "encoder.head_dim=64",
        f"encoder.ffn_dim={sizes.ffn_dim}",
        f"encoder.num_layers={sizes.num_layers}",
        f"top_layers={sizes.num_layers - 1}",
        f"targets={targets}",
        f"updates={updates}",
        f"ema.updates={max(1, updates // 2)}",
        f"optimizer.warmup_updates={updates // 10}",
        "batch.seconds=32.0",
        f"log.log_every={min(20, updates)}",
        f"seed={seed}",
    ]
    recipe = load_pretraining("data2vec-kws-tiny", recipe_folder("train"), changes)
    pretrain(recipe, plan.data, folder / "run", resume=True)
    lines = (folder / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return {name: last[name] for name in ("loss", "target_std", "prediction_std")}


def tune(folder: Path, plan: Plan, size: str, seed: int, share: float, start: str) -> Row:
    """A keyword model from a pretraining's weights, or from its sizes alone."""
    scratch = start == "scratch"
    model = plan.model(size, seed, "teacher" if scratch else start)
    updates = plan.updates(TUNE_UPDATES[share])
    rate = "optimizer.learning_rate=2e-3"
    recipe = keywords_recipe("keywords-kwt", updates, seed, share, rate)
    return train(folder, plan, recipe, model, random_init=scratch)


def baseline(folder: Path, plan: Plan, name: str, seed: int, share: float) -> Row:
    """A model without pretraining."""
    updates = plan.updates(BASELINE_UPDATES[share])
    recipe = keywords_recipe(BASELINES[name], updates, seed, share)
    return train(folder, plan, recipe, None, random_init=False)


def keywords_recipe(
    stem: str, updates: int, seed: int, share: float, *changes: str
) -> KeywordsRecipe:
    settings = [
        f"labels={json.dumps(LABELS)}",
        f"labelled.share={share}",
        f"updates={updates}",
        f"optimizer.warmup_updates={updates // 10}",
        "optimizer.clip_norm=1.0",
        "batch.seconds=32.0",
        f"log.log_every={min(20, updates)}",
        f"seed={seed}",
        *changes,
    ]
    return load_recipe(stem, KeywordsRecipe, recipe_folder("train"), settings)


def train(
    folder: Path, plan: Plan, recipe: KeywordsRecipe, model: Path | None, *, random_init: bool
) -> Row:
    finetune(recipe, plan.data, model, folder / "run", random_init=random_init, resume=True)
    scores = json.loads((folder / "run/scores.json").read_text(encoding="utf-8"))
    return {part: scores[part]["accuracy"] for part in ("valid", "test")} | {
        "clips": scores["test"]["clips"]
    }


def probe(folder: Path, plan: Plan, size: str, seed: int, start: str) -> Row:
    """What a linear model finds in the frozen layers, with all labels."""
    targets = "teacher" if start == "random" else start
    encoder = load_keyword_encoder(plan.model(size, seed, targets))
    if start == "random":
        with seeded(seed):
            encoder = KeywordEncoder(encoder.config)
    corpus = read_corpus(plan.data)
    cuts = CutSet.from_cuts([cut for cut in corpus if label_of(cut) in LABELS])
    packed = PackedAudio.of(corpus, progress=False)
    found = probe_keywords(keyword_states(encoder), cuts, packed, LABELS)
    return {"test": found.accuracy, "layer": found.layer}


if __name__ == "__main__":
    main()
