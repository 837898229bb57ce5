"""The command line. Each verb imports what it needs, so that --help answers at once."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from export import ExportError
from runtime import RuntimeFault
from train import RecipeError, TrainError

from . import CompressError
from .counts import parse_count
from .folders import checkpoint_in, recipe_folder

_FAULTS = (CompressError, TrainError, ExportError, RuntimeFault)

app = typer.Typer(
    name="compress",
    help="Pretrain, compress, export and run small speech models: from a teacher to keyword events.",
    epilog="Start with: compress demo --out runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option(help="Run folder to make or to go on in.")]
Data = Annotated[
    Path,
    typer.Option(help="Corpus: a folder of audio, a manifest.csv set, or Speech Commands' layout."),
]
Seed = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe's value: optimizer.learning_rate=1e-3."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and plan; change nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")]


def _count(text: str) -> int:
    try:
        return parse_count(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def main() -> None:
    """Run the command line: faults in one line, exit 0 done, 1 failed, 2 wrong call."""
    from .shadow import check_imports

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for package in ("compress", "train", "export", "runtime"):
        logging.getLogger(package).setLevel(logging.INFO)
    try:
        check_imports()
        app()
    except RecipeError as fault:
        _fail(fault, 2)
    except _FAULTS as fault:
        _fail(fault, 1)
    except ModuleNotFoundError as fault:
        _fail(f"{fault.name} is not installed; pip install 'otolite[all]' brings it", 1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command with --resume goes on", 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as fault:
        place = f" ({fault.filename})" if fault.filename else ""
        _fail(f"{fault.strerror or fault}{place}; nothing half-written was kept", 1)


@app.command(epilog="Example: compress pretrain hubert-tiny --data recordings/ --out runs/teacher")
def pretrain(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    data: Data,
    out: Out,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Pretrain a HuBERT teacher on unlabelled speech, in rounds."""
    from train.recipe import load_recipe
    from train.rounds import HubertRecipe
    from train.rounds import pretrain as run

    asked = load_recipe(recipe, HubertRecipe, recipe_folder("train"), _overrides(set_, seed))
    if dry_run:
        from .planning import pretraining

        _show(pretraining(asked, data), as_json)
        return
    model = run(asked, data, out, resume=resume)
    _show({"teacher": str(model)}, as_json)


