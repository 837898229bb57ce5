"""Time a training step of a subnet in place against one of the dense model of the same size.

A step is forward, backward and AdamW; the two take turns (A B A B …), so that whatever else the
machine does hits both. Example: python benchmarks/supernet.py --pairs 6 --write
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from steps import REST, SAMPLE_RATE, Kinds, make_batch, processor, profiled, stepper, take_turns
from torch import Tensor, nn

from compress.cost.params import params
from compress.distill.lighthubert import counted_l1, distillation_loss, student_mask
from compress.spaces import Space, get_space
from compress.subnet import Subnet
from compress.supernet import Supernet
from runtime.atomic import replacing_file
from train.config import MaskConfig
from train.data.batches import Batch
from train.models.wav2vec2 import Wav2Vec2Encoder

TARGET_DIM = 768
UTTERANCES = {"lighthubert-small": 2, "otolite-tiny": 4}
"""Of a step: what two cores do in seconds, and the update of the recipe lighthubert-tiny."""
MOST = 1.10
"""What a step in place may cost, as a multiple of the dense model's."""
PAGE = Path(__file__).parent.parent / "docs" / "results" / "supernet-step.md"

KINDS: Kinds = {
    "optimizer": ("Optimizer.",),
    "cutting and its gradients": ("_CutOut", "AccumulateGrad"),
    "position weight norm": ("WeightNorm", "weight_norm"),
    "convolution": ("StridedConv", "convolution"),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "norm, GELU, softmax": ("norm", "gelu", "softmax"),
    "random numbers": ("random_",),
    "copies and zeros": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::cat"),
}
"""Where a step's time goes; the rest is elementwise."""


