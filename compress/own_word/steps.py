"""The whole way from a text to a calibrated spotter; what a step made is kept and reused."""

import json
import logging
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.rooms import read_surroundings
from train.data.voices import Speaker, Word
from train.finetune import KeywordsRecipe, finetune
from train.recipe import load_recipe

from .. import CompressError
from ..folders import recipe_folder
from ..telling import step
from .asking import RECIPE, Ask, claim
from .chorus import Chorus
from .corpus import make_word_corpus
from .finishing import finish
from .near_misses import NearMisses, read_lexicon
from .phrase import Phrase, read_phrase
from .shares import divide, divided, hours_of
from .surroundings import make_surroundings
from .takes import Takes, held_out, read_takes
from .talk import make_talk
from .talkers import Talker
from .talkers.espeak import EspeakTalker, accents_of

_POOLED_MS_STEP = 40

_log = logging.getLogger(__name__)


class Voices:
    """The keyword as it is said, and who says it."""

    def __init__(self, ask: Ask) -> None:
        """Find out, and say nothing yet.

        Raises:
            CallError: the text cannot be a keyword, or the language is unknown.
            CompressError: piper is asked for and missing.
            DataError: espeak-ng or a voice of piper's cannot be used.
        """
        speaker = Speaker(ask.seed)
        talkers: list[Talker] = [EspeakTalker(speaker, accents_of(ask.language, speaker))]
        if ask.piper_voices:
            from .talkers.piper import PiperTalker

            talkers.append(PiperTalker(ask.piper_voices))
        self.chorus = Chorus(talkers)
        self.phrase: Phrase = read_phrase(ask.text, self.chorus.accents(), speaker)
        self._speaker = speaker

    def mistakes(self) -> dict[str, NearMisses]:
        """What sounds like the keyword, by accent."""
        return {
            accent: NearMisses(self.phrase, accent, read_lexicon(accent, self._speaker))
            for accent in self.phrase.forms
        }


def plan(ask: Ask) -> dict[str, Any]:
    """What would be done, checked as far as it can be without making anything.

    Raises:
        CallError, CompressError, TrainError: as `make_spotter`.
    """
    voices = Voices(ask)
    text = voices.phrase.text
    takes = _checked(ask, text)
    return {
        "keyword": text,
        "sounds": {accent: _ipa(words) for accent, words in voices.phrase.forms.items()},
        "syllables": voices.phrase.syllables,
        "clips": ask.clips,
        "near_misses": ask.near_misses,
        "own_takes": {"train": len(takes.train), "left_out": len(takes.test)},
        "hours_of_negatives": {str(path): hours_of(path) for path in ask.negatives},
        "recipe": ask.recipe,
        "updates": _recipe(ask, text, ()).updates,
        "notes": voices.phrase.notes | ask.notes,
    }


def make_spotter(ask: Ask, out: Path, *, resume: bool) -> dict[str, Any]:
    """Synthesize, train, export, calibrate and measure.

    Args:
        ask: what is wanted.
        out: each step gets a folder in it, the bundle too.
        resume: go on in a folder that was begun with the same wishes.

    Returns:
        where the bundle is and what it was measured at, for a table or JSON.

    Raises:
        CallError: the text cannot be a keyword, or `out` was begun otherwise.
        CompressError, TrainError, ExportError, RuntimeFault: a step cannot be done.
    """
    voices = Voices(ask)
    text = voices.phrase.text
    takes = _checked(ask, text)
    for about, note in (voices.phrase.notes | ask.notes).items():
        _log.warning("%s: %s", about.replace("_", " "), note)
    claim(ask, out, resume=resume)
    speech, talk, audio = out / "speech", out / "talk", divided(out / "negatives")
    with step("1/5", f"{text!r} and what sounds like it, by many voices"):
        # Each with voices of its own: a speaker that has spoken before says the same otherwise,
        # and a run that was interrupted between the two would end with other clips.
        if not speech.is_dir():
            make_word_corpus(
                speech,
                voices.phrase,
                voices.chorus,
                voices.mistakes(),
                takes=takes,
                num_clips=ask.clips,
                num_near_misses=ask.near_misses,
                seed=ask.seed,
            )
        if not talk.is_dir():
            others = Voices(ask)
            make_talk(
                talk,
                others.chorus,
                others.mistakes(),
                minutes=ask.talk_minutes,
                seed=ask.seed,
            )
    with step("2/5", "noises, rooms and speech without it"):
        if not audio.train.is_dir():
            divide(ask.negatives or (talk,), audio.train.parent)
        surroundings = ask.noise or out / "surroundings"
        if not surroundings.is_dir():
            make_surroundings(surroundings, ask.seed)
    with step("3/5", "training on running sound"):
        finetune(
            _recipe(ask, text, _word_lengths(speech, text)),
            speech,
            None,
            out / "training",
            random_init=False,
            resume=True,
            surroundings=surroundings,
            # Synthetic voices too: else each of them would be the keyword's.
            negatives=[audio.train, talk] if ask.negatives else [talk],
        )
    return finish(
        ask,
        text,
        out / "training",
        out,
        places=("4/5", "5/5"),
        calibration=speech,
        audio=audio,
        speech=speech,
    )


def _checked(ask: Ask, text: str) -> Takes:
    """Read whatever is given, so that what is wrong with it is told at once; the takes are kept.

    Raises:
        CompressError, TrainError: a recipe or a folder cannot be used.
    """
    _recipe(ask, text, ())
    for folder in ask.negatives:
        read_corpus(folder)
    if ask.noise is not None:
        read_surroundings(ask.noise)
    return Takes() if ask.recordings is None else held_out(read_takes(ask.recordings, text))


def _recipe(ask: Ask, text: str, lengths_ms: tuple[float, ...]) -> KeywordsRecipe:
    """The recipe for this keyword; one that is longer than the model listens makes it listen on.

    Raises:
        CompressError: a recipe that does not train a causal Keyword Transformer on running sound.
        RecipeError: as `load_recipe`.
    """
    wishes = [
        *ask.overrides,
        f"labels={json.dumps([text], ensure_ascii=False)}",
        f"seed={ask.seed}",
    ]
    recipe = load_recipe(ask.recipe, KeywordsRecipe, recipe_folder("train"), wishes)
    if recipe.running is None:
        raise CompressError(
            f"the recipe {ask.recipe!r} trains on clips, and a spotter of one word has to learn "
            f"from running sound; take {RECIPE} or a recipe with a table [running]"
        )
    body = recipe.causal_keyword_transformer
    longest_ms = float(np.quantile(lengths_ms, 0.95)) if lengths_ms else 0.0
    if recipe.body == "causal_keyword_transformer" and longest_ms > body.pooled_ms:
        pooled_ms = ceil(longest_ms / _POOLED_MS_STEP) * _POOLED_MS_STEP
        wishes.append(f"causal_keyword_transformer.pooled_ms={pooled_ms}")
        wishes.append(f"running.scene_seconds={recipe.running.scene_seconds + pooled_ms / 1e3:g}")
        recipe = load_recipe(ask.recipe, KeywordsRecipe, recipe_folder("train"), wishes)
    return recipe


def _word_lengths(speech: Path, text: str) -> tuple[float, ...]:
    """How long the keyword takes in each of its clips, in ms."""
    said = [cut for cut in read_corpus(speech) if label_of(cut) == text]
    return tuple(1e3 * cut.supervisions[0].alignment["phone"][0].duration for cut in said)


def _ipa(words: tuple[Word, ...]) -> str:
    return " ".join("".join(phone.ipa for phone in word) for word in words)
