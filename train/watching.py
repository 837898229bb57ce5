"""What a run shows while it lasts: metrics, curves for TensorBoard, a bar, and its pace.

run/metrics.jsonl   one line each log interval; a resumed run has the lines of an uninterrupted one
run/timing.jsonl    wall-clock time and audio of each interval, which differ from run to run
run/tensorboard/    both, as TensorBoard reads them

Between two intervals nothing is asked of a device, so that none has to wait.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from runtime.atomic import replacing_file

from .data.cuts import SAMPLE_RATE
from .distributed import rank, world_size
from .errors import CollapseError

METRICS, TIMING, TENSORBOARD = "metrics.jsonl", "timing.jsonl", "tensorboard"

_log = logging.getLogger(__name__)


def watchers(folder: Path, start_step: int) -> tuple[list[Logger], list[Callback]]:
    """Loggers and callbacks of a run; only the first process writes.

    Args:
        folder: gets the files.
        start_step: the first update to come; what later ones have left is dropped.
    """
    loggers: list[Logger] = []
    timing = None
    if rank() == 0:
        loggers = [
            JsonlLogger(folder / METRICS, start_step),
            TensorBoardLogger(
                folder,
                name="",
                version=TENSORBOARD,
                default_hp_metric=False,
                purge_step=start_step or None,
            ),
        ]
        timing = JsonLines(folder / TIMING, start_step)
    watch = Watch(timing)
    return loggers, [watch, Progress(watch)]


class JsonLines:
    """One JSON object a line, by update; lines past the resumed update are dropped."""

    def __init__(self, path: Path, start_step: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) < start_step]
            with replacing_file(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def append(self, step: int | None, values: Mapping[str, float]) -> None:
        """Add a line."""
        line = json.dumps({"step": step, **{key: float(value) for key, value in values.items()}})
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


class JsonlLogger(Logger):
    """Metrics as JSON lines."""

    def __init__(self, path: Path, start_step: int) -> None:
        super().__init__()
        self._lines = JsonLines(path, start_step)

    @property
    def name(self) -> str:
        """Lightning asks for it."""
        return "jsonl"

    @property
    def version(self) -> str:
        """Lightning asks for it."""
        return "0"

    def log_hyperparams(self, *_args: Any, **_kwargs: Any) -> None:
        """The run's config.json holds them already."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line; the epoch that Lightning adds is no unit of ours."""
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        self._lines.append(step, values)


class Watch(Callback):
    """Measure what the objective does not: rate, gradients, pace; and ask it for a collapse."""

    def __init__(self, timing: JsonLines | None) -> None:
        """Set up.

        Args:
            timing: gets a line each log interval; None: no file.
        """
        self.metrics: dict[str, float] = {}
        """What was logged last."""
        self.pace = 0.0
        """Seconds of audio per second of the last interval, over all processes."""
        self._timing = timing
        self._gradient_norm: Tensor | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Look at gradients between their scaling by the learner and their clipping.

        No callback is called there, so the learner's own hook is wrapped while it trains.
        """
        clip = pl_module.configure_gradient_clipping

        def measured(*args: Any, **kwargs: Any) -> None:
            if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
                self._gradient_norm = gradient_norm(pl_module)
            clip(*args, **kwargs)

        pl_module.configure_gradient_clipping = measured

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Give the learner its own hook back."""
        del pl_module.configure_gradient_clipping

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._update = trainer.global_step
        self._since, self._num_samples = time.monotonic(), 0

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count audio; at a log interval, log and look for a collapse."""
        self._num_samples += sum(batch.num_samples)
        if trainer.global_step == self._update:
            return  # a pass of an update that is not done
        self._update = trainer.global_step
        if self._update % trainer.log_every_n_steps:
            return
        step = self._update - 1
        rate = pl_module.optimizer_config.learning_rate * pl_module.rate(step)
        pl_module.log("learning_rate", rate, batch_size=1)
        if self._gradient_norm is not None:
            pl_module.log("gradient_norm", self._gradient_norm, batch_size=1)
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._note_pace(trainer)
        try:
            pl_module.objective.check(self._update, self.metrics)
        except CollapseError:
            for logger in trainer.loggers:  # Lightning would have logged after this hook
                logger.log_metrics(self.metrics, step)
            raise

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Note the updates after the last interval."""
        if self._num_samples:
            self._note_pace(trainer)

    def _note_pace(self, trainer: Any) -> None:
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        audio_seconds = self._num_samples * world_size() / SAMPLE_RATE
        self._since, self._num_samples = now, 0
        self.pace = audio_seconds / seconds
        step = self._update - 1
        if self._timing is not None:
            self._timing.append(step, {"seconds": seconds, "audio_seconds": audio_seconds})
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_metrics({"audio_seconds_per_second": self.pace}, step)


class Progress(TQDMProgressBar):
    """A bar over updates on standard error; a log file is spared it and gets a line at times."""

    def __init__(self, watch: Watch) -> None:
        """Set up.

        Args:
            watch: whose numbers stand behind the bar; its hooks run first.
        """
        super().__init__(refresh_rate=1)
        self._watch = watch

    def init_train_tqdm(self) -> Any:
        """The bar: results go to standard output, so it does not."""
        return Tqdm(
            desc="update",
            disable=self.is_disabled or not sys.stderr.isatty(),
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    def on_train_start(self, trainer: Any, *args: Any) -> None:
        """Count updates, not passes; those of an earlier call are done."""
        super().on_train_start(trainer, *args)
        bar = self.train_progress_bar
        bar.reset(trainer.max_steps)
        bar.n = bar.initial = trainer.global_step
        self._first = self._update = trainer.global_step
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Move the bar, or write a line after each fifth of the updates."""
        update, updates = trainer.global_step, trainer.max_steps
        if update == self._update:
            return
        self._update = update
        bar = self.train_progress_bar
        if not bar.disable:
            if update % trainer.log_every_n_steps == 0:
                bar.set_postfix(self.get_metrics(), refresh=False)
            bar.update(update - bar.n)
        elif self.is_enabled and 5 * update // updates > 5 * (update - 1) // updates:
            # Five times a run at most: this look at a device costs nothing.
            loss = float(trainer.callback_metrics["loss"])
            left_s = (time.monotonic() - self._started) / (update - self._first)
            left = _duration(left_s * (updates - update))
            pace = f", {self._watch.pace:.0f} s of audio a second" if self._watch.pace else ""
            _log.info("update %d of %d, loss %.4f%s, %s left", update, updates, loss, pace, left)

    def on_train_epoch_start(self, *_args: Any) -> None:
        """Nothing: an epoch is no unit of ours."""

    def on_train_epoch_end(self, *_args: Any) -> None:
        """Nothing: an epoch is no unit of ours."""

    def get_metrics(self, *_args: Any) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar: what was logged last, so that no device is asked."""
        shown: dict[str, int | str | float | dict[str, float]] = {}
        shown["audio_s/s"] = f"{self._watch.pace:.0f}"
        names = sorted(self._watch.metrics, key=lambda name: name != "loss")
        return shown | {name: f"{self._watch.metrics[name]:.4g}" for name in names}


def gradient_norm(module: nn.Module) -> Tensor:
    """Euclidean norm of all gradients, left on its device; every process must ask.

    Where each process holds a part of every gradient, the parts are added up.
    """
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in gradients]
    norm = torch.nn.utils.get_total_norm(parts)
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        square = norm.square()
        distributed.all_reduce(square)
        norm = square.sqrt()
    return norm


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by the interruption


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
