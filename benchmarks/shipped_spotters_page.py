"""The pages of benchmarks/shipped_spotters.py, one a spotter."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tables import line, spread

from runtime.atomic import replacing_file

Rows = Mapping[int, Mapping[str, Any]]


class Described(Protocol):
    """What a page says of a spotter."""

    name: str
    title: str
    keywords: tuple[str, ...]
    data: str
    phones: str
    spoken: tuple[str, ...]
    recipe: str
    rate_per_hour: float
    sources: str
    licence: str


def write_page(spotter: Described, rows: Rows, best: int, runs: Path, results: Path) -> str:
    """Write docs/results/<name>.md and its picture; returns the page.

    Args:
        spotter: what was trained.
        rows: of each seed, as `spot` gives them.
        best: the seed that ships.
        runs: where seeds lie.
        results: the folder of pages.
    """
    first = rows[best]
    test = first["test"]
    rates = [key for key in test["misses"][0] if key.startswith("miss_ratio_at_")]
    page = PROSE.format(
        title=spotter.title,
        name=spotter.name,
        data=spotter.data,
        recipe=spotter.recipe,
        updates=f"{first['updates']:,}",
        phones=spotter.phones,
        spoken=", ".join(spotter.spoken),
        error_rate=f"{100.0 * first['phone_error_rate']:.1f}",
        sources=spotter.sources,
        licence=spotter.licence,
        keywords=", ".join(spotter.keywords),
        machine=platform.machine(),
        seeds=", ".join(map(str, rows)),
        best=best,
        words=test["words"],
        hours=f"{test['hours_without_keywords']:.2f}",
        calibrated=f"{first['calibration']['hours']:.2f}",
        rate=spotter.rate_per_hour,
        allowed=first["calibration"]["false_alarms_allowed"],
        kilobytes=f"{first['bundle_bytes'] / 1e3:,.0f}",
        rate_heads=" | ".join(_rate(key) for key in rates),
        rate_rules=" | ".join("---" for _ in rates),
        misses="\n".join(_condition_rows(rows, rates)),
        words_rows="\n".join(_word_rows(rows, best)),
        alarms="\n".join(_alarm_rows(rows)),
    )
    results.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        runs / spotter.name / f"seed{best}" / "det.png", results / f"{spotter.name}.png"
    )
    with replacing_file(results / f"{spotter.name}.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def _rate(key: str) -> str:
    return key.removeprefix("miss_ratio_at_").replace("_per_hour", " an hour")


def _of_all(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By condition: the row over all keywords."""
    return {each["condition"]: each for each in row["test"]["misses"] if each["keyword"] == "all"}


def _condition_rows(rows: Rows, rates: list[str]) -> list[str]:
    seeds = [_of_all(row) for row in rows.values()]
    made = []
    for condition in seeds[0]:
        each = [seed[condition] for seed in seeds]
        cells = [_percent([row[key] for row in each]) for key in rates]
        own = _percent([row["miss_ratio"] for row in each])
        lags = _told([row["latency_ms_median"] for row in each], digits=0)
        extra = spread([row["extra_events"] for row in each], digits=0)
        made.append(line(condition, *cells, own, lags, extra))
    return made


def _percent(ratios: list[float | None]) -> str:
    return _told([None if ratio is None else 100.0 * ratio for ratio in ratios], digits=1)


def _told(values: list[float | None], *, digits: int) -> str:
    """A dash where a seed has nothing to tell: too few hours for a rate, or no word heard."""
    known = [value for value in values if value is not None]
    return spread(known, digits=digits) if len(known) == len(values) else "—"


def _word_rows(rows: Rows, best: int) -> list[str]:
    made = []
    for number, each in enumerate(rows[best]["test"]["misses"]):
        if each["keyword"] == "all" or each["condition"] not in ("clean", "babble 10 dB"):
            continue
        of_seeds = [row["test"]["misses"][number] for row in rows.values()]
        low, high = (100.0 * each[f"miss_ratio_{end}"] for end in ("from", "to"))
        made.append(
            line(
                each["keyword"],
                each["condition"],
                str(each["words"]),
                _percent([row["miss_ratio_at_0.5_per_hour"] for row in of_seeds]),
                _percent([row["miss_ratio"] for row in of_seeds]),
                f"{100.0 * each['miss_ratio']:.1f} ({low:.1f} to {high:.1f})",
            )
        )
    return made


def _alarm_rows(rows: Rows) -> list[str]:
    made = []
    for seed, row in rows.items():
        (total,) = [each for each in row["test"]["false_alarms"] if each["keyword"] == "all"]
        made.append(
            line(
                str(seed),
                str(row["calibration"]["false_alarms"]),
                str(total["false_alarms"]),
                f"{total['per_hour']:.2f}",
                f"{total['per_hour_at_most']:.2f}",
                f"{row['bundle_bytes'] / 1e3:,.0f}",
            )
        )
    return made


PROSE = """\
# {title}: how many are missed, how often is it mistaken?

Made by `make shipped-spotters` (`benchmarks/shipped_spotters.py`). Keywords: {keywords}. Their
recordings are those of `{data}`, test partition, {words} words; trained and chosen on its train and
valid partitions.
Model: recipe `{recipe}`, {updates} updates, seeds {seeds}, int8-static, ONNX Runtime, heard as a
stream step by step. All seeds start from one model of phones, recipe `{phones}` on the train
partitions of {spoken} (phone error rate {error_rate} % in their test partitions);
`compress/phones/otolite-phones` is that one.
Audio: {sources}. Machine: {machine}, no
GPU. Cells hold mean ± deviation over seeds (each seed).
`spotters/{name}` is seed {best}, which missed fewest words of the valid partition: {kilobytes} kB
with both formats. Licence of the audio: {licence}.

Thresholds come from {calibrated} h of speech without keywords that the training of keywords has not
heard (that of phones has), with {allowed} false alarm allowed in it ({rate:g} an hour), and from no
test recording. Tested on {hours} h of other speech of other speakers, heard by neither.

**Not comparable with published figures**: our excerpts and splits, and a few hours of other speech.
Where a set names no speakers, as this one of the keywords, a voice may be in several partitions.
The aim was at most 3 % missed in quiet and 10 % in babble of 10 dB at 0.5 false alarms an hour.

## Misses, in percent

At the lowest common threshold that keeps a rate of false alarms in quiet *on the test speech*; and
at the bundle's own thresholds, chosen beforehand. Babble is five talkers. Median time from the
word's end (by energy) to its event, at the bundle's own thresholds, in ms; extra events are second
ones of a word, or other keywords heard in one.

| condition | {rate_heads} | own thresholds | ms | extra |
|---| {rate_rules} |---|---|---|
{misses}

![misses over false alarms]({name}.png)

## Word by word

As of one keyword alone: at the threshold that keeps 0.5 false alarms of it an hour on the test
speech; and at the bundles' own thresholds. The interval, of the bundle that ships at its own,
encloses the true ratio with a confidence of 95 %, if words and speakers are like these.

| keyword | condition | words | 0.5 an hour of its own | own thresholds | the one that ships |
|---|---|---|---|---|---|
{words_rows}

## False alarms at the bundles' own thresholds

| seed | on what chose them | on the test speech | an hour | at most (95 %) | bundle, kB |
|---|---|---|---|---|---|
{alarms}
"""
