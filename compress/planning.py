"""What a verb would do, told without doing it."""

import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.recipe import find_recipe

from . import CompressError
from .feasible import feasibility
from .folders import recipe_folder
from .spaces import get_space, space_names

if TYPE_CHECKING:
    from train.finetune import KeywordsRecipe
    from train.rounds import HubertRecipe

    from .distill.stages import DistillRecipe

_PACKAGES = {
    "train": ("torch", "lightning", "lhotse", "soundfile", "scikit-learn"),
    "compress": ("optuna",),
    "export": ("onnx", "onnxscript"),
    "runtime": ("numpy", "onnxruntime"),
    "microphone": ("sounddevice",),
    "synthesis": ("espeakng-loader",),
}


def reachable(space_name: str | None, supernet: Path | None, target_params: int) -> dict[str, Any]:
    """Smallest and largest subnet of a space, its size, and how many fit: closed forms only.

    Raises:
        BudgetError: nothing fits.
        CompressError: neither a space nor a supernet was named.
    """
    if space_name is None:
        if supernet is None:
            raise CompressError("a dry run needs --space NAME or a SUPERNET (compress recipes)")
        from train.models.checkpoints import load_config

        space_name = str(load_config(supernet / "model", "supernet")["space"])
    found = feasibility(get_space(space_name), target_params)
    return {
        "space": found.space,
        "target_params": found.target_params,
        "smallest_params": found.smallest_params,
        "largest_params": found.largest_params,
        "subnets": found.num_subnets,
        "subnets_within_target": found.num_within,
        "share_within_target": f"{found.num_within / found.num_subnets:.6%}",
        "smallest": found.smallest.to_json(),
        "largest": found.largest.to_json(),
    }


def pretraining(recipe: "HubertRecipe", data: Path) -> dict[str, Any]:
    """A teacher's size, its data and its rounds."""
    return {
        "encoder_params": _encoder_params(recipe.encoder),
        **_corpus(data, recipe.batch.min_seconds),
        "rounds": ", ".join(
            f"{this.units} {this.num_clusters} clusters {this.updates} updates"
            for this in recipe.rounds
        ),
        "seconds_of_audio_per_update": recipe.batch.seconds,
    }


def distillation(recipe: "DistillRecipe", teacher: Path, data: Path) -> dict[str, Any]:
    """A supernet's size, its teacher, its data and its stages."""
    from train.models.wav2vec2 import load_encoder

    from .cost.params import params

    space = get_space(recipe.space)
    return {
        "space": space.name,
        "subnets": space.size(),
        "largest_params": params(space, space.largest()),
        "smallest_params": params(space, space.smallest()),
        "teacher_params": sum(weight.numel() for weight in load_encoder(teacher).parameters()),
        **_corpus(data, recipe.batch.min_seconds),
        "stage_1_updates": recipe.stage1_updates,
        "stage_2_updates": recipe.stage2_updates,
        "seconds_of_audio_per_update": recipe.batch.seconds,
    }


def finetuning(recipe: "KeywordsRecipe", model: Path | None, data: Path) -> dict[str, Any]:
    """A keyword model's body, its data and its labels."""
    from train.data.corpus import read_corpus, usable
    from train.data.selection import labels_of

    cuts = usable(read_corpus(data), partition="train", min_seconds=recipe.batch.min_seconds)
    return {
        "body": recipe.body if model is None else str(model),
        **_corpus(data, recipe.batch.min_seconds),
        "labels": ", ".join(recipe.labels or labels_of(cuts, min_clips=recipe.min_clips_per_label)),
        "updates": recipe.updates,
    }


def listing() -> dict[str, Any]:
    """Every recipe with its first line, and every space with its size."""
    rows: dict[str, Any] = {}
    for package in ("train", "compress"):
        for path in sorted(recipe_folder(package).glob("*.toml")):
            rows[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))["about"]
    for name in space_names():
        rows[f"space {name}"] = f"{get_space(name).size():,} subnets"
    return rows


def recipe_text(name: str) -> str:
    """A shipped recipe as it is written."""
    package = "compress" if (recipe_folder("compress") / f"{name}.toml").is_file() else "train"
    return find_recipe(name, recipe_folder(package)).read_text(encoding="utf-8")


def installed() -> dict[str, Any]:
    """Versions of what each extra brings; `missing` where it is not installed."""
    rows: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for extra, packages in _PACKAGES.items():
        rows[extra] = ", ".join(f"{package} {_version(package)}" for package in packages)
    return rows


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _encoder_params(config: Any) -> int:
    import torch

    from train.models.wav2vec2 import Wav2Vec2Encoder

    with torch.device("meta"):
        return sum(weight.numel() for weight in Wav2Vec2Encoder(config).parameters())


def _corpus(data: Path, min_seconds: float) -> dict[str, Any]:
    from train.data.corpus import read_corpus, usable

    cuts = usable(read_corpus(data), partition="train", min_seconds=min_seconds)
    hours = sum(cut.duration for cut in cuts) / 3600
    return {"recordings": len(cuts), "hours": f"{hours:.2f}"}
