"""What a supernet's training starts from: random weights, another supernet, or an encoder."""

from pathlib import Path

from train.models.checkpoints import stated_family
from train.models.wav2vec2 import load_encoder
from train.models.wav2vec2_config import SIZES
from train.seeding import seeded

from .. import CompressError
from ..spaces import Space
from ..supernet import FAMILY, Supernet, load_supernet


def begun(space: Space, target_dim: int, init: Path | None, *, seed: int) -> Supernet:
    """A supernet before any stage.

    Args:
        space: its subnets.
        target_dim: width of the teacher's hidden states.
        init: a supernet's checkpoint, whose head is taken too, or an encoder's, often the
            teacher's own: then only the head is random. None: all is.
        seed: of what is random.

    Raises:
        TrainError, CompressError: no checkpoint, or one that stores tensors of other sizes.
    """
    with seeded(seed):
        supernet = Supernet(space, target_dim)
    if init is None:
        return supernet
    if stated_family(init) == FAMILY:
        _take_supernet(supernet, init)
    else:
        _take_encoder(supernet, init)
    return supernet


def _take_supernet(supernet: Supernet, init: Path) -> None:
    stored, space, width = load_supernet(init), supernet.space, supernet.head.out_features
    if stored.space.supernet != space.supernet or stored.head.out_features != width:
        raise CompressError(
            f"{init} holds space {stored.space.name!r} for a teacher of width "
            f"{stored.head.out_features}, the recipe asks for {space.name!r} and the teacher is "
            f"{width} wide; start from a supernet of the same stored sizes"
        )
    supernet.load_state_dict(stored.state_dict())


def _take_encoder(supernet: Supernet, init: Path) -> None:
    stored, space = load_encoder(init), supernet.space
    for name in (*SIZES, "mask_embedding"):
        found, wanted = getattr(stored.config, name), getattr(space.supernet, name)
        if found != wanted:
            raise CompressError(
                f"{init} has encoder.{name} {found!r} where space {space.name!r} stores "
                f"{wanted!r}; start from an encoder of those sizes, or set start='random'"
            )
    supernet.encoder.load_state_dict(stored.state_dict())
