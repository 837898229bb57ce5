"""The run folder: what was asked, what was measured, and where to go on from.

run/config.json      the whole recipe, seed, versions, commit
run/metrics.jsonl    one line each log interval; what else is watched: watching.py
run/state/last.ckpt  Lightning's state, while the run lasts
run/model/           the checkpoint, once the run is done
"""

import contextlib
import dataclasses
import io
import json
import logging
import platform
import shutil
import signal
import subprocess
import threading
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import distributed
from torch.utils.data import DataLoader

from runtime.atomic import replacing_file

from .config import BatchConfig, DeviceConfig, LogConfig
from .data.source import BatchSource
from .distributed import from_first, rank, world_size
from .errors import TrainError
from .learner import Learner
from .placement import placement
from .watching import watchers

_log = logging.getLogger(__name__)

_VERSIONED = ("torch", "lightning", "lhotse", "numpy", "otolite")


def check(folder: Path, recipe: Any, *, resume: bool, **provenance: Any) -> None:
    """Make sure that a run folder can be claimed, and write nothing; one of several processes does.

    Args:
        folder: may be missing.
        recipe: the dataclass that tells the run everything.
        resume: go on in a folder that was started with the same recipe.
        provenance: what the run was made from, as JSON values.

    Raises:
        TrainError: the folder is in use by another run, or was started with another recipe.
    """
    if rank() != 0:
        return
    path = folder / "config.json"
    asked = {"recipe": _plain(recipe), "from": _plain(provenance)}
    if path.is_file():
        if not resume:
            raise TrainError(
                f"{folder} holds a run already; go on with --resume or choose another --out"
            )
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as fault:
            raise TrainError(f"{path} is damaged ({fault}); choose another --out") from None
        if not isinstance(stored, dict):
            raise TrainError(f"{path} is not the config of a run; choose another --out")
        for part, values in asked.items():
            if stored.get(part) != values:
                difference = _first_difference(stored.get(part), values, part)
                raise TrainError(
                    f"{folder} was started with another recipe ({difference}); "
                    "resume it as it was or choose another --out"
                )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainError(f"{folder} is not empty and holds no run of ours; choose another --out")


def start(folder: Path, recipe: Any, *, resume: bool, **provenance: Any) -> None:
    """Claim a run folder and write its config; arguments and errors as for `check`.

    What can be found wrong with a run's input is found before: a folder with a config is a run.
    """
    check(folder, recipe, resume=resume, **provenance)
    path = folder / "config.json"
    if rank() != 0 or path.is_file():
        return
    asked = {"recipe": _plain(recipe), "from": _plain(provenance)}
    versions = {name: version(name) for name in _VERSIONED} | {"python": platform.python_version()}
    with replacing_file(path) as temporary:
        record = asked | {"versions": versions, "commit": _commit()}
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def fit(
    learner: Learner,
    source: BatchSource,
    batch: BatchConfig,
    log: LogConfig,
    folder: Path,
    *,
    devices: DeviceConfig,
) -> None:
    """Train for the learner's updates, from the folder's last state where there is one.

    Args:
        learner: what trains; its seed orders the batches too.
        source: what it trains on.
        batch: audio of an update.
        log: when to log and save.
        folder: gets metrics and state.
        devices: precision and strategy.

    Raises:
        TrainError: several processes that have not joined.
        KeyboardInterrupt: stopped by hand; the last state is there for --resume.
    """
    if world_size() > 1 and not distributed.is_initialized():
        raise TrainError(
            f"this trains in one process, and torchrun started {world_size()}; start it by itself"
        )
    state = folder / "state"
    last = state / "last.ckpt"
    # Asked of one: another machine may see a shared folder as it was a minute ago.
    resumed, start_step = from_first(_progress(last))
    batches = source.batches(batch, seed=learner.seed, start_step=start_step)
    saving = ModelCheckpoint(
        dirpath=state,
        save_last=True,
        save_top_k=0,
        every_n_train_steps=log.checkpoint_every,
        enable_version_counter=False,
    )
    loggers, callbacks = watchers(folder, start_step)
    learner.mixed = devices.precision != "32"
    where = placement(devices, drops_layers=learner.drops_layers)
    where["plugins"].append(_WholeStates())
    with _quiet(), _interruptible():
        trainer = Trainer(
            max_steps=learner.updates,
            logger=loggers,
            log_every_n_steps=log.log_every,
            callbacks=[saving, _Endable(), *callbacks],
            accumulate_grad_batches=batch.passes(world_size()),
            gradient_clip_val=learner.optimizer_config.clip_norm or None,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **where,
        )
        loader = DataLoader(batches, batch_size=None)
        trainer.fit(learner, loader, ckpt_path=last if resumed else None, weights_only=True)


def finish(folder: Path) -> None:
    """Drop the state to resume from, once the model it led to is saved."""
    if rank() == 0:
        shutil.rmtree(folder / "state", ignore_errors=True)


class _Endable(Callback):
    """SIGTERM ends one of several processes at once: torchrun sends it when another has failed.

    Lightning would first talk it over with the others, who may be gone, and so that it can it asks
    the device in every update whether a signal came.
    """

    def on_train_start(self, trainer: Any, *_args: Any) -> None:
        """Undo what Lightning has arranged just before."""
        if world_size() > 1:
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _WholeStates(TorchCheckpointIO):
    """States appear beside their place and whole; Lightning's are moved there from TMPDIR.

    Where that is another disk, a move is a copy, and a kill or a full disk would leave half of it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a state, or leave the one before."""
        state = io.BytesIO()  # torch.save to a file hides a full disk behind a RuntimeError
        torch.save(checkpoint, state)
        with replacing_file(Path(path)) as temporary:
            temporary.write_bytes(state.getbuffer())


def _progress(checkpoint: Path) -> tuple[bool, int]:
    """Whether there is a state to go on from, and its updates."""
    if rank() != 0 or not checkpoint.is_file():
        return False, 0
    # Our own file, and still read without running what it holds.
    state = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    return True, int(state["global_step"])


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C by leaving the process, deaf to the next one; pass it on."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as fault:
        if isinstance(fault.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main_thread and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's greetings and its advice on loaders we do not use to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            # DDP copies the gradients of convolutions over channels-last tensors; so be it.
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            # Feed-forward outputs are views; nothing changes them in place.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value, default=str))


def _first_difference(stored: Any, asked: Any, place: str) -> str:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in {**stored, **asked}:
            if stored.get(key) != asked.get(key):
                return _first_difference(stored.get(key), asked.get(key), f"{place}.{key}")
    return f"{place}: {stored!r}, now {asked!r}"


def _commit() -> str | None:
    """The commit this package was checked out at; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
