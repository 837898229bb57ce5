"""The whole way from a text to a calibrated spotter; what a step made is kept and reused."""

import json
import logging
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from train.beginning import check_source
from train.data.corpus import read_corpus
from train.data.cuts import label_of
from train.data.voices import Speaker, Word
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.recipe import load_recipe
from train.tasks.bodies import BODIES, name_of
from train.tasks.phones import load_phones

from .. import CompressError
from ..folders import recipe_folder
from ..forms import SAMPLES_PER_MS
from ..shipped import PHONES, model_in, shipped
from ..telling import step
from .asking import RECIPE, Ask, check_audio, claim
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

_NEARLY_ALL = 0.95
_POOLED_MS_STEP = 40
_DILATION = 4
"""Of a block that is added to a network that hears too little."""

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
        "updates": _recipe(ask, text).updates,
        "starts_from": str(_start(ask, text) or "random weights"),
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
            _recipe(ask, text, _longest_ms(speech, text)),
            speech,
            _start(ask, text, _longest_ms(speech, text)),
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
    _recipe(ask, text)
    check_audio(ask)
    if ask.model is not None:
        check_source(_recipe(ask, text), model_in(ask.model))
    return Takes() if ask.recordings is None else held_out(read_takes(ask.recordings, text))


def _recipe(ask: Ask, text: str, longest_ms: float = 0.0) -> KeywordsRecipe:
    """The recipe for this keyword; one that is longer than its body listens makes it listen on.

    Raises:
        CompressError: a recipe that does not train on running sound.
        RecipeError: as `load_recipe`.
    """
    labels = json.dumps([text], ensure_ascii=False)
    wishes = [*ask.overrides, f"labels={labels}", f"seed={ask.seed}"]
    recipe = load_recipe(ask.recipe, KeywordsRecipe, recipe_folder("train"), wishes)
    if recipe.running is None:
        raise CompressError(
            f"the recipe {ask.recipe!r} trains on clips, and a spotter of one word has to learn "
            f"from running sound; take {RECIPE} or a recipe with a table [running]"
        )
    kind = BODIES[recipe.body]
    body: Any = kind.build(getattr(recipe, recipe.body))
    missing_ms = longest_ms - body.window_samples / SAMPLES_PER_MS
    if missing_ms <= 0.0 or ask.model is not None:
        return recipe
    wishes.append(f"running.scene_seconds={recipe.running.scene_seconds + missing_ms / 1e3:.2f}")
    if recipe.body == "causal_keyword_transformer":
        pooled_ms = ceil(longest_ms / _POOLED_MS_STEP) * _POOLED_MS_STEP
        wishes.append(f"causal_keyword_transformer.pooled_ms={pooled_ms}")
    if recipe.body == "causal_tcn":
        sizes = recipe.causal_tcn
        block_ms = (sizes.kernel - 1) * _DILATION * body.hop_samples / SAMPLES_PER_MS
        dilations = [*sizes.dilations, *[_DILATION] * ceil(missing_ms / block_ms)]
        wishes.append(f"causal_tcn.dilations={dilations}")
    return load_recipe(ask.recipe, KeywordsRecipe, recipe_folder("train"), wishes)


def _longest_ms(speech: Path, text: str) -> float:
    """What the keyword takes in nearly all of its clips, in ms."""
    said = [cut for cut in read_corpus(speech) if label_of(cut) == text]
    lengths = [cut.supervisions[0].alignment["phone"][0].duration for cut in said]
    return 1e3 * float(np.quantile(lengths, _NEARLY_ALL))


def _start(ask: Ask, text: str, longest_ms: float = 0.0) -> Path | None:
    """What training starts from: the model asked for, or the phones that ship where they fit."""
    if ask.model is not None:
        return model_in(ask.model)
    recipe, phones = _recipe(ask, text, longest_ms), shipped(PHONES)
    body: Any = load_phones(phones).body
    fits = recipe.body == name_of(body) and getattr(recipe, recipe.body) == body.config
    return phones if fits else None


def _ipa(words: tuple[Word, ...]) -> str:
    return " ".join("".join(phone.ipa for phone in word) for word in words)
