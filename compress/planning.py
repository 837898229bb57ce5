"""What a verb would do, told without doing it."""

import json
import platform
import tomllib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train import RecipeError
from train.nearest import nearest

from .any_space import AnySubnet, find_space
from .cost.params import params
from .feasible import feasibility
from .folders import recipe_folder
from .keyword_spaces import KeywordSubnet
from .search.config import SearchConfig
from .spaces import get_space, space_names

if TYPE_CHECKING:
    from lhotse import CutSet

    from runtime.manifest import Streaming
    from train.config import PretrainRecipe
    from train.keywords_recipe import KeywordsRecipe
    from train.phones_recipe import PhonesRecipe

    from .calibration import Audio
    from .distill.in_place import KeywordSupernetRecipe
    from .distill.stages import DistillRecipe
    from .exporting import DecisionFlags, GraphFlags, Int8Flags
    from .forms import FormFlags
    from .phone_clips import SpokenAudio

_PACKAGES = {
    "train": ("torch", "lightning", "lhotse", "soundfile", "scikit-learn"),
    "compress": ("optuna", "torch-pruning"),
    "export": ("onnx", "onnxscript"),
    "runtime": ("numpy", "onnxruntime"),
    "microphone": ("sounddevice",),
    "synthesis": ("espeakng-loader",),
}


def reachable(
    space_name: str | None,
    supernet: str | None,
    device: Path | None,
    **limits: int | None,
) -> dict[str, Any]:
    """Smallest and largest subnet of a space, its size, and how many fit: closed forms only.

    Raises:
        BudgetError: nothing fits.
        CompressError: there is no such space or supernet, or no limit.
    """
    if space_name is None:
        from .published import space_of
        from .shipped import SHIPPED

        space = space_of(supernet or SHIPPED[0])
    else:
        space = find_space(space_name)
    table = None
    if device is not None:
        from .cost.latency import DeviceTable

        table = DeviceTable.read(device)
    asked = SearchConfig(
        target_params=limits["params"],
        target_macs=limits["macs"],
        size_bytes=limits["size_bytes"],
        latency_ns=limits["latency_ns"],
    )
    found = feasibility(space, asked.budget(space, table))
    return {
        "space": found.space,
        "limits": found.limits,
        "smallest_costs": found.smallest_costs,
        "largest_costs": found.largest_costs,
        "subnets": found.num_subnets,
        "subnets_within": found.num_within,
        "subnets_within_each": found.num_within_each,
        "ratio_within": found.num_within / found.num_subnets,
        "smallest": _sizes(found.smallest),
        "largest": _sizes(found.largest),
    }


def _sizes(subnet: AnySubnet) -> dict[str, Any]:
    sizes: dict[str, Any] = json.loads(subnet.to_json())
    del sizes["space"]
    return sizes if isinstance(subnet, KeywordSubnet) else {"depth": subnet.depth, **sizes}


def pretraining(
    recipe: "PretrainRecipe",
    data: Path,
    *,
    teacher: Path | None = None,
    tflops: float | None = None,
) -> dict[str, Any]:
    """A teacher's size, its data, its rounds, and what they will take at `tflops` for a GPU.

    Raises:
        TrainError: the data or the frozen teacher cannot be used.
    """
    from train.models.families import family_of
    from train.pretrain import check_teacher

    from .costing import pretraining_cost

    check_teacher(recipe, teacher)
    frozen: Any = None if teacher is None else family_of(recipe.encoder).load(teacher).config
    return {
        "encoder_params": _encoder_params(recipe.encoder),
        **({} if frozen is None else {"teacher_layers_run": _layers_run(recipe, frozen)}),
        **_corpus(data, recipe.batch.min_seconds),
        "training": _training(recipe),
        "seconds_of_audio_per_update": recipe.batch.seconds,
        **pretraining_cost(recipe, tflops, teacher=frozen),
    }


def _layers_run(recipe: Any, teacher: Any) -> str:
    return f"{recipe.stop(teacher)} of {teacher.num_layers}"


