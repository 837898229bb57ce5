"""`make arm64-check`: what it sets up, what it says where it cannot, and the check itself."""

import os
import shutil
from itertools import pairwise
from pathlib import Path

import arm64_check
import arm64_system as system
import pytest

CACHE = system.default_cache(os.environ)  # the user's, read before the tests get one of their own
PINS = ("numpy==2.4.6", "onnxruntime==1.32.0", "ai-edge-litert")


def cell(engine="onnxruntime 1.32.0", file="model.onnx", gap=0.0, **other):
    """A row of a doctor's report."""
    return {
        "file": file,
        "engine": engine,
        "form": "offline",
        "chunk_samples": "4000",
        "against": "golden",
        "tolerance": 1e-4,
        "largest_difference": gap,
        **other,
    }


def report(*cells, machine="Linux x86_64"):
    return {"machine": machine, "python": "3.11.2", "numpy": "2.4.6", "replayed": list(cells)}


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that the path begins with."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_the_cache_is_where_the_user_keeps_caches():
    assert system.default_cache({"OTOLITE_CACHE": "/o", "XDG_CACHE_HOME": "/x"}) == Path("/o/arm64")
    assert system.default_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/otolite/arm64")
    assert system.default_cache({}) == Path.home() / ".cache" / "otolite" / "arm64"


def test_the_processor_is_a_pi_4s():
    blocks = system.cpuinfo().strip().split("\n\n")
    told = [
        dict(line.replace("\t", "").split(": ") for line in block.split("\n")) for block in blocks
    ]
    assert [block["processor"] for block in told] == ["0", "1", "2", "3"]
    for block in told:
        assert (block["CPU implementer"], block["CPU part"]) == ("0x41", "0xd08")
        assert block["Features"].split() == ["fp", "asimd", "evtstrm", "crc32", "cpuid"]


def test_the_mirror_is_apts_own_for_this_release_of_debian():
    others = "http://a/security bookworm-security main Debian\nhttp://b noble main Ubuntu\n"
    assert system.apt_mirror(others) is None
    assert system.apt_mirror("http://d bookworm contrib Debian\n") is None
    assert system.apt_mirror(others + "http://c/debian bookworm main Debian\n") == "http://c/debian"


def test_engines_have_the_versions_of_the_constraints_file():
    text = "# numpy==1\nnumpy==2.4.6\nonnxruntime==1.32.0\nnumpy-quaternion==3\n"
    assert system.pins(text) == PINS
    known = arm64_check.CONSTRAINTS.read_text(encoding="utf-8")
    assert all("==" in requirement for requirement in system.pins(known))


def test_what_is_missing_is_said_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        system.CheckError, match=r"dpkg not found.*install qemu-user-static proot debootstrap dpkg$"
    ):
        system.check_tools(prepared=False, user_id=0, more=("proot",))
    with pytest.raises(system.CheckError, match=r"^qemu-aarch64-static not found"):
        system.check_tools(prepared=True, user_id=1000)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    system.check_tools(prepared=True, user_id=1000)
    with pytest.raises(system.CheckError, match="wants root"):
        system.check_tools(prepared=False, user_id=1000)


def test_a_system_is_whole_or_not_there_and_packages_are_kept_for_the_next_try(programs, tmp_path):
    cache = tmp_path / "cache"
    program(
        programs,
        "debootstrap",
        f'touch "{cache}/packages/python.deb"; echo "E: no mirror reached" >&2; exit 1',
    )
    with pytest.raises(system.CheckError, match=r"takes a network.*E: no mirror reached"):
        system.make_root(cache, None)
    assert system.prepared_root(cache) is None
    assert [path.name for path in cache.rglob("*")] == ["packages", "python.deb"]

    # the last two words are the folder and the mirror
    program(
        programs,
        "debootstrap",
        'while [ $# -gt 2 ]; do shift; done; test "$2" = http://mirror || exit 3\n'
        'mkdir -p "$1/var/cache/apt/archives"; touch "$1/var/cache/apt/archives/python.deb"',
    )
    program(programs, "dpkg", 'mkdir -p "$3/usr/bin"; touch "$3/usr/bin/python3.11"')
    program(programs, system.EMULATOR, 'test "$1 $2" = "$3/sbin/ldconfig -r" && touch "$3/listed"')
    root = system.make_root(cache, "http://mirror")
    assert root == system.prepared_root(cache)
    assert (root / "proc" / "cpuinfo").read_text() == system.cpuinfo()
    assert sorted(path.name for path in cache.iterdir()) == ["root"]
    assert not list(root.rglob("*.deb"))
    assert (root / "listed").exists()


def test_a_system_of_other_packages_is_set_up_anew(tmp_path, monkeypatch):
    python = tmp_path / "root" / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.touch()
    assert system.prepared_root(tmp_path) is None
    (tmp_path / "root" / "requirements.txt").write_text("\n".join(system.PACKAGES))
    assert system.prepared_root(tmp_path) == tmp_path / "root"
    monkeypatch.setattr(system, "PACKAGES", (*system.PACKAGES, "another"))
    assert system.prepared_root(tmp_path) is None


def test_engines_of_other_versions_are_installed_anew(tmp_path):
    site = tmp_path / "site"
    assert system.prepared(site, PINS) is None
    site.mkdir()
    assert system.prepared(site, PINS) is None
    (site / "requirements.txt").write_text("\n".join(PINS))
    assert system.prepared(site, PINS) == site
    assert system.prepared(site, ("numpy==3", *PINS[1:])) is None


