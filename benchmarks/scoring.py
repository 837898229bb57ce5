"""Time scoring a search's candidates with what they share against each from raw audio alone.

Alone: the teacher's and the supernet's whole forward on the raw audio for every candidate. The two
take turns candidate by candidate, and their scores must be equal to the last bit.
Example: python benchmarks/scoring.py --data ../shared/data/speech_commands --write
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from lhotse import CutSet
from steps import processor

from compress.budget import Budget
from compress.cost.params import params
from compress.distill.lighthubert import distillation_loss, student_mask, teacher_target
from compress.feasible import FeasibleSet
from compress.folders import checkpoint_in
from compress.search.generations import Generations
from compress.search.scorers import Scorer, Setting, Targets, build_scorer
from compress.search.scorers._clips import held_out
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from compress.supernet import Supernet, load_supernet
from runtime.atomic import replacing_file
from train.config import MaskConfig
from train.data.audio import PackedAudio
from train.data.batches import FixedBatches
from train.data.corpus import read_corpus
from train.data.cuts import recording_cut, sorted_cuts
from train.models.wav2vec2 import Wav2Vec2Encoder, load_encoder
from train.seeding import seeded


@dataclass(frozen=True)
class Size:
    """How much of a space two cores score in a minute."""

    teacher: str
    """The space whose stored sizes the teacher has."""
    top_layers: int
    """Of the teacher, averaged into the target."""
    candidates: int
    clips: int


SPACES = {
    "otolite-tiny": Size("otolite-tiny", 4, candidates=32, clips=48),
    "otolite-tiny-conv": Size("otolite-tiny", 4, candidates=32, clips=48),
    "lighthubert-small": Size("lighthubert-base", 8, candidates=8, clips=4),
    "otolite-small": Size("lighthubert-base", 8, candidates=8, clips=4),
}
"""hubert-tiny teaches the first two, and HuBERT Base the others."""
LEAST = 5.0
"""How many times as fast scoring should be."""
PAGE = Path(__file__).parent.parent / "docs" / "results" / "scoring.md"
BATCH = 16
"""Clips side by side, on both sides."""
SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Result:
    """One space; times in seconds, a pair for each candidate in the order of the search."""

    space: str
    kind: str
    """Which subnets were scored."""
    clips: int
    preparing_s: float
    """Reading clips and making their targets, once for all candidates."""
    shared_s: list[float]
    alone_s: list[float]
    shared_cpu_s: list[float]
    alone_cpu_s: list[float]

    @property
    def ratios(self) -> list[float]:
        """Alone over shared, of the processor's time, which waits for nobody."""
        return [a / b for a, b in zip(self.alone_cpu_s, self.shared_cpu_s, strict=True)]

    @property
    def whole(self) -> float:
        """Alone over shared of all candidates together, what is made once included."""
        return sum(self.alone_cpu_s) / (sum(self.shared_cpu_s) + self.preparing_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="corpus; without it, noise of a second each")
    parser.add_argument("--supernet", type=Path, help="run or checkpoint; without, random weights")
    parser.add_argument("--teacher", type=Path, help="its teacher; without, random weights")
    parser.add_argument("--space", action="append", choices=SPACES, help="only these spaces")
    parser.add_argument("--candidates", type=int, help="subnets to score, whatever the space")
    parser.add_argument("--clips", type=int, help="held-out clips of a score, likewise")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="numbers instead of a table")
    parser.add_argument("--write", action="store_true", help=f"write docs/results/{PAGE.name} too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    supernet = None if options.supernet is None else load_supernet(checkpoint_in(options.supernet))
    chosen = options.space or SPACES if supernet is None else (supernet.space.name,)
    results = [
        compare(get_space(name), kind, supernet, options)
        for name in chosen
        for kind in ("a search", "uniform")
    ]
    text = report(results, options)
    if options.json:
        print(json.dumps([asdict(r) | {"ratios": r.ratios, "whole": r.whole} for r in results]))
    else:
        print(text)
    if options.write:
        with replacing_file(PAGE) as temporary:
            temporary.write_text(text, encoding="utf-8")


def compare(
    space: Space, kind: str, supernet: Supernet | None, options: argparse.Namespace
) -> Result:
    """Score candidates on both sides, one after the other."""
    size = SPACES[space.name]
    num_clips, num_trials = options.clips or size.clips, options.candidates or size.candidates
    with seeded(0):
        teacher = Wav2Vec2Encoder(get_space(size.teacher).supernet)
        if options.teacher is not None:
            teacher = load_encoder(checkpoint_in(options.teacher))
        supernet = supernet or Supernet(space, teacher.config.embed_dim)
    cuts, packed = noise(num_clips) if options.data is None else corpus(options.data)
    targets = Targets(
        mask=MaskConfig(prob=0.5, span=5),
        top_layers=size.top_layers,
        normalize_targets=True,
        frames="masked",
    )
    setting = Setting(
        supernet=supernet,
        teacher=teacher,
        targets=targets,
        cuts=cuts,
        packed=packed,
        num_clips=num_clips,
        min_seconds=0.3,
        seed=0,
    )
    began = time.process_time()
    shared = build_scorer("distillation", setting)
    preparing_s = time.process_time() - began
    sides = (shared, lambda subnet: alone(setting, subnet))
    for side in sides:  # page faults, kernels that are made at the first call
        side(space.largest())
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])

    def both(subnet: Subnet) -> float:
        scores = []
        for side, of_wall, of_cpu in zip(sides, wall, cpu, strict=True):
            start = time.perf_counter(), time.process_time()
            scores.append(side(subnet))
            of_wall.append(time.perf_counter() - start[0])
            of_cpu.append(time.process_time() - start[1])
        assert scores[0] == scores[1], f"{subnet} scores {scores[0]} and {scores[1]}"
        return scores[0]

    if kind == "a search":
        searched(space, both, num_trials)
    else:
        rng = np.random.default_rng(0)
        for _ in range(num_trials):
            both(within(space).sample(rng))
    clips = len(held_out(setting, "valid"))
    return Result(space.name, kind, clips, preparing_s, *wall, *cpu)


