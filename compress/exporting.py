"""From a fine-tuning run to a bundle: what the manifest says about where it came from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle import export_keywords, export_phones
from export.gate import Limits, Quantization
from export.quantize import Precision
from export.targets import DEFAULT_FORMAT
from runtime.manifest import (
    MANIFEST_FILE,
    MAX_WINDOW_SAMPLES,
    Decision,
    Manifest,
    Streaming,
)
from train import RecipeError
from train.keywords_recipe import KeywordsRecipe
from train.models.frontend import SAMPLE_RATE
from train.phones_recipe import PhonesRecipe
from train.recipe import check, load_recipe
from train.task_recipes import TASKS
from train.tasks.keywords import load_keywords
from train.tasks.phone_step import PhoneStep
from train.tasks.phones import load_phones

from . import CompressError
from .calibration import Audio, choose
from .folders import recipe_folder
from .forms import INCREMENTAL, SAMPLES_PER_MS, FormFlags, in_form, phone_steps
from .phone_clips import SpokenAudio, choose_spoken
from .shipped import PHONES, is_shipped_phones, model_in, shipped


@dataclass(frozen=True, kw_only=True)
class DecisionFlags:
    """When posteriors become an event, as people say it."""

    threshold: float = 0.7
    """Least smoothed posterior, in (0, 1]."""
    smoothing_windows: int = 3
    """Answers averaged."""
    patience: int = 1
    """Answers in a row that must agree."""
    refractory_ms: int = 500
    """No event for this long after one."""

    def decision(self, labels: Sequence[str]) -> Decision:
        """Every label makes events but those that begin with an underscore: they only compete."""
        return Decision(
            keywords=tuple(label for label in labels if not label.startswith("_")),
            threshold=self.threshold,
            smoothing_windows=self.smoothing_windows,
            patience=self.patience,
            refractory_samples=self.refractory_ms * SAMPLES_PER_MS,
        )


@dataclass(frozen=True, kw_only=True)
class GraphFlags:
    """Which graphs a bundle holds, as people say it."""

    formats: tuple[str, ...] = (DEFAULT_FORMAT,)
    """Files of export/targets."""
    lengths_s: tuple[float, ...] = ()
    """Seconds that a graph of fixed shapes takes beside its window."""

    def lengths(self, streaming: Streaming) -> tuple[int, ...]:
        """In samples, the window's own left out.

        Raises:
            CompressError: a length that no graph could take, or that none needs.
        """
        if not self.lengths_s:
            return ()
        if streaming.form == INCREMENTAL:
            raise CompressError(
                "--length is for graphs of windows, and this model runs step by step, a chunk at a "
                "time; leave it out, or say --form sliding-window"
            )
        if set(self.formats) == {DEFAULT_FORMAT}:
            raise CompressError(
                f"--length is for graphs of fixed shapes, and {DEFAULT_FORMAT} takes any length; "
                "add --format tflite or leave it out"
            )
        found = {round(length * SAMPLE_RATE) for length in self.lengths_s}
        for length in found:
            if not 1 <= length <= MAX_WINDOW_SAMPLES:
                raise CompressError(
                    f"--length must give 1 to {MAX_WINDOW_SAMPLES:,} samples at {SAMPLE_RATE} a "
                    f"second, got {length:,}"
                )
        return tuple(sorted(found - {streaming.window_samples}))


@dataclass(frozen=True, kw_only=True)
class Int8Flags:
    """How weights are stored in 8 bits, as people say it."""

    precision: Precision
    """One of the 8-bit ones."""
    calibration: Path
    """Corpus to learn ranges from and to compare on; the run's own, or one like it."""
    quantizer: str | None = None
    """Library that rewrites graphs of the formats that know it; None: each format's usual one."""
    keep_float: tuple[str, ...] = ()
    """Layers left in float; `*` stands for anything, `auto` for as few as the limits ask for."""
    min_snr_db: float = Limits.min_snr_db
    """Least signal-to-noise ratio of the logits."""
    max_accuracy_drop: float = Limits.max_accuracy_drop
    """Most accuracy lost, as a ratio."""
    sensitivity: bool = False
    """Tell what each layer costs."""
    seed: int = 0
    """Of the choice of clips."""

    def quantization(self, audio: Audio | SpokenAudio) -> Quantization:
        """What is asked of `export_keywords`; the audio is decoded.

        Raises:
            DataError: a recording cannot be decoded.
            ExportError: a limit that cannot be.
        """
        return Quantization(
            precision=self.precision,
            evidence=audio.evidence(),
            quantizer=self.quantizer,
            keep_float=self.keep_float,
            limits=Limits(min_snr_db=self.min_snr_db, max_accuracy_drop=self.max_accuracy_drop),
            sensitivity=self.sensitivity,
        )


