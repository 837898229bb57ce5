"""An emulated arm64 system and its engines, set up once below the user's cache.

A Debian system is only unpacked, not configured, and runs a single program at a time through qemu's
user emulation as a Raspberry Pi 4's processor. What an earlier call has finished is kept, so that
an interrupted one goes on.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from runtime.atomic import replacing_folder

RELEASE = "bookworm"
"""Debian 12, the system of the Pi's current one; its Python is 3.11."""
PYTHON = "3.11"
PACKAGES = ("python3", "libstdc++6")
ENGINES = ("numpy", "onnxruntime", "ai-edge-litert")
"""What a device may have: numpy, and the engine of every format that bundles hold."""
EMULATOR = "qemu-aarch64-static"
PROCESSOR = "cortex-a72"
_FEATURES = "fp asimd evtstrm crc32 cpuid"
_MANYLINUX = range(17, 37)
"""Versions of glibc that wheels may ask for: from manylinux2014's to bookworm's."""
_NETWORK = ", which takes a network,"
_LEAST_BYTES = 2 << 30
"""System and engines are 0.5 GB; packages and wheels lie beside them while they unpack."""


class CheckError(Exception):
    """Why nothing can be said of the bundle; the message says what to do."""


def default_cache(environment: Mapping[str, str]) -> Path:
    """Where system and engines lie: `arm64` in the cache folder that the rest of Otolite uses."""
    if own := environment.get("OTOLITE_CACHE"):
        return Path(own) / "arm64"
    users = environment.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "otolite" / "arm64"


def cpuinfo(num_processors: int = 4) -> str:
    """A Pi 4's /proc/cpuinfo: the engines read it, and crash on an x86 processor's."""
    lines = (
        "processor\t: {number}",
        "BogoMIPS\t: 108.00",
        f"Features\t: {_FEATURES}",
        "CPU implementer\t: 0x41",
        "CPU architecture: 8",
        "CPU variant\t: 0x0",
        "CPU part\t: 0xd08",
        "CPU revision\t: 3",
    )
    block = "\n".join(lines) + "\n\n"
    return "".join(block.format(number=number) for number in range(num_processors))


def apt_mirror(targets: str) -> str | None:
    """The mirror that apt itself takes this Debian release from; None: apt knows none.

    Args:
        targets: lines of site, release, component and origin, as `apt-get indextargets` tells them.
    """
    for line in targets.splitlines():
        site, *described = line.split()
        if described == [RELEASE, "main", "Debian"]:
            return site
    return None


def pins(constraints: str, names: Iterable[str] = ENGINES) -> tuple[str, ...]:
    """The requirement of each name, with the version of the constraints file where it has one."""
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", constraints, flags=re.MULTILINE))
    return tuple(f"{name}=={versions[name]}" if name in versions else name for name in names)


def check_tools(*, prepared: bool, user_id: int) -> None:
    """Make sure that what must be on this machine is there.

    Args:
        prepared: the system is set up already, and only to be run.
        user_id: the caller's; 0 is root.

    Raises:
        CheckError: a program or a right is missing.
    """
    needed = (EMULATOR,) if prepared else (EMULATOR, "debootstrap", "dpkg")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise CheckError(
            f"{', '.join(missing)} not found; on Debian or Ubuntu: "
            "apt-get install qemu-user-static debootstrap"
        )
    if not prepared and user_id != 0:
        raise CheckError(
            "setting up an arm64 system takes debootstrap, which wants root: run it as root once "
            "with --cache set to a folder of yours (make arm64-check CACHE=FOLDER); whoever can "
            "read that folder can run the check afterwards"
        )


def prepared_root(cache: Path) -> Path | None:
    """The system's folder, once it is whole."""
    root = cache / "root"
    return root if (root / "usr" / "bin" / f"python{PYTHON}").is_file() else None


def prepared_site(cache: Path, requirements: Sequence[str]) -> Path | None:
    """The folder of numpy and engines, where it holds these requirements."""
    site = cache / "site"
    try:
        held = (site / "requirements.txt").read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return site if held == list(requirements) else None


def make_root(cache: Path, mirror: str | None) -> Path:
    """Set up the system: Debian's packages, signatures checked by debootstrap, only unpacked.

    Raises:
        CheckError: debootstrap fails; packages already fetched are kept for the next call.
    """
    packages = cache / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(cache).free
    if room < _LEAST_BYTES:
        raise CheckError(
            f"{cache} has room for {room >> 20} MiB and setting up takes {_LEAST_BYTES >> 20}; "
            "free some, or choose another --cache"
        )
    print("setting up a Debian arm64 system …", file=sys.stderr, flush=True)
    with replacing_folder(cache / "root") as root:
        command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase"]
        command += [f"--include={','.join(PACKAGES)}", f"--cache-dir={packages}", RELEASE]
        run_step(
            [*command, str(root), *([mirror] if mirror else [])],
            f"fetching Debian's packages{_NETWORK}",
        )
        archives = sorted((root / "var" / "cache" / "apt" / "archives").glob("*.deb"))
        # Unpacked is enough to run Python; configuring would run arm64 programs as root.
        for archive in archives:
            run_step(["dpkg", "-x", str(archive), str(root)], f"unpacking {archive.name}")
            archive.unlink()
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(), encoding="ascii")
        shutil.rmtree(packages)
    made = prepared_root(cache)
    if made is None:
        raise CheckError(f"the packages of {RELEASE} hold no python{PYTHON}; choose another mirror")
    return made


def make_site(cache: Path, requirements: Sequence[str], constraints: Path) -> Path:
    """Install the aarch64 wheels of numpy and the engines, beside one another.

    Raises:
        CheckError: pip fails.
    """
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _MANYLINUX]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    pip += ["--no-compile", "--only-binary=:all:", "--implementation=cp"]
    pip += [f"--python-version={PYTHON}", "--platform=manylinux2014_aarch64", *platforms]
    print("installing the engines for arm64 …", file=sys.stderr, flush=True)
    with replacing_folder(cache / "site") as site:
        command = [*pip, f"--target={site}", f"--constraint={constraints}", *requirements]
        run_step(command, f"fetching the engines' aarch64 wheels{_NETWORK}")
        text = "".join(f"{requirement}\n" for requirement in requirements)
        (site / "requirements.txt").write_text(text, encoding="utf-8")
    return cache / "site"


def apt_targets() -> str:
    """What apt fetches lists from; nothing where there is no apt."""
    if shutil.which("apt-get") is None:
        return ""
    form = "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def clean_environment() -> dict[str, str]:
    """Ours without what would bend another Python, loader or make; one thread, as doctor's."""
    strange = ("PYTHON", "LD_", "MAKE", "MFLAGS", "QEMU_", "DIST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run_step(command: Sequence[str], what: str) -> None:
    """Run one of the commands that set things up.

    Args:
        command: its words.
        what: it does, for the message.

    Raises:
        CheckError: it fails; the message has its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    if done.returncode:
        said = last_words(done.stderr + done.stdout)
        raise CheckError(f"{what} failed (exit {done.returncode}): {said}")


def last_words(text: str) -> str:
    """The last words of a program, on one line."""
    return " / ".join(text.strip().splitlines()[-3:])[-600:] or "it said nothing"