@dataclass(frozen=True)
class Result:
    """One subnet, both sides; times in seconds."""

    space: str
    name: str
    subnet: str
    params: int
    stored_params: int
    in_place_s: list[float]
    dense_s: list[float]
    in_place_cpu_s: list[float]
    dense_cpu_s: list[float]
    profiles: dict[str, dict[str, float]]

    @property
    def ratios(self) -> list[float]:
        """In place over dense, pair by pair."""
        return [a / b for a, b in zip(self.in_place_s, self.dense_s, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same of the processor's time, which waits for nobody."""
        return [a / b for a, b in zip(self.in_place_cpu_s, self.dense_cpu_s, strict=True)]


class Dense(nn.Module):
    """What a distillation of this size alone would train."""

    def __init__(self, space: Space, subnet: Subnet) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Encoder(space.config(subnet))
        self.head = nn.Linear(subnet.embed_dim, TARGET_DIM, bias=False)

    def loss(self, batch: Batch, frame_mask: Tensor, target: Tensor) -> Tensor:
        output = self.encoder(batch.waveform, batch.lengths, frame_mask)
        return counted_l1(self.head(output.output), target, frame_mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=6, help="timed steps of each side")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of an utterance")
    parser.add_argument("--space", action="append", help="only these spaces", choices=UTTERANCES)
    parser.add_argument("--only", help="only the subnets of this name")
    parser.add_argument("--json", action="store_true", help="numbers instead of a table")
    parser.add_argument("--write", action="store_true", help=f"write docs/results/{PAGE.name} too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = [
        compare(space, name, subnet, options)
        for space in map(get_space, options.space or UTTERANCES)
        for name, subnet in subnets_of(space).items()
        if options.only in (None, name)
    ]
    text = report(results, options)
    if options.json:
        print(json.dumps([asdict(result) | {"ratios": result.ratios} for result in results]))
    else:
        print(text)
    if options.write:
        with replacing_file(PAGE) as temporary:
            temporary.write_text(text, encoding="utf-8")


def subnets_of(space: Space) -> dict[str, Subnet]:
    """The smallest, that of middle choices at full depth (LightHuBERT's a_small), the largest."""
    width, depth = space.embed_dim[len(space.embed_dim) // 2], space.depth[-1]
    middle = Subnet(
        space=space.name,
        embed_dim=width,
        num_heads=(space.num_heads[len(space.num_heads) // 2],) * depth,
        ffn_dim=(space.ffn_dims(width)[-1],) * depth,
    )
    return {"smallest": space.smallest(), "middle": middle, "largest": space.largest()}


def compare(space: Space, name: str, subnet: Subnet, options: argparse.Namespace) -> Result:
    """Build both sides, let them take turns, look where their time goes."""
    torch.manual_seed(0)
    batch = make_batch(UTTERANCES[space.name], round(options.seconds * SAMPLE_RATE))
    supernet, dense = Supernet(space, TARGET_DIM), Dense(space, subnet)
    hidden = student_mask(batch, supernet, MaskConfig(prob=0.65), np.random.default_rng(0))
    frame_mask = torch.from_numpy(hidden)
    target = torch.randn(*hidden.shape, TARGET_DIM)
    losses: list[tuple[nn.Module, Callable[[], Tensor]]] = [
        (
            supernet,
            lambda: distillation_loss(supernet, subnet, batch, frame_mask, target, "masked"),
        ),
        (dense, lambda: dense.loss(batch, frame_mask, target)),
    ]
    steps = [stepper(module, loss) for module, loss in losses]
    wall, cpu = take_turns(steps, options.pairs)
    return Result(
        space=space.name,
        name=name,
        subnet=describe(subnet),
        params=params(space, subnet),
        stored_params=sum(weight.numel() for weight in supernet.parameters()),
        in_place_s=wall[0],
        dense_s=wall[1],
        in_place_cpu_s=cpu[0],
        dense_cpu_s=cpu[1],
        profiles={
            side: profiled(step, KINDS)
            for side, step in zip(("in place", "dense"), steps, strict=True)
        },
    )


def describe(subnet: Subnet) -> str:
    """Width / heads / feed-forward ratio / depth of a subnet whose layers are alike."""
    ratio = subnet.ffn_dim[0] / subnet.embed_dim
    return f"{subnet.embed_dim} / {subnet.num_heads[0]} / {ratio:g} / {subnet.depth}"


def report(results: list[Result], options: argparse.Namespace) -> str:
    """The page docs/results/supernet-step.md."""
    speed, where = [], []
    for result in results:
        low, middle, high = np.quantile(result.ratios, (0.25, 0.5, 0.75))
        cpu = statistics.median(result.cpu_ratios)
        mine, theirs = statistics.median(result.in_place_s), statistics.median(result.dense_s)
        speed.append(
            f"| {result.space} | {UTTERANCES[result.space]} | {result.name} | {result.subnet} "
            f"| {result.params / 1e6:.1f} of {result.stored_params / 1e6:.1f} "
            f"| {mine:.3f} | {theirs:.3f} | **{middle:.2f}** "
            f"({low:.2f} to {high:.2f}) | {cpu:.2f} |"
        )
        for kind in (*KINDS, REST):
            cells = [result.profiles[side].get(kind, 0.0) for side in ("in place", "dense")]
            where.append(
                f"| {result.space} | {result.name} | {kind} | {cells[0]:.3f} | {cells[1]:.3f} "
                f"| {cells[0] - cells[1]:+.3f} |"
            )
    flags = f"--threads {options.threads} --pairs {options.pairs} --seconds {options.seconds:g}"
    flags += "".join(f" --space {name}" for name in options.space or ())
    return PROSE.format(
        flags=flags + (f" --only {options.only}" if options.only else ""),
        most=f"{MOST:.2f}",
        seconds=f"{options.seconds:g}",
        threads=options.threads,
        pairs=options.pairs,
        machine=processor(),
        torch=torch.__version__,
        speed="\n".join(speed),
        where="\n".join(where),
        head=f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|",
    )


PROSE = """# A supernet's training step against the dense model's

Made by `python benchmarks/supernet.py {flags} --write`.
Utterances of {seconds} s, float32, {threads} thread(s), {pairs} pairs of steps taking turns;
torch {torch}, {machine}. The aim is a ratio of {most} at most.

{head}
{speed}

A step is forward, backward and fused AdamW; the same batch, hidden frames, loss and dropout on
both sides. In place: the subnet's weights are cut from the stored tensors in each step, and AdamW
goes over all that are stored, as in training. Dense: an encoder of the subnet's own sizes with a
head of its own. The teacher runs on neither side: it would take the same time on both and make the
ratios smaller. Ratios have their quartiles in brackets. Where other programs share the cores, read
the ratio of processor time.

## Where one step's time goes

| space | subnet | kind | in place, s | dense, s | more, s |
|---|---|---|---|---|---|
{where}
"""

HEAD = (
    "space", "utterances", "subnet", "width / heads / ratio / depth", "M params of stored",
    "in place, s", "dense, s", "in place / dense: median (quartiles)", "ratio of processor time",
)  # fmt: skip


if __name__ == "__main__":
    main()