def _training(recipe: "PretrainRecipe") -> list[str]:
    """What would be trained, a line a round."""
    from train.config import OneRoundRecipe
    from train.objectives.hubert import Recipe as HubertRecipe

    if isinstance(recipe, HubertRecipe):
        return [
            f"{this.units} units, {this.num_clusters} clusters, {this.updates} updates"
            for this in recipe.rounds
        ]
    assert isinstance(recipe, OneRoundRecipe)
    return [f"{recipe.updates} updates"]


def distillation(
    recipe: "DistillRecipe", teacher: Path, data: Path, *, tflops: float | None = None
) -> dict[str, Any]:
    """A supernet's size, its teacher, its data, its stages, and what they take at `tflops`."""
    from train.models.wav2vec2 import load_encoder

    from .distill.costs import distillation_cost

    encoder = load_encoder(teacher)
    space = get_space(recipe.space)
    return {
        "space": space.name,
        "subnets": space.size(),
        "largest_params": params(space, space.largest()),
        "smallest_params": params(space, space.smallest()),
        "teacher_params": _num_params(encoder),
        **_corpus(data, recipe.batch.min_seconds),
        "stage_1_updates": recipe.stage1_updates,
        "stage_2_updates": recipe.stage2_updates,
        "sampling": recipe.sampling,
        "seconds_of_audio_per_update": recipe.batch.seconds,
        **distillation_cost(recipe, encoder.config, tflops),
    }


def keyword_supernet(recipe: "KeywordSupernetRecipe", data: Path) -> dict[str, Any]:
    """A keyword supernet's models, its data and its labels."""
    from train.data.corpus import read_corpus, usable
    from train.data.selection import labels_of

    from .cost.keyword_bodies import keyword_costs
    from .keyword_supernet import keyword_space

    cuts = usable(read_corpus(data), partition="train", min_seconds=recipe.batch.min_seconds)
    labels = recipe.labels or labels_of(cuts, min_clips=recipe.min_clips_per_label)
    space = replace(
        keyword_space(recipe.space), num_labels=len(labels), window_samples=recipe.window_samples
    )
    recipe.keywords(space)  # a window or a form that the body has not is refused
    least, most = (keyword_costs(space, of) for of in (space.smallest(), space.largest()))
    return {
        "space": space.name,
        "body": space.body,
        "subnets": space.size(),
        "smallest_params": least["params"],
        "largest_params": most["params"],
        "smallest_macs": least["macs"],
        "largest_macs": most["macs"],
        **_corpus(data, recipe.batch.min_seconds),
        "labels": list(labels),
        "share_of_labels": recipe.labelled.share,
        "updates": recipe.updates,
        "models_of_an_update": 2 + recipe.num_random,
    }


def finetuning(recipe: "KeywordsRecipe", model: Path | None, data: Path) -> dict[str, Any]:
    """A keyword model's body, its data and its labels."""
    from train.beginning import body_of, check_source
    from train.data.corpus import read_corpus, usable
    from train.data.selection import labels_of
    from train.models.wav2vec2 import load_encoder
    from train.tasks.bodies import ENCODER

    check_source(recipe, model)
    body: dict[str, Any] = {"body": recipe.body}
    if model is not None:
        read = load_encoder(model) if recipe.body == ENCODER else body_of(model, recipe.body)
        body |= {"model": str(model), "model_params": _num_params(read)}
    cuts = usable(read_corpus(data), partition="train", min_seconds=recipe.batch.min_seconds)
    return {
        **body,
        **_corpus(data, recipe.batch.min_seconds),
        "labels": list(recipe.labels or labels_of(cuts, min_clips=recipe.min_clips_per_label)),
        "share_of_labels": recipe.labelled.share,
        "updates": recipe.updates,
    }


