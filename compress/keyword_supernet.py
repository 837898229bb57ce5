"""A supernet of keyword models: the largest one's weights, which hold every other of its space.

A subnet is the body of its sizes in which every tensor is the first part, along each axis, of the
largest model's tensor of the same name; fewer layers are the first ones. It runs in place as a
function of slices, and `materialize` copies the same slices into a model of its own.

Running statistics are what a norm has seen of one subnet, and no part of another's: those that are
stored are the largest model's; `keyword_clips.settle_norms` estimates what another leaves with.

Source: slimmable networks, arXiv:1812.08928 and arXiv:1903.05134; once-for-all, arXiv:1908.09791.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from train.models.bc_resnet import BcResNetConfig
from train.models.checkpoints import load_checkpoint, restore, save_checkpoint
from train.seeding import seeded
from train.tasks.bodies import BODIES
from train.tasks.keywords import KeywordModel

from . import CompressError
from .any_space import find_space
from .keyword_spaces import KeywordSpace, KeywordSubnet

FAMILY = "keyword_supernet"
_BLOCK = re.compile(r"(?<=^body\.blocks\.)\d+")


class KeywordSupernet(nn.Module):
    """The largest model of a space, and every other one in it."""

    def __init__(
        self, space: KeywordSpace, labels: tuple[str, ...], *, window_samples: int | None = None
    ) -> None:
        """Set up with random weights.

        Args:
            space: which subnets there are.
            labels: classes; the supernet's space is counted with as many.
            window_samples: likewise; None: as the space has it.
        """
        super().__init__()
        self.space = replace(
            space,
            num_labels=len(labels),
            window_samples=window_samples or space.window_samples,
        )
        self.model = KeywordModel(BODIES[space.body].build(space.full), labels)

    def forward(self, subnet: KeywordSubnet, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] to logits (batch, labels) by a subnet in place.

        In training mode norms look at the batch alone, and no statistics are kept of it.
        """
        tensors = self.slices(subnet)
        if self.training:
            kept = dict(self.wiring(subnet).named_buffers())
            tensors |= {name: tensors[name].clone() for name in kept}
        logits: Tensor = functional_call(
            self.wiring(subnet), tensors, (waveform,), tie_weights=False, strict=True
        )
        return logits

    def wiring(self, subnet: KeywordSubnet) -> KeywordModel:
        """The subnet's modules without weights, in this module's mode; the same at each call."""
        dense = _skeleton(self.space.body, self.space.config(subnet), self.model.labels)
        if dense.training != self.training:
            dense.train(self.training)
        return dense

    def slices(self, subnet: KeywordSubnet) -> dict[str, Tensor]:
        """Each tensor of the subnet as a part of a stored one; gradients flow back.

        Raises:
            SubnetError: the subnet is not of this space.
        """
        stored = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        config, dense = self.space.config(subnet), self.wiring(subnet)
        wanted = dict(dense.named_parameters()) | dict(dense.named_buffers())
        return {
            name: stored[_source(name, self.space.full, config)][
                tuple(slice(0, size) for size in tensor.shape)
            ]
            for name, tensor in wanted.items()
        }


def materialize(supernet: KeywordSupernet, subnet: KeywordSubnet) -> KeywordModel:
    """Copy a subnet out of a supernet into a model of its own, in the supernet's mode.

    Where it has norms with running statistics, those of the largest model; see `settle_norms`.
    """
    space = supernet.space
    with seeded(0):  # random weights are thrown away
        body = BODIES[space.body].build(space.config(subnet))
        dense = KeywordModel(body, supernet.model.labels)
    slices = supernet.slices(subnet)
    state = {name: slices[name].detach().clone() for name in dense.state_dict()}
    dense.load_state_dict(state, strict=True)
    return dense.train(supernet.training)


def save_keyword_supernet(
    folder: Path, supernet: KeywordSupernet, *, provenance: Mapping[str, Any]
) -> None:
    """Write a supernet's checkpoint; `provenance` says in JSON values what it was made from."""
    config = {
        "family": FAMILY,
        "space": supernet.space.name,
        "labels": list(supernet.model.labels),
        "window_samples": supernet.space.window_samples,
        "provenance": dict(provenance),
    }
    save_checkpoint(folder, config, supernet.state_dict())


def load_keyword_supernet(folder: Path) -> KeywordSupernet:
    """Read a supernet back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
        CompressError: its space is not known here, or not one of keyword models.
    """
    config, state = load_checkpoint(folder, FAMILY, "space", "labels", "window_samples")
    supernet = KeywordSupernet(
        keyword_space(config["space"]),
        tuple(config["labels"]),
        window_samples=config["window_samples"],
    )
    restore(supernet, state, folder)
    return supernet


def keyword_space(name: str) -> KeywordSpace:
    """The space of keyword models of this name.

    Raises:
        CompressError: no such space, or one of encoders.
    """
    space = find_space(name)
    if not isinstance(space, KeywordSpace):
        raise CompressError(
            f"space {name!r} is one of encoders, which are distilled from a teacher; take a space "
            "of keyword models (compress recipes lists them)"
        )
    return space


@lru_cache(maxsize=64)
def _skeleton(body: str, config: Any, labels: tuple[str, ...]) -> KeywordModel:
    """The modules of a dense model; their tensors are handed in at each call."""
    with torch.device("meta"):
        return KeywordModel(BODIES[body].build(config), labels)


def _source(name: str, full: Any, dense: Any) -> str:
    """The stored tensor that a dense one is a part of."""
    if not isinstance(dense, BcResNetConfig):
        return name
    # Its blocks are numbered through all stages; each stage keeps its first ones.
    kept: list[int] = []
    first = 0
    for num_stored, num_kept in zip(full.num_blocks, dense.num_blocks, strict=True):
        kept += range(first, first + num_kept)
        first += num_stored
    return _BLOCK.sub(lambda number: str(kept[int(number[0])]), name)
