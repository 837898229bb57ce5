"""`compress import`: a checkpoint of another toolkit becomes one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..flags import DryRun, Json
from ..printing import show

if TYPE_CHECKING:
    from train.models.importing import Imported

    from ..importing import ImportedSupernet

EXAMPLE = "Example: compress import hubert_base_ls960.pt --out runs/teacher --licence MIT"


def import_checkpoint(
    path: Annotated[
        Path, typer.Argument(help="A .pt, .ckpt, .bin or .safetensors file, or a folder of them.")
    ],
    out: Annotated[
        Path, typer.Option(help="Checkpoint folder to write; an older checkpoint is replaced.")
    ],
    layout: Annotated[
        str | None,
        typer.Option(help="fairseq, huggingface, torchaudio …; without it, found out."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What neither shapes nor the file tell, such as pre_norm=true; repeatable.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="LightHuBERT: the space of the supernet, such as lighthubert-small, where the "
            "file does not say."
        ),
    ] = None,
    as_encoder: Annotated[
        bool,
        typer.Option(
            "--as-encoder",
            help="LightHuBERT: take its full net as a dense encoder, not all of it as a supernet.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take in weights of fairseq, transformers, torchaudio or LightHuBERT, tensor by tensor.

    A LightHuBERT file becomes a supernet, from which compress cut takes any subnet.
    """
    if as_encoder and space is not None:
        raise typer.BadParameter("--space is a supernet's; leave it out with --as-encoder")
    from train.models.importing import recognize, save_imported, take_in

    given = _values(set_ or [])
    found = recognize(path, layout)
    if space is not None or (found.layout == "lighthubert" and not as_encoder):
        from ..importing import import_supernet, save_imported_supernet

        read = import_supernet(found, space=space, given=given)
        if not dry_run:
            save_imported_supernet(read, out, source=path, provenance=read.provenance(licence))
        imported, rows = read.imported, _supernet_rows(read)
    else:
        imported = take_in(found, given=given)
        if not dry_run:
            save_imported(imported, out, source=path, licence=licence)
        rows = _encoder_rows(imported)
    rows |= {
        "assumed": imported.assumed,
        "dropped": imported.dropped,
        "precision": imported.precision,
        "licence": licence,
        "checkpoint": f"{out} would be written" if dry_run else str(out),
    }
    show(rows, as_json)


def _encoder_rows(imported: Imported) -> dict[str, Any]:
    config = imported.config
    return {
        "layout": imported.layout,
        "family": "wav2vec2",
        "objective": imported.objective[0] if imported.objective else "none stored",
        "params": imported.num_params(),
        "sizes": {
            "num_layers": config.num_layers,
            "embed_dim": config.embed_dim,
            "num_heads": config.num_heads[0],
            "ffn_dim": config.ffn_dim[0],
            "channels": config.conv_layers[-1].channels,
        },
        "settings": {
            "conv_norm": config.conv_norm,
            "pre_norm": config.pre_norm,
            "normalize_waveform": config.normalize_waveform,
        },
    }


def _supernet_rows(read: ImportedSupernet) -> dict[str, Any]:
    counts = read.imported.num_params()
    return {
        "layout": read.imported.layout,
        "family": "supernet",
        "space": read.supernet.space.name,
        "trained_as": read.trained_as,
        "subnets": read.supernet.space.size(),
        "params": {"encoder": counts["encoder"], "head": counts["objective"]},
    }


def _values(words: list[str]) -> dict[str, Any]:
    """'pre_norm=true' -> {"pre_norm": True}; values are TOML's."""
    import tomllib

    values = {}
    for word in words:
        key, separator, text = word.partition("=")
        try:
            if not separator:
                raise ValueError
            values[key] = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            raise typer.BadParameter(
                f"--set takes key=value, such as pre_norm=true; got {word!r}"
            ) from None
    return values
