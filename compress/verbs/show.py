"""`compress show`: a subnet's sizes and costs, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..flags import Json
from ..printing import show

if TYPE_CHECKING:
    from ..any_space import AnySubnet

EXAMPLE = "Example: compress show runs/search"

_FLOAT32_BYTES = 4


def show_subnet(
    subnet: Annotated[
        str,
        typer.Argument(
            help="Run folder of compress search, a subnet's JSON file, or the JSON itself."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Tell a subnet's depth, parameters, MACs and float32 size, and what each layer takes."""
    from ..keyword_spaces import KeywordSubnet
    from ..parts import parts_of

    chosen = _read(subnet)
    parts = parts_of(chosen)
    params, macs = (sum(getattr(part, cost) for part in parts) for cost in ("params", "macs"))
    rows = [
        {
            "name": part.name,
            "sizes": part.sizes,
            "params": part.params,
            "params_ratio": round(part.params / params, 4),
            "macs": part.macs,
            "macs_ratio": round(part.macs / macs, 4),
        }
        for part in parts
    ]
    sizes: dict[str, Any] = (
        dict(chosen.sizes)
        if isinstance(chosen, KeywordSubnet)
        else {"depth": chosen.depth, "embed_dim": chosen.embed_dim}
    )
    values: dict[str, Any] = {
        "space": chosen.space,
        **sizes,
        "params": params,
        "macs_per_second_of_audio": macs,
        "float32_bytes": _FLOAT32_BYTES * params,
        "layers": rows,
    }
    show(values, as_json)


def _read(words: str) -> "AnySubnet":
    """A subnet from a run folder, a file, or JSON as it is typed.

    Raises:
        CompressError: none of these, or the JSON is no subnet.
    """
    from .. import CompressError
    from ..any_space import read_subnet

    if words.lstrip().startswith("{"):
        return read_subnet(words)
    path = Path(words)
    if path.is_dir():
        path = path / "winner.json"
        if not path.is_file():
            raise CompressError(
                f"{words} holds no winner.json, so no search has ended there; "
                "finish it (compress search … --resume) or give a subnet's JSON file"
            )
    if not path.is_file():
        raise CompressError(
            f"{words} is neither a search's run folder, nor a JSON file, nor JSON such as "
            '\'{"space": "otolite-tiny", "embed_dim": 64, …}\''
        )
    return read_subnet(path.read_text(encoding="utf-8", errors="replace"))
