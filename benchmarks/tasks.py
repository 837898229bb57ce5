"""Experiments as tasks that need one another; each writes one row, and is done where that is."""

import argparse
import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from runtime.atomic import replacing_file

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Something to run once, by itself in a process."""

    name: str
    """A path without ending: its row is `<runs>/<name>.json`, its folder `<runs>/<name>`."""
    run: Callable[..., Row]
    """Called with the task's folder and `arguments`."""
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of tasks that must be done before."""


def options_of(about: str, *, data: str, runs: str) -> argparse.ArgumentParser:
    """What every such experiment is told on the command line.

    Args:
        about: the script's docstring, of which the first line is shown.
        data: what --data names.
        runs: folder of the tasks below runs/.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--runs", type=Path, default=Path("runs") / runs)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--workers", type=int, default=2, help="tasks at once, one core each")
    parser.add_argument("--seeds", type=int, default=3, help="fewer, to try the way")
    parser.add_argument("--scale", type=float, default=1.0, help="share of all updates, likewise")
    return parser


def run_all(tasks: Sequence[Task], runs: Path, *, workers: int) -> Mapping[str, Row]:
    """Run what is not done, `workers` at once with a core each, in the order of the list.

    Returns:
        every task's row by its name.
    """
    rows = {task.name: row for task in tasks if (row := _row(runs, task.name)) is not None}
    waiting = [task for task in tasks if task.name not in rows]
    running: dict[Future[Row], Task] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_core) as pool:
        while waiting or running:
            for task in [task for task in waiting if set(task.needs) <= rows.keys()]:
                if len(running) < workers:
                    waiting.remove(task)
                    running[pool.submit(_run, task, runs)] = task
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                rows[task.name] = future.result()
                print(f"{len(rows)}/{len(tasks)} {task.name}", flush=True)
    return rows


def _run(task: Task, runs: Path) -> Row:
    row = task.run(runs / task.name, *task.arguments)
    with replacing_file(runs / f"{task.name}.json") as temporary:
        temporary.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def _row(runs: Path, name: str) -> Row | None:
    path = runs / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _one_core() -> None:
    torch.set_num_threads(1)
    threading.Thread(
        target=_end_with, args=(multiprocessing.parent_process(),), daemon=True
    ).start()
    logging.basicConfig(format="%(process)d %(message)s", level=logging.WARNING)


def _end_with(parent: BaseProcess | None) -> None:
    """Stop when the command is killed: its next run would share this one's folder."""
    assert parent is not None, "workers are started by the command"
    parent.join()
    os._exit(1)
