"""Several processes that train one model, as torchrun starts them; one process where it did not.

torchrun tells each process its place by RANK, WORLD_SIZE and LOCAL_RANK; Lightning joins the group
that is made here.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from .errors import TrainError

T = TypeVar("T")

_INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""

_PATIENCE = timedelta(hours=6)
"""While the first process makes units of a large corpus, the others wait for it."""


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes can wait for each other and add numbers up.

    A fault leaves the block in the process that meets it first; the others end without a word, so
    that it is told once.

    Raises:
        TrainError: another process was ended from outside.
    """
    if world_size() == 1 or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    store, number, size = next(rendezvous("env://"))
    group_store = PrefixStore("group", store)
    distributed.init_process_group(
        backend, store=group_store, rank=number, world_size=size, timeout=_PATIENCE
    )
    if rank() != 0:  # what there is to say, the first process says
        logging.getLogger(__package__).setLevel(logging.WARNING)
    try:
        yield
    except KeyboardInterrupt:
        if _told(store):
            raise SystemExit(_INTERRUPTED) from None
        raise
    except Exception as fault:
        if _told(store):
            raise SystemExit(1) from None
        if isinstance(fault, distributed.DistError) or "gloo" in str(fault):
            raise TrainError(
                "another process was ended from outside, perhaps for want of memory; the same "
                "command with --resume goes on"
            ) from fault
        raise
    # Not after a fault: it waits for the others, who may be waiting themselves.
    distributed.destroy_process_group()


def _told(store: Store) -> bool:
    """Whether a process has told of a fault already; if not, this one is to."""
    try:
        return int(store.add("faults", 1)) > 1
    except RuntimeError:  # torchrun keeps the store, and has ended
        return False


@contextmanager
def first_process_first() -> Iterator[None]:
    """The body runs in the first process, then in the others: they find what it has written.

    Where it fails in the first, the others end without a word.
    """
    if rank() != 0 and not from_first(False):
        raise SystemExit(1)
    try:
        yield
    except Exception:
        if rank() == 0:
            from_first(False)
        raise
    if rank() == 0:
        from_first(True)


def from_first(value: T) -> T:
    """The first process's value, in every process; it is pickled, so keep it small."""
    if not distributed.is_initialized():
        return value
    values: list[Any] = [value]
    distributed.broadcast_object_list(values, src=0)
    first: T = values[0]
    return first


def wait_for_all() -> None:
    """Return when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def summed(tensor: Tensor) -> Tensor:
    """The sum of every process's tensor; gradients flow back to each of them."""
    if not distributed.is_initialized():
        return tensor
    total: Tensor = _Sum.apply(tensor)
    return total


class _Sum(torch.autograd.Function):
    """A sum that every process uses for a loss of its own, and all those losses are added up."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
