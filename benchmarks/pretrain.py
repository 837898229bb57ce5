"""Time a training step of wav2vec 2.0 and HuBERT against transformers, side by side.

A step is forward, backward and AdamW; the two take turns (A B A B ...), so that whatever else
the machine does hits both. Example: python benchmarks/pretrain.py --pairs 8 --write
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from steps import REST, SAMPLE_RATE, make_batch, processor, profiled, sgemm, stepper, take_turns
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

from compress.folders import recipe_folder
from runtime.atomic import replacing_file
from train.data.batches import Batch
from train.models import wav2vec2_config as ours_config
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.objectives import Loss, Objective, hubert, wav2vec2
from train.objectives._parts import frame_mask
from train.recipe import load_recipe
from train.seeding import Draws
from train.targets.units import Units

NUM_UNITS = 504
PAGE = Path(__file__).parent.parent / "docs" / "results" / "pretrain-speed.md"
DRAWS = Draws(seed=0, step=0)
OVERRIDES = ["encoder.layerdrop=0.0"]  # the learner, not the model, sets the precision

KINDS = {
    "convolution": ("convolution", "StridedConv"),
    "optimizer": ("Optimizer.",),
    "norm, GELU, softmax": ("norm", "gelu", "softmax", "TimeNormGelu", "aten::all"),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear"),
    "random numbers": ("bernoulli", "random_", "uniform_", "exponential_", "aten::rand"),
    "copies and zeros": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::cat"),
}
"""Where a step's time goes; the rest is elementwise."""


