"""An emulated arm64 system and its engines, set up once below the user's cache.

A Debian system is only unpacked, not configured, and its programs run through qemu's user
emulation as a Raspberry Pi 4's processor: a single one, or under proot one with all that it starts.
What an earlier call has finished is kept, so that an interrupted one goes on.
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
PACKAGES = ("python3", "python3-venv", "libstdc++6", "libportaudio2")
"""What the engines and the Pi's demo want of a system."""
ENGINES = ("numpy", "onnxruntime", "ai-edge-litert")
"""What a device may have: numpy, and the engine of every format that bundles hold."""
EMULATOR = "qemu-aarch64-static"
PROCESSOR = "cortex-a72"
PROOT = "proot"
"""Gives a system's programs its root without being root, and each that they start the emulator."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
}
"""Of a program that sees the system alone: nothing of ours is of use there."""
_CONTENTS = "requirements.txt"
"""In every folder set up here: what it was set up with."""
_FEATURES = "fp asimd evtstrm crc32 cpuid"
_MANYLINUX = range(17, 37)
"""Versions of glibc that wheels may ask for: from manylinux2014's to bookworm's."""
_NETWORK = ", which takes a network,"
_LEAST_BYTES = 2 << 30
"""System, engines and wheels are 0.5 GB; packages and wheels lie beside them while they unpack."""


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


def check_tools(*, prepared: bool, user_id: int, more: Iterable[str] = ()) -> None:
    """Make sure that what must be on this machine is there.

    Args:
        prepared: the system is set up already, and only to be run.
        user_id: the caller's; 0 is root.
        more: programs that the caller runs beside.

    Raises:
        CheckError: a program or a right is missing.
    """
    needed = (EMULATOR, *more, *(() if prepared else ("debootstrap", "dpkg")))
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        packages = ("qemu-user-static" if name == EMULATOR else name for name in missing)
        raise CheckError(
            f"{', '.join(missing)} not found; on Debian or Ubuntu: "
            f"apt-get install {' '.join(packages)}"
        )
    if not prepared and user_id != 0:
        raise CheckError(
            "setting up an arm64 system takes debootstrap, which wants root: run it as root once "
            "with --cache set to a folder of yours (make arm64-check CACHE=FOLDER); whoever can "
            "read that folder can run the check afterwards"
        )


def set_up(cache: Path, mirror: str | None, *, more: Iterable[str] = ()) -> Path:
    """The system's folder, set up where an earlier call has not.

    Args:
        cache: where system and engines lie.
        mirror: Debian's, to fetch the system from; None: the one that apt uses.
        more: programs of this machine that the caller runs beside the emulator.

    Raises:
        CheckError: something is missing, or cannot be fetched.
    """
    root = prepared_root(cache)
    check_tools(prepared=root is not None, user_id=os.getuid(), more=more)
    return root or make_root(cache, mirror or apt_mirror(apt_targets()))


def prepared_root(cache: Path) -> Path | None:
    """The system's folder, once it is whole, with the packages that are wanted today."""
    root = prepared(cache / "root", PACKAGES)
    return root if root and (root / "usr" / "bin" / f"python{PYTHON}").is_file() else None


def prepared(folder: Path, requirements: Sequence[str]) -> Path | None:
    """The folder, where it was set up with these requirements."""
    try:
        held = (folder / _CONTENTS).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return folder if held == list(requirements) else None


def _tell_contents(folder: Path, requirements: Sequence[str]) -> None:
    text = "".join(f"{requirement}\n" for requirement in requirements)
    (folder / _CONTENTS).write_text(text, encoding="utf-8")


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
        # Unpacked is enough to run Python; configuring would run arm64 scripts as root.
        for archive in archives:
            run_step(["dpkg", "-x", str(archive), str(root)], f"unpacking {archive.name}")
            archive.unlink()
        (root / "proc").mkdir(exist_ok=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(), encoding="ascii")
        # But for the list of libraries, in which sounddevice looks for PortAudio.
        listing = [EMULATOR, str(root / "sbin" / "ldconfig"), "-r", str(root)]
        run_step(listing, "listing the system's libraries")
        _tell_contents(root, PACKAGES)
        shutil.rmtree(packages)
    made = prepared_root(cache)
    if made is None:
        raise CheckError(f"the packages of {RELEASE} hold no python{PYTHON}; choose another mirror")
    return made


def set_up_site(cache: Path, constraints: Path) -> Path:
    """The folder of numpy and the engines, installed beside one another where they are not yet.

    Raises:
        CheckError: pip fails.
    """
    return _set_up_wheels(
        cache / "site", ["install", "--no-compile", "--target"], ENGINES, constraints
    )


def set_up_supply(cache: Path, constraints: Path) -> Path:
    """The folder of wheels that the demo's installer asks for, and all that they ask for.

    Raises:
        CheckError: pip fails.
    """
    return _set_up_wheels(
        cache / "wheels", ["download", "--dest"], (*ENGINES, "sounddevice"), constraints
    )


def _set_up_wheels(
    folder: Path, verb: Sequence[str], names: Iterable[str], constraints: Path
) -> Path:
    """What pip's `verb` puts into a folder, its last word, of the aarch64 wheels of these names."""
    requirements = pins(constraints.read_text(encoding="utf-8"), names)
    if found := prepared(folder, requirements):
        return found
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _MANYLINUX]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    options += ["--platform=manylinux2014_aarch64", *platforms, f"--constraint={constraints}"]
    print(f"fetching {folder.name} for arm64 …", file=sys.stderr, flush=True)
    with replacing_folder(folder) as made:
        command = [*pip, *verb, str(made), *options, *requirements]
        run_step(command, f"fetching aarch64 wheels{_NETWORK}")
        _tell_contents(made, requirements)
    return folder


def in_system(root: Path, shared: Iterable[Path]) -> list[str]:
    """The words before a command that run it, and all that it starts, in the system.

    Args:
        root: the system's folder.
        shared: absolute paths of this machine that are seen there too.
    """
    emulator, proot = (shutil.which(name) or name for name in (EMULATOR, PROOT))
    seen = ("/dev", "/proc", "/sys", f"{root / 'proc' / 'cpuinfo'}:/proc/cpuinfo", *shared)
    binds = (word for path in seen for word in ("-b", str(path)))
    return [proot, "-q", f"{emulator} -cpu {PROCESSOR}", "-r", str(root), "-w", "/", *binds]


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


def run_step(
    command: Sequence[str],
    what: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[str, str]:
    """Run a command to its end.

    Args:
        command: its words.
        what: it does, for the message.
        environment: its own, the whole of it; None: `clean_environment`.
        folder: it runs in; None: ours.

    Returns:
        what it wrote to stdout and stderr.

    Raises:
        CheckError: it fails; the message has its last words.
    """
    environment = clean_environment() if environment is None else environment
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        said = last_words(done.stderr + done.stdout)
        raise CheckError(f"{what} failed (exit {done.returncode}): {said}")
    return done.stdout, done.stderr


def last_words(text: str) -> str:
    """The last words of a program, on one line."""
    return " / ".join(text.strip().splitlines()[-3:])[-600:] or "it said nothing"
