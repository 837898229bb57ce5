"""Take in a checkpoint of another toolkit: recognize its layout, rename, check, write as ours."""

import importlib
import logging
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..errors import LayoutError, RecipeError
from ..nearest import nearest
from . import layouts
from .checkpoints import check_place
from .foreign_files import ForeignFile, read_foreign
from .foreign_sizes import infer_config, settings
from .heads import check_heads, objective_of
from .renames import Renamed, Table, read_names, their_name
from .wav2vec2 import Wav2Vec2Encoder, save_encoder
from .wav2vec2_config import SIZES, Wav2Vec2Config

logger = logging.getLogger(__name__)

_UNUSED_LABELS = "without its projection the label table predicts nothing"


@dataclass(frozen=True)
class Recognized:
    """A foreign file and the layout that reads it; no tensor has been looked at."""

    path: Path
    file: ForeignFile
    layout: str


@dataclass(frozen=True)
class Imported:
    """A foreign checkpoint, every tensor of it accounted for."""

    layout: str
    config: Wav2Vec2Config
    state: dict[str, Tensor]
    """The encoder's tensors."""
    objective: tuple[str, dict[str, Tensor]] | None
    """What the model was pretrained by and that objective's tensors, where the file has them."""
    dropped: dict[str, str]
    """Why something of the file is left out, to what."""
    assumed: dict[str, Any]
    """Settings that neither shapes nor the file tell."""
    precision: str
    """float32, and what else the file's tensors were before."""
    digests: dict[str, str]
    """sha256 of each file read."""
    source: str
    """Name of the file or folder."""

    def provenance(self, licence: str) -> dict[str, Any]:
        """What the checkpoint that comes of this was made from."""
        return {
            "imported_from": self.source,
            "sha256": self.digests,
            "layout": self.layout,
            "licence": licence,
            "dropped": self.dropped,
            "assumed": self.assumed,
            "precision": self.precision,
        }

    def num_params(self) -> dict[str, int]:
        """Parameters of the encoder and of the objective."""
        heads = self.objective[1] if self.objective else {}
        return {
            "encoder": sum(tensor.numel() for tensor in self.state.values()),
            "objective": sum(tensor.numel() for tensor in heads.values()),
        }


def layout_names() -> list[str]:
    """Every layout, in the order in which they are asked."""
    return sorted(module.name for module in pkgutil.iter_modules(layouts.__path__))


def get_layout(name: str) -> ModuleType:
    """A layout by its name.

    Raises:
        LayoutError: there is none of that name; the nearest is named.
    """
    if name not in layout_names():
        raise LayoutError(f"there is no layout {name!r}: {nearest(name, layout_names())}")
    return importlib.import_module(f"{layouts.__name__}.{name}")


def recognize(path: Path, layout: str | None = None) -> Recognized:
    """Open a foreign checkpoint and find its layout.

    Args:
        path: a file, or a folder of Hugging Face's.
        layout: its layout; None: found out.

    Raises:
        LayoutError: it cannot be read, or is of no known layout.
    """
    file = read_foreign(path)
    if layout is not None:
        get_layout(layout)
        return Recognized(path, file, layout)
    for name in layout_names():
        if get_layout(name).recognizes(file.values.keys(), file.config):
            return Recognized(path, file, name)
    some = ", ".join(list(file.values)[:3])
    raise LayoutError(
        f"{path} is of no layout known here ({', '.join(layout_names())}); its names begin {some}"
    )


def import_checkpoint(
    path: Path, *, layout: str | None = None, given: Mapping[str, Any] | None = None
) -> Imported:
    """`recognize` a foreign checkpoint and `take_in` what it holds."""
    return take_in(recognize(path, layout), given=given)


def take_in(
    found: Recognized,
    *,
    given: Mapping[str, Any] | None = None,
    table: Table | None = None,
    sizes: Wav2Vec2Config | None = None,
) -> Imported:
    """Rename and check a foreign checkpoint's tensors, strictly.

    Args:
        found: the file.
        given: settings that shapes do not tell (`foreign_sizes.settings()`); they win over the
            file's.
        table: names to read it by; None: its layout's.
        sizes: what the encoder must be, dropouts apart; None: what its shapes and settings say.

    Raises:
        LayoutError: a tensor is missing, unexpected or misshapen; the first is named. Or the
            settings are not those of `sizes`.
    """
    for key in given or {}:
        if key not in settings():
            raise LayoutError(f"there is no setting {key!r} to give: {nearest(key, settings())}")
    file, module = found.file, get_layout(found.layout)
    table = table or module.TABLE
    try:
        _check_must(file.config, module.MUST)
        renamed = read_names(file.values, table)
        _settle_labels(renamed, table)
        precision = _as_float32(renamed)
        told = _told(file.config, module.FIELDS) | dict(given or {})
        if sizes is not None:
            _check_encoder(renamed, table, sizes)
            told = _told_by(sizes, told)
        config, assumed = infer_config(
            renamed.encoder, told, lambda ours: _named(ours, table, renamed, None)
        )
        if sizes is None:
            _check_encoder(renamed, table, config)
        else:
            _check_sizes(config, sizes)
        objective = objective_of(renamed.heads)
        if objective is not None:
            check_heads(
                objective,
                renamed.heads,
                config,
                lambda ours: _named(ours, table, renamed, config),
            )
    except (LayoutError, RecipeError) as fault:
        raise LayoutError(f"{found.path} does not fit the layout {found.layout}: {fault}") from None
    return Imported(
        layout=found.layout,
        config=config,
        state=renamed.encoder,
        objective=None if objective is None else (objective, renamed.heads),
        dropped={why: _gathered(keys) for why, keys in renamed.dropped.items()},
        assumed=assumed,
        precision=precision,
        digests=file.digests(),
        source=found.path.resolve().name,
    )


