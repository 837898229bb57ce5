"""A search's candidates as lines of JSON, for people and plots."""

import json
from dataclasses import asdict
from pathlib import Path

from runtime.atomic import replacing_file

from .study import SearchResult


def write_trials(path: Path, result: SearchResult) -> None:
    """Write one line per candidate: number, subnet, params, score, verdict, feasible.

    Raises:
        OSError: the disk is full or the folder cannot be written; an older file stays.
    """
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for trial in result.trials:
            lines.write(json.dumps({**asdict(trial), "feasible": trial.feasible}) + "\n")
