"""README and the how-tos show no command and no flag that the program does not have."""

import re
import shlex
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
PROGRAMS = ("compress ", "otolite ", "python -m runtime ")


def commands(page: Path) -> list[str]:
    """Every line of a page's fenced blocks that calls us, comments and line breaks taken out."""
    if not page.is_file():
        return []
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    plain = [re.sub(r"^(\$|\.venv/bin/)\s*", "", line.strip()) for line in lines]
    return [line for line in plain if line.startswith(PROGRAMS)]


@pytest.fixture(scope="module")
def usage(program):
    """A verb's --help, asked once."""

    @lru_cache
    def ask(module: str, verb: str) -> str:
        answer = program(verb, "--help", module=module)
        assert answer.code == 0, f"{module} has no verb {verb!r}: {answer.err}"
        return answer.out

    return ask


@pytest.mark.skipif(not README.is_file(), reason="there is no README.md yet")
def test_readme_shows_every_step_of_the_way():
    shown = {shlex.split(line, comments=True)[1] for line in commands(README)}
    assert {"pretrain", "distill", "search", "finetune", "export", "listen"} <= shown


@pytest.mark.parametrize("command", [line for page in PAGES for line in commands(page)])
def test_each_command_has_its_verb_and_its_flags(command, usage):
    words = shlex.split(command, comments=True)
    module, words = ("runtime", words[3:]) if words[0] == "python" else ("compress", words[1:])
    if words[0].startswith("-"):
        return
    text = usage(module, words[0])
    for word in words[1:]:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text), f"{flag} in {command}"
