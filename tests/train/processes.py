"""Train what a list of tasks says, alone or as one of several processes, for test_distributed.py.

python processes.py TASKS.json OUT: writes OUT/<task>.pt, gradients, weights and metrics of each.
"""

import contextlib
import json
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from train import run
from train.config import BatchConfig, DeviceConfig, LogConfig, MaskConfig, OptimizerConfig
from train.data.audio import PackedAudio
from train.data.cuts import recording_cut, sorted_cuts
from train.data.source import Recordings
from train.distributed import joined, rank
from train.learner import Learner
from train.models.keyword_transformer import KeywordEncoder
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.models.patches import PatchEncoder
from train.models.patches_config import PatchesConfig
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers
from train.objectives import data2vec_kws, dmae
from train.objectives.hubert import Hubert, RoundConfig
from train.objectives.hubert import Recipe as HubertRecipe
from train.placement import whole
from train.pretrain import get_objective
from train.seeding import seeded
from train.targets.units import Units

# Adam divides by a gradient's size: without a larger eps, rounding where the gradient is nothing
# (the key projection's bias) would become whole steps.
OPTIMIZER = OptimizerConfig(learning_rate=3e-3, warmup_updates=1, clip_norm=0.5, eps=1e-3)

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "is_nonzero"}
"""Operations whose result has to come back from a device before Python can go on."""


class StoppedError(Exception):
    """As a crash would end the run."""


class Watched(Learner):
    """Keeps the first update's gradients as the optimizer finds them, clipping aside."""

    gradients: dict[str, torch.Tensor] | None = None
    stop_at: int | None = None
    asked: "Asked | None" = None

    def training_step(self, batch: Any, batch_index: int) -> Any:
        if batch.step == self.stop_at:
            raise StoppedError
        if self.asked is not None:
            self.asked.watching = batch.step > 0
        return super().training_step(batch, batch_index)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        if self.gradients is None:
            self.gradients = {}
            for name, weight in self.objective.named_parameters():
                if weight.grad is not None:
                    gradient = weight.grad
                    if isinstance(gradient, DTensor):
                        gradient = gradient.full_tensor()
                    self.gradients[name] = gradient.clone()


class Asked(TorchDispatchMode):
    """Notes where a device is asked for values, or for how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.watching = False
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.overloadpacket.__name__ in ("index", "index_put_", "index_put") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if self.watching and (by_mask or func.overloadpacket.__name__ in ASKING):
            stack = traceback.extract_stack()
            # AdamW's counters of steps stay on the CPU.
            if not any("/torch/optim/" in frame.filename for frame in stack):
                frames = [frame for frame in stack if "/torch/" not in frame.filename]
                self.places.append(f"{func}: {frames[-2].filename}:{frames[-2].lineno}")
        return func(*args, **(kwargs or {}))


def source() -> Recordings:
    """24 recordings of noise, 0.2 to 0.9 s: shares of an update differ in padding and frames."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3_200, 14_400, size=24).tolist()
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    samples = rng.normal(0, 3_000, offsets[-1]).astype(np.int16)
    cuts = sorted_cuts(
        recording_cut(f"{i}", f"/nowhere/{i}", duration_s=n / 16_000, partition="train", label="")
        for i, n in enumerate(lengths)
    )
    spans = {f"{i}": (int(offsets[i]), int(offsets[i + 1])) for i in range(len(lengths))}
    return Recordings(cuts, PackedAudio(samples, spans))


def encoder_config(name: str, layerdrop: float) -> Wav2Vec2Config:
    """Nothing is random but masks and layerdrop."""
    return Wav2Vec2Config(
        conv_layers=paper_conv_layers(8),
        conv_norm="layer",
        normalize_waveform=True,
        embed_dim=16,
        num_heads=(2, 2, 2),
        ffn_dim=(24, 24, 24),
        head_dim=8,
        pos_conv_kernel=6,
        pos_conv_groups=4,
        dropout=0.0,
        attention_dropout=0.0,
        input_dropout=0.0,
        layerdrop=layerdrop,
        mask_embedding=name != "data2vec2",
        alibi=name == "data2vec2",
    )


def build_dmae() -> Any:
    """A masked autoencoder of patches beside a frozen teacher; it drops no layers."""

    def sizes(dim: int, depth: int) -> PatchesConfig:
        return PatchesConfig(
            num_mels=16,
            patch_frames=4,
            patch_mels=8,
            embed_dim=dim,
            num_heads=(2,) * depth,
            ffn_dim=(24,) * depth,
            head_dim=8,
        )

    decoder = dmae.DecoderConfig(dim=8, num_heads=2, ffn_dim=12, num_layers=2)
    recipe = dmae.Recipe(
        objective="dmae", encoder=sizes(16, 3), decoder=decoder, feature_weight=5.0
    )
    return dmae.Dmae(PatchEncoder(recipe.encoder), recipe, PatchEncoder(sizes(24, 4)))


