"""Several processes that train one model, as torchrun starts them; one process where it did not.

torchrun tells each process its place by RANK, WORLD_SIZE and LOCAL_RANK; Lightning joins the group
that is made here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.distributed.nn import functional as collective

_PATIENCE = timedelta(hours=6)
"""While the first process makes units of a large corpus, the others wait for it."""


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes can wait for each other and add numbers up."""
    if world_size() == 1 or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_process_first() -> Iterator[None]:
    """The body runs in the first process, then in the others: they find what it has written."""
    if rank() != 0:
        wait_for_all()
    yield
    if rank() == 0:
        wait_for_all()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def summed(tensor: Tensor) -> Tensor:
    """The sum of every process's tensor; gradients flow back to each of them."""
    if not distributed.is_initialized():
        return tensor
    total: Tensor = collective.all_reduce(tensor)
    return total
