"""`compress check`: how a text was pronounced, phone by phone."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..flags import Json
from ..printing import show

if TYPE_CHECKING:
    import numpy as np

    from runtime.pronunciation import Sentence

EXAMPLE = 'Example: compress check phones.bundle hello.wav --text "hello world" --svg hello.svg'

_DECIMALS = 2


def check(
    bundle: Annotated[Path, typer.Argument(help="Bundle of phones, a folder or its .zip.")],
    text: Annotated[
        str, typer.Option(help="What was to be read, in English; CMUdict says how, or espeak-ng.")
    ],
    wav: Annotated[
        Path | None,
        typer.Argument(
            help="A WAV of somebody who reads the text, 4 to 192 kHz.", show_default=False
        ),
    ] = None,
    mic: Annotated[
        bool, typer.Option("--mic", help="Listen to the microphone in place of a WAV.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="With --mic: its number or a part of its name.", show_default="system's"),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Also draw the sound and its phones, to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which phones of a read text were right, replaced, left out or put in.

    Marks: `AE>IY` is IY said for AE, `-K` left out, `+L` put in, `AE?` doubtful. `fit` tells best
    whether a word was said at all; it and `gop` are 0 at best. A bundle that compress grade taught
    tells scores from 0 to 2 as well, and mistakes by these. With --mic, silence after the last word
    ends the recording.
    """
    if (wav is None) != mic:
        raise typer.BadParameter("a WAV and --mic are two sources; give one of them")
    if device is not None and not mic:
        raise typer.BadParameter("--device chooses a microphone; add --mic")
    import numpy as np

    from runtime.atomic import replacing_file
    from runtime.phone_stream import hear
    from runtime.pronunciation import check as checked
    from runtime.pronunciation import grader_of, sentence_svg, sentence_text, wants_colours
    from runtime.resample import resample
    from runtime.stream import load
    from runtime.wav import read_wav
    from train.data.lexicon import Lexicon

    from ..pronunciation.phones_bundle import phones_bundle

    files = phones_bundle(bundle).files
    words = Lexicon().words(text)
    model = load(bundle)
    if wav is None:
        waveform, rate_hz = _spoken(text, model.sample_rate, device), model.sample_rate
    else:
        waveform, rate_hz = read_wav(wav)
    heard = hear(model, [np.clip(resample(waveform, rate_hz, model.sample_rate), -1.0, 1.0)])
    sentence = checked(heard.log_posteriors, model.labels, words, heard.frame_s)
    grader = grader_of(files, model.labels)
    if grader is not None:
        sentence = grader.grade(sentence)
    if svg is not None:
        with replacing_file(svg) as temporary:
            temporary.write_text(sentence_svg(sentence, waveform, rate_hz), encoding="utf-8")
    if as_json:
        show(sentence.to_dict(), as_json=True)
        return
    columns = shutil.get_terminal_size().columns
    typer.echo(sentence_text(sentence, colours=wants_colours(sys.stdout), width=columns))
    show(_figures(sentence), as_json=False)


def _figures(sentence: "Sentence") -> dict[str, Any]:
    """Of each word, and where there are grades of the whole, for people."""
    from runtime.pronunciation import MOST

    names = ["start_s", "end_s", "fit", "gop", *(["score"] if sentence.score is not None else [])]
    rows = []
    for word in sentence.words:
        values = {name: getattr(word, name) for name in names}
        told = {
            name: "" if value is None else round(value, _DECIMALS) for name, value in values.items()
        }
        rows.append({"word": word.text, **told})
    whole = {"score": sentence.score, "fluency": sentence.fluency}
    graded = {
        name: f"{value:.{_DECIMALS}f} of {MOST:g}"
        for name, value in whole.items()
        if value is not None
    }
    return {"words": rows, **graded}


def _spoken(text: str, sample_rate: int, device: str | None) -> "np.ndarray":
    """What somebody reads into the microphone."""
    from runtime.microphone import blocks
    from runtime.utterance import utterance

    number = int(device) if device is not None and device.isdecimal() else device
    typer.echo(f"Read aloud: {text}", err=True)
    return utterance(blocks(sample_rate, device=number), sample_rate)
