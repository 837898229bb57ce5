"""How much units know of phones: two purities, and mutual information over the phones' entropy.

Source: HuBERT, arXiv:2106.07447, section 4.3.
"""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.atomic import replacing_file

from ..data.cuts import SAMPLE_RATE
from ..data.phones import Phone
from ..data.source import Recordings, Source
from ..distributed import rank
from ..models.frontend import WINDOW_SAMPLES
from .units import Units

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quality:
    """Of units, over frames that have a phone."""

    phone_purity: float
    """Accuracy when each unit is read as its most frequent phone, in (0, 1]."""
    cluster_purity: float
    """Accuracy when each phone is written as its most frequent unit, in (0, 1]."""
    pnmi: float
    """Share of the phones' entropy that the unit takes away, in [0, 1]; 0 for a single phone."""
    frames: int
    """Frames that were counted."""
    num_clusters: int
    """Size of the code book."""


def quality(counts: NDArray[np.int64], *, num_clusters: int | None = None) -> Quality:
    """Closed forms over how often units and phones meet.

    Args:
        counts: (phones, units), frames of each pair.
        num_clusters: size of the code book; None: as many as `counts` has columns.

    Raises:
        ValueError: no frame at all.
    """
    frames = int(counts.sum())
    if frames == 0:
        raise ValueError("no frame has both a unit and a phone: there is nothing to measure")
    joint = counts / frames
    of_phones, of_units = joint.sum(1), joint.sum(0)
    entropy = _entropy(of_phones)
    # I(phone; unit) = H(phone) + H(unit) - H(phone, unit)
    information = entropy + _entropy(of_units) - _entropy(joint.ravel())
    return Quality(
        phone_purity=float(counts.max(0).sum() / frames),
        cluster_purity=float(counts.max(1).sum() / frames),
        pnmi=float(np.clip(information / entropy, 0.0, 1.0)) if entropy > 0 else 0.0,
        frames=frames,
        num_clusters=counts.shape[1] if num_clusters is None else num_clusters,
    )


def contingency(
    pairs: Iterable[tuple[NDArray[np.int16], Sequence[str | None]]], num_clusters: int
) -> NDArray[np.int64]:
    """Count how often units and phones meet.

    Args:
        pairs: of each recording, units and phones by frame; None: this frame has no phone.
        num_clusters: size of the code book.

    Returns:
        (phones, num_clusters), phones in the order of their names.
    """
    rows: dict[str, NDArray[np.int64]] = {}
    for units, phones in pairs:
        for unit, phone in zip(units, phones, strict=True):
            if phone is not None:
                rows.setdefault(phone, np.zeros(num_clusters, np.int64))[unit] += 1
    return np.array([rows[phone] for phone in sorted(rows)], np.int64).reshape(-1, num_clusters)


def phones_by_frame(phones: Sequence[Phone], num_frames: int, rate_hz: int) -> list[str | None]:
    """The phone in the middle of each frame's 25 ms; None where there is none.

    Args:
        phones: in the order of their starts.
        num_frames: frames to label.
        rate_hz: frames per second; frame i looks at 25 ms from i / rate_hz on.
    """
    if not phones:
        return [None] * num_frames
    middles = np.arange(num_frames) / rate_hz + WINDOW_SAMPLES / SAMPLE_RATE / 2
    starts = np.array([start for _, start, _ in phones])
    ends = starts + np.array([duration for _, _, duration in phones])
    # The last one that has started; half a microsecond absorbs what floats add up to.
    places = np.searchsorted(starts, middles + 5e-7, side="right") - 1
    inside = (places >= 0) & (middles < ends[places] - 5e-7)
    return [
        phones[place][0] if known else None for place, known in zip(places, inside, strict=True)
    ]


def measure(units: Units, alignments: Mapping[str, Sequence[Phone]]) -> Quality | None:
    """Compare units with phones; None where no frame has both.

    Args:
        units: of a corpus.
        alignments: phones by cut id, of some of its recordings at least.
    """
    pairs = (
        (sequence, phones_by_frame(alignments[cut_id], len(sequence), units.rate_hz))
        for cut_id, sequence in units.sequences.items()
        if cut_id in alignments
    )
    counts = contingency(pairs, units.num_clusters)
    return quality(counts, num_clusters=units.num_clusters) if counts.size else None


def note(units: Units, source: Source, path: Path) -> None:
    """Log and write how good units are, where the source's recordings have phone alignments.

    Args:
        units: of the source.
        source: recordings; shards tell no phones.
        path: becomes a JSON object; an older one is left as it is.
    """
    if rank() != 0 or path.is_file() or not isinstance(source, Recordings):
        return
    found = measure(units, alignments_of(source.cuts))
    if found is None:
        return
    _log.info(
        "units: phone purity %.3f, cluster purity %.3f, PNMI %.3f over %d frames",
        found.phone_purity,
        found.cluster_purity,
        found.pnmi,
        found.frames,
    )
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(found)) + "\n", encoding="utf-8")


def alignments_of(cuts: Iterable) -> dict[str, list[Phone]]:
    """The phones of each cut whose supervisions tell them, times counted from the cut's start.

    Args:
        cuts: lhotse's; a phone alignment is `supervision.alignment["phone"]`.
    """
    found = {}
    for cut in cuts:
        items = [
            (str(item.symbol), float(item.start), float(item.duration))
            for supervision in cut.supervisions
            for item in (supervision.alignment or {}).get("phone", ())
        ]
        if items:
            found[str(cut.id)] = sorted(items, key=lambda item: item[1])
    return found


def _entropy(shares: NDArray[np.float64]) -> float:
    """In nats; 0 log 0 = 0."""
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())