@app.command(
    epilog="Example: compress distill lighthubert-tiny --teacher runs/teacher --data recordings/ "
    "--out runs/supernet"
)
def distill(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    teacher: Annotated[Path, typer.Option(help="Run folder or checkpoint of the teacher.")],
    data: Data,
    out: Out,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Distil a teacher into a once-for-all supernet, in two stages."""
    from train.recipe import load_recipe

    from .distill.stages import DistillRecipe
    from .distill.stages import distill as run

    asked = load_recipe(recipe, DistillRecipe, recipe_folder("compress"), _overrides(set_, seed))
    if dry_run:
        from .planning import distillation

        _show(distillation(asked, checkpoint_in(teacher), data), as_json)
        return
    model = run(asked, checkpoint_in(teacher), data, out, resume=resume)
    _show({"supernet": str(model)}, as_json)


@app.command(
    epilog="Example: compress search --space lighthubert-small --target-params 30M --dry-run"
)
def search(
    target_params: Annotated[
        int, typer.Option(parser=_count, metavar="COUNT", help="Most parameters, such as 30M.")
    ],
    supernet: Annotated[Path | None, typer.Argument(help="Run folder of compress distill.")] = None,
    space: Annotated[
        str | None, typer.Option(help="With --dry-run: the space to look into, no supernet needed.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Corpus; its valid partition scores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make or to go on in.")] = None,
    num_trials: Annotated[int, typer.Option(help="Subnets to score.")] = 64,
    population: Annotated[int, typer.Option(help="Subnets of a generation.")] = 16,
    num_clips: Annotated[int, typer.Option(help="Held-out clips a subnet is scored on.")] = 128,
    seed: Annotated[int, typer.Option(help="Of sampler, clips and masks.")] = 0,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Find the best subnet under a parameter budget and cut it out as a dense model."""
    from .planning import reachable

    if dry_run:
        _show(reachable(space, supernet, target_params), as_json)
        return
    if supernet is None or data is None or out is None:
        raise typer.BadParameter("a search needs SUPERNET, --data and --out; or ask for --dry-run")
    from .search.winner import SearchConfig
    from .search.winner import search as run

    config = SearchConfig(
        target_params=target_params,
        num_trials=num_trials,
        population=population,
        num_clips=num_clips,
        seed=seed,
    )
    found = run(config, supernet, data, out, resume=resume)
    _show(
        {
            "winner": json.loads(found.result.winner.to_json()),
            "params": found.result.winner_params,
            "loss": found.result.score,
            "model": str(found.model),
        },
        as_json,
    )


@app.command(
    epilog="Example: compress finetune keywords-tiny --model runs/search --data clips/ "
    "--out runs/keywords"
)
def finetune(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    data: Data,
    out: Out,
    model: Annotated[
        Path | None, typer.Option(help="Run folder or checkpoint of an encoder.")
    ] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Take only the sizes of --model.")
    ] = False,
    seed: Seed = None,
    set_: Set = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a keyword model on labelled clips, from an encoder or from scratch."""
    from train.finetune import KeywordsRecipe
    from train.finetune import finetune as run
    from train.recipe import load_recipe

    asked = load_recipe(recipe, KeywordsRecipe, recipe_folder("train"), _overrides(set_, seed))
    source = None if model is None else checkpoint_in(model)
    if dry_run:
        from .planning import finetuning

        _show(finetuning(asked, source, data), as_json)
        return
    trained = run(asked, data, source, out, random_init=random_init, resume=resume)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    accuracies = {
        f"{part}_accuracy": scores[part]["accuracy"] for part in ("valid", "test") if part in scores
    }
    _show({"model": str(trained), **accuracies}, as_json)


@app.command(epilog="Example: compress export runs/keywords --out keywords.bundle")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of compress finetune.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; an older one is replaced.")],
    name: Annotated[str, typer.Option(help="What the bundle is called.")] = "keywords",
    threshold: Annotated[
        float, typer.Option(help="Least smoothed posterior of an event, in (0, 1].")
    ] = 0.7,
    hop_ms: Annotated[int, typer.Option(help="Time between two windows, in ms.")] = 100,
    smoothing: Annotated[int, typer.Option(help="Windows averaged before deciding.")] = 3,
    patience: Annotated[int, typer.Option(help="Windows in a row that must agree.")] = 1,
    refractory_ms: Annotated[int, typer.Option(help="Silence after an event, in ms.")] = 500,
    licence: Annotated[str, typer.Option(help="Licence of the training data.")] = "not stated",
    as_json: Json = False,
) -> None:
    """Write a keyword model as a self-contained bundle, checked against torch."""
    from .exporting import DecisionFlags, export_run

    flags = DecisionFlags(
        threshold=threshold,
        hop_ms=hop_ms,
        smoothing_windows=smoothing,
        patience=patience,
        refractory_ms=refractory_ms,
    )
    manifest = export_run(run, out, name=name, flags=flags, licence=licence)
    _show({"bundle": str(out), **manifest.measured}, as_json)


@app.command(epilog="Example: compress listen keywords.bundle --wav meeting.wav")
def listen(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or its .zip.")],
    wav: Annotated[
        Path | None, typer.Option(help="A WAV of 8 to 48 kHz; without it, the microphone.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Overrides the bundle's, in (0, 1].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a bundle over a recording or the microphone and print each keyword."""
    from runtime.cli import listen_command

    code = listen_command(
        str(bundle),
        wav=None if wav is None else str(wav),
        threshold=threshold,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command(epilog="Example: compress recipes hubert-tiny > my.toml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to copy and edit.")] = None,
    as_json: Json = False,
) -> None:
    """List recipes and spaces, or print one recipe."""
    from .planning import listing, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    _show(listing(), as_json)


@app.command(epilog="Example: compress doctor keywords.bundle")
def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(help="Replay this bundle's stored answer here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed here; with a bundle, check that it runs here as it should."""
    if bundle is None:
        from .planning import installed

        _show(installed(), as_json)
        return
    from runtime.cli import doctor_command

    raise typer.Exit(doctor_command(str(bundle), as_json=as_json))


@app.command(epilog="Example: compress demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for every step; what is there is reused.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled recordings; without them, speech made by espeak-ng."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every step.")] = 0,
) -> None:
    """Run the whole way in minutes: speech, teacher, supernet, search, keywords, bundle, stream."""
    from .pipeline import run_demo

    run_demo(out, data=data, seed=seed)


def _overrides(set_: list[str] | None, seed: int | None) -> list[str]:
    return [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]


def _show(values: dict[str, Any], as_json: bool) -> None:
    """Results on standard output: aligned lines for people, one JSON object for machines."""
    if as_json:
        typer.echo(json.dumps(values))
        return
    width = max(map(len, values))
    for key, value in values.items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        typer.echo(f"{key.replace('_', ' '):<{width}}  {text}")


def _fail(fault: object, code: int) -> None:
    typer.echo(f"error: {fault}", err=True)
    sys.exit(code)
