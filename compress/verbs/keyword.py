"""`compress keyword`: a spotter of a word that is typed, or of a few takes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import CallError
from ..flags import DryRun, Json, Resume, Set
from ..printing import show

EXAMPLE = (
    'Example: compress keyword "hey otter" --negatives audiobooks/ --noise noises/ --out hey-otter'
)


def keyword(
    text: Annotated[str, typer.Argument(help="The keyword: one word or several.")],
    out: Annotated[
        Path, typer.Option(help="Folder of every step and of the bundle; made or gone on in.")
    ],
    negatives: Annotated[
        list[Path] | None,
        typer.Option(
            help="Recorded speech without the keyword, hours of it, in any layout; repeatable. "
            "Parts are held out for the threshold and for the test. Without it, synthetic talk, "
            "and false alarms that mean little."
        ),
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(
            help="Folder of noises and rooms, labelled noise and rir in its manifest.csv; without "
            "it, made ones."
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own takes of the keyword, one in each file. Every fourth is left "
            "out of training, to test on."
        ),
    ] = None,
    enroll: Annotated[
        bool,
        typer.Option(
            "--enroll",
            help="Do not train: tell 3 to 10 takes in --recordings from --negatives by the vectors "
            "of --model.",
        ),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of compress finetune, of phones or other words: training starts from "
            "its body, by default from that of otolite-phones, which ships; --enroll enrols takes "
            "in a model of words."
        ),
    ] = None,
    false_alarms_per_hour: Annotated[
        float, typer.Option(metavar="RATE", help="That the threshold is chosen for.")
    ] = 0.5,
    language: Annotated[
        str,
        typer.Option(
            help="Of the text, as espeak-ng names it: en in eight accents, de, pt-br, ru and many "
            "others."
        ),
    ] = "en",
    piper_voice: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A voice of piper's, .onnx with its .onnx.json, to speak beside espeak-ng; "
            "repeatable. Needs pip install piper-tts.",
        ),
    ] = None,
    clips: Annotated[
        int,
        typer.Option(
            min=100, help="Synthetic clips of the keyword; near misses are twice as many."
        ),
    ] = 1_500,
    recipe: Annotated[
        str, typer.Option(help="Recipe's name or .toml file, with a table [running].")
    ] = "spotter-tcn",
    set_: Set = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every step.")] = 0,
    resume: Resume = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a spotter of your own word from its text alone: a calibrated bundle in 8 bits.

    espeak-ng says the word and what sounds like it in hundreds of voices; a causal model learns
    it in running sound among speech without it; its threshold keeps a rate of false alarms.
    """
    for flag, given in (("--piper-voice", piper_voice), ("--set", set_)):
        if given and enroll:
            raise CallError(f"{flag} is for training, and --enroll trains nothing; leave one out")
    from ..own_word.asking import Ask

    wishes: dict[str, Any] = {
        "text": text,
        "language": language,
        "piper_voices": tuple(piper_voice or ()),
        "recordings": recordings,
        "model": model,
        "enroll": enroll,
        "negatives": tuple(negatives or ()),
        "noise": noise,
        "false_alarms_per_hour": false_alarms_per_hour,
        "recipe": recipe,
        "overrides": tuple(set_ or ()),
        "clips": clips,
        "seed": seed,
    }
    ask = Ask(**wishes)
    if enroll:
        from ..own_word.enrolment import enrol_spotter, plan_enrolment

        found = plan_enrolment(ask) if dry_run else enrol_spotter(ask, out, resume=resume)
    else:
        from ..own_word.steps import make_spotter, plan

        found = plan(ask) if dry_run else make_spotter(ask, out, resume=resume)
    show(found, as_json)
