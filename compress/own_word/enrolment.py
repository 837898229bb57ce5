"""A spotter from a few takes, without training: a new last layer for a model of other words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runtime.atomic import replacing_file
from train.data.cuts import UNKNOWN
from train.data.rooms import Surroundings, read_surroundings
from train.data.running import Speech, read_speech
from train.models.checkpoints import digest
from train.tasks.bodies import CausalBody
from train.tasks.keywords import KeywordModel, load_keywords, save_keywords

from .. import CallError, CompressError
from ..exporting import finished
from ..telling import step
from .asking import Ask, check_audio, claim
from .discriminant import draw_line, hear_takes, logits_when_left_out
from .finishing import finish
from .phrase import plain_text
from .shares import divide, divided, hours_of
from .takes import Take, read_takes

LEAST_TAKES = 3
_USABLE = 0.8
_UNUSABLE = (
    "left out, they are mostly not told at this threshold, and neither will be what you say: train "
    "instead (leave --enroll out), or give --model a model of more words"
)


def enrol_spotter(ask: Ask, out: Path, *, resume: bool) -> dict[str, Any]:
    """Enrol takes in a model, export, calibrate and measure.

    Args:
        ask: with recordings, a model and negatives.
        out: gets a folder for each step, and the bundle.
        resume: go on in a folder that was begun for the same.

    Returns:
        where the bundle is and what it was measured at, for a table or JSON.

    Raises:
        CallError: too few takes, or `out` was begun for something else.
        CompressError, TrainError, ExportError, RuntimeFault: a step cannot be done.
    """
    text, takes = _takes(ask)
    model = _model(ask)
    claim(ask, out, resume=resume)
    audio, run = divided(out / "negatives"), out / "enrolled"
    with step("1/3", f"{len(takes)} takes of {text!r} in {model}"):
        if not audio.train.is_dir():
            divide(ask.negatives, audio.train.parent)
        if not (run / "scores.json").is_file():
            around = Surroundings() if ask.noise is None else read_surroundings(ask.noise)
            enrol(text, takes, model, audio.train, run, around=around, seed=ask.seed)
    report = finish(
        ask,
        text,
        run,
        out,
        places=("2/3", "3/3"),
        calibration=audio.train,
        audio=audio,
        speech=None,
    )
    told = _told(run, report["threshold"])
    found = {**report, "takes": len(takes), "told_when_left_out": told}
    if told < _USABLE:
        found["notes"] = report["notes"] | {"takes": _UNUSABLE}
    return found


def _told(run: Path, threshold: float) -> float:
    """Share of scenes with a take that a line of the other takes tells, at the threshold."""
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    posteriors = 1.0 / (1.0 + np.exp(-np.array(scores["logits_when_left_out"])))
    return float(np.mean(posteriors >= threshold))


def plan_enrolment(ask: Ask) -> dict[str, Any]:
    """What would be done, checked as far as it can be without making anything.

    Raises:
        CallError, CompressError, TrainError: as `enrol_spotter`.
    """
    text, takes = _takes(ask)
    model = _model(ask)
    recipe, _, _ = finished(model)
    return {
        "keyword": text,
        "takes": len(takes),
        "model": str(model),
        "body": recipe.body,
        "hours_of_negatives": {str(path): hours_of(path) for path in ask.negatives},
        "notes": ask.notes,
    }


def _model(ask: Ask) -> Path:
    """The run to enrol in, once it and the folders of audio are found to be usable.

    Raises:
        CallError: one that enrolment needs is not given.
        CompressError, DataError: one is not what it should be.
    """
    if ask.model is None or not ask.negatives:
        raise CallError(
            "--enroll needs --model, the run of a causal keyword model, and --negatives, speech "
            "without the keyword"
        )
    finished(ask.model)
    check_audio(ask)
    return ask.model


def _takes(ask: Ask) -> tuple[str, list[Take]]:
    """The keyword's text and its takes.

    Raises:
        CallError: they are too few, or no folder is given.
        DataError: they cannot be read.
    """
    text = plain_text(ask.text)
    if ask.recordings is None:
        raise CallError("--enroll needs --recordings, a folder of 3 to 10 takes of the keyword")
    takes = read_takes(ask.recordings, text)
    if len(takes) < LEAST_TAKES:
        raise CallError(
            f"--enroll learns from {LEAST_TAKES} takes or more, 10 at best, and --recordings has "
            f"{len(takes)}; record more, or leave --enroll out to train on synthetic voices too"
        )
    return text, takes


def enrol(
    text: str,
    takes: Sequence[Take],
    model: Path,
    negatives: Path,
    out: Path,
    *,
    around: Surroundings,
    seed: int,
) -> None:
    """Write a run folder, as of a fine-tuning, whose model tells the takes from other speech.

    Its scores.json holds the best logits of scenes with a take by a line of the other takes.

    Args:
        text: the keyword.
        takes: of it; two or more, so that one can be left out.
        model: a finished run of a causal body, of any words.
        negatives: speech without the keyword; its train partition.
        out: the folder, for `export_run`.
        around: noises and rooms that takes are heard in.
        seed: 0 or more.

    Raises:
        CompressError: `model` is no such run, or the takes cannot be told from other speech.
        DataError: negatives that cannot be read.
    """
    recipe, record, _ = finished(model)
    trained = load_keywords(model / "model").eval()
    if not isinstance(trained.body, CausalBody):
        raise CompressError(
            f"{model} has a body that judges whole windows, {recipe.body!r}, and takes are "
            "enrolled in a causal one; give a run of a recipe such as spotter-tcn"
        )
    speech = Speech(read_speech([negatives], [text], min_seconds=recipe.batch.min_seconds))
    frames = hear_takes(trained.body, takes, speech, around, seed=seed)
    left_out = [logits_when_left_out(frames, number) for number in range(len(takes))]
    line = draw_line(frames)
    enrolled = KeywordModel(trained.body, (UNKNOWN, text))
    weight = torch.from_numpy(np.stack([np.zeros_like(line.weight), line.weight]))
    with torch.no_grad():
        enrolled.classifier.weight.copy_(weight)
        enrolled.classifier.bias.copy_(torch.tensor([0.0, line.bias]))
    save_keywords(out / "model", enrolled)
    origin = {"enrolled_in": digest(model / "model"), "of_run": record.get("from", {})}
    config = record | {"recipe": record["recipe"] | {"labels": [text]}, "from": origin}
    logits = np.concatenate(left_out).tolist()
    scores = {"labels": [UNKNOWN, text], "logits_when_left_out": logits}
    for name, values in (("config.json", config), ("scores.json", scores)):
        with replacing_file(out / name) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
