"""In which form a model streams: anew on every window, or step by step with states."""

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from runtime.manifest import Streaming
from train import TrainError
from train.keywords_recipe import KeywordsRecipe
from train.models.frontend import SAMPLE_RATE
from train.tasks.causal_step import CausalStep, least_chunk_frames
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel
from train.tasks.phone_step import PhoneStep
from train.tasks.phones import PhoneModel

from . import CompressError

SLIDING_WINDOW, INCREMENTAL = "sliding_window", "incremental"
SAMPLES_PER_MS = SAMPLE_RATE // 1000
_HOP_MS = 100
_PHONES_MS = 160
"""A step costs an engine as much as it computes: phones are worth waiting this long for."""


_Step = TypeVar("_Step", bound=CausalStep)


@dataclass(frozen=True, kw_only=True)
class FormFlags:
    """The form, as people say it; None: what the recipe says, or a default."""

    form: str | None = None
    """A manifest's `streaming.form`; the recipe's if None."""
    hop_ms: int | None = None
    """Of sliding windows: time from one to the next, 100 ms if None."""
    chunk_ms: int | None = None
    """Of steps: how much is heard in one; the recipe's if None, or of phones 160 ms at most."""


def in_form(
    model: KeywordModel, recipe: KeywordsRecipe, flags: FormFlags
) -> tuple[nn.Module, Streaming]:
    """What `export_keywords` takes for the form that flags or recipe ask for.

    Args:
        model: of the run.
        recipe: of the run.
        flags: they have the last word.

    Returns:
        the model, or its step; and the stream that a manifest tells of.

    Raises:
        CompressError: a flag of the other form, a chunk that is no whole number of the body's
            frames, or steps of a model that was not trained causal.
    """
    form = flags.form or recipe.streaming
    if form == INCREMENTAL:
        if flags.hop_ms is not None:
            raise CompressError(
                "--hop-ms is the time between two windows, and this model runs step by step; say "
                "--chunk-ms, or --form sliding-window"
            )
        return _step(KeywordStep, model, flags.chunk_ms or recipe.chunk_ms)
    if flags.chunk_ms is not None:
        raise CompressError(
            "--chunk-ms is how much a step hears, and this model runs on windows; say --hop-ms, or "
            "--form incremental"
        )
    return model, windows(recipe.window_samples, flags)


def phone_steps(model: PhoneModel, flags: FormFlags) -> tuple[PhoneStep, Streaming]:
    """What `export_phones` takes, and the stream that a manifest tells of.

    Raises:
        CompressError: flags of windows, or a chunk that is no whole number of the body's frames.
    """
    if flags.form not in (None, INCREMENTAL) or flags.hop_ms is not None:
        raise CompressError(
            "--form sliding-window and --hop-ms are of models that run on windows, and a phone "
            "model tells every frame once, step by step; leave them out, or say --chunk-ms"
        )
    least_ms = least_chunk_frames(model.body) * model.body.hop_samples // SAMPLES_PER_MS
    most_ms = min(_PHONES_MS, model.body.window_samples // SAMPLES_PER_MS)
    return _step(PhoneStep, model, flags.chunk_ms or max(1, most_ms // least_ms) * least_ms)


def windows(window_samples: int, flags: FormFlags) -> Streaming:
    """Windows of this length, a hop apart."""
    hop_samples = (flags.hop_ms or _HOP_MS) * SAMPLES_PER_MS
    return Streaming(form=SLIDING_WINDOW, window_samples=window_samples, hop_samples=hop_samples)


def _step(kind: type[_Step], model: Any, chunk_ms: int) -> tuple[_Step, Streaming]:
    try:
        shortest = kind(model, least_chunk_frames(model.body))
    except TrainError as fault:
        raise CompressError(f"--form incremental: {fault}") from None
    least_samples = shortest.chunk_samples
    times, over = divmod(chunk_ms * SAMPLES_PER_MS, least_samples)
    if over or not 1 <= times * least_samples <= shortest.window_samples:
        raise CompressError(
            f"--chunk-ms must be a multiple of the {least_samples / SAMPLES_PER_MS:g} ms that this "
            f"model hears at once, and at most the {shortest.window_samples / SAMPLES_PER_MS:g} ms "
            f"that it judges; got {chunk_ms}"
        )
    step = kind(model, times * shortest.chunk_frames)
    return step, Streaming(
        form=INCREMENTAL, window_samples=step.window_samples, hop_samples=step.chunk_samples
    )
