"""`compress check`: how a text was pronounced, phone by phone."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import CallError
from ..flags import Json
from ..printing import show

EXAMPLE = 'Example: compress check phones.bundle hello.wav --text "hello world" --svg hello.svg'

_DECIMALS = 2


def check(
    bundle: Annotated[Path, typer.Argument(help="Bundle of phones, a folder or its .zip.")],
    wav: Annotated[
        Path, typer.Argument(help="A WAV of somebody who reads the text, 4 to 192 kHz.")
    ],
    text: Annotated[
        str, typer.Option(help="What was to be read, in English; CMUdict says how, or espeak-ng.")
    ],
    svg: Annotated[
        Path | None, typer.Option(help="Also draw the sound and its phones, to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which phones of a read text were right, replaced, left out or put in.

    Marks: `AE>IY` is IY said for AE, `-K` left out, `+L` put in, `AE?` doubtful. `fit` tells best
    whether a word was said at all; it and `gop` are 0 at best.
    """
    from runtime.atomic import replacing_file
    from runtime.bundle import read_bundle
    from runtime.listen import wav_blocks
    from runtime.manifest_rules import PHONES
    from runtime.phone_stream import hear
    from runtime.pronunciation import check as checked
    from runtime.pronunciation import sentence_svg, sentence_text, wants_colours
    from runtime.stream import load
    from runtime.wav import read_wav
    from train.data.lexicon import Lexicon

    task = read_bundle(bundle).manifest.task
    if task != PHONES:
        raise CallError(
            f"{bundle} tells {task}, and pronunciation is checked by phones; export a run of a "
            "recipe such as phones-tcn"
        )
    words = Lexicon().words(text)
    model = load(bundle)
    heard = hear(model, wav_blocks(wav, model.sample_rate))
    sentence = checked(heard.log_posteriors, model.labels, words, heard.frame_s)
    if svg is not None:
        with replacing_file(svg) as temporary:
            temporary.write_text(sentence_svg(sentence, *read_wav(wav)), encoding="utf-8")
    if as_json:
        show(sentence.to_dict(), as_json=True)
        return
    columns = shutil.get_terminal_size().columns
    typer.echo(sentence_text(sentence, colours=wants_colours(sys.stdout), width=columns))
    rows = [
        {
            "word": word.text,
            **{
                name: "" if value is None else round(value, _DECIMALS)
                for name, value in (
                    ("start_s", word.start_s),
                    ("end_s", word.end_s),
                    ("fit", word.fit),
                    ("gop", word.gop),
                )
            },
        }
        for word in sentence.words
    ]
    show({"words": rows}, as_json=False)
