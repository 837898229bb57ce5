"""The page of benchmarks/pronunciation.py, from its rows."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tables import line, spread

from runtime.atomic import replacing_file

Rows = Mapping[str, Mapping[str, Any]]


class Described(Protocol):
    """What the page says of a model's training."""

    phones: str
    spoken: tuple[str, ...]
    licence: str


def write_page(
    rows: Rows, seeds: Sequence[int], precisions: Sequence[str], made: Described, results: Path
) -> str:
    """Write docs/results/pronunciation.md; returns it."""
    first = rows[f"seed{seeds[0]}/{precisions[0]}"]
    heard = [rows[f"seed{seed}/phones"] for seed in seeds]
    page = PROSE.format(
        machine=platform.machine(),
        seeds=", ".join(map(str, seeds)),
        recipe=made.phones,
        updates=f"{heard[0]['updates']:,}",
        spoken=", ".join(made.spoken),
        licence=made.licence,
        error_rate=spread([100 * row["test"]["phone_error_rate"] for row in heard]),
        phones=f"{heard[0]['test']['phones']:,}",
        sentences=f"{first['levels']['sentence']['scores']:,}",
        speakers=first["levels"]["sentence"]["speakers"],
        scored=f"{first['levels']['phone']['scores']:,}",
        grades="\n".join(grade_rows(rows, seeds, precisions)),
        kilobytes=", ".join(
            f"{rows[f'seed{seeds[0]}/{precision}']['bundle_bytes'] / 1e3:,.0f} kB in {precision}"
            for precision in precisions
        ),
        words=f"{rows['wrong-words']['Otolite']['words']:,}",
        peers="\n".join(peer_rows(rows["wrong-words"])),
    )
    results.mkdir(parents=True, exist_ok=True)
    with replacing_file(results / "pronunciation.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def grade_rows(rows: Rows, seeds: Sequence[int], precisions: Sequence[str]) -> list[str]:
    made = []
    for precision in precisions:
        levels = [rows[f"seed{seed}/{precision}"]["levels"] for seed in seeds]
        for level in ("phone", "word", "sentence"):
            cells = [
                spread([each[level][measure]["value"] for each in levels], digits=3)
                for measure in ("correlation", "squared_error")
            ]
            low, high = (levels[0][level]["correlation"][end] for end in ("low", "high"))
            f1 = "—"
            if level == "phone":
                f1 = spread([each[level]["f1_of_wrong"]["value"] for each in levels], digits=3)
            made.append(line(precision, level, cells[0], f"{low:.2f} to {high:.2f}", cells[1], f1))
    return made


def peer_rows(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [
        line(
            name,
            f"{row['auc']:.3f}",
            f"{row['cpu']:.4f}",
            f"{row['peak_mb']:.0f} MB",
            f"{row['unscored']:.0f}",
        )
        for name, row in found.items()
    ]


PROSE = """\
# How well do small phone models check a pronunciation?

Made by `make pronunciation` (`benchmarks/pronunciation.py`). Data: `speechocean762` (CC BY 4.0),
English read by speakers of Mandarin, half of them children; here {sentences} sentences of the test
half, {speakers} speakers, {scored} phones with experts' scores. Phone models: recipe `{recipe}`,
{updates} updates on {spoken}, train partitions only ({licence}). Seeds {seeds} of the phone model
and the grader; cells hold mean ± deviation over seeds (each seed). Machine: {machine}, no GPU.

Phone error rate on the test partitions, {phones} phones against those that should be said:
{error_rate} %. Bundles: {kilobytes}.

## Grades beside experts'

`compress grade` learned from the train half; a quarter of its speakers told it when to stop and
which grade is wrong. Pearson's correlation, mean square error on the scale of 0 to 2, and F1 of
phones that experts hold for wrong (under 0.5 of 2; few of the {scored} are). A phone that was
never said has no grade, and counts as 0. The interval is of the first seed, 95 %, over speakers.

| precision | level | correlation | interval | squared error | F1 of wrong |
|---|---|---|---|---|---|
{grades}

Published on the whole test half: 0.42 to 0.45 of phones by Kaldi's recipe, 0.61 by GOPT, 0.55 of
words and 0.74 of sentences in total by GOPT; experts agree with one another to 0.61 to 0.72 of
phones. **Not comparable**: these systems hear by a model of 960 hours of LibriSpeech, ours by one
of a few hours; and ours are told on {sentences} of the half's 2,500 sentences.

## Right words against wrong ones

Every sentence once with a word replaced by one that was not read: the area under the curve of the
word's score, {words} right against as many wrong words, the same phones given to both. Ours is
`fit`; pocketsphinx aligns the text by force and holds it against a free loop of phones, and a text
that it cannot align counts as told wrong. Processes take turns in one run; CPU is seconds a second
of audio on one core, memory what a scorer adds to its process at most.

| checker | AUC | CPU | memory | not aligned |
|---|---|---|---|---|
{peers}
"""
