"""One subnet of a supernet as a dense checkpoint of its own."""

import json
from pathlib import Path
from typing import Any

from train.models.checkpoints import check_place, digest, load_config
from train.models.wav2vec2 import save_encoder

from . import CompressError
from .subnet import Subnet
from .supernet import FAMILY, load_supernet, materialize


def check_cut(out: Path, supernet: Path | None) -> None:
    """Make sure that `out` may become a checkpoint cut from `supernet` (None: not here yet).

    Raises:
        TrainError: `out` holds something else than a checkpoint.
        CompressError: the supernet lies in `out` and would be lost.
    """
    check_place(out)
    if supernet is not None and out.resolve() in (supernet.resolve(), *supernet.resolve().parents):
        raise CompressError(f"{supernet} lies in {out}, which would be replaced; choose another")


def cut_out(supernet: Path, subnet: Subnet, out: Path) -> int:
    """Materialize a subnet and write it as an ordinary encoder.

    Args:
        supernet: its checkpoint folder.
        subnet: of the supernet's space.
        out: becomes the checkpoint; an older checkpoint is replaced.

    Returns:
        parameters of the dense encoder, its narrower mask embedding included.

    Raises:
        TrainError: no supernet, a damaged one, or `out` holds something else.
        SubnetError: the subnet is not of the supernet's space.
        OSError: `out` cannot be written.
    """
    check_cut(out, supernet)
    dense = materialize(load_supernet(supernet), subnet)
    provenance: dict[str, Any] = {
        "subnet": json.loads(subnet.to_json()),
        "supernet": digest(supernet),
        "supernet_from": load_config(supernet, FAMILY)["provenance"],
    }
    save_encoder(out, dense.config, dense.state_dict(), provenance=provenance)
    return sum(parameter.numel() for parameter in dense.parameters())
