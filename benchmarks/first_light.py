"""Is pretraining worth it? Keywords from log-mel, a random and a pretrained encoder, 3 seeds each.

    python benchmarks/first_light.py --data ../shared/data/speech_commands

Each seed walks the whole way: HuBERT teacher, two-stage distillation, search, fine-tuning. Every
step is a run folder under --runs, so the command goes on where it was stopped. The table and the
pictures go to docs/results/.
"""

import argparse
import json
import logging
import multiprocessing
import platform
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from compress.distill.stages import DistillRecipe, distill
from compress.folders import recipe_folder
from compress.search.config import SearchConfig
from compress.search.winner import Places, search
from runtime.atomic import replacing_file
from train.data.audio import PackedAudio
from train.data.batches import FixedBatches
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.selection import partition_of
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models.frontend import LogMel
from train.models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from train.objectives.hubert import Recipe as HubertRecipe
from train.pretrain import pretrain
from train.recipe import load_recipe
from train.seeding import seeded
from train.tasks.keywords import clips, load_keywords

LABELS = (
    "_silence_", "_unknown_", "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes",
)  # fmt: skip
SEEDS = (0, 1, 2)
TARGET_PARAMS = 500_000
TEACHER = ["rounds.0.updates=800", "rounds.1.updates=800"]
STUDENT = ["stage1_updates=400", "stage2_updates=600"]
NUM_UPDATES = 600
KEYWORDS = [f"updates={NUM_UPDATES}", f"labels={json.dumps(LABELS)}"]
WINDOW = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="shared/data/speech_commands")
    parser.add_argument("--runs", type=Path, default=Path("runs/first-light"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--workers", type=int, default=2, help="seeds at once, one core each")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, initializer=prepare) as pool:
        folders = [options.runs / f"seed{seed}" for seed in SEEDS]
        rows = list(pool.map(one_seed, SEEDS, [options.data] * len(SEEDS), folders))
    table = report(rows, options.data)
    with replacing_file(options.results / "first-light.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    picture(rows, options.results / "first-light-confusion.png")
    print(table)


def prepare() -> None:
    """One thread a worker: two seeds side by side beat one seed on two threads."""
    torch.set_num_threads(1)
    logging.basicConfig(format="%(process)d %(message)s", level=logging.WARNING)
    logging.getLogger("train").setLevel(logging.INFO)


def one_seed(seed: int, data: Path, out: Path) -> dict[str, Any]:
    """Walk the whole way with one seed; finished steps are read back."""
    done = out / "row.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    own = [f"seed={seed}"]
    train, tiny = recipe_folder("train"), recipe_folder("compress")
    teacher = pretrain(
        load_recipe("hubert-tiny", HubertRecipe, train, TEACHER + own),
        data,
        out / "teacher",
        resume=True,
    )
    recipe = load_recipe("lighthubert-tiny", DistillRecipe, tiny, STUDENT + own)
    distill(recipe, teacher, data, out / "supernet", resume=True)
    config = SearchConfig(
        target_params=TARGET_PARAMS, num_trials=16, population=8, num_clips=64, seed=seed
    )
    places = Places(supernet=out / "supernet", data=data, out=out / "search")
    winner = search(config, places, resume=True)
    keywords = load_recipe("keywords-tiny", KeywordsRecipe, train, KEYWORDS + own)
    baseline = load_recipe("keywords-ds-cnn", KeywordsRecipe, train, KEYWORDS + own)
    for name, chosen, model, random_init in (
        ("teacher-pretrained", keywords, teacher, False),
        ("teacher-random", keywords, teacher, True),
        ("pretrained", keywords, winner.model, False),
        ("random", keywords, winner.model, True),
        ("ds-cnn", baseline, None, False),
    ):
        finetune(chosen, data, model, out / name, random_init=random_init, resume=True)
    row = {
        "seed": seed,
        "params": winner.result.best.costs["params"],
        "ds-cnn params": sum(
            weight.numel() for weight in load_keywords(out / "ds-cnn" / "model").parameters()
        ),
        "winner": json.loads(winner.result.best.subnet.to_json()),
        "teacher params": sum(weight.numel() for weight in load_encoder(teacher).parameters()),
        **{
            name: scores(out / name)
            for name in ("teacher-pretrained", "teacher-random", "pretrained", "random", "ds-cnn")
        },
        "probe": probes(seed, data, teacher, winner.model),
    }
    with replacing_file(done) as temporary:
        temporary.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def scores(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "scores.json").read_text(encoding="utf-8")))


def probes(seed: int, data: Path, teacher: Path, winner: Path) -> dict[str, float]:
    """Test accuracy of a logistic regression on frozen, time-averaged features."""
    with seeded(seed):
        random_winner = Wav2Vec2Encoder(load_encoder(winner).config)
    return {
        "log-mel": probe(data, None),
        "random winner": probe(data, random_winner),
        "pretrained winner": probe(data, load_encoder(winner)),
        "teacher": probe(data, load_encoder(teacher)),
    }


def probe(data: Path, encoder: Wav2Vec2Encoder | None) -> float:
    """Fit on the train partition, the layer chosen on valid, the accuracy told on test."""
    corpus = read_corpus(data)
    packed = PackedAudio.of(corpus, progress=False)
    labelled = corpus.filter(lambda cut: label_of(cut) in LABELS).to_eager()
    parts = {}
    for name in ("train", "valid", "test"):
        cuts = partition_of(labelled, name)
        features, labels = [], []
        for batch in FixedBatches(cuts, packed, batch_size=64):
            waveform = torch.from_numpy(np.stack(clips(batch, WINDOW)))
            features.append(pooled(waveform, encoder))
            labels += batch.labels
        parts[name] = (np.concatenate(features, axis=1), labels)
    best = (-1.0, 0.0)
    for layer in range(len(parts["train"][0])):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(parts["train"][0][layer], parts["train"][1])
        valid, test = (
            model.score(parts[name][0][layer], parts[name][1]) for name in ("valid", "test")
        )
        best = max(best, (valid, test))
    return float(best[1])


@torch.inference_mode()
def pooled(waveform: torch.Tensor, encoder: Wav2Vec2Encoder | None) -> NDArray[np.float32]:
    """(layers, batch, dim): mean and deviation over time of log-mel, or of each hidden state."""
    states: tuple[torch.Tensor, ...]
    states = (LogMel(40)(waveform),) if encoder is None else encoder.eval()(waveform).hidden_states
    both = [torch.cat([state.mean(1), state.std(1)], dim=-1) for state in states]
    return np.asarray(torch.stack(both).numpy())


def report(rows: list[dict[str, Any]], data: Path) -> str:
    """The page docs/results/first-light.md."""

    def cell(values: list[float]) -> str:
        percent = [100 * value for value in values]
        each = ", ".join(f"{value:.1f}" for value in percent)
        return f"{statistics.mean(percent):.1f} ± {statistics.stdev(percent):.1f} ({each})"

    def tested(name: str) -> list[float]:
        return [row[name]["test"]["accuracy"] for row in rows]

    def gap(first: str, second: str) -> str:
        points = [
            100 * (one - other) for one, other in zip(tested(first), tested(second), strict=True)
        ]
        each = ", ".join(f"{value:+.1f}" for value in points)
        return f"{statistics.mean(points):+.1f} ± {statistics.stdev(points):.1f} ({each})"

    def probed(name: str) -> list[float]:
        return [row["probe"][name] for row in rows]

    seeds = ", ".join(str(row["seed"]) for row in rows)
    teacher_size = f"{rows[0]['teacher params']:,}"
    sizes = ", ".join(f"{row['params']:,}" for row in rows)
    labelled = read_corpus(data).filter(lambda cut: label_of(cut) in LABELS).to_eager()
    passes = NUM_UPDATES * 32 / len(partition_of(labelled, "train"))
    num_test = rows[0]["ds-cnn"]["test"]["clips"]
    return f"""# First light: is pretraining worth it on one machine?

Made by `make results` (`benchmarks/first_light.py`). Data: `{data.name}` (Google Speech Commands
excerpts, CC BY 4.0), 12 classes, our speaker-disjoint split of its manifest: {num_test} test clips.
Pretraining and distillation see every train clip without its label; fine-tuning sees the labels of
the 12 classes only. Seeds {seeds}; each draws teacher, supernet, search and heads anew.
Machine: {platform.machine()}, no GPU, one core a seed.

**Not comparable with published 12-class figures**: those train on the official training half, which
is not in this excerpt, and test on the clips that are partly trained on here.

## Fine-tuned, test accuracy in % (mean ± deviation over seeds, then each seed)

| model | parameters | accuracy |
|---|---|---|
| DS-CNN on log-mel, from scratch | {rows[0]["ds-cnn params"]:,} | {cell(tested("ds-cnn"))} |
| the teacher's sizes, random weights | {teacher_size} | {cell(tested("teacher-random"))} |
| the HuBERT teacher, pretrained | the same | {cell(tested("teacher-pretrained"))} |
| the searched winner, random weights | {sizes} | {cell(tested("random"))} |
| the searched winner, pretrained and distilled | the same | {cell(tested("pretrained"))} |

| difference, seed by seed | points |
|---|---|
| teacher: pretrained against random weights | {gap("teacher-pretrained", "teacher-random")} |
| winner: pretrained against random weights | {gap("pretrained", "random")} |
| winner against its teacher, both pretrained | {gap("pretrained", "teacher-pretrained")} |
| pretrained teacher against DS-CNN | {gap("teacher-pretrained", "ds-cnn")} |

Every model trains for the same {NUM_UPDATES} updates of 32 clips, {passes:.1f} passes over the
labelled clips. That is short: all of them are still learning (`metrics.jsonl` of each run), so
this compares starts, not best models.

## Frozen: a logistic regression on features averaged over time

Mean and deviation of each layer over time; the layer is chosen on the valid partition.

| features | accuracy |
|---|---|
| log-mel, 40 bands | {cell(probed("log-mel"))} |
| the winner, random weights | {cell(probed("random winner"))} |
| the winner, pretrained and distilled | {cell(probed("pretrained winner"))} |
| its HuBERT teacher | {cell(probed("teacher"))} |

![Confusion of four models, all seeds together](first-light-confusion.png)

Settings: teacher {" ".join(TEACHER)}; supernet {" ".join(STUDENT)}; search 16 subnets of at most
{TARGET_PARAMS:,} parameters; keywords {KEYWORDS[0]}; everything else as in the recipes
`hubert-tiny`, `lighthubert-tiny`, `keywords-tiny` and `keywords-ds-cnn`.
"""


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Confusion matrices side by side, summed over seeds, rows in percent."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {
        "ds-cnn": "DS-CNN on log-mel",
        "teacher-random": "teacher, random weights",
        "teacher-pretrained": "teacher, pretrained",
        "pretrained": "winner, pretrained",
    }
    figure, axes = pyplot.subplots(1, 4, figsize=(20, 5.2), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        counts = sum(np.array(row[name]["test"]["confusion"]) for row in rows)
        share = 100 * counts / counts.sum(axis=1, keepdims=True)
        labels = rows[0][name]["labels"]
        axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.ndindex(share.shape):
            if share[row, column] >= 0.5:
                color = "white" if share[row, column] > 50 else "black"
                text = f"{share[row, column]:.0f}"
                axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
        axis.set_yticks(range(len(labels)), labels)
        accuracy = 100 * np.trace(counts) / counts.sum()
        axis.set_title(f"{title}: {accuracy:.1f} %")
        axis.set_xlabel("heard")
    axes[0].set_ylabel("said (rows in percent)")
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


if __name__ == "__main__":
    main()
