"""A checked sentence in a terminal and as SVG."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from phone_sayer import FRAME_S, LABELS, posteriors_of

from runtime.pronunciation import check
from runtime.pronunciation.judgement import Phone, Sentence, sentence_of, word_of
from runtime.pronunciation.sentence_svg import sentence_svg
from runtime.pronunciation.sentence_text import sentence_text, wants_colours

SVG = "{http://www.w3.org/2000/svg}"
WORDS = [
    ("bookcase", ("B", "UH", "K", "K", "EH", "S")),
    ("the", ("D", "AH")),
    ("cat", ("K", "AE", "T")),
]


@pytest.fixture
def sentence() -> Sentence:
    said = ["B", "UH", "K", "EH", "S", "K", "IY", "T", "AH"]
    return check(posteriors_of(said), LABELS, WORDS, FRAME_S)


def _one(text: str, **fields: object) -> Sentence:
    given: dict[str, object] = {
        "phone": "K", "status": "correct", "heard": "K", "start_s": 0.0, "end_s": 0.04,
        "gop": -0.1, "log_odds": 3.0, "gop_as_read": -0.1, **fields,
    }  # fmt: skip
    return sentence_of([word_of(text, [Phone(**given)], -0.1)], 1.0)  # type: ignore[arg-type]


def test_phones_stand_under_their_words_and_read_without_colours(sentence: Sentence) -> None:
    assert sentence_text(sentence, colours=False).splitlines() == [
        "bookcase        the     cat",
        "B UH -K K EH S  -D -AH  K AE>IY T +AH",
    ]


def test_colours_change_nothing_else(sentence: Sentence) -> None:
    coloured = sentence_text(sentence, colours=True)
    assert "\x1b[31mAE>IY\x1b[0m" in coloured
    assert "\x1b[32mB\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == sentence_text(sentence, colours=False)


def test_lines_fit_the_terminal_and_lose_no_word(sentence: Sentence) -> None:
    lines = sentence_text(sentence, colours=False, width=30).splitlines()
    assert lines[0].split() == ["bookcase", "the"]
    assert lines[2:] == ["", "cat", "K AE>IY T +AH"]
    assert max(map(len, lines)) <= 30
    narrow = sentence_text(sentence, colours=False, width=1).split()
    assert [text for text, _ in WORDS] == [part for part in narrow if part.islower()]


def test_a_doubtful_phone_is_marked() -> None:
    assert sentence_text(_one("k", gop=-1.0), colours=False) == "k\nK?"


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colours(Terminal())
    assert not wants_colours(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colours(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert wants_colours(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colours(Terminal())


def test_the_svg_has_a_box_for_each_phone_at_its_time(sentence: Sentence) -> None:
    waveform = np.sin(np.arange(int(16000 * sentence.duration_s)) / 20)
    root = ElementTree.fromstring(sentence_svg(sentence, waveform, 16000))
    groups = root.findall(f"{SVG}g")
    phones = [phone for word in sentence.words for phone in word.phones]
    assert len(groups) == len(phones)
    starts = [float(group.find(f"{SVG}rect").get("x", "")) for group in groups]  # type: ignore[union-attr]
    assert np.diff(starts) / 240 == pytest.approx(
        np.diff([phone.start_s for phone in phones]), abs=0.001
    )
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text.islower()] == ["bookcase", "the", "cat"]
    assert "IY" in texts
    assert "+AH" in texts
    (line,) = root.findall(f"{SVG}polyline")
    heights = np.array([point.split(",")[1] for point in line.get("points", "").split()], float)
    assert heights.min() == pytest.approx(12, abs=0.2)
    assert heights.max() == pytest.approx(92, abs=0.2)


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros(160), np.full(16000, np.nan)])
def test_an_svg_of_no_sound_is_still_one(sentence: Sentence, waveform: np.ndarray) -> None:
    drawn = sentence_svg(sentence, waveform, 16000)
    ElementTree.fromstring(drawn)
    assert "nan" not in drawn


def test_half_an_hour_is_drawn_within_bounds(sentence: Sentence) -> None:
    drawn = sentence_svg(sentence, np.zeros(1800 * 1000), 1000)
    assert float(ElementTree.fromstring(drawn).get("width", "")) <= 20_100
    assert len(drawn) < 1_000_000


@pytest.mark.parametrize("text", ["<b>&\"'", "a\x1b[2Jb\x07", "\x00\ud800", "über 猫"])
def test_no_text_breaks_a_picture(text: str) -> None:
    for sentence in (_one(text), _one("k", phone=text, heard=text)):
        root = ElementTree.fromstring(sentence_svg(sentence, np.zeros(10), 100))
        assert len(root.findall(f"{SVG}g")) == 1
        assert sentence_text(sentence, colours=False).replace("\n", "").isprintable()
