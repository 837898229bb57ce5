"""From a fine-tuning run to a bundle: what the manifest says about where it came from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle import export_keywords
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
from train.recipe import check
from train.tasks.keywords import load_keywords

from . import CompressError
from .calibration import Audio, choose
from .forms import INCREMENTAL, SAMPLES_PER_MS, FormFlags, in_form


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

    def quantization(self, audio: Audio) -> Quantization:
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
    name: str,
    flags: DecisionFlags,
    form: FormFlags,
    licence: str,
    int8: Int8Flags | None = None,
    graphs: GraphFlags = GraphFlags(),
) -> Manifest:
    """Export the model of a fine-tuning run.

    Args:
        folder: of the run.
        out: the bundle to write.
        name: what it is called.
        flags: when posteriors become an event.
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
    recipe, run, scores = finished(folder)
    check_place(out)
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
        name=name,
        labels=model.labels,
        streaming=streaming,
        decision=flags.decision(model.labels),
        provenance={"licence_of_training_data": licence, **run},
        measured=measured,
        quantization=quantization,
        formats=graphs.formats,
        lengths=lengths,
    )


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
    """A fine-tuning run's recipe, its config and its scores.

    Raises:
        CompressError: it is not there, or not finished.
    """
    if not folder.is_dir():
        raise CompressError(f"there is no folder {folder}; name a run of compress finetune")
    try:
        run = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        recipe = check(run["recipe"], KeywordsRecipe, f"{folder}/config.json")
    except FileNotFoundError as fault:
        raise CompressError(
            f"{folder} is not a finished run of compress finetune: {fault.filename} is missing; "
            "go on with it by --resume"
        ) from None
    except (ValueError, KeyError, TypeError, RecipeError) as fault:
        raise CompressError(f"{folder} is not a run of compress finetune: {fault}") from None
    return recipe, run, scores