def phone_training(
    recipe: "PhonesRecipe",
    model: Path | None,
    data: Path,
    *,
    teacher: Path | None = None,
    random_init: bool = False,
) -> dict[str, Any]:
    """A phone model's body, and how much of its data is learned from; `train_phones` says how.

    Raises:
        TrainError: recipe, models and data do not fit.
    """
    from train.beginning import check_teacher, new_body
    from train.phone_recordings import read_phone_recordings

    check_teacher(recipe, model, teacher, random_init=random_init)
    body = new_body(recipe, model, random_init=random_init)
    found = read_phone_recordings(recipe, data)
    rows = {
        "body": recipe.body,
        **({} if model is None else {"model": str(model)}),
        **({} if teacher is None else {"teacher": str(teacher)}),
        "body_params": _num_params(body),
        "data": str(data),
        "recordings": len(found.labelled),
        "hours": _hours(found.labelled),
        "phones": sum(map(len, found.learned.values())),
    }
    if recipe.unlabelled is not None:
        rows |= {
            "unlabelled_recordings": len(found.unlabelled),
            "unlabelled_hours": _hours(found.unlabelled),
        }
    return rows | {"updates": recipe.updates}


def exporting(
    run: Path,
    out: Path,
    flags: "DecisionFlags",
    form: "FormFlags",
    int8: "Int8Flags | None" = None,
    graphs: "GraphFlags | None" = None,
) -> dict[str, Any]:
    """What a bundle would be made of, and whether its place is free.

    Raises:
        CompressError: no finished run of compress finetune, a place that must not be replaced, a
            form that the model cannot run in, or a flag that it has no use for.
        TrainError: the calibration corpus cannot be used.
    """
    from train.phones_recipe import PhonesRecipe
    from train.tasks.keywords import load_keywords

    from .exporting import (
        GraphFlags,
        check_place,
        clips_of_a_run,
        finished_run,
        steps_of_phones,
    )
    from .forms import in_form
    from .phone_clips import choose_spoken

    recipe, _, scores = finished_run(run)
    graphs = graphs or GraphFlags()
    audio: Audio | SpokenAudio | None = None
    about: dict[str, Any]
    if isinstance(recipe, PhonesRecipe):
        step, streaming = steps_of_phones(run, flags, form, graphs)
        if int8 is not None:
            audio = choose_spoken(int8.calibration, recipe, step, seed=int8.seed)
        about = {"labels": step.model.labels, "frames": step.chunk_frames}
    else:
        _, streaming = in_form(load_keywords(run / "model"), recipe, form)
        about = {"labels": scores["labels"]}
        if int8 is not None:
            audio = clips_of_a_run(int8, recipe, scores["labels"])
    replaced = check_place(out)
    return {
        **about,
        **_streamed(streaming),
        **_graphs(graphs, streaming, int8),
        **_stored(int8, audio),
        "bundle": str(out),
        "replaces_a_bundle": replaced,
    }


def exporting_huggingface(
    folder: Path,
    out: Path,
    window_ms: int | None,
    form: "FormFlags",
    int8: "Int8Flags | None" = None,
    graphs: "GraphFlags | None" = None,
) -> dict[str, Any]:
    """The same of a checkpoint of transformers; neither it nor optimum is loaded.

    Raises:
        ExportError: the checkpoint cannot be exported.
        CompressError: a form, format or window that it has not, or a place that must not be
            replaced.
        TrainError: the calibration corpus cannot be used.
    """
    from .exporting import GraphFlags, check_place
    from .huggingface import checked, clips

    graphs = graphs or GraphFlags()
    checkpoint, streaming = checked(folder, window_ms, form, graphs)
    replaced = check_place(out)
    audio = None if int8 is None else clips(int8, checkpoint, streaming.window_samples)
    return {
        "architecture": checkpoint.architecture,
        "labels": list(checkpoint.labels),
        "normalizes_windows": checkpoint.normalize,
        **_streamed(streaming),
        **_graphs(graphs, streaming, int8),
        **_stored(int8, audio),
        "bundle": str(out),
        "replaces_a_bundle": replaced,
    }


def _streamed(streaming: "Streaming") -> dict[str, Any]:
    """The form, and its times."""
    from train.models.frontend import SAMPLE_RATE

    return {
        "form": streaming.form,
        "window_ms": round(1000 * streaming.window_samples / SAMPLE_RATE),
        "hop_ms": round(1000 * streaming.hop_samples / SAMPLE_RATE),
    }


