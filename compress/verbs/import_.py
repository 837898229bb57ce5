"""`compress import`: a checkpoint of another toolkit becomes one of ours."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..flags import DryRun, Json
from ..printing import show

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
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take in weights of fairseq, transformers, torchaudio or LightHuBERT, tensor by tensor."""
    from train.models.importing import import_checkpoint as read
    from train.models.importing import save_imported

    imported = read(path, layout=layout, given=_values(set_ or []))
    if not dry_run:
        save_imported(imported, out, source=path, licence=licence)
    config = imported.config
    rows: dict[str, Any] = {
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
        "assumed": imported.assumed,
        "dropped": imported.dropped,
        "precision": imported.precision,
        "licence": licence,
        "checkpoint": f"{out} would be written" if dry_run else str(out),
    }
    show(rows, as_json)


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