def within(space: Space) -> FeasibleSet:
    """What fits a budget of half of the range."""
    least, most = (params(space, subnet) for subnet in (space.smallest(), space.largest()))
    return FeasibleSet(space, Budget(params=(least + most) // 2))


def searched(space: Space, score: Scorer, num_trials: int) -> None:
    """Score what `compress search` would."""
    generations = Generations(within(space), population=16, seed=0)
    while generations.num_scored < num_trials:
        proposed = generations.propose(num_trials - generations.num_scored)
        generations.tell({found.number: score(found.subnet) for found in proposed})


def alone(setting: Setting, subnet: Subnet) -> float:
    """The same score from the raw audio, nothing kept."""
    assert setting.teacher is not None
    cuts, targets = held_out(setting, "valid"), setting.targets
    rng, total = np.random.default_rng(setting.seed), 0.0
    for batch in FixedBatches(cuts, setting.packed, batch_size=BATCH):
        mask = torch.from_numpy(student_mask(batch, setting.supernet, targets.mask, rng))
        target = teacher_target(
            setting.teacher.eval(),
            batch,
            top_layers=targets.top_layers,
            normalize=targets.normalize_targets,
        )
        with torch.no_grad():
            loss = distillation_loss(
                setting.supernet.eval(), subnet, batch, mask, target, targets.frames
            )
        total += float(loss) * len(batch.cut_ids)
    return total / len(cuts)


def corpus(data: Path) -> tuple[CutSet, PackedAudio]:
    cuts = read_corpus(data)
    return cuts, PackedAudio.of(cuts, progress=True)


def noise(num_clips: int) -> tuple[CutSet, PackedAudio]:
    """What is said makes no difference to how long it takes."""
    rng = np.random.default_rng(0)
    samples = rng.integers(-9_000, 9_000, num_clips * SAMPLE_RATE).astype(np.int16)
    cuts = sorted_cuts(
        recording_cut(f"{row:03d}", f"/{row}.wav", duration_s=1.0, partition="valid", label="")
        for row in range(num_clips)
    )
    spans = {f"{row:03d}": (row * SAMPLE_RATE, (row + 1) * SAMPLE_RATE) for row in range(num_clips)}
    return cuts, PackedAudio(samples, spans)


def report(results: list[Result], options: argparse.Namespace) -> str:
    """The page docs/results/scoring.md."""
    rows = []
    for result in results:
        low, middle, high = np.quantile(result.ratios, (0.25, 0.5, 0.75))
        mine, theirs = (np.median(side) for side in (result.shared_s, result.alone_s))
        rows.append(
            f"| {result.space} | {result.kind} | {len(result.shared_s)} | {result.clips} "
            f"| {theirs * 1e3:.0f} | {mine * 1e3:.0f} | **{middle:.1f}** ({low:.1f} to {high:.1f}) "
            f"| {result.preparing_s * 1e3:.0f} | **{result.whole:.1f}** |"
        )
    flags = f"--threads {options.threads}"
    flags += "" if options.data is None else f" --data {options.data}"
    flags += "".join(f" --space {name}" for name in options.space or ())
    for name in ("supernet", "teacher", "candidates", "clips"):
        given = getattr(options, name)
        flags += "" if given is None else f" --{name} {given}"
    return PROSE.format(
        flags=flags,
        least=f"{LEAST:g}",
        audio="clips of noise" if options.data is None else f"clips of {options.data.name}",
        weights="random weights" if options.supernet is None else "the weights of a run",
        threads=options.threads,
        batch=BATCH,
        machine=processor(),
        torch=torch.__version__,
        rows="\n".join(rows),
        head=f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|",
    )


PROSE = """# Scoring candidates: with what they share against each alone

Made by `python benchmarks/scoring.py {flags} --write`.
Scorer `distillation`; {audio}, {weights}, {threads} thread(s), batches of {batch};
torch {torch}, {machine}. The aim is {least} times as fast.

{head}
{rows}

Alone: for every candidate the clips are read, the teacher runs on the raw audio, and so does the
candidate, in place in the supernet. Shared: the teacher ran once, and a candidate starts where it
parts from those before: after the layers of the extractor, the positions or the layers of the
transformer up to which another was alike. The two sides take turns candidate by candidate, and each
score is equal to the last bit. Candidates are those that a search in generations of 16 proposes
under a budget of half of the range of parameters, or a uniform sample of what fits that budget. The
ratio is of the processor's time, by candidate, its quartiles in brackets; the last column is of all
candidates together, with the making of targets on the shared side. The teacher of the first two
spaces has the sizes of hubert-tiny, that of the others those of HuBERT Base.

Where the extractor is elastic too, candidates seldom have more than its first layers in common, and
each runs the rest itself.
"""

HEAD = (
    "space", "candidates of", "number", "clips", "alone, ms", "shared, ms",
    "alone / shared: median (quartiles)", "targets, once, ms", "of all together",
)  # fmt: skip


if __name__ == "__main__":
    main()