def _graphs(
    graphs: "GraphFlags", streaming: "Streaming", int8: "Int8Flags | None"
) -> dict[str, Any]:
    """Formats, further lengths, and what would quantize each format."""
    from export.targets import get_targets, library_of
    from train.models.frontend import SAMPLE_RATE

    asked = None if int8 is None else int8.quantizer
    targets = get_targets(graphs.formats, asked)
    lengths = graphs.lengths(streaming)
    return {
        "formats": list(graphs.formats),
        "further_lengths_ms": [round(1000 * length / SAMPLE_RATE) for length in lengths],
        **({} if int8 is None else {"quantizers": [library_of(one, asked) for one in targets]}),
    }


def _stored(int8: "Int8Flags | None", audio: "Audio | SpokenAudio | None") -> dict[str, Any]:
    """How weights would be stored, and by what audio."""
    if int8 is None or audio is None:
        return {"precision": "float32"}
    return {
        "precision": int8.precision.value,
        "calibration_clips": len(audio.calibration),
        "compared_clips": len(audio.compared),
        "compared_clips_are_labelled": audio.labels is not None,
    }


def demonstration(out: Path, data: Path | None) -> dict[str, Any]:
    """The steps of the demonstration: which are done, and which will be.

    Raises:
        TrainError: `data` cannot be used.
    """
    steps = {
        "teacher": out / "teacher" / "model",
        "supernet": out / "supernet" / "model",
        "search": out / "search" / "model",
        "keywords": out / "keywords" / "scores.json",
        "bundle": out / "keywords.bundle",
        "recording": out / "recording.wav",
    }
    if data is None:
        rows: dict[str, Any] = {"speech": _state(out / "speech")}
    else:
        rows = {"speech": str(data), **_corpus(data, min_seconds=0.3)}
    return rows | {name: _state(path) for name, path in steps.items()}


def recipes_listed() -> dict[str, str]:
    """Every recipe with its first line."""
    return {
        name: str(tomllib.loads(path.read_text(encoding="utf-8"))["about"])
        for name, path in _recipes().items()
    }


def spaces_listed() -> dict[str, Any]:
    """Every space with its size and the parameters of its smallest and largest subnet."""
    rows = {}
    for space in map(get_space, space_names()):
        rows[space.name] = {
            "subnets": space.size(),
            "smallest_params": params(space, space.smallest()),
            "largest_params": params(space, space.largest()),
        }
    from .cost.keyword_bodies import keyword_costs
    from .keyword_space_table import KEYWORD_SPACES

    for models in KEYWORD_SPACES.values():
        least, most = (keyword_costs(models, of) for of in (models.smallest(), models.largest()))
        rows[models.name] = {
            "subnets": models.size(),
            "smallest_params": least["params"],
            "largest_params": most["params"],
        }
    return rows


def recipe_text(name: str) -> str:
    """A shipped recipe as it is written.

    Raises:
        RecipeError: there is none of that name; the nearest is named.
    """
    recipes = _recipes()
    if name not in recipes:
        raise RecipeError(f"there is no recipe {name!r}: {nearest(name, recipes)}")
    return recipes[name].read_text(encoding="utf-8")


def installed() -> dict[str, Any]:
    """Versions of what each extra brings; `missing` where it is not installed."""
    rows: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for extra, packages in _PACKAGES.items():
        rows[extra] = {package: _version(package) for package in packages}
    return rows


def _recipes() -> dict[str, Path]:
    folders = (recipe_folder("train"), recipe_folder("compress"))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def _state(path: Path) -> str:
    return f"{path} is there" if path.exists() else f"{path} will be made"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _encoder_params(config: Any) -> int:
    import torch

    from train.models.families import family_of

    with torch.device("meta"):
        return _num_params(family_of(config).build(config))


def _num_params(module: Any) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _corpus(data: Path, min_seconds: float) -> dict[str, Any]:
    from train.data.corpus import read_corpus, usable

    cuts = usable(read_corpus(data), partition="train", min_seconds=min_seconds)
    return {"train_recordings": len(cuts), "train_hours": _hours(cuts)}


def _hours(cuts: "CutSet") -> float:
    seconds = sum(float(cut.duration) for cut in cuts)
    return round(seconds / 3600, 3)
