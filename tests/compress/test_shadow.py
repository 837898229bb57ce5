"""Our import names are plain words: a foreign file of that name is said, not run."""

import os
import subprocess
import sys

import pytest

from compress import CompressError, shadow
from compress.shadow import check_imports


def start(folder, *words):
    """`python -m compress` in a folder, which then comes first among the import paths."""
    return subprocess.run(
        [sys.executable, "-m", "compress", *words],
        cwd=folder,
        env=os.environ | {"PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["train", "export", "runtime"])
def test_a_foreign_file_in_the_working_directory_is_named_and_not_run(tmp_path, name):
    foreign = tmp_path / f"{name}.py"
    foreign.write_text("print('the foreign file ran')\n")
    done = start(tmp_path, "recipes")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {foreign.resolve()} hides Otolite's package {name!r}; run from another folder, "
        "or take it off PYTHONPATH\n"
    )


def test_a_folder_of_data_with_our_name_is_named_or_passed_over(tmp_path):
    (tmp_path / "train").mkdir()
    done = start(tmp_path, "recipes")
    if done.returncode:
        assert f"{tmp_path.resolve() / 'train'} hides Otolite's package 'train'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    else:
        assert "hubert-tiny" in done.stdout


def test_a_foreign_file_elsewhere_disturbs_nothing(tmp_path):
    (tmp_path / "models.py").write_text("raise SystemExit('the foreign file ran')\n")
    done = start(tmp_path, "recipes")
    assert done.returncode == 0, done.stderr
    assert "hubert-tiny" in done.stdout


def test_our_own_packages_are_recognized():
    check_imports()


def test_a_package_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(shadow, "_NAMES", ("no_such_package",))
    with pytest.raises(CompressError, match="'no_such_package' is missing"):
        check_imports()
