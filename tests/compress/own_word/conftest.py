"""A keyword, who says it, and what sounds like it, looked up once."""

import pytest

from compress.own_word.near_misses import NearMisses, read_lexicon
from compress.own_word.phrase import read_phrase
from compress.own_word.talkers.espeak import EspeakTalker
from train.data.voices import Speaker

ACCENTS = ["en-us", "en-gb-scotland"]


@pytest.fixture(scope="package")
def speaker():
    return Speaker()


@pytest.fixture(scope="package")
def phrase(speaker):
    return read_phrase("Hey, otter!", ACCENTS, speaker)


@pytest.fixture(scope="package")
def talker(speaker):
    return EspeakTalker(speaker, ACCENTS)


@pytest.fixture(scope="package")
def mistakes(phrase, speaker):
    return {accent: NearMisses(phrase, accent, read_lexicon(accent, speaker)) for accent in ACCENTS}
