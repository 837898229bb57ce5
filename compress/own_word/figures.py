"""How good a new spotter is, told apart by what was heard: voices, near misses, long audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, read_bundle

from ..detection.calibrating import QUIET, Target, hits_at
from ..detection.det import count_alarms
from ..detection.evaluation import CLEAN, pieces_of, recorded_sounds
from ..detection.hearing import hear
from ..detection.intervals import binomial_interval, poisson_upper
from ..detection.negatives import read_negatives
from ..detection.said import Labelled, Said, read_said
from ..detection.scenes import Condition, Sounds
from ..detection.trace import keywords_of
from .corpus import OWN

_NOISE_DB = 10.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a bundle is measured on, none of it trained on."""

    speech: Path | None
    """The synthetic corpus, its test partition; None: there is none."""
    negatives: Path
    """Long audio without the keyword."""
    noise: Path | None
    """The user's recorded noises."""
    recorded: bool
    """Whether the negatives are recordings of people."""


def measure(path: Path, heard: Heard, target: Target) -> dict[str, Any]:
    """Count misses, near misses that fire, and false alarms at the bundle's thresholds.

    Args:
        path: a calibrated bundle of one keyword.
        heard: on what.
        target: what the threshold was chosen for.

    Returns:
        tables for a terminal or JSON.

    Raises:
        BundleFault, DataError: bundle or audio cannot be used.
    """
    bundle = read_bundle(path)
    (keyword,) = keywords_of(bundle.manifest)
    found: dict[str, Any] = {
        "keyword": keyword,
        "threshold": bundle.manifest.keyword_decision.threshold_of(keyword),
    }
    if heard.speech is not None:
        said = read_said(heard.speech, [keyword], partition="test")
        found["misses"] = _misses(bundle, said, heard.noise, target)
        found["near_misses"] = _near_misses(bundle, said, target)
    found["false_alarms"] = _false_alarms(bundle, heard, target)
    return found


def _misses(bundle: Bundle, said: Said, noise: Path | None, target: Target) -> list[dict[str, Any]]:
    """A row for each who said the keyword and each condition."""
    own = [clip for clip in said.keywords if clip.cut_id.startswith(f"{OWN}/")]
    voices = [clip for clip in said.keywords if clip not in own]
    conditions = [(CLEAN, QUIET)]
    if noise is not None:
        conditions.append((Condition("noise", _NOISE_DB), recorded_sounds(noise)))
    return [
        {"said_by": name, **_missed(bundle, said, clips, condition, sounds, target)}
        for name, clips in (("synthetic voices, unheard", voices), ("you, takes left out", own))
        if clips
        for condition, sounds in conditions
        if sounds.holds(condition)
    ]


def _missed(
    bundle: Bundle,
    said: Said,
    clips: Sequence[Labelled],
    condition: Condition,
    sounds: Sounds,
    target: Target,
) -> dict[str, Any]:
    hits = hits_at(_threshold(bundle), bundle, said, clips, target, condition, sounds)
    missed, words = int(hits.misses[0, 0]), int(hits.words[0])
    low, high = binomial_interval(missed, words)
    return {
        "condition": condition.name,
        "words": words,
        "missed": missed,
        "miss_ratio": missed / words,
        "from": low,
        "to": high,
    }


def _near_misses(bundle: Bundle, said: Said, target: Target) -> dict[str, Any]:
    """Clips that sound like the keyword, and how many events they gave."""
    if not said.others:
        return {}
    sample_rate = bundle.manifest.sample_rate
    scenes = said.scenes(
        said.others,
        CLEAN,
        QUIET,
        sample_rate=sample_rate,
        tail_s=target.tolerance_s,
        seed=target.seed,
    )
    fired = _alarms(bundle, [trace for trace, _ in hear(bundle, scenes, "hearing near misses")])
    return {"clips": len(said.others), "fired": fired}


def _false_alarms(bundle: Bundle, heard: Heard, target: Target) -> dict[str, Any]:
    sample_rate = bundle.manifest.sample_rate
    audio = read_negatives(heard.negatives, keywords_of(bundle.manifest), testing=True)
    traces = [t for t, _ in hear(bundle, pieces_of(audio, sample_rate), "hearing negatives")]
    hours = sum(trace.num_samples for trace in traces) / sample_rate / 3600.0
    count = _alarms(bundle, traces)
    return {
        "in": "your recordings" if heard.recorded else "synthetic talk",
        "hours": hours,
        "false_alarms": count,
        "per_hour": count / hours,
        "per_hour_at_most": poisson_upper(count, hours),
        "asked_per_hour": target.false_alarms_per_hour,
    }


def _alarms(bundle: Bundle, traces: Sequence[Any]) -> int:
    manifest = bundle.manifest
    counted = count_alarms(
        traces,
        _threshold(bundle)[None],
        manifest.keyword_decision,
        sample_rate=manifest.sample_rate,
    )
    return int(counted.counts.sum())


def _threshold(bundle: Bundle) -> NDArray[np.float64]:
    """(1,): of the one keyword."""
    (keyword,) = keywords_of(bundle.manifest)
    return np.array([bundle.manifest.keyword_decision.threshold_of(keyword)])