def test_wheels_are_fetched_once_in_the_versions_of_the_constraints_file(tmp_path, monkeypatch):
    told = []

    def run_step(command, what):
        told.append(command)

    monkeypatch.setattr(system, "run_step", run_step)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy==2.4.6\nsounddevice==0.5.6\n")
    for _ in range(2):
        assert system.set_up_supply(tmp_path, constraints) == tmp_path / "wheels"
    ((*_, before_last, last),) = told
    assert (before_last, last) == ("ai-edge-litert", "sounddevice==0.5.6")
    assert "--platform=manylinux_2_28_aarch64" in told[0]
    constraints.write_text("numpy==2.4.7\nsounddevice==0.5.6\n")
    system.set_up_supply(tmp_path, constraints)
    assert len(told) == 2


def test_programs_of_the_system_see_the_pis_processor_and_what_is_shared(programs, tmp_path):
    program(programs, "proot", 'echo "$@"')
    command = [*system.in_system(tmp_path / "root", (tmp_path / "a",)), "/bin/true"]
    words = system.run_step(command, "proot")[0].split()
    assert words[-1] == "/bin/true"
    assert "cortex-a72" in words
    bound = {word for before, word in pairwise(words) if before == "-b"}
    assert {f"{tmp_path}/root/proc/cpuinfo:/proc/cpuinfo", f"{tmp_path}/a"} < bound


def test_both_machines_stand_in_one_row_whatever_their_versions():
    native = report(cell(), cell("litert 2.3.0", "model.tflite", 3e-7))
    emulated = report(
        cell("onnxruntime 1.31.0", gap=2e-4),
        cell("litert 2.3.0", "model.tflite", 2e-7),
        machine="Linux aarch64",
    )
    first, second = arm64_check.compare(native, emulated)
    assert (first.engine, first.native, first.emulated, first.passed) == (
        "onnxruntime",
        0.0,
        2e-4,
        False,
    )
    assert (second.file, second.native, second.emulated) == ("model.tflite", 3e-7, 2e-7)
    assert second.passed
    text = arm64_check.table((first, second), native, emulated)
    assert text.splitlines()[1].endswith("onnxruntime 1.31.0, litert 2.3.0 (emulated cortex-a72)")
    assert text.splitlines()[3].split()[-3:] == ["1.00e-04", "0.00e+00", "2.00e-04"]


def test_a_graph_that_no_engine_runs_on_arm64_is_told():
    native = report(cell(), cell("litert 2.3.0", "model.tflite"))
    rows = arm64_check.compare(native, report(cell()))
    assert arm64_check.not_run(rows, ("model.onnx", "model.tflite")) == ("model.tflite",)
    assert "not run" in arm64_check.table(rows, native, report(cell()))
    assert not arm64_check.compare(report(cell()), report(cell(gap=float("nan"))))[0].passed


def test_an_engine_that_crashes_is_told_with_its_last_words(programs, tmp_path):
    program(programs, system.EMULATOR, 'echo "qemu: uncaught target signal 11" >&2; exit 139')
    with pytest.raises(system.CheckError, match=r"\(exit 139\) on qemu.*: qemu: uncaught target"):
        arm64_check.emulated_doctor(tmp_path, tmp_path, tmp_path, tmp_path)


def test_a_folder_that_is_no_bundle_is_refused_before_anything_is_set_up(tmp_path, capsys):
    assert arm64_check.main([str(tmp_path), "--cache", str(tmp_path / "cache")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "cache").exists()


@pytest.mark.network
def test_a_program_and_those_that_it_starts_run_on_an_emulated_pi(tmp_path):
    root = system.prepared_root(CACHE)
    if root is None or not all(map(shutil.which, (system.EMULATOR, system.PROOT))):
        pytest.skip("no arm64 system is set up; make arm64-demo BUNDLE=… does it, once")
    (tmp_path / "a.sh").write_text("#!/bin/sh\nuname -m\ngrep part /proc/cpuinfo | uniq\n")
    (tmp_path / "a.sh").chmod(0o755)
    command = [*system.in_system(root, (tmp_path,)), "/bin/sh", "-c", str(tmp_path / "a.sh")]
    told, _ = system.run_step(command, "a script", system.ENVIRONMENT)
    assert told == "aarch64\nCPU part\t: 0xd08\n"


@pytest.mark.network
@pytest.mark.parametrize("kind", ["sliding_window-float32", "incremental-int8-dynamic"])
def test_a_bundle_answers_on_an_emulated_pi_as_here(bundle, kind):
    known = arm64_check.CONSTRAINTS.read_text(encoding="utf-8")
    ready = system.prepared_root(CACHE) and system.prepared(CACHE / "site", system.pins(known))
    if not ready or shutil.which(system.EMULATOR) is None:
        pytest.skip("no arm64 system is set up; make arm64-check BUNDLE=… does it, once")
    try:
        found = arm64_check.check(bundle(kind), CACHE)
    except system.CheckError as fault:
        if "building the device wheel" not in str(fault):
            raise
        pytest.skip(f"the wheel's test says more of this: {fault}")
    assert found["passed"], found["rows"]
    assert found["not_run"] == []
    assert found["native"]["machine"] != "Linux aarch64"
    assert found["emulated"]["machine"] == "Linux aarch64"
    assert found["emulated"]["python"].startswith("3.11.")
    ran = [row for row in found["rows"] if row.emulated is not None]
    form = kind.partition("-")[0]
    assert {(row.file, row.form) for row in ran} == {
        (file, way) for file in ("model.onnx", "model.tflite") for way in ("offline", form)
    }
    assert all(row.native is not None for row in ran)
