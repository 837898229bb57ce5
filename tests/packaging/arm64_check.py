"""Does a bundle answer on arm64 as it does here? The device wheel's doctor, under emulation.

`make arm64-check BUNDLE=FOLDER` asks the doctor of the device wheel twice: on this machine, and on
a Debian arm64 system that qemu's user emulation runs as a Raspberry Pi 4 (Cortex-A72), and prints
how far the answers of both lie from the bundle's golden pair. That shows what is computed there,
and nothing of how fast.

System and engines are set up once, below the user's cache; what an earlier call has finished is
kept, so that an interrupted one goes on. It lies beside the tests because it is one, of the wheel
beside foreign engines: too long for CI, and of any bundle.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import arm64_system as system
from arm64_system import CheckError

from runtime import RuntimeFault
from runtime.bundle import read_bundle

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to run the golden pair, on both machines."""

    file: str
    engine: str
    form: str
    chunk_samples: str
    against: str
    tolerance: float
    native: float | None
    """Largest difference of a posterior here; None where the engine is not installed here."""
    emulated: float | None
    """The same on arm64; None where it was not run there."""

    @property
    def passed(self) -> bool:
        """No machine that ran it lies too far off; `not_run` tells of graphs that none did."""
        told = (value for value in (self.native, self.emulated) if value is not None)
        return all(value <= self.tolerance for value in told)


def device_wheel(folder: Path) -> tuple[Path, Path]:
    """Build the device wheel in `folder`, and unpack it there.

    Returns:
        the wheel, and the folder from which its contents can be imported.

    Raises:
        CheckError: it cannot be built.
    """
    made = folder / "dist"
    make = ["make", "--directory", str(ROOT), "device-wheel"]
    print("building the device wheel …", file=sys.stderr, flush=True)
    make += [f"PYTHON={sys.executable}", f"DIST={made}"]
    system.run_step(make, "building the device wheel")
    (path,) = made.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "wheel")
    return path, folder / "wheel"


def native_doctor(bundle: Path, wheel: Path) -> dict[str, Any]:
    """What the wheel's doctor finds on this machine, with the engines that are installed here."""
    return _doctor([sys.executable], bundle, {"PYTHONPATH": str(wheel)})


def emulated_doctor(bundle: Path, wheel: Path, root: Path, site: Path) -> dict[str, Any]:
    """What the same doctor finds on an emulated Pi 4."""
    python = root / "usr" / "bin" / f"python{system.PYTHON}"
    places = {"PYTHONPATH": f"{wheel}{os.pathsep}{site}", "QEMU_LD_PREFIX": str(root)}
    emulator = [system.EMULATOR, "-cpu", system.PROCESSOR, str(python)]
    return _doctor(emulator, bundle, places)


def _doctor(python: Sequence[str], bundle: Path, places: Mapping[str, str]) -> dict[str, Any]:
    """The report of one doctor, whether it passed or not.

    Raises:
        CheckError: it gave none: it refused the bundle, or the engine crashed.
    """
    command = [*python, "-m", "otolite_runtime", "doctor", str(bundle.absolute()), "--json"]
    environment = {**system.clean_environment(), **places}
    # Elsewhere than in our sources, which python -m would find first.
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=elsewhere, env=environment
        )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise CheckError(
            f"the doctor gave no report (exit {done.returncode}) on {Path(python[0]).name}: "
            f"{system.last_words(done.stderr)}"
        ) from None
    return report


def compare(native: Mapping[str, Any], emulated: Mapping[str, Any]) -> tuple[Row, ...]:
    """Both reports' replays side by side, in the order in which arm64 ran them."""
    ours, theirs = _cells(native), _cells(emulated)
    rows = []
    for key in dict.fromkeys((*theirs, *ours)):
        file, engine, form, chunk_samples, against = key
        cells = (theirs.get(key), ours.get(key))
        rows.append(
            Row(
                file=file,
                engine=engine,
                form=form,
                chunk_samples=chunk_samples,
                against=against,
                tolerance=next(cell["tolerance"] for cell in cells if cell is not None),
                native=None if key not in ours else ours[key]["largest_difference"],
                emulated=None if key not in theirs else theirs[key]["largest_difference"],
            )
        )
    return tuple(rows)


