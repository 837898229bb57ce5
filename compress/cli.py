"""The command line. Each verb imports what it needs, so that --help answers at once.

Nothing of train, export or runtime is imported before `check_imports` has found them to be ours.
"""

import errno
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from . import CallError, CompressError
from .flags import (
    Data,
    DryRun,
    Json,
    JsonLines,
    Keywords,
    Out,
    Resume,
    Seed,
    Set,
    Tflops,
    overrides,
    posterior,
)
from .folders import checkpoint_in, recipe_folder
from .printing import show
from .verbs import (
    blocks,
    calibrate,
    check,
    convert,
    cut,
    evaluate,
    export,
    finetune,
    grade,
    import_,
    keyword,
    prepare,
    prune,
    report,
    search,
)
from .verbs import show as show_verb

if TYPE_CHECKING:
    from .distill.in_place import KeywordSupernetRecipe

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_INTERRUPTED = 130
"""What shells expect of a program that Ctrl-C ended."""


class _InterruptedError(CompressError):
    """Ctrl-C, under a name that typer does not end the program for without a word."""


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptedError("interrupted; the same command with --resume goes on") from None


app = typer.Typer(
    name="compress",
    cls=_Verbs,
    epilog="Start with: compress demo --out runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"otolite {version('otolite')}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
) -> None:
    """Pretrain, compress, export and run small speech models: from a teacher to keyword events."""


def main() -> None:
    """Run the command line: faults in one line, exit 0 done, 1 failed, 2 wrong call."""
    from .shadow import check_imports

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for package in ("compress", "train", "export", "runtime"):
        logging.getLogger(package).setLevel(logging.INFO)
    try:
        check_imports()
    except CompressError as fault:  # apart: the handlers below import the packages in question
        _fail(fault, 1)
    try:
        app()
    except SystemExit:  # before the handlers below, whose classes cost an import
        raise
    except _InterruptedError as fault:
        _fail(fault, _INTERRUPTED)
    except _wrong_calls() as fault:
        _fail(fault, 2)
    except _faults() as fault:
        _fail(fault, 1)
    except ModuleNotFoundError as fault:
        _fail(f"{fault.name} is not installed; pip install 'otolite[all]' brings it", 1)
    except OSError as fault:
        place = f" ({fault.filename})" if fault.filename else ""
        way_out = "; make room, then call again" if fault.errno in _NO_ROOM else ""
        _fail(f"{fault.strerror or fault}{place}; nothing half-written was kept{way_out}", 1)


def _wrong_calls() -> tuple[type[Exception], ...]:
    """Faults of the call; asked for only where one is in flight, like `_faults`."""
    from train import RecipeError

    return CallError, RecipeError


def _faults() -> tuple[type[Exception], ...]:
    """Every package's base class."""
    from export import ExportError
    from runtime import RuntimeFault
    from train import TrainError

    return CompressError, TrainError, ExportError, RuntimeFault


@app.command(epilog="Example: compress pretrain hubert-tiny --data recordings/ --out runs/teacher")
def pretrain(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    data: Data,
    out: Out,
    seed: Seed = None,
    set_: Set = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to start from, of the recipe's sizes."),
    ] = None,
    units_from: Annotated[
        Path | None,
        typer.Option(help="HuBERT: teacher whose layer makes the units of a first round."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="DMAE: run folder or checkpoint of the frozen teacher whose features are learned, "
            "such as one of mae-tiny for a student of dmae-tiny."
        ),
    ] = None,
    tflops: Tflops = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Pretrain on unlabelled speech: wav2vec 2.0, HuBERT, data2vec, 2.0 and KWS, MAE or DMAE."""
    from train.distributed import rank
    from train.pretrain import load_pretraining
    from train.pretrain import pretrain as run

    asked = load_pretraining(recipe, recipe_folder("train"), overrides(set_, seed))
    source = None if init is None else checkpoint_in(init)
    units = None if units_from is None else checkpoint_in(units_from)
    frozen = None if teacher is None else checkpoint_in(teacher)
    if dry_run:
        from .planning import pretraining

        show(pretraining(asked, data, teacher=frozen, tflops=tflops), as_json)
        return
    model = run(asked, data, out, resume=resume, init=source, units_from=units, teacher=frozen)
    if rank() == 0:
        show({"teacher": str(model)}, as_json)


@app.command(
    epilog="Example: compress distill lighthubert-tiny --teacher runs/teacher --data recordings/ "
    "--out runs/supernet. Keyword models: compress distill keyword-space-tiny --data clips/ "
    "--out runs/supernet"
)
def distill(
    recipe: Annotated[str, typer.Argument(help="Recipe's name or .toml file.")],
    data: Data,
    out: Out,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Run folder or checkpoint of the teacher, which keyword models do without."
        ),
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Supernet or encoder to start from, of the space's stored sizes."),
    ] = None,
    tflops: Tflops = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Distil a teacher into a once-for-all supernet, or train one of keyword models on labels."""
    from train.distributed import rank

    from .distill.in_place import KeywordSupernetRecipe
    from .distill.recipes import load_distillation
    from .distill.stages import distill as run

    asked = load_distillation(recipe, recipe_folder("compress"), overrides(set_, seed))
    if isinstance(asked, KeywordSupernetRecipe):
        if teacher is not None or init is not None:
            raise typer.BadParameter(
                "keyword models learn from labels and from the largest of them; leave --teacher "
                "and --init out"
            )
        _keyword_supernet(asked, data, out, resume=resume, dry_run=dry_run, as_json=as_json)
        return
    if teacher is None:
        raise typer.BadParameter(f"recipe {recipe} distils a teacher; name it with --teacher")
    if dry_run:
        from .planning import distillation

        show(distillation(asked, checkpoint_in(teacher), data, tflops=tflops), as_json)
        return
    start = None if init is None else checkpoint_in(init)
    model = run(asked, checkpoint_in(teacher), data, out, resume=resume, init=start)
    if rank() == 0:
        show({"supernet": str(model)}, as_json)


