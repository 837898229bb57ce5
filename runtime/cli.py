"""The device's command line: listen, doctor and bench, with nothing but numpy and one engine."""

import argparse
import dataclasses
import json
import logging
import os
import signal
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .bench import ROUNDS, measure_blocks, write_table
from .blocks import read_blocks
from .doctor import Report, check
from .faults import BundleFault, RuntimeFault, one_line
from .keyword import Event
from .listen import listen, wav_blocks
from .manifest import Decision
from .phrases.asked import Keywords, listening_for, read_keywords
from .stream import load
from .verified import table_lines

_PROGRAM = f"python -m {__package__}"
_MAX_MESSAGE = 2000
_MOST_NAMED = 20
_INTERRUPTED = 128 + signal.SIGINT
_UNREST = 1.5
"""p90 over median, of the usual block, above which a table is not to be trusted; 1.05 to 1.2 is
what an idle machine shows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 the work failed, 2 the call was wrong (by argparse's exit)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="warning: %(message)s", level=logging.WARNING)
    # A label of another script must not stop a terminal that cannot show it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if options.command == "doctor":
            return doctor_command(options.bundle, as_json=options.json, threads=options.threads)
        if options.command == "bench":
            return bench_command(
                options.blocks,
                options.out,
                threads=options.threads,
                rounds=options.rounds,
                as_json=options.json,
            )
        return listen_command(
            options.bundle,
            wav=options.wav,
            device=options.device,
            keywords=options.keyword and read_keywords(options.keyword),
            threshold=options.threshold,
            gate=options.gate,
            as_json=options.json,
            threads=options.threads,
        )
    except RuntimeFault as fault:
        print(f"error: {one_line(fault, _MAX_MESSAGE)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED


def listen_command(
    bundle: str,
    *,
    wav: str | None = None,
    device: int | str | None = None,
    keywords: Keywords | None = None,
    threshold: float | None = None,
    gate: bool = True,
    as_json: bool = False,
    threads: int = 1,
) -> int:
    """Print a recording's or the microphone's events; returns the exit code.

    Ctrl-C is how listening to a microphone ends, so it is a success there.

    Args:
        bundle: a bundle's folder or .zip.
        wav: a recording; None: the microphone.
        device: the microphone's number or name; None: the system's default.
        keywords: of a phone model, in place of the bundle's own, as `listen` takes them.
        threshold: of every keyword in place of the manifest's, in (0, 1].
        gate: leave the model out of stretches without speech.
        as_json: one JSON object a line.
        threads: processor threads of the engine.

    Raises:
        RuntimeFault: the bundle, the recording or the microphone cannot be used.
    """
    model = load(bundle, threads=threads)
    if keywords is not None:
        model = listening_for(model, keywords)
    decision = model.manifest.keyword_decision
    blocks = None if wav is None else wav_blocks(wav, model.sample_rate)
    events = listen(model, blocks, threshold=threshold, gate=gate, device=device)
    print(
        f"{model.manifest.name}: listening to {wav or 'the microphone (Ctrl-C ends)'} for "
        f"{_few(decision.keywords)} at {_thresholds(decision, threshold)}",
        file=sys.stderr,
    )
    width = max(len(word) for word in decision.keywords)
    try:
        num_events = print_events(events, as_json=as_json, label_width=width)
    except KeyboardInterrupt:
        if wav is not None:
            raise
        print("stopped", file=sys.stderr)
        return 0
    print(f"{num_events} {'event' if num_events == 1 else 'events'}", file=sys.stderr)
    return 0


def _few(keywords: Sequence[str]) -> str:
    more = len(keywords) - _MOST_NAMED
    return ", ".join(keywords[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _thresholds(decision: Decision, threshold: float | None) -> str:
    values = [threshold or decision.threshold_of(word) for word in decision.keywords]
    least, most = min(values), max(values)
    return f"threshold {least:g}" if least == most else f"thresholds {least:g} to {most:g}"


def print_events(events: Iterable[Event], *, as_json: bool = False, label_width: int = 0) -> int:
    """Print each event on stdout at once, as `  1.20 -   2.20 s  yes   0.97` or as a line of JSON.

    The two times are the stretch that holds the word, which is as long as the model looks back.
    A reader that goes away (`| head -1`) has seen enough: printing ends without an error.

    Args:
        events: such as `listen` gives.
        as_json: objects with label, start_s, end_s and score.
        label_width: characters to pad labels to, so that scores stand in a column.

    Returns:
        How many were printed.
    """
    num_events = 0
    for event in events:
        if as_json:
            line = json.dumps(dataclasses.asdict(event))
        else:
            stretch = f"{event.start_s:6.2f} - {event.end_s:6.2f} s"
            line = f"{stretch}  {event.label:<{label_width}}  {event.score:.2f}"
        try:
            print(line, flush=True)
        except BrokenPipeError:
            _silence_stdout()
            break
        num_events += 1
    return num_events


def doctor_command(bundle: str, *, as_json: bool = False, threads: int = 1) -> int:
    """Print how the bundle does on this machine; returns 0 where it passes and 1 where not.

    Raises:
        BundleFault: the bundle is absent or damaged, or its engine is not installed.
    """
    report = check(bundle, threads=threads)
    print(json.dumps(report.to_dict(), indent=2) if as_json else _table(report), flush=True)
    for cell in report.failed[:1]:
        what = "it did at export" if cell.against == "golden" else "it does without a stream"
        print(
            f"error: the model answers {cell.largest_difference:.3g} off what {what}, over the "
            f"tolerance {cell.tolerance:.3g} ({cell.place}). Update {cell.engine}, or export "
            "again.",
            file=sys.stderr,
        )
    return 0 if report.passed else 1


def bench_command(
    blocks: str, out: str, *, threads: int = 1, rounds: int = ROUNDS, as_json: bool = False
) -> int:
    """Time building blocks here and write the table that a search in the lab reads; returns 0.

    Args:
        blocks: the zip that `compress blocks` wrote.
        out: the table's file; an older one is replaced.
        threads: processor threads of the engine, as the bundle will be run with.
        rounds: runs of each block.
        as_json: print JSON.

    Raises:
        RuntimeFault: the zip is absent or damaged, the engine fails, or `out` cannot be written.
    """
    asked = read_blocks(blocks)
    counts = f"{len(asked.contents.blocks)} blocks of space {asked.contents.space}"
    print(f"timing {counts}, {rounds} rounds, threads {threads}", file=sys.stderr)
    live = sys.stderr.isatty()

    def tell(done: int) -> None:
        if live:
            print(f"\rround {done} of {rounds}", end="", file=sys.stderr, flush=True)

    table = measure_blocks(asked, threads=threads, rounds=rounds, tell=tell)
    if live:
        print(file=sys.stderr)
    write_table(table, Path(out))
    unrest = statistics.median(
        time["p90_ns"] / time["median_ns"] for time in table["blocks"].values()
    )
    if unrest > _UNREST:
        print(
            f"warning: one run in ten takes {unrest:.1f} times as long as usual or more: the "
            "machine was busy or its clock changed, and longer blocks come out too long. Leave it "
            "alone and measure again.",
            file=sys.stderr,
        )
    times_ns = [time["median_ns"] for time in table["blocks"].values()]
    rows = {
        "table": out,
        "blocks": len(times_ns),
        "machine": f"{table['machine']}, {table['processor']}",
        "engine": f"{table['engine']}, threads {threads}",
        "overhead_us": round(table["overhead_ns"] / 1e3, 1),
        "quickest_us": round(min(times_ns) / 1e3, 1),
        "slowest_us": round(max(times_ns) / 1e3, 1),
    }
    lines = (f"{name.replace('_', ' '):<12} {value}" for name, value in rows.items())
    print(json.dumps(rows) if as_json else "\n".join(lines), flush=True)
    return 0


def _silence_stdout() -> None:
    """Python flushes stdout once more at its end, and would complain of the broken pipe there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _table(report: Report) -> str:
    memory = "not told by this platform"
    if report.peak_memory_bytes is not None:
        memory = f"{report.peak_memory_bytes / 2**20:.1f} MiB at most, Python and numpy included"
    rows = (
        ("bundle", f"{report.name}, schema {report.schema_version}, every sha256 right"),
        ("machine", f"{report.machine}, Python {report.python}, numpy {report.numpy}"),
        ("engine", f"{report.engine}, threads {report.threads}"),
        ("golden", f"largest error {report.max_error:.2e}, tolerance {report.tolerance:.2e}"),
        ("load", f"{report.load_ms:.1f} ms"),
        (
            "answer",
            f"{report.step_ms:.2f} ms (median), {report.step_p90_ms:.2f} ms (p90), one every "
            f"{report.hop_ms:g} ms",
        ),
        ("stream", f"{report.form}, keeps {report.stream_bytes / 2**10:.1f} KiB"),
        (
            "real time",
            f"{report.real_time_factor:.4f} s of compute for a second of audio (median), "
            f"{report.real_time_factor_p90:.4f} s (p90)",
        ),
        ("memory", memory),
        ("result", "passed" if report.passed else "FAILED"),
    )
    lines = [f"{name:<10} {value}" for name, value in rows]
    lines += ["", "the golden pair here:", *table_lines(report.replayed), ""]
    if not report.verified:
        return "\n".join([*lines, "the bundle brings no table of its export that is readable here"])
    return "\n".join([*lines, "as measured at export:", *table_lines(report.verified)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Run a speech bundle on this device.",
        epilog=f"example: {_PROGRAM} listen keywords.bundle --wav kitchen.wav",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listening = commands.add_parser(
        "listen",
        help="print keywords as they are heard",
        description="Print keywords with the second they were heard at and their score (0-1). A "
        "microphone that is unplugged is opened again when it is back; seconds then count from 0.",
        epilog=f"example: {_PROGRAM} listen keywords.bundle --wav kitchen.wav --threshold 0.8; of "
        f"typed keywords: {_PROGRAM} listen phones.bundle --keyword 'turn on=T ER N AA N'",
    )
    source = listening.add_mutually_exclusive_group()
    source.add_argument(
        "--wav", metavar="FILE", help="a recording, 4-192 kHz, any channels (default: microphone)"
    )
    source.add_argument(
        "--device",
        type=_device,
        metavar="NAME",
        help="microphone's number or part of its name (default: the system's)",
    )
    listening.add_argument(
        "--keyword",
        action="append",
        type=_keyword,
        metavar="TEXT=PHONES",
        help="with a bundle of phones: listen for this, in phones of ARPAbet without stress; "
        "repeatable, and the same text again is another way to say it (default: the bundle's)",
    )
    listening.add_argument(
        "--threshold",
        type=_threshold,
        metavar="P",
        help="least smoothed posterior of any keyword's event, in (0, 1] (default: the bundle's)",
    )
    listening.add_argument(
        "--no-gate",
        dest="gate",
        action="store_false",
        help="run the model in silence too (default: speech and what may be it)",
    )
    examining = commands.add_parser(
        "doctor",
        help="check a bundle on this machine",
        description="Verify digests, replay the stored example offline and as a stream in every "
        "graph on every engine installed, time one answer (ms), tell peak memory (MiB), and show "
        "what the export measured. Exit 1 where an answer lies outside its tolerance.",
        epilog=f"example: {_PROGRAM} doctor keywords.bundle --threads 2",
    )
    timing = commands.add_parser(
        "bench",
        help="time a search space's building blocks on this machine",
        description="Time each block of a zip made by `compress blocks` and write the table that "
        "`compress search --device` reads. Leave the machine alone meanwhile.",
        epilog=f"example: {_PROGRAM} bench --blocks blocks.zip --out table.json",
    )
    timing.add_argument(
        "--blocks", required=True, metavar="FILE", help="the zip of building blocks"
    )
    timing.add_argument(
        "--out", required=True, metavar="FILE", help="table to write; an older one is replaced"
    )
    timing.add_argument(
        "--rounds",
        type=_rounds,
        default=ROUNDS,
        metavar="N",
        help=f"runs of each block (default: {ROUNDS})",
    )
    for command in (listening, examining):
        command.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder or .zip")
    for command in (listening, examining, timing):
        command.add_argument("--json", action="store_true", help="for machines (default: text)")
        command.add_argument(
            "--threads",
            type=_threads,
            default=1,
            metavar="N",
            help="processor threads of the engine (default: 1)",
        )
    return parser


def _keyword(text: str) -> str:
    try:
        read_keywords([text])
    except BundleFault as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None
    return text


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"must lie in (0, 1], got {text!r}")
    return value


def _threads(text: str) -> int:
    return _integer(text, 1024)


def _rounds(text: str) -> int:
    return _integer(text, 100_000)


def _integer(text: str, most: int) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be an integer in [1, {most}], got {text!r}")
    return int(text)