def not_run(rows: Iterable[Row], files: Iterable[str]) -> tuple[str, ...]:
    """Graphs of the bundle that no engine ran on arm64."""
    ran = {row.file for row in rows if row.emulated is not None}
    return tuple(file for file in files if file not in ran)


def _cells(report: Mapping[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    """A report's replays by what they are; an engine is the same one in another version."""
    keys = ("file", "engine", "form", "chunk_samples", "against")
    cells = {}
    for cell in report["replayed"]:
        named = {**cell, "engine": cell["engine"].rpartition(" ")[0]}
        cells[tuple(str(named[key]) for key in keys)] = cell
    return cells


def table(rows: Sequence[Row], native: Mapping[str, Any], emulated: Mapping[str, Any]) -> str:
    """What people read."""
    head = ("file", "engine", "form", "chunk samples", "against", "tolerance")
    machines = [str(report["machine"]).rpartition(" ")[2] for report in (native, emulated)]
    lines = [(*head, *machines)]
    for row in rows:
        what = (row.file, row.engine, row.form, row.chunk_samples, row.against)
        values = (row.tolerance, row.native, row.emulated)
        told = ("not run" if value is None else f"{value:.2e}" for value in values)
        lines.append((*what, *told))
    text = [
        f"{report['machine']}: Python {report['python']}, numpy {report['numpy']}, "
        + ", ".join(dict.fromkeys(cell["engine"] for cell in report["replayed"]))
        for report in (native, emulated)
    ]
    text[1] += f" (emulated {system.PROCESSOR})"
    return "\n".join((*text, *aligned(lines)))


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def check(bundle: Path, cache: Path, mirror: str | None = None) -> dict[str, Any]:
    """Set up what is missing, and run the doctor on both machines.

    Args:
        bundle: a folder or its zip.
        cache, mirror: as `arm64_system.set_up` takes them.

    Returns:
        "passed", "not_run" (graphs that ran nowhere on arm64), "rows", and both whole reports.

    Raises:
        CheckError: something is missing, or a doctor gave no report.
        BundleFault: the bundle cannot be read here.
    """
    files = read_bundle(bundle).manifest.model_files
    root = system.set_up(cache.absolute(), mirror)
    site = system.set_up_site(cache.absolute(), CONSTRAINTS)
    with tempfile.TemporaryDirectory() as folder:
        _, wheel = device_wheel(Path(folder))
        native = native_doctor(bundle, wheel)
        emulated = emulated_doctor(bundle, wheel, root, site)
    rows = compare(native, emulated)
    missing = not_run(rows, files)
    return {
        "passed": all(row.passed for row in rows) and not missing,
        "not_run": list(missing),
        "rows": rows,
        "native": native,
        "emulated": emulated,
    }


def options(description: str, target: str) -> argparse.ArgumentParser:
    """What every check of a bundle on arm64 is asked with.

    Args:
        description: of the check.
        target: of make, that runs it.
    """
    parser = argparse.ArgumentParser(
        description=f"{description} The first call sets up about 1 GB.",
        epilog=f"example: make {target} BUNDLE=runs/demo/keywords.bundle",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle's folder or .zip")
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="of the arm64 system (default: user's cache)"
    )
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror (default: apt's own)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Exit 0: both machines agree with the golden pair; 1: not, or it could not be asked."""
    parser = options(
        "Run a bundle's doctor here and on an emulated arm64 Raspberry Pi 4, and print both "
        "differences from its golden pair.",
        "arm64-check",
    )
    parser.add_argument("--json", action="store_true", help="for machines (default: text)")
    asked = parser.parse_args(words)
    try:
        found = check(asked.bundle, asked.cache or system.default_cache(os.environ), asked.mirror)
    except (CheckError, RuntimeFault, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    rows = found["rows"]
    if asked.json:
        print(json.dumps({**found, "rows": [asdict(row) for row in rows]}))
    else:
        print(table(rows, found["native"], found["emulated"]))
        for file in found["not_run"]:
            print(f"{file} was run by no engine on arm64")
        print("result: passed" if found["passed"] else "result: FAILED")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
