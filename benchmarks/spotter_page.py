"""The page and picture of benchmarks/spotter.py, from its rounds."""

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from steps import processor
from tables import line

from runtime.atomic import replacing_file

Rounds = Sequence[Mapping[str, Mapping[str, Any]]]
AIMS = {
    "speech": 0.0010,
    "quiet": 0.0002,
    "p99_ms": 0.3,
    "keyword": 0.01,
    "above_mb": 5.0,
    "ratio": 4.0,
}


def write(rounds: Rounds, facts: Mapping[str, Any], results: Path) -> str:
    """Write docs/results/spotter.md and spotter.png; returns the page."""
    streams = facts["streams"]
    page = PROSE.format(
        bundle=facts["bundle"],
        keywords=facts["keywords"],
        rounds=len(rounds),
        machine=f"{platform.machine()}, {processor()}",
        engines=", ".join(facts["engines"].values()),
        streams="\n".join(f"- *{name}*: {about}" for name, about in streams.items()),
        time=table(
            ("spotter", *streams, "speech in real time", "p50, ms", "p99, ms"),
            time_rows(rounds, facts),
        ),
        ratios=table(("ours", "peer", *streams), ratio_rows(rounds, facts)),
        words=table(
            ("spotter", "keywords", "1", "all", "each further one"), word_rows(rounds, facts)
        ),
        memory=table(
            (
                "spotter",
                "peak",
                "imported alone",
                "running alone",
                "above it",
                "ready after, s",
                "installed",
            ),
            memory_rows(rounds, facts),
        ),
        aims="\n".join(f"- {text}" for text in aim_lines(rounds, facts)),
    )
    results.mkdir(parents=True, exist_ok=True)
    with replacing_file(results / "spotter.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    picture(rounds, facts, results / "spotter.png")
    return page


def table(head: Sequence[str], rows: Iterator[str]) -> str:
    """With its head."""
    return "\n".join((line(*head), line(*["---"] * len(head)), *rows))


def spotters(facts: Mapping[str, Any]) -> list[str]:
    """Ours first."""
    return [*facts["ours"], *(peer["name"] for peer in facts["peers"])]


def values(rounds: Rounds, key: str, what: str) -> list[float]:
    """One a round."""
    return [float(rows[key][what]) for rows in rounds if what in rows.get(key, {})]


def median(rounds: Rounds, key: str, what: str) -> float:
    """Over rounds."""
    return statistics.median(values(rounds, key, what))


def most(facts: Mapping[str, Any], name: str) -> int:
    """Keywords that the spotter was measured with at most."""
    return next(
        (int(peer["most_keywords"]) for peer in facts["peers"] if peer["name"] == name),
        int(facts["keywords"]),
    )


def time_rows(rounds: Rounds, facts: Mapping[str, Any]) -> Iterator[str]:
    """Processor seconds a second, and per block of 80 ms of the speech."""
    first = next(iter(facts["streams"]))
    for name in spotters(facts):
        keys = [f"{name}/{stream}/1" for stream in facts["streams"]]
        each = [values(rounds, key, "cpu_s_per_s") for key in keys]
        cells = [f"{statistics.median(one):.5f} ({min(one):.5f})" for one in each]
        yield line(
            name,
            *cells,
            f"{median(rounds, f'{name}/{first}, paced/1', 'cpu_s_per_s'):.5f}",
            f"{median(rounds, keys[0], 'p50_ms'):.3f}",
            f"{median(rounds, keys[0], 'p99_ms'):.3f}",
        )


def ratio(rounds: Rounds, ours: str, peer: str, stream: str) -> float:
    """How many times less ours takes, the median over rounds: both ran in the same."""
    pairs = zip(
        values(rounds, f"{peer}/{stream}/1", "cpu_s_per_s"),
        values(rounds, f"{ours}/{stream}/1", "cpu_s_per_s"),
        strict=True,
    )
    return statistics.median(theirs / own for theirs, own in pairs)


def ratio_rows(rounds: Rounds, facts: Mapping[str, Any]) -> Iterator[str]:
    """Each of ours against each peer."""
    for ours in facts["ours"]:
        for peer in facts["peers"]:
            cells = [
                f"{ratio(rounds, ours, peer['name'], stream):.1f}x" for stream in facts["streams"]
            ]
            yield line(ours, peer["name"], *cells)


def further_word(rounds: Rounds, facts: Mapping[str, Any], name: str) -> float | None:
    """Share of one keyword's time that each further one adds, by the least of the rounds, as it is
    less than rounds differ by; None where there is but one keyword."""
    first, count = next(iter(facts["streams"])), most(facts, name)
    if count < 2:
        return None
    one, many = (
        min(values(rounds, f"{name}/{first}/{number}", "cpu_s_per_s")) for number in (1, count)
    )
    return (many / one - 1) / (count - 1)


def word_rows(rounds: Rounds, facts: Mapping[str, Any]) -> Iterator[str]:
    """Of the speech."""
    first = next(iter(facts["streams"]))
    for name in spotters(facts):
        count, added = most(facts, name), further_word(rounds, facts, name)
        one = min(values(rounds, f"{name}/{first}/1", "cpu_s_per_s"))
        if added is None:
            yield line(name, "1", f"{one:.5f}", "", "")
            continue
        many = min(values(rounds, f"{name}/{first}/{count}", "cpu_s_per_s"))
        yield line(name, f"1, {count}", f"{one:.5f}", f"{many:.5f}", f"{100 * added:+.1f} %")


def above_mb(rounds: Rounds, facts: Mapping[str, Any], name: str) -> float:
    """Peak memory over what numpy and the engine take alone."""
    first = next(iter(facts["streams"]))
    whole = median(rounds, f"{name}/{first}/1", "peak_rss_kb")
    return (whole - median(rounds, f"{name}//1", "peak_rss_kb")) / 1024


def memory_rows(rounds: Rounds, facts: Mapping[str, Any]) -> Iterator[str]:
    """MB, seconds, MB on disk."""
    first = next(iter(facts["streams"]))
    for name in spotters(facts):
        sizes = dict(facts["sizes"][name])
        numpy_mb = sizes.pop("numpy")
        key = f"{name}/{first}/1"
        yield line(
            name,
            f"{median(rounds, key, 'peak_rss_kb') / 1024:.1f}",
            f"{median(rounds, f'{name}//1', 'imported_rss_kb') / 1024:.1f}",
            f"{median(rounds, f'{name}//1', 'peak_rss_kb') / 1024:.1f} ({facts['floors'][name]})",
            f"{above_mb(rounds, facts, name):.1f}",
            f"{median(rounds, key, 'ready_s'):.2f}",
            f"{sum(sizes.values()):.1f} + numpy {numpy_mb:.0f}",
        )


def aim_lines(rounds: Rounds, facts: Mapping[str, Any]) -> Iterator[str]:
    """Each aim of the project with what was measured, for each engine."""
    first = next(iter(facts["streams"]))
    micro = facts["peers"][0]["name"]
    for name in facts["ours"]:
        added = further_word(rounds, facts, name)
        told = [
            (f"at most {AIMS['speech']:.4f} of a core in speech",
             median(rounds, f"{name}/{first}/1", "cpu_s_per_s"), AIMS["speech"], "{:.5f}"),
            (f"at most {AIMS['quiet']:.4f} in a quiet room",
             median(rounds, f"{name}/quiet/1", "cpu_s_per_s"), AIMS["quiet"], "{:.5f}"),
            (f"p99 of 80 ms at most {AIMS['p99_ms']} ms",
             median(rounds, f"{name}/{first}/1", "p99_ms"), AIMS["p99_ms"], "{:.3f} ms"),
            (f"within {AIMS['above_mb']:g} MB of numpy and the engine with the graph",
             above_mb(rounds, facts, name), AIMS["above_mb"], "{:.1f} MB"),
        ]  # fmt: skip
        if added is not None:
            wanted = f"each further keyword at most {100 * AIMS['keyword']:+.0f} %"
            told.append((wanted, 100 * added, 100 * AIMS["keyword"], "{:+.1f} %"))
        for text, value, limit, shape in told:
            met = "met" if value <= limit else "**not met**"
            yield f"{name}, {text}: {shape.format(value)}, {met}"
        times = ratio(rounds, name, micro, first)
        met = "met" if times >= AIMS["ratio"] else "**not met**"
        yield f"{name}, {AIMS['ratio']:g}x below {micro} in speech: {times:.1f}x, {met}"


def picture(rounds: Rounds, facts: Mapping[str, Any], path: Path) -> None:
    """Processor time by spotter and stream; each round a dot on its bar."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names, streams = spotters(facts), list(facts["streams"])
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    height = 0.8 / len(streams)
    for offset, stream in enumerate(streams):
        places = [number + offset * height for number in range(len(names))]
        each = [values(rounds, f"{name}/{stream}/1", "cpu_s_per_s") for name in names]
        axes.barh(places, [statistics.median(one) for one in each], height * 0.9, label=stream)
        for place, one in zip(places, each, strict=True):
            axes.plot(one, [place] * len(one), "k.", markersize=3)
    axes.axvline(AIMS["speech"], color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yticks([number + 0.8 / 2 - height / 2 for number in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("processor seconds for a second of audio; dashed: the aim in speech")
    axes.legend()
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


PROSE = """# What does listening cost?

Made by `make spotter` (`benchmarks/spotter.py`). Bundle: {bundle}, {keywords} keywords, 80 ms a
step, the voice-activity gate on as it is by default. Each spotter hears in an environment of its
own that pip made, ours of the device wheel and one engine ({engines}),
all with blocks of 80 ms of int16 on one core and one thread, in turns: {rounds} rounds, each
spotter and stream in a new process. Machine: {machine}, other programs on it.

{streams}

![processor time](spotter.png)

## Processor time

Seconds of a core for a second of audio, one keyword: the median of the rounds (the least of them),
as fast as it goes. In real time, a block each 80 ms, caches are cold when it comes. p50 and p99 are
of the processor's time for a block of the speech. The peers run their models in silence too.

{time}

How many times less ours takes in the same round, the median:

{ratios}

## More keywords

In the speech, the least of the rounds. A further keyword of ours is a row of one model's last
layer, which all of its keywords have anyway, and the time is that of deciding on it; of the peers
it is a model of its own on shared features.

{words}

## Memory, start and size

MB that the process ever held, hearing the speech. Beside it a process that has imported numpy and
the engine, and one whose engine runs the same graph without us: what lies above that is ours. The
peers' engines are a part of them: they lie above numpy alone. Ready: from the start of Python to a
stream that takes samples. Installed: MB of packages without pip.

{memory}

## Aims

{aims}

Whether words are found is another question: `compress evaluate`.
"""