app.command("search", epilog=search.EXAMPLE)(search.search)  # in its place: --help lists the way


app.command("finetune", epilog=finetune.EXAMPLE)(finetune.finetune)
app.command("export", epilog=export.EXAMPLE)(export.export)


@app.command(
    epilog="Example: compress listen keywords.bundle --wav meeting.wav. Typed keywords: "
    'compress listen phones.bundle --keyword "turn on the lights"'
)
def listen(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or its .zip.")],
    wav: Annotated[
        Path | None,
        typer.Option(help="A WAV of 4 to 192 kHz, any channels; without it, the microphone."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Microphone's number or part of its name; without it, the system's default."
        ),
    ] = None,
    keyword: Keywords = None,
    threshold: Annotated[
        float | None,
        typer.Option(callback=posterior, help="Overrides all of the bundle's, in (0, 1]."),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate/--no-gate", help="Leave the model out of silence."),
    ] = True,
    threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Processor threads of the engine.")
    ] = 1,
    as_json: JsonLines = False,
) -> None:
    """Run a bundle over a recording or the microphone and print each keyword.

    A bundle of phones listens for what --keyword says, or for what was put into it by compress
    calibrate --keyword.
    """
    if wav is not None and device is not None:
        raise typer.BadParameter("--wav and --device are two sources; give one")
    from runtime.cli import listen_command

    code = listen_command(
        str(bundle),
        wav=None if wav is None else str(wav),
        device=int(device) if device is not None and device.isdecimal() else device,
        keywords=None if keyword is None else _typed(keyword),
        threshold=threshold,
        gate=gate,
        as_json=as_json,
        threads=threads,
    )
    raise typer.Exit(code)


@app.command(epilog="Example: compress recipes hubert-tiny > my.toml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, to copy and edit.")] = None,
    as_json: Json = False,
) -> None:
    """List recipes and spaces, or print one recipe."""
    from .planning import recipe_text, recipes_listed, spaces_listed

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    show({"recipes": recipes_listed(), "spaces": spaces_listed()}, as_json)


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

        show(installed(), as_json)
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
    seed: Annotated[int, typer.Option(min=0, help="Of every step.")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Run the whole way in minutes: speech, teacher, supernet, search, keywords, bundle, stream."""
    if dry_run:
        from .planning import demonstration

        show(demonstration(out, data), as_json=False)
        return
    from .pipeline import run_demo

    run_demo(out, data=data, seed=seed, tell=typer.echo)


app.command("import", epilog=import_.EXAMPLE)(import_.import_checkpoint)
app.command("convert", epilog=convert.EXAMPLE)(convert.convert)
app.command("cut", epilog=cut.EXAMPLE)(cut.cut)
app.command("keyword", epilog=keyword.EXAMPLE)(keyword.keyword)
app.command("prepare", epilog=prepare.EXAMPLE)(prepare.prepare)
app.command("prune", epilog=prune.EXAMPLE)(prune.prune)
app.command("report", epilog=report.EXAMPLE)(report.report)
app.command("check", epilog=check.EXAMPLE)(check.check)
app.command("grade", epilog=grade.EXAMPLE)(grade.grade)
app.command("blocks", epilog=blocks.EXAMPLE)(blocks.blocks)
app.command("calibrate", epilog=calibrate.EXAMPLE)(calibrate.calibrate)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("show", epilog=show_verb.EXAMPLE)(show_verb.show_subnet)


def _typed(keywords: list[str]) -> dict[str, list[list[str]]]:
    from .typed_keywords import pronunciations

    return pronunciations(keywords)


def _keyword_supernet(
    recipe: "KeywordSupernetRecipe",
    data: Path,
    out: Path,
    *,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    if dry_run:
        from .planning import keyword_supernet

        show(keyword_supernet(recipe, data), as_json)
        return
    from .distill.keyword_training import train_keyword_supernet

    model = train_keyword_supernet(recipe, data, out, resume=resume)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))["valid"]
    accuracies = {f"{name}_valid_accuracy": value for name, value in scores.items()}
    show({"supernet": str(model), **accuracies}, as_json)


def _fail(fault: object, code: int) -> None:
    typer.echo(f"error: {' '.join(str(fault).split())}", err=True)
    sys.exit(code)