def build_keywords() -> Any:
    """A Keyword Transformer of the crops' length; it drops no layers."""
    sizes = KeywordTransformerConfig(
        window_samples=9_600, embed_dim=16, num_heads=2, head_dim=8, ffn_dim=24, num_layers=3
    )
    recipe = data2vec_kws.Recipe(
        objective="data2vec_kws",
        encoder=sizes,
        mask=MaskConfig(prob=0.5, span=3),
        top_layers=2,
    )
    return data2vec_kws.build(KeywordEncoder(sizes), recipe)


def build(name: str, *, penalties: bool, layerdrop: float) -> Any:
    """An objective of tiny sizes; `penalties`: with what is measured over a whole batch."""
    if name == "dmae":
        return build_dmae()
    if name == "data2vec_kws":
        return build_keywords()
    common: dict[str, Any] = {
        "objective": name,
        "encoder": encoder_config(name, layerdrop),
    }
    if name != "data2vec2":  # which hides blocks
        common["mask"] = MaskConfig(prob=0.5, span=3)
    encoder = Wav2Vec2Encoder(common["encoder"])
    if name == "hubert":
        drawn = np.random.default_rng(1).integers(0, 5, size=(24, 100)).astype(np.int16)
        stored = Units({f"{number}": row for number, row in enumerate(drawn)}, 100, 5)
        recipe = HubertRecipe(
            **common,
            rounds=(RoundConfig(units="mfcc", num_clusters=5, updates=1),),
            final_dim=8,
            masked_share=0.75,
            feature_penalty=10.0 if penalties else 0.0,
        )
        return Hubert(encoder, recipe, stored)
    module = get_objective(name)
    if name == "wav2vec2":
        common |= {"final_dim": 8, "entries": 6, "num_negatives": 5, "features_dropout": 0.0}
        common |= {} if penalties else {"diversity_weight": 0.0, "feature_penalty": 0.0}
    else:
        common |= {"top_layers": 2}
    recipe = module.Recipe(**common)
    if name == "data2vec2":
        decoder = replace(recipe.decoder, dim=8, groups=2, input_dropout=0.0, noise_std=0.0)
        recipe = replace(recipe, num_masks=2, decoder=decoder)
    return module.build(encoder, recipe)


def noiseless(logits: Any, tau: float, hard: bool) -> Any:
    """Gumbel softmax without its noise, which every process draws for its own frames."""
    soft = (logits / tau).softmax(-1)
    return functional.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach()


def train(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fit, and look at what came of it; what a task leaves out is as in one plain update.

    objective, updates, devices, layerdrop, penalties: of the run.
    device_seconds: makes passes of an update.
    stop_at: updates after which a first fit breaks off; a second one goes on from its state.
    folder: of a run that another task has begun; `unfinished`: leave the second fit to another.
    log_every: also how far apart states are saved.
    asked: note where the updates after the first ask a device for something.
    """
    folder = Path(task.get("folder", folder))
    batch = BatchConfig(
        seconds=4.8, crop_seconds=0.6, min_seconds=0.1, device_seconds=task.get("device_seconds")
    )
    every = task.get("log_every", 1)
    stops = [task["stop_at"]] if "stop_at" in task else []
    for stop_at in stops if task.get("unfinished") else [*stops, None]:
        with seeded(0):
            objective = build(
                task["objective"],
                penalties=task.get("penalties", True),
                layerdrop=task.get("layerdrop", 0.0),
            )
        learner = Watched(objective, OPTIMIZER, updates=task.get("updates", 1), seed=7)
        learner.stop_at = stop_at
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(StoppedError))
            if task.get("asked"):
                learner.asked = stack.enter_context(Asked())
            run.fit(
                learner,
                source(),
                batch,
                LogConfig(log_every=every, checkpoint_every=every),
                folder,
                devices=DeviceConfig(**task.get("devices", {})),
            )
    weights = whole(objective.state_dict(), keep=True)
    if rank() != 0:
        return {}
    metrics = folder / "metrics.jsonl"
    return {
        "gradients": learner.gradients,
        "weights": weights,
        "metrics": [json.loads(line) for line in metrics.read_text().splitlines()]
        if metrics.is_file()
        else [],
        "sharded": any(isinstance(weight, DTensor) for weight in objective.parameters()),
        "asked": learner.asked.places if learner.asked is not None else None,
    }


def main(tasks: Path, out: Path) -> None:
    """Do every task in turn."""
    functional.gumbel_softmax = noiseless
    with joined():
        for name, task in json.loads(tasks.read_text()).items():
            result = train(task, out / name)
            if rank() == 0:
                torch.save(result, out / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
