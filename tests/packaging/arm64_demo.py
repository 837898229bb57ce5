"""Does the Raspberry Pi's demo run on arm64, and hear there what it hears here?

`make arm64-demo BUNDLE=FOLDER` does what the demo's README says, on the emulated Raspberry Pi 4 of
`arm64_system`: install.sh makes an environment there and fills it by pip, and what its unit would
start hears a recording, with a command for every word. The same spotter hears it here. Both must
tell the same events, and have run the command for each.

By --wav: without a sound card no more can be said of the microphone than that sounddevice finds
PortAudio there, which is asked. And nothing is said of how fast a Pi is.
"""

import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arm64_system as system
from arm64_check import CONSTRAINTS, ROOT, aligned, device_wheel, options
from arm64_system import CheckError
from said_keywords import write_keywords

from runtime import RuntimeFault
from runtime.bundle import read_bundle
from runtime.stream import start_all
from train import TrainError

DEMO = ROOT / "demos" / "raspberry_pi"
UNIT = "otolite-spotter.service"
COMMAND = """#!/bin/sh
told="$OTOLITE_LABEL,$OTOLITE_START_S,$OTOLITE_END_S,$OTOLITE_SCORE"
echo "$told" >>"$(dirname "$0")/told.csv"
"""
ROUNDING = 1e-4
"""The command is told four digits of a score: two of them may lie this much farther off."""
MACHINE = """
import platform, sounddevice
print(platform.machine(), sounddevice.get_portaudio_version()[1], sep="\\n")
"""

Event = tuple[str, float, float]
"""Label, start and end in s."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An event, on both machines."""

    label: str
    start_s: float
    end_s: float
    native: float | None
    """Its score here; None where it was not heard."""
    emulated: float | None
    """The same on arm64."""
    tolerance: float

    @property
    def passed(self) -> bool:
        """Both heard it, with about the same score."""
        if self.native is None or self.emulated is None:
            return False
        return abs(self.native - self.emulated) <= self.tolerance


