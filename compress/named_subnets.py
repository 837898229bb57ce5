"""Subnets by a word, by JSON text, or by the file that holds it."""

from pathlib import Path

from train.nearest import nearest

from .spaces import Space
from .subnet import Subnet, SubnetError

NAMED = {
    "a_base": Subnet(
        space="lighthubert-base", embed_dim=640, num_heads=(10,) * 12, ffn_dim=(2560,) * 12
    ),
    "a_small": Subnet(
        space="lighthubert-small", embed_dim=384, num_heads=(6,) * 12, ffn_dim=(1536,) * 12
    ),
}
"""The subnets that LightHuBERT's paper evaluates: the defaults in the authors' supernet files."""


def find_subnet(text: str, space: Space) -> Subnet:
    """Read a subnet as people name it.

    Args:
        text: `largest`, `smallest`, `a_base`, `a_small`, the JSON of a subnet, or a file of it.
        space: the space that it must lie in.

    Raises:
        SubnetError: no such word or file, badly written, or outside the space.
    """
    if text == "largest":
        return space.largest()
    if text == "smallest":
        return space.smallest()
    if text in NAMED:
        subnet = NAMED[text]
    elif text.lstrip().startswith("{"):
        subnet = Subnet.from_json(text)
    elif Path(text).is_file():
        subnet = Subnet.from_json(_text_of(Path(text)))
    else:
        words = ("largest", "smallest", *NAMED)
        raise SubnetError(
            f"{text!r} is neither a file, nor JSON, nor the name of a subnet: "
            f"{nearest(text, words)}"
        )
    space.check(subnet)
    return subnet


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as fault:
        raise SubnetError(f"{path} is no text, and so no subnet: {fault}") from None
