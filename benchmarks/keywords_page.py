"""The page of benchmarks/keywords.py, from its rows."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import line, spread

from runtime.atomic import replacing_file

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """What was run."""

    sizes: Mapping[str, str]
    """Keyword Transformers by their folder, and what they are called."""
    baselines: Sequence[str]
    """Models without pretraining; folders and names."""
    controls: Mapping[str, str]
    """Of the first size: targets, and what they are."""
    shares: Sequence[int]
    """Of labels, in percent."""
    control_share: int
    """With which the controls were fine-tuned, in percent."""
    seeds: Sequence[int]
    pretrain_updates: int
    tune_updates: Sequence[int]
    """One for each share."""
    baseline_updates: Sequence[int]
    """Likewise, of models without pretraining."""


def write_page(rows: Rows, table: Table, results: Path) -> str:
    """Write docs/results/keywords.md; returns it."""
    first = next(iter(table.sizes))
    page = PROSE.format(
        machine=platform.machine(),
        seeds=", ".join(map(str, table.seeds)),
        clips=f"{rows[f'{first}/seed{table.seeds[0]}/tuned-scratch-100']['clips']:,}",
        pretrain=f"{table.pretrain_updates:,}",
        tune=" / ".join(f"{number:,}" for number in table.tune_updates),
        baseline=" / ".join(f"{number:,}" for number in table.baseline_updates),
        head=line("model", "from", *(f"{share} % of labels" for share in table.shares)),
        rule=line(*["---"] * (2 + len(table.shares))),
        shares="\n".join(share_rows(rows, table)),
        gains="\n".join(gain_rows(rows, table)),
        probes="\n".join(probe_rows(rows, table)),
        controls="\n".join(control_rows(rows, table, first)),
        controlled=table.sizes[first],
        control_share=table.control_share,
    )
    results.mkdir(parents=True, exist_ok=True)
    with replacing_file(results / "keywords.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def tested(rows: Rows, table: Table, folder: str, step: str) -> list[float]:
    """Test accuracies in percent, one a seed."""
    return [100 * rows[f"{folder}/seed{seed}/{step}"]["test"] for seed in table.seeds]


def share_rows(rows: Rows, table: Table) -> list[str]:
    made = []
    for folder, name in table.sizes.items():
        for start, told in (("scratch", "scratch"), ("teacher", "data2vec-KWS")):
            cells = [
                spread(tested(rows, table, folder, f"tuned-{start}-{share}"))
                for share in table.shares
            ]
            made.append(line(name, told, *cells))
    for name in table.baselines:
        cells = [
            spread(tested(rows, table, name, f"tuned-scratch-{share}")) for share in table.shares
        ]
        made.append(line(name, "scratch", *cells))
    return made


def gain_rows(rows: Rows, table: Table) -> list[str]:
    """What pretraining adds, seed by seed."""
    made = []
    for folder, name in table.sizes.items():
        cells = []
        for share in table.shares:
            before, after = (
                tested(rows, table, folder, f"tuned-{start}-{share}")
                for start in ("scratch", "teacher")
            )
            gains = [late - early for early, late in zip(before, after, strict=True)]
            cells.append(spread(gains, signed=True))
        made.append(line(name, "difference", *cells))
    return made


def probe_rows(rows: Rows, table: Table) -> list[str]:
    return [
        line(
            name,
            *(
                spread(tested(rows, table, folder, f"probed-{start}"))
                for start in ("random", "teacher")
            ),
        )
        for folder, name in table.sizes.items()
    ]


def control_rows(rows: Rows, table: Table, folder: str) -> list[str]:
    kinds = {"teacher": "the teacher's", **table.controls}
    return [
        line(
            told,
            spread(tested(rows, table, folder, f"tuned-{targets}-{table.control_share}")),
            spread(tested(rows, table, folder, f"probed-{targets}")),
        )
        for targets, told in kinds.items()
    ]


PROSE = """\
# What is pretraining worth to a small Keyword Transformer?

Made by `make keywords` (`benchmarks/keywords.py`). Data: `speech_commands` (Google Speech Commands
excerpts, CC BY 4.0), 12 classes, our speaker-disjoint split. Pretraining hears all clips of the
train partition, further words included, and no label. Labels are a share of the twelve classes'
train clips, the same of every class and of few speakers, 5 % within 20 %. Test: {clips} clips,
seeds {seeds}, cells hold mean ± deviation over seeds (each seed). Machine: {machine}, no GPU.

**Not comparable with published figures**: {pretrain} updates of 32 clips in pretraining and
{tune} in fine-tuning (by share of the labels), where the paper (arXiv:2210.01703) has 26,600
and 4,700 of 512; transformers of 3 layers where it has 12; an excerpt of the data, another split,
12 classes where it has 35. The convolutions had {baseline} updates, which is all that this
machine had time for.

## Accuracy by share of the labels

Percent of the test clips. Both rows of a size are trained alike, from the same sizes.

{head}
{rule}
{shares}

What pretraining adds, in points, each seed against itself:

{head}
{rule}
{gains}

The paper claims 8 to 11 points with 20 % of the labels. Its own figures for supervised models fall
as they grow (96.4, 95.0 and 90.8 % with all labels), perhaps because its norm stands elsewhere than
the Keyword Transformer's; here both rows have a norm before each block.

## Frozen probe

Percent of the test clips by logistic regression on the mean and deviation over time of one frozen
layer, chosen on the valid partition, with all labels.

| model | random weights | data2vec-KWS |
|---|---|---|
{probes}

## Controls

{controlled}, the same pretraining with other targets, then fine-tuned with
{control_share} % of the labels. What a control gains over scratch comes of anything but what the
teacher says of the frames.

| targets | fine-tuned | frozen probe |
|---|---|---|
{controls}
"""