def export_run(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    flags: DecisionFlags,
    form: FormFlags,
    licence: str,
    int8: Int8Flags | None = None,
    graphs: GraphFlags = GraphFlags(),
) -> Manifest:
    """Export the model of a fine-tuning run, of keywords or of phones.

    Args:
        folder: of the run.
        out: the bundle to write.
        name: what it is called; None: the run's task.
        flags: when posteriors become an event; as they are by default for phones.
        form: in which it streams.
        licence: of the training data.
        int8: how to store weights in 8 bits; None: float32.
        graphs: in which formats, and for which lengths.

    Raises:
        CompressError: the folder holds no finished fine-tuning run, `out` is something else than a
            bundle, or the model cannot run in this form.
        DataError: the calibration corpus cannot be used.
        ExportError, BundleFault: as `export_keywords`.
    """
    recipe, run, scores = finished_run(folder)
    check_place(out)
    provenance = {"licence_of_training_data": licence, **run}
    if isinstance(recipe, PhonesRecipe):
        step, streaming = steps_of_phones(folder, flags, form, graphs)
        quantization = None
        if int8 is not None:
            spoken = choose_spoken(int8.calibration, recipe, step, seed=int8.seed)
            quantization = int8.quantization(spoken)
        return export_phones(
            step,
            out,
            name=name or recipe.task,
            labels=step.model.labels,
            streaming=streaming,
            frames=step.chunk_frames,
            provenance=provenance,
            measured={part: scores[part] for part in ("valid", "test") if part in scores},
            quantization=quantization,
            formats=graphs.formats,
        )
    model = load_keywords(folder / "model")
    classifier, streaming = in_form(model, recipe, form)
    lengths = graphs.lengths(streaming)
    quantization = None
    if int8 is not None:
        quantization = int8.quantization(clips_of_a_run(int8, recipe, scores["labels"]))
    measured: dict[str, Any] = {
        part: {"accuracy": scores[part]["accuracy"], "clips": scores[part]["clips"]}
        for part in ("valid", "test")
        if part in scores
    }
    return export_keywords(
        classifier,
        out,
        name=name or recipe.task,
        labels=model.labels,
        streaming=streaming,
        decision=flags.decision(model.labels),
        provenance=provenance,
        measured=measured,
        quantization=quantization,
        formats=graphs.formats,
        lengths=lengths,
    )


def steps_of_phones(
    folder: Path, flags: DecisionFlags, form: FormFlags, graphs: GraphFlags
) -> tuple[PhoneStep, Streaming]:
    """The steps of a phone model's run, and how they stream.

    Raises:
        CompressError: a flag of keywords or of windows, or a form that the model cannot run in.
    """
    if flags != DecisionFlags():
        raise CompressError(
            "--threshold, --smoothing, --patience and --refractory-ms decide when a keyword was "
            f"said, and {folder} is a run of phones, of which every frame is told; leave them out"
        )
    if graphs.lengths_s:
        raise CompressError(
            "--length is for graphs of windows, and a phone model runs step by step, a chunk at a "
            "time; leave it out"
        )
    return phone_steps(load_phones(model_in(folder)), form)


def clips_of_a_run(int8: Int8Flags, recipe: KeywordsRecipe, labels: Sequence[str]) -> Audio:
    """Clips to calibrate by and to compare on, as long as the run's own.

    Raises:
        DataError: the corpus cannot be used.
    """
    return choose(
        int8.calibration,
        labels,
        window_samples=recipe.window_samples,
        min_seconds=recipe.batch.min_seconds,
        seed=int8.seed,
    )


def check_place(out: Path) -> bool:
    """Make sure that a bundle may take the place of `out`; True where it replaces an older one.

    Raises:
        CompressError: what is there is no bundle, and would be lost.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / MANIFEST_FILE).is_file():
        raise CompressError(f"{out} is there and is no bundle to replace; choose another --out")
    return True


def finished(folder: Path) -> tuple[KeywordsRecipe, dict[str, Any], dict[str, Any]]:
    """A run of keywords: its recipe, its config and its scores.

    Raises:
        CompressError: it is not there, not finished, or of phones.
    """
    recipe, run, scores = finished_run(folder)
    if not isinstance(recipe, KeywordsRecipe):
        raise CompressError(
            f"{folder} is a run of {recipe.task}, and this wants one of keywords: name a run of "
            "compress finetune with a recipe whose task is keywords"
        )
    return recipe, run, scores


def finished_run(
    folder: Path,
) -> tuple[KeywordsRecipe | PhonesRecipe, dict[str, Any], dict[str, Any]]:
    """A fine-tuning run's recipe, its config and its scores; or the shipped phone model's.

    Raises:
        CompressError: it is not there, or not finished.
    """
    if is_shipped_phones(folder):
        return _shipped_phones()
    if not folder.is_dir():
        raise CompressError(f"there is no folder {folder}; name a run of compress finetune")
    try:
        run = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        task = run["recipe"].get("task")
        recipe = check(run["recipe"], TASKS.get(task, KeywordsRecipe), f"{folder}/config.json")
    except FileNotFoundError as fault:
        raise CompressError(
            f"{folder} is not a finished run of compress finetune: {fault.filename} is missing; "
            "go on with it by --resume"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecipeError) as fault:
        raise CompressError(f"{folder} is not a run of compress finetune: {fault}") from None
    return recipe, run, scores


def _shipped_phones() -> tuple[PhonesRecipe, dict[str, Any], dict[str, Any]]:
    """What is known of the run that the shipped model comes from."""
    config = json.loads((shipped(PHONES) / "config.json").read_text(encoding="utf-8"))
    told = config["provenance"]
    recipe = load_recipe(told["recipe"], PhonesRecipe, recipe_folder("train"), [])
    run = {
        "model": PHONES,
        "licence_of_training_data": told["licence_of_data"],
        **{key: told[key] for key in ("made_by", "recipe", "data")},
    }
    rates = told["phone_error_rate"]
    return recipe, run, {part: {"phone_error_rate": rate} for part, rate in rates.items()}
