"""Measure a bundle's false alarms on long audio and give it thresholds that keep a rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, read_bundle
from runtime.phrases.asked import Keywords, asking_for
from runtime.rewrite import write_decision, write_phrases

from .. import CallError
from .det import Hits, alarms_allowed, count_alarms, count_hits
from .evaluation import CLEAN, pieces_of
from .hearing import hear
from .intervals import binomial_interval, poisson_upper
from .negatives import read_negatives
from .said import Labelled, Said, read_said
from .scenes import Condition, Sounds
from .thresholds import choose_thresholds
from .trace import keywords_of

QUIET = Sounds()
"""Nothing beside the words."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What `calibrate` aims at."""

    false_alarms_per_hour: float
    """Of all keywords together."""
    least_threshold: float = 0.3
    """No keyword gets a lower one, however few alarms it gives."""
    allow_short: bool = False
    """Take audio in which not one alarm is to be expected at the rate; none is let through then."""
    tolerance_s: float = 1.0
    """As in an evaluation, for misses."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.least_threshold <= 1.0:
            raise CallError(f"--least-threshold must lie in (0, 1], got {self.least_threshold:g}")
        if not 0.0 < self.false_alarms_per_hour < math.inf:
            raise CallError(
                "--false-alarms-per-hour must be above 0, got "
                f"{self.false_alarms_per_hour:g}; no audio is long enough to promise none"
            )


def calibrate(
    path: Path,
    negatives: Path,
    target: Target,
    *,
    positives: Path | None = None,
    phrases: Keywords | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Choose a threshold for each keyword and write them into the bundle.

    Args:
        path: the bundle's folder, or with `dry_run` its zip too.
        negatives: long audio without keywords. Its test partition is left for `evaluate`.
        target: the rate, and how it is kept.
        positives: labelled clips, whose valid partition tells misses at the thresholds.
        phrases: of a phone model: keywords to put in, in place of those it has.
        dry_run: measure and choose, and leave the bundle as it is.

    Returns:
        rows for each keyword, hours, alarms and their bound, for a table or JSON.

    Raises:
        CallError: a zip to write to, or too few hours for the rate.
        CompressError: no threshold keeps the rate.
        BundleFault: no such bundle, one that fails, or phrases that it cannot listen for.
        DataError: audio that cannot be used.
        OSError: the bundle cannot be written; it is as it was.
    """
    if not dry_run and path.is_file():
        raise CallError(
            f"{path} is a zip, which cannot be rewritten in place; unpack it and give the folder, "
            "or add --dry-run to only see the thresholds"
        )
    bundle = read_bundle(path)
    if phrases is not None:
        bundle = replace(bundle, manifest=asking_for(bundle.manifest, phrases))
    manifest, sample_rate = bundle.manifest, bundle.manifest.sample_rate
    keywords = keywords_of(manifest)
    audio = read_negatives(negatives, keywords, testing=False)
    _check_hours(audio.hours, target)
    said = None if positives is None else read_said(positives, keywords, partition="valid")

    traces = [t for t, _ in hear(bundle, pieces_of(audio, sample_rate), "hearing negatives")]
    hours = sum(trace.num_samples for trace in traces) / sample_rate / 3600.0
    allowed = alarms_allowed(target.false_alarms_per_hour, hours)
    chosen = choose_thresholds(
        traces,
        manifest.keyword_decision,
        allowed=allowed,
        least=target.least_threshold,
        sample_rate=sample_rate,
    )
    alarms = count_alarms(traces, chosen[None], manifest.keyword_decision, sample_rate=sample_rate)
    counts = alarms.counts[0]
    rows = [
        {
            "keyword": word,
            "threshold": float(chosen[number]),
            "false_alarms": int(counts[number]),
            "per_hour_at_most": poisson_upper(int(counts[number]), hours),
        }
        for number, word in enumerate(keywords)
    ]
    if said is not None:
        hits = hits_at(chosen, bundle, said, said.keywords, target)
        rows = [row | _misses(hits, number) for number, row in enumerate(rows)]
    told = {
        "false_alarms_per_hour": target.false_alarms_per_hour,
        "hours": hours,
        "false_alarms": int(counts.sum()),
        "false_alarms_allowed": allowed,
        "per_hour_at_most": poisson_upper(int(counts.sum()), hours),
        "keywords": rows,
    }
    if not dry_run:
        thresholds = dict(zip(keywords, chosen.tolist(), strict=True))
        decision = replace(manifest.keyword_decision, thresholds=thresholds)
        measured = {"calibration": told}
        if manifest.phrases is None:
            write_decision(path, decision, measured=measured)
        else:
            write_phrases(path, replace(manifest.phrases, decision=decision), measured=measured)
    return {
        "bundle": f"{path} would be written" if dry_run else str(path),
        "partitions_of_negatives": list(audio.partitions),
        "left_out_for_a_keyword": audio.left_out,
        **told,
    }


def _check_hours(hours: float, target: Target) -> None:
    """Raises CallError where not one alarm is to be expected, unless that is allowed."""
    rate = target.false_alarms_per_hour
    if alarms_allowed(rate, hours) < 1 and not target.allow_short:
        raise CallError(
            f"{hours:.2f} h of negatives say nothing about {rate:g} false alarms per hour: one is "
            f"to be expected in {1.0 / rate:g} h. Give as much or more, a higher rate, or "
            "--allow-short for thresholds that let no alarm of this audio through"
        )


def hits_at(
    thresholds: NDArray[np.float64],
    bundle: Bundle,
    said: Said,
    clips: Sequence[Labelled],
    target: Target,
    condition: Condition = CLEAN,
    sounds: Sounds = QUIET,
) -> Hits:
    """Which words are told at one choice of thresholds.

    Args:
        thresholds: (keywords,).
        bundle: of these keywords.
        said: whose clips they are.
        clips: of keywords.
        target: its tolerance and seed.
        condition: in which the words are heard.
        sounds: what it is made of.

    Raises:
        BundleFault, DataError: bundle or audio cannot be used.
    """
    sample_rate = bundle.manifest.sample_rate
    scenes = said.scenes(
        clips,
        condition,
        sounds,
        sample_rate=sample_rate,
        tail_s=target.tolerance_s,
        seed=target.seed,
    )
    return count_hits(
        hear(bundle, scenes, f"hearing words, {condition.name}"),
        thresholds[None],
        bundle.manifest.keyword_decision,
        tolerance_samples=round(target.tolerance_s * sample_rate),
    )


def _misses(hits: Hits, keyword: int) -> dict[str, Any]:
    words, misses = int(hits.words[keyword]), int(hits.misses[0, keyword])
    low, high = binomial_interval(misses, words)
    ratio = {"miss_ratio": misses / words} if words else {}
    return {"words": words, **ratio, "miss_ratio_from": low, "miss_ratio_to": high}
