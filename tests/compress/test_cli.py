"""What the command line answers before it needs torch: help, plans, and calls that are wrong."""

import json
import os
import re
import subprocess
import sys
from functools import lru_cache

import pytest

from compress.cli import app, main
from compress.spaces import get_space

VERBS = [command.name or command.callback.__name__ for command in app.registered_commands]
HEAVY = (
    "torch", "lightning", "lhotse", "optuna", "onnx", "onnxruntime", "sklearn", "safetensors",
    "scipy", "transformers", "matplotlib", "numpy",
)  # fmt: skip


def dry_search(target_params: str, space: str) -> list[str]:
    return ["search", "--target-params", target_params, "--space", space, "--dry-run"]


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """Call a command in a process of its own; it says last which heavy packages it imported."""
    code = (
        "import atexit, sys\n"
        f"heavy = {HEAVY}\n"
        "atexit.register(lambda: print('\\nIMPORTED', *[n for n in heavy if n in sys.modules]))\n"
        "from compress.cli import main\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


@lru_cache
def help_of(verb: str) -> str:
    """What --help prints, once torch and its like were found not to be imported for it."""
    done = program(*([verb] if verb else []), "--help")
    assert done.returncode == 0, done.stderr
    text, _, imported = done.stdout.partition("\nIMPORTED")
    assert imported.split() == []
    return text


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a command in this process: exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compress", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_the_verbs_are_those_of_the_readme():
    made, used, apart = VERBS[:5], VERBS[5:9], VERBS[9:]
    assert made == ["pretrain", "distill", "search", "finetune", "export"]
    assert used == ["listen", "recipes", "doctor", "demo"]
    assert set(apart) >= {"import", "convert", "prepare", "report", "show", "prune", "cut"}


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_that_the_verb_can_take_and_imports_nothing_heavy(verb):
    text = help_of(verb)
    (example,) = re.findall(r"Example: (.*)", text, re.S)
    words = example.split()
    assert words[:2] == ["compress", verb]
    for flag in (word for word in words if word.startswith("--")):
        assert re.search(rf"^ +{flag}\b", text, re.M), f"{flag} is no flag of {verb}"


def test_help_of_the_program_lists_every_verb_and_where_to_start():
    text = help_of("")
    assert all(re.search(rf"^  {verb} +\w", text, re.M) for verb in VERBS)
    assert "Start with: compress demo --out runs/demo" in text


@pytest.mark.parametrize(
    ("verb", "flag", "shown"),
    [
        ("search", "--num-trials", "[default: 64; x>=1]"),
        ("search", "--target-params", "such as 30M"),
        ("export", "--threshold", "in (0, 1]. [default: 0.7]"),
        ("export", "--hop-ms", "in ms. [default: 100] [x>=1]"),
        ("export", "--refractory-ms", "in ms. [default: 500; x>=0]"),
        ("listen", "--wav", "4 to 192 kHz"),
        ("demo", "--seed", "[default: 0; x>=0]"),
    ],
)
def test_help_shows_defaults_and_units(verb, flag, shown):
    entry = help_of(verb).split(f"  {flag} ")[1].split("\n  --")[0]
    assert shown in " ".join(entry.split())


@pytest.mark.parametrize("verb", ["pretrain", "distill", "search", "finetune", "prune"])
def test_everything_long_takes_the_same_flags(verb):
    text = help_of(verb)
    for flag in ("--out", "--seed", "--resume", "--dry-run", "--json"):
        assert f"  {flag} " in text


def test_a_subnet_is_shown_without_torch():
    done = program("show", get_space("lighthubert-small").smallest().to_json())
    assert done.returncode == 0, done.stderr
    text, _, imported = done.stdout.partition("\nIMPORTED")
    assert "11,449,088" in text
    assert set(imported.split()) <= {"numpy"}


def test_a_dry_search_counts_exactly_and_without_torch():
    done = program(*dry_search("30M", "lighthubert-small"), "--json")
    assert done.returncode == 0, done.stderr
    text, _, imported = done.stdout.partition("\nIMPORTED")
    assert imported.split() == ["numpy"]
    found = json.loads(text)
    assert found["subnets"] == 951_892_141_473
    assert found["limits"] == {"params": 30_000_000}
    assert found["subnets_within"] == 634_600_506_760
    assert found["subnets_within_each"] == {"params": 634_600_506_760}
    assert found["ratio_within"] == 634_600_506_760 / 951_892_141_473
    assert found["smallest_costs"]["params"] == 11_449_088
    assert found["largest_costs"]["params"] == 44_398_336
    space = get_space("lighthubert-small")
    assert tuple(found["largest"]["ffn_dim"]) == space.largest().ffn_dim
    assert found["smallest"]["depth"] == 10


def test_a_dry_search_is_read_by_people_too(call):
    code, out, _ = call(*dry_search("30M", "lighthubert-small"))
    assert code == 0
    for shown in ("951,892,141,473", "634,600,506,760", "11,449,088", "44,398,336"):
        assert shown in out


def test_a_target_below_the_smallest_subnet_names_it(call):
    code, out, err = call(*dry_search("1M", "lighthubert-small"))
    assert (code, out) == (1, "")
    assert err == (
        "error: no subnet of space 'lighthubert-small' fits 1,000,000 parameters: the least is "
        "11,449,088 parameters. Choose a smaller space (compress recipes) or raise "
        "--target-params.\n"
    )


def test_an_unknown_space_names_the_nearest(call):
    code, out, err = call(*dry_search("1M", "lighthubert-smal"))
    assert (code, out) == (1, "")
    assert err == "error: unknown space 'lighthubert-smal': did you mean 'lighthubert-small'?\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "search --space otolite-tiny --target-params 30X --dry-run",
            "expected a count such as 30M",
        ),
        ("search --space otolite-tiny --dry-run", "--target-params"),
        ("search s --supernet t --target-params 30M", "SUPERNET s and --supernet t are two"),
        ("search s --data d --out o", "a search needs a budget"),
        ("search --target-macs 0 --space otolite-tiny --dry-run", "--target-macs must be positive"),
        ("search --latency-ms 8ms --space otolite-tiny --dry-run", "--latency-ms needs --device"),
        ("search s --space otolite-tiny --target-params 30M --dry-run", "--space goes with"),
        ("search s --target-params 30M --data d --out o --space otolite-tiny", "--space goes with"),
        ("search s --target-params 30M --data d --out o --population 1", "--population"),
        ("search s --target-params 30M --data d --out o --seed -1", "--seed"),
        ("pretrain hubert-tiny --out o", "--data"),
        ("pretrain hubert-tiny --data d --out o --sed 3", "--seed"),
        ("pretrain --data d --out o", "recipe"),
        ("pretrain hubert-tiny --data d --out o --seed many", "--seed"),
        ("finetune keywords-tiny --data d --out o --random-init", "--random-init takes the sizes"),
        ("finetune keywords-tiny --data d --out o --teacher t", "--teacher tells phones"),
        ("export r --out b --threshold 1.5", "must lie in (0, 1], got 1.5"),
        ("export r --out b --hop-ms 0", "--hop-ms"),
        ("listen b --threshold 0", "must lie in (0, 1], got 0"),
        ("listen b --wav w --device 0", "give one"),
        ("serch", "Did you mean 'search'"),
        ("search --no-such-flag", "--no-such-flag"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_what_is_wrong(call, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words.split())
    assert code == 2
    assert out == ""
    assert said in re.sub(r"\s+", " ", err)
    assert "Traceback" not in err
    assert not any(tmp_path.iterdir())


def test_recipes_and_spaces_are_listed_for_people_and_machines(call):
    code, out, _ = call("recipes")
    assert code == 0
    assert re.search(r"^  hubert-tiny +\w", out, re.M)
    assert "951,892,141,473" in out
    listed = json.loads(call("recipes", "--json")[1])
    assert {"hubert-tiny", "lighthubert-tiny", "keywords-tiny"} <= set(listed["recipes"])
    assert listed["spaces"]["lighthubert-small"]["subnets"] == 951_892_141_473


def test_a_recipe_is_printed_as_it_is_written(call):
    code, out, _ = call("recipes", "lighthubert-tiny")
    assert code == 0
    assert 'scheme = "lighthubert"' in out.splitlines()


def test_the_doctor_lists_what_is_installed(call):
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["runtime"]["numpy"] == __import__("numpy").__version__
    assert set(found) >= {"python", "train", "compress", "export", "runtime", "synthesis"}


def test_the_version_is_told(call):
    assert call("--version")[:2] == (0, "otolite 0.1.0\n")


def test_a_dry_demonstration_makes_nothing(call, tmp_path):
    code, out, _ = call("demo", "--out", str(tmp_path / "demo"), "--dry-run")
    assert code == 0
    assert out.count("will be made") == 7
    assert not any(tmp_path.iterdir())


def test_a_package_that_is_not_installed_is_named_with_what_brings_it(call, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "train.pretrain", None)
    words = ["pretrain", "hubert-tiny", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    code, _, err = call(*words)
    assert code == 1
    assert err.startswith("error: train.pretrain is not installed; pip install")
