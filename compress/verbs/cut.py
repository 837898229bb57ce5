"""`compress cut`: one subnet of a supernet becomes an ordinary dense model."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..flags import DryRun, Json
from ..folders import checkpoint_in
from ..printing import show

EXAMPLE = "Example: compress cut runs/lighthubert a_small --out runs/a_small"


def cut(
    supernet: Annotated[
        str,
        typer.Argument(
            help="Run folder or checkpoint of a supernet, or a name: otolite-tiny, which ships "
            "with the package, or a published one, lighthubert-base, lighthubert-small or "
            "lighthubert-stage1 (downloaded once, 381 MB)."
        ),
    ],
    subnet: Annotated[
        str,
        typer.Argument(
            help="largest, smallest, the paper's a_base or a_small, the JSON of a subnet, or a "
            "file of it such as a search's winner.json."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Checkpoint folder to write; an older checkpoint is replaced.")
    ],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Cut a subnet out of a supernet, to fine-tune, convert or export it like any encoder."""
    from .. import CompressError
    from ..cost.macs import macs
    from ..cost.params import params
    from ..cutting import check_cut, cut_out
    from ..keyword_spaces import KeywordSpace
    from ..named_subnets import find_subnet
    from ..published import find_supernet, space_of

    space = space_of(supernet)
    if isinstance(space, KeywordSpace):
        raise CompressError(
            f"{supernet} holds keyword models, whose norms want clips to settle on; let a search "
            "cut one out: compress search, with a budget that it fits"
        )
    chosen = find_subnet(subnet, space)
    rows: dict[str, Any] = {"subnet": json.loads(chosen.to_json())}
    if dry_run:
        check_cut(out, checkpoint_in(Path(supernet)) if Path(supernet).is_dir() else None)
        # Authors count the mask embedding at the supernet's width; the dense model cuts it.
        uncut_mask = space.supernet.embed_dim - chosen.embed_dim
        rows["params"] = params(space, chosen) - uncut_mask
    else:
        rows["params"] = cut_out(checkpoint_in(find_supernet(supernet)), chosen, out)
    rows["gmacs_per_second_of_audio"] = round(macs(space.config(chosen)).total / 1e9, 3)
    rows["checkpoint"] = f"{out} would be written" if dry_run else str(out)
    show(rows, as_json)
