"""`compress blocks`: what a device must time before a search can limit latency there."""

from pathlib import Path
from typing import Annotated

import typer

from ..flags import DryRun, Json
from ..printing import show

EXAMPLE = "Example: compress blocks lighthubert-small --out blocks.zip"


def blocks(
    space: Annotated[str, typer.Argument(help="Search space: compress recipes lists them.")],
    out: Annotated[Path, typer.Option(help="Zip to write; an older one is replaced.")],
    window_ms: Annotated[
        int, typer.Option(min=1, max=60_000, help="Audio that the device will run at once, in ms.")
    ] = 1000,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a space's building blocks, or some of its keyword models, for a device to time.

    Take the zip to the device and run there: python -m runtime bench --blocks blocks.zip --out
    table.json. It needs numpy and onnxruntime alone.
    """
    from ..any_space import find_space
    from ..cost.latency import definition, space_blocks
    from ..cost.macs import SAMPLE_RATE

    asked = find_space(space)
    window_samples = window_ms * SAMPLE_RATE // 1000
    rows = {"space": space, "blocks": len(space_blocks(asked)), "window_ms": window_ms}
    if dry_run:
        show({**rows, "file": f"{out} would be written"}, as_json)
        return
    from export.blocks import write_blocks

    from ..building_blocks import building_blocks

    write_blocks(
        out,
        building_blocks(asked, window_samples),
        space=space,
        definition=definition(asked),
        window_samples=window_samples,
    )
    show({**rows, "size_bytes": out.stat().st_size, "file": str(out)}, as_json)