def save_imported(imported: Imported, folder: Path, *, source: Path, licence: str) -> None:
    """Write what was read as a checkpoint of ours, whole or not at all.

    Args:
        imported: what `import_checkpoint` gave.
        folder: becomes the checkpoint; an older checkpoint is replaced.
        source: what was read, which must not lie in `folder`.
        licence: the licence of the weights, in the user's words.

    Raises:
        TrainError: `folder` holds something else.
        OSError: it cannot be written.
    """
    prepare_place(imported, folder, source=source)
    save_encoder(
        folder,
        imported.config,
        imported.state,
        provenance=imported.provenance(licence),
        objective=imported.objective,
    )


def prepare_place(imported: Imported, folder: Path, *, source: Path) -> None:
    """Make sure that `folder` may become what was read, and log what is left out of it.

    Raises:
        TrainError: `folder` holds something else, or `source` lies in it.
    """
    check_place(folder)
    if folder.resolve() in (source.resolve(), *source.resolve().parents):
        raise LayoutError(f"{source} lies in {folder}, which would be replaced; choose another")
    for why, keys in imported.dropped.items():
        logger.info("left out: %s (%s)", keys, why)


def _check_must(config: Mapping[str, Any], must: Mapping[str, object]) -> None:
    for place, wanted in must.items():
        value = _at(config, place)
        if value is None:
            continue
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        if value not in allowed:
            raise LayoutError(
                f"its settings say {place} {value!r}; our encoder is built for "
                f"{' or '.join(map(repr, allowed))}"
            )


def _told(config: Mapping[str, Any], fields: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for place, ours in fields:
        value = _at(config, place)
        if value is not None:
            told.setdefault(ours, value)
    return told


def _at(config: Mapping[str, Any], place: str) -> Any:
    """The value at a path such as `model.dropout`; None where there is none."""
    value: Any = config
    for part in place.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _settle_labels(renamed: Renamed, table: Table) -> None:
    """A fine-tuned HuBERT keeps its labels but not the projection to them."""
    labels = renamed.origin.get("unit_embeddings")
    if labels is None or len(renamed.heads) > 1 or table.stripped(labels) == labels:
        return
    del renamed.heads["unit_embeddings"], renamed.origin["unit_embeddings"]
    renamed.dropped.pop(next((w for w, k in renamed.dropped.items() if k == [labels]), ""), None)
    renamed.dropped.setdefault(_UNUSED_LABELS, []).append(labels)


def _as_float32(renamed: Renamed) -> str:
    """Bring tensors to float32 and memory of their own; say what they were."""
    others = set()
    seen: set[int] = set()
    for state in (renamed.encoder, renamed.heads):
        for name, tensor in state.items():
            if not tensor.is_floating_point():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise LayoutError(f"{renamed.origin[name]} holds {kind}, not floating point")
            if tensor.dtype != torch.float32:
                others.add(str(tensor.dtype).removeprefix("torch."))
                tensor = tensor.to(torch.float32)
            storage = tensor.untyped_storage()
            if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
                tensor = tensor.clone()
            seen.add(tensor.untyped_storage().data_ptr())
            state[name] = tensor.contiguous()
    return f"{', '.join(sorted(others))} stored as float32" if others else "float32"


def _check_encoder(renamed: Renamed, table: Table, config: Wav2Vec2Config) -> None:
    with torch.device("meta"):
        own = Wav2Vec2Encoder(config).state_dict()
    for ours in sorted({*own, *renamed.encoder, *table.needed}):
        name = _named(ours, table, renamed, config)
        if ours not in renamed.encoder:
            raise LayoutError(f"{name} is missing")
        shape = tuple(renamed.encoder[ours].shape)
        if ours not in own:
            raise LayoutError(f"{name} is unexpected: with these settings there is no such tensor")
        if shape != tuple(own[ours].shape):
            raise LayoutError(
                f"{name} has the shape {shape} where {tuple(own[ours].shape)} is needed"
            )


def _told_by(sizes: Wav2Vec2Config, told: Mapping[str, Any]) -> dict[str, Any]:
    """`told`, and of `sizes` what neither it nor shapes tell."""
    silent: dict[str, Any] = {"num_heads": sizes.num_heads[0]}
    if "conv_layers" not in told:
        silent["strides"] = [conv.stride for conv in sizes.conv_layers]
    return silent | dict(told)


def _check_sizes(config: Wav2Vec2Config, sizes: Wav2Vec2Config) -> None:
    for name in SIZES:
        found, wanted = getattr(config, name), getattr(sizes, name)
        if found != wanted:
            raise LayoutError(f"its settings say {name} {found!r} where {wanted!r} is needed")


def _named(ours: str, table: Table, renamed: Renamed, config: Wav2Vec2Config | None) -> str:
    """What the file calls a tensor, or would call it."""
    return renamed.origin.get(ours) or their_name(ours, table, config, renamed.origin.values())


def _gathered(keys: list[str]) -> str:
    """One name, or how many there are and the first."""
    return keys[0] if len(keys) == 1 else f"{len(keys)} tensors from {keys[0]} on"