@dataclass(frozen=True)
class Result:
    """One objective, both sides; times in seconds."""

    objective: str
    ours_s: list[float]
    theirs_s: list[float]
    ours_cpu_s: list[float]
    theirs_cpu_s: list[float]
    gflop: float
    sgemm_gflops: float
    profiles: dict[str, dict[str, float]]

    @property
    def ratios(self) -> list[float]:
        """Theirs over ours, pair by pair."""
        return [b / a for a, b in zip(self.ours_s, self.theirs_s, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same of the processor's time, which waits for nobody."""
        return [b / a for a, b in zip(self.ours_cpu_s, self.theirs_cpu_s, strict=True)]


class TheirHubert(nn.Module):
    """HubertModel with the paper's head, cross-entropy over the hidden frames."""

    def __init__(self, config: HubertConfig, final_dim: int, targets: Tensor) -> None:
        super().__init__()
        self.model = HubertModel(config)
        self.final_proj = nn.Linear(config.hidden_size, final_dim)
        self.unit_embeddings = nn.Parameter(torch.rand(NUM_UNITS, final_dim))
        self.targets = targets

    def forward(self, waveform: Tensor, hidden: Tensor) -> Tensor:
        output = self.model(waveform, mask_time_indices=hidden).last_hidden_state
        projected = functional.normalize(self.final_proj(output[hidden]), dim=-1)
        embeddings = functional.normalize(self.unit_embeddings, dim=-1)
        return functional.cross_entropy(projected @ embeddings.T / 0.1, self.targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=8, help="timed steps of each side")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of an utterance")
    parser.add_argument("--batch", type=int, default=2, help="utterances of a step")
    parser.add_argument("--tiny", action="store_true", help="the tiny recipes: a smoke run")
    parser.add_argument("--json", action="store_true", help="numbers instead of a table")
    parser.add_argument("--write", action="store_true", help=f"write docs/results/{PAGE.name} too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    results = [compare(name, options) for name in ("hubert", "wav2vec2")]
    text = report(results, options)
    if options.json:
        print(json.dumps([asdict(result) | {"ratios": result.ratios} for result in results]))
    else:
        print(text)
    if options.write:
        with replacing_file(PAGE) as temporary:
            temporary.write_text(text, encoding="utf-8")


def compare(name: str, options: argparse.Namespace) -> Result:
    """Build both sides, let them take turns, look where their time goes."""
    torch.manual_seed(0)
    batch = make_batch(options.batch, round(options.seconds * SAMPLE_RATE))
    suffix = "tiny" if options.tiny else "base"
    objective, losses = (pair_hubert if name == "hubert" else pair_wav2vec2)(suffix, batch)
    flops = gflop(objective, batch)
    steps = [stepper(module, loss) for module, loss in losses]
    peaks: list[float] = []
    wall, cpu = take_turns(steps, options.pairs, between=lambda: peaks.append(sgemm()))
    profiles = {
        side: profiled(step, KINDS) for side, step in zip(("ours", "theirs"), steps, strict=True)
    }
    peak = statistics.median(peaks)
    return Result(name, wall[0], wall[1], cpu[0], cpu[1], flops, peak, profiles)


Side = tuple[nn.Module, Callable[[], Tensor]]


def pair_hubert(suffix: str, batch: Batch) -> tuple[Objective, list[Side]]:
    recipe = load_recipe(f"hubert-{suffix}", hubert.Recipe, recipe_folder("train"), OVERRIDES)
    rng = np.random.default_rng(0)
    length = recipe.encoder.num_frames(batch.num_samples[0])
    units = {cut: rng.integers(0, NUM_UNITS, length).astype(np.int16) for cut in batch.cut_ids}
    ours = hubert.Hubert(Wav2Vec2Encoder(recipe.encoder), recipe, Units(units, 50, NUM_UNITS))
    hidden = torch.from_numpy(frame_mask(batch, recipe.encoder, recipe.mask, DRAWS))
    targets = torch.from_numpy(np.stack(list(units.values())).astype(np.int64))[hidden]
    config = HubertConfig(**their_sizes(recipe.encoder))
    theirs = TheirHubert(config, recipe.final_dim, targets)
    return ours, [
        (ours, lambda: mean_loss(ours, batch)),
        (theirs, lambda: theirs(batch.waveform, hidden)),
    ]


def pair_wav2vec2(suffix: str, batch: Batch) -> tuple[Objective, list[Side]]:
    recipe = load_recipe(f"wav2vec2-{suffix}", wav2vec2.Recipe, recipe_folder("train"), OVERRIDES)
    ours = wav2vec2.Wav2Vec2(Wav2Vec2Encoder(recipe.encoder), recipe)
    hidden = frame_mask(batch, recipe.encoder, recipe.mask, DRAWS)
    negatives = _sample_negative_indices(hidden.shape, recipe.num_negatives, hidden)
    config = Wav2Vec2Config(
        **their_sizes(recipe.encoder),
        feat_quantizer_dropout=recipe.features_dropout,
        num_codevector_groups=recipe.groups,
        num_codevectors_per_group=recipe.entries,
        codevector_dim=recipe.final_dim,
        proj_codevector_dim=recipe.final_dim,
        num_negatives=recipe.num_negatives,
    )
    theirs = Wav2Vec2ForPreTraining(config)
    given = {
        "mask_time_indices": torch.from_numpy(hidden),
        "sampled_negative_indices": torch.from_numpy(negatives),
    }
    return ours, [
        (ours, lambda: mean_loss(ours, batch)),
        (theirs, lambda: theirs(batch.waveform, **given).loss / int(hidden.sum())),
    ]


def their_sizes(config: ours_config.Wav2Vec2Config) -> dict[str, Any]:
    """The same sizes and the same dropout in transformers' words."""
    return {
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads[0],
        "intermediate_size": config.ffn_dim[0],
        "conv_dim": tuple(conv.channels for conv in config.conv_layers),
        "conv_kernel": tuple(conv.kernel for conv in config.conv_layers),
        "conv_stride": tuple(conv.stride for conv in config.conv_layers),
        "conv_bias": config.conv_bias,
        "feat_extract_norm": config.conv_norm,
        "do_stable_layer_norm": config.pre_norm,
        "num_conv_pos_embeddings": config.pos_conv_kernel,
        "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "feat_proj_dropout": config.input_dropout,
        "layerdrop": config.layerdrop,
        "attn_implementation": "sdpa",
    }


def mean_loss(objective: Objective, batch: Batch) -> Tensor:
    loss: Loss = objective(batch, DRAWS)
    return loss.total / loss.count


def gflop(objective: Objective, batch: Batch) -> float:
    """A step's multiplications and additions: forward as torch counts it, three times over."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        objective.eval()(batch, DRAWS)
    return 3 * int(counter.get_total_flops()) / 1e9


def report(results: list[Result], options: argparse.Namespace) -> str:
    """The page docs/results/pretrain-speed.md."""
    speed, where = [], []
    for result in results:
        low, middle, high = np.quantile(result.ratios, (0.25, 0.5, 0.75))
        cpu = statistics.median(result.cpu_ratios)
        ours, theirs = statistics.median(result.ours_s), statistics.median(result.theirs_s)
        speed.append(
            f"| {result.objective} | {ours:.3f} | {theirs:.3f} | **{middle:.2f}** "
            f"({low:.2f} to {high:.2f}; {min(result.ratios):.2f} to {max(result.ratios):.2f}) "
            f"| {cpu:.2f} | {result.gflop / ours:.0f} | {result.gflop / theirs:.0f} "
            f"| {result.sgemm_gflops:.0f} |"
        )
        for kind in (*KINDS, REST):
            cells = [result.profiles[side].get(kind, 0.0) for side in ("ours", "theirs")]
            where.append(f"| {result.objective} | {kind} | {cells[0]:.3f} | {cells[1]:.3f} |")
    flags = f"--threads {options.threads} --pairs {options.pairs} --seconds {options.seconds:g}"
    return PROSE.format(
        size="tiny recipes" if options.tiny else "Base",
        flags=f"{flags} --batch {options.batch}" + (" --tiny" if options.tiny else ""),
        batch=options.batch,
        seconds=f"{options.seconds:g}",
        threads=options.threads,
        pairs=options.pairs,
        machine=processor(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        speed="\n".join(speed),
        where="\n".join(where),
        head=f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|",
    )


PROSE = """# A training step against transformers

Made by `python benchmarks/pretrain.py {flags} --write`.
Sizes: {size}; {batch} x {seconds} s of audio a step, float32, {threads} thread(s), {pairs} pairs of
steps taking turns; torch {torch}, transformers {transformers}, {machine}.

{head}
{speed}

A step is forward, backward and fused AdamW on both sides, with the recipe's dropout in the same
places and layerdrop 0, so that both run every layer; the same frames are hidden. Ours draws masks
and negatives inside the timed step and has the feature penalty; theirs is given its masks and
negatives for nothing and has no penalty. For HuBERT, theirs is `HubertModel` with the same head:
504 unit embeddings, hidden frames only. GFLOP/s divide both sides by the same count, three times
our forward pass; sgemm is a product of two 2048 x 2048 matrices between the pairs of the same run.
Where other programs share the cores, read the ratio of processor time.

## Where one step's time goes

| objective | kind | ours, s | theirs, s |
|---|---|---|---|
{where}

## What was tried

Kept, for training on a CPU: convolutions as products of views with time before channels, GroupNorm
and GELU block by block in the cache, dropout from 16 random bits, attention with dropout written
out, position convolution channels-last, fused AdamW. Dropped, because they were slower: the
position convolution unfolded, the first convolution as products, and oneDNN's private operator in
the linear layers, which stalls for every new size of a supernet's slices. `torch.compile`, Winograd
forms and Fourier transforms for the positions were not tried.
"""

HEAD = (
    "objective", "ours, s", "theirs, s", "theirs / ours: median (quartiles; range)",
    "ratio of processor time", "ours, GFLOP/s", "theirs, GFLOP/s", "plain sgemm",
)  # fmt: skip


if __name__ == "__main__":
    main()
