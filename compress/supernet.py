"""A supernet: one set of weights that holds every subnet of a space (LightHuBERT, section 3).

A subnet runs in place on slices of the stored tensors, and `materialize` copies the same slices
into a plain dense encoder: both read one slicing plan, so they cannot drift apart.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from train.models.checkpoints import load_checkpoint, restore, save_checkpoint
from train.models.layers import PositionalConv
from train.models.wav2vec2 import EncoderOutput, Wav2Vec2Encoder
from train.models.wav2vec2_config import Wav2Vec2Config

from .gradient_cuts import cut_out
from .slicing import slicing_plan
from .spaces import Space, get_space
from .subnet import Subnet

FAMILY = "supernet"


class Supernet(nn.Module):
    """An elastic encoder with the head that predicts a teacher's targets."""

    def __init__(self, space: Space, target_dim: int) -> None:
        """Set up with random weights.

        Args:
            space: which subnets there are.
            target_dim: width of the teacher's hidden states.
        """
        super().__init__()
        self.space = space
        self.encoder = Wav2Vec2Encoder(space.supernet)
        self.head = nn.Linear(space.supernet.embed_dim, target_dim, bias=False)

    def forward(
        self,
        subnet: Subnet,
        waveform: Tensor,
        lengths: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode with a subnet in place; arguments and result as for the dense encoder."""
        slices = self.slices(subnet)
        dense = self.wiring(subnet, slices)
        output: EncoderOutput = functional_call(
            dense, slices, (waveform, lengths, frame_mask), tie_weights=False, strict=True
        )
        return output

    def wiring(self, subnet: Subnet, slices: Mapping[str, Tensor]) -> Wav2Vec2Encoder:
        """A dense encoder without weights that computes with `slices`, until the next call.

        Its mode and its draws of layers are this module's.
        """
        dense = _fitted(_skeleton(self.space.supernet, subnet.depth), slices)
        if dense.training != self.training:
            dense.train(self.training)
        dense.layer_draws = self.encoder.layer_draws
        return dense

    def predict(self, hidden: Tensor) -> Tensor:
        """The teacher's targets as a subnet sees them: (batch, frames, target_dim).

        Args:
            hidden: (batch, frames, embed_dim), the subnet's last hidden state.
        """
        return hidden @ self.head.weight[:, : hidden.shape[-1]].T

    def slices(self, subnet: Subnet) -> dict[str, Tensor]:
        """Each tensor of the subnet, cut out of the stored ones; gradients flow back."""
        stored: dict[str, Tensor] = dict(self.encoder.named_parameters())
        # Weight norm is evaluated on the full tensor, and its product is what gets cut.
        positions = self.encoder.pos_conv
        assert isinstance(positions, PositionalConv), "spaces are cut from one convolution"
        stored["pos_conv.conv.weight"] = positions.conv.weight
        return {
            name: cut_out(cut, stored[cut.source])
            for name, cut in slicing_plan(self.space, subnet).items()
        }


def materialize(supernet: Supernet, subnet: Subnet) -> Wav2Vec2Encoder:
    """Copy a subnet out of a supernet into a plain dense encoder."""
    with torch.no_grad():
        cut = {
            name: tensor.contiguous().clone() for name, tensor in supernet.slices(subnet).items()
        }
    with torch.device("meta"):  # random weights would only be thrown away
        dense = Wav2Vec2Encoder(supernet.space.config(subnet))
    dense.load_state_dict(cut, strict=True, assign=True)
    return dense.train(supernet.training)


def save_supernet(folder: Path, supernet: Supernet, *, provenance: Mapping[str, Any]) -> None:
    """Write a supernet's checkpoint; `provenance` says in JSON values what it was made from.

    One that was distilled here has the digest of its `teacher`; an imported one has none.
    """
    config = {
        "family": FAMILY,
        "space": supernet.space.name,
        "target_dim": supernet.head.out_features,
        "provenance": dict(provenance),
    }
    save_checkpoint(folder, config, supernet.state_dict())


def load_supernet(folder: Path) -> Supernet:
    """Read a supernet back, every tensor accounted for.

    Raises:
        TrainError: there is none, it is damaged, or of another family.
    """
    config, state = load_checkpoint(folder, FAMILY, "space", "target_dim")
    supernet = Supernet(get_space(config["space"]), config["target_dim"])
    restore(supernet, state, folder)
    return supernet


@lru_cache(maxsize=32)
def _skeleton(full: Wav2Vec2Config, depth: int) -> Wav2Vec2Encoder:
    """The dense encoder's wiring without weights: they are handed in at each call.

    One for each depth, of whatever widths: to build it takes as long as a step of a tiny model.
    """
    config = replace(
        full,
        num_heads=full.num_heads[:depth],
        ffn_dim=full.ffn_dim[:depth],
        pos_conv_weight_norm=False,
    )
    with torch.device("meta"):
        return Wav2Vec2Encoder(config)


def _fitted(wiring: Wav2Vec2Encoder, slices: Mapping[str, Tensor]) -> Wav2Vec2Encoder:
    """Bring the norms to the widths of a subnet; all else reads widths from its weights."""
    for name, module in wiring.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.normalized_shape = tuple(slices[f"{name}.weight"].shape)
        elif isinstance(module, nn.GroupNorm):  # the extractor's, a group for each channel
            module.num_groups = module.num_channels = len(slices[f"{name}.weight"])
    return wiring