def install(
    within: Sequence[str], wheel: Path, bundle: Path, folder: Path, environment: Mapping[str, str]
) -> list[str]:
    """Run install.sh.

    Args:
        within: the words before a command of that machine.
        wheel, bundle: to install.
        folder: gets the environment and the unit.
        environment: of the installer, the whole of it but for what it takes of its own.

    Returns:
        the words by which the unit starts the spotter.

    Raises:
        CheckError: it fails.
    """
    units = folder / "units"
    own = {"PREFIX": str(folder / "otolite"), "UNITS": str(units), "NO_START": "1"}
    command = [*within, str(DEMO / "install.sh"), str(wheel), str(bundle)]
    system.run_step(command, "install.sh", {**environment, **own})
    unit = (units / UNIT).read_text(encoding="utf-8")
    (started,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    return started.removeprefix("ExecStart=").removesuffix(" $OPTIONS").split()


def hear(
    spotter: Sequence[str],
    recording: Path,
    keywords: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
) -> dict[Event, float]:
    """Have a spotter hear a recording, with a command for every keyword.

    Args:
        spotter: the words that start it, its bundle among them.
        recording: a WAV.
        keywords: of the bundle.
        folder: for the command and what it is told; it appears.
        environment: of the spotter, the whole of it.

    Returns:
        the score of each event, as the command was told.

    Raises:
        CheckError: the spotter fails, or an event has not run its command.
    """
    folder.mkdir()
    command, told = folder / "command.sh", folder / "told.csv"
    command.write_text(COMMAND, encoding="utf-8")
    command.chmod(0o755)
    told.touch()
    hooks = (("--on", f"{keyword}={shlex.quote(str(command))}") for keyword in keywords)
    words = [*spotter, "--wav", str(recording), *(word for hook in hooks for word in hook)]
    printed, warnings = system.run_step(words, "the spotter", environment, folder)
    lines = told.read_text(encoding="utf-8").splitlines()
    if len(lines) != len(printed.splitlines()):
        raise CheckError(
            f"the command ran for {len(lines)} of {len(printed.splitlines())} events "
            f"({system.last_words(warnings)}); a recording must leave some seconds before it says "
            "a word again, as no command is started that still runs"
        )
    events = {}
    for line in lines:
        label, start_s, end_s, score = line.rsplit(",", 3)
        events[label, float(start_s), float(end_s)] = float(score)
    return events


def compare(
    native: Mapping[Event, float], emulated: Mapping[Event, float], tolerance: float
) -> tuple[Row, ...]:
    """Both machines' events side by side, in the order of time; one that moved stands twice."""
    events = sorted({*native, *emulated}, key=lambda event: event[1:])
    return tuple(
        Row(
            label=event[0],
            start_s=event[1],
            end_s=event[2],
            native=native.get(event),
            emulated=emulated.get(event),
            tolerance=tolerance,
        )
        for event in events
    )


def table(rows: Sequence[Row], machines: Sequence[str]) -> str:
    """What people read."""
    lines = [("event", "start s", "end s", "tolerance", *machines)]
    for row in rows:
        scores = (
            "not heard" if score is None else f"{score:.4f}" for score in (row.native, row.emulated)
        )
        times = (f"{row.start_s:.3f}", f"{row.end_s:.3f}", f"{row.tolerance:.2e}")
        lines.append((row.label, *times, *scores))
    return "\n".join(aligned(lines))


def check(
    bundle: Path, cache: Path, mirror: str | None = None, wav: Path | None = None
) -> dict[str, Any]:
    """Set up what is missing, install the demo there, and have both machines hear a recording.

    Args:
        bundle: a folder.
        cache, mirror: as `arm64_system.set_up` takes them.
        wav: the recording; or a folder of clips, or None, as `write_keywords` takes them.

    Returns:
        "passed", "rows", "machines" (this one's name and the other's), and "portaudio", which
        sounddevice found there.

    Raises:
        CheckError: something is missing, or the demo fails on a machine.
        BundleFault: the bundle cannot be read here.
        DataError: the recording cannot be made.
    """
    bundle = bundle.absolute()
    if not bundle.is_dir():
        raise CheckError(f"{bundle} is no bundle's folder, which install.sh takes; unpack it first")
    held = read_bundle(bundle)
    file, model = next(start_all(held))  # what the spotter takes here
    keywords = model.manifest.decision.keywords
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if wav is None or wav.is_dir():
            recording = folder / "keywords.wav"
            said = write_keywords(recording, model, wav)
            if unheard := ", ".join(word for word in keywords if word not in said):
                print(f"no voice or clip of {unheard} is heard, so none is tried", file=sys.stderr)
        else:
            recording = wav.absolute()
        wheel, unpacked = device_wheel(folder)
        environment = {**system.clean_environment(), "PYTHONPATH": str(unpacked)}
        here = [sys.executable, str(DEMO / "spotter.py"), str(bundle)]
        native = hear(here, recording, keywords, folder / "here", environment)
        if not native:
            raise CheckError("nothing was heard here, so nothing can be compared; give another WAV")

        root = system.set_up(cache.absolute(), mirror, more=(system.PROOT,))
        supply = system.set_up_supply(cache.absolute(), CONSTRAINTS)
        within = system.in_system(root, (folder, bundle, DEMO, supply, recording))
        environment = {
            **system.ENVIRONMENT,
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "ENGINE": Path(file).suffix[1:],
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(supply),
        }
        print("installing the demo on arm64, which takes minutes …", file=sys.stderr, flush=True)
        spotter = install(within, wheel, bundle, folder, environment)
        asked = [*within, spotter[0], "-c", MACHINE]
        machine, portaudio = system.run_step(asked, "sounddevice", environment)[0].splitlines()
        print("listening there …", file=sys.stderr, flush=True)
        there = [*within, *spotter]
        emulated = hear(there, recording, keywords, folder / "there", environment)
    rows = compare(native, emulated, held.golden(file).tolerance + ROUNDING)
    return {
        "passed": all(row.passed for row in rows),
        "rows": rows,
        "machines": (platform.machine(), machine),
        "portaudio": portaudio,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Exit 0: the demo runs there and hears the same; 1: not, or it could not be asked."""
    parser = options(
        "Install the Raspberry Pi's demo on an emulated arm64 one, and compare the events of a "
        "recording with this machine's.",
        "arm64-demo",
    )
    parser.add_argument(
        "--wav",
        type=Path,
        metavar="PATH",
        help="a recording; or a folder that holds clips of each keyword in a folder of its name "
        "(default: synthetic speech)",
    )
    asked = parser.parse_args(words)
    cache = asked.cache or system.default_cache(os.environ)
    try:
        found = check(asked.bundle, cache, asked.mirror, asked.wav)
    except (CheckError, RuntimeFault, TrainError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    print(table(found["rows"], found["machines"]))
    print(f"sounddevice there finds {found['portaudio']}")
    print("result: passed" if found["passed"] else "result: FAILED")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
