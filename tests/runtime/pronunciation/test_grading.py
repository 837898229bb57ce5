"""Grades are those of the networks in the file, and decide which phones are wrong."""

import dataclasses
import io

import numpy as np
import pytest
from phone_sayer import FRAME_S, LABELS, PHONES, posteriors_of, silence

from runtime.faults import BundleFault, PronunciationFault
from runtime.pronunciation import Sentence, check, grader_of
from runtime.pronunciation.evidence import SENTENCE_WIDTH, WORD_WIDTH, evidence, phone_width
from runtime.pronunciation.grading import GRADES_FILE, Grader, Head, arrays_of, gradable

WORDS = [("bookcase", ("B", "UH", "K", "K", "EH", "S")), ("cat", ("K", "AE", "T"))]
AS_READ = "B UH K K EH S K AE T"
WIDTHS = {"phones": phone_width(len(PHONES)), "words": WORD_WIDTH, "sentence": SENTENCE_WIDTH}
OUTPUTS = {"phones": 1, "words": 1, "sentence": 2}


def _judged(said: str = AS_READ) -> Sentence:
    return check(posteriors_of(said.split()), LABELS, WORDS, FRAME_S)


def _grader(told: float = 2.0, *, wrong_below: float = 1.0, **columns: float) -> Grader:
    """Everything gets `told`; a phone that `columns` names gets that."""
    heads = {}
    for name, width in WIDTHS.items():
        hidden, output = np.zeros((len(PHONES), width)), np.zeros((OUTPUTS[name], len(PHONES)))
        if name == "phones":
            hidden[:, -len(PHONES) :] = np.eye(len(PHONES))
            output[0] = [columns.get(phone, told) - told for phone in PHONES]
        arrays = (
            np.full(width, -100), np.full(width, 100), hidden, np.zeros(len(PHONES)),
            output, np.full(OUTPUTS[name], told),
        )  # fmt: skip
        heads[name] = Head(*(array.astype(np.float32) for array in arrays))
    return Grader(**heads, names=PHONES, wrong_below=wrong_below)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _marks(sentence: Sentence) -> list[tuple[str | None, str, float | None]]:
    return [
        (phone.phone, phone.status, phone.score)
        for word in sentence.words
        for phone in word.phones
        if phone.status != "correct"
    ]


def test_a_file_gives_the_same_grades_back() -> None:
    rng = np.random.default_rng(0)
    grader = _grader()
    heads = {
        name: Head(
            *(rng.normal(0, 0.3, array.shape).astype(np.float32) for array in parts.values())
        )
        for name in OUTPUTS
        for parts in [dataclasses.asdict(getattr(grader, name))]
    }
    # A range that is upside down is nobody's, but clips the same on both sides.
    made = Grader(**heads, names=PHONES, wrong_below=0.75)
    read = grader_of({GRADES_FILE: _packed(arrays_of(made))}, LABELS)
    assert read is not None
    assert read.grade(_judged()) == made.grade(_judged())
    assert read.names == gradable(LABELS) == PHONES


def test_a_head_is_its_two_layers_over_what_it_has_seen() -> None:
    head = Head(
        low=np.array([0.0, -1.0]),
        high=np.array([1.0, 1.0]),
        hidden=np.array([[1.0, 2.0], [-1.0, 0.0]]),
        hidden_bias=np.array([0.0, 0.5]),
        output=np.array([[0.5, 1.0]]),
        output_bias=np.array([0.1]),
    )
    # Of (9, 0.25) the first is taken for 1: 1 + 0.5 and max(-1 + 0.5, 0), so 0.75 + 0.1.
    told = head(np.array([[9.0, 0.25], [0.0, 5.0], [0.0, -9.0]]))
    assert told[:, 0] == pytest.approx([0.85, 0.5 * 2 + 0.5 + 0.1, 0.5 + 0.1])
    assert head(np.array([[1.0, 1.0]]) * 9)[0, 0] <= 2.0


def test_a_grade_above_the_threshold_makes_a_phone_right() -> None:
    judged = _judged("B UH K K EH S K IY T")
    assert [(phone, status) for phone, status, _ in _marks(judged)] == [("AE", "substituted")]
    graded = _grader(1.5).grade(judged)
    assert _marks(graded) == []
    assert [word.score for word in graded.words] == [1.5, 1.5]
    assert (graded.score, graded.fluency) == (1.5, 1.5)
    [phone] = [phone for phone in graded.words[1].phones if phone.phone == "AE"]
    assert (phone.heard, phone.score) == ("AE", 1.5)
    assert graded.completeness == 1.0


def test_a_grade_below_it_tells_what_was_heard_instead() -> None:
    graded = _grader(AE=0.25, S=0.5).grade(_judged("B UH K K EH S K IY T"))
    assert _marks(graded) == [("S", "doubtful", 0.5), ("AE", "substituted", 0.25)]


def test_a_phone_that_was_never_said_has_no_grade() -> None:
    graded = _grader(T=0.0).grade(_judged("B UH K K EH S K AE"))
    assert _marks(graded) == [("T", "deleted", None)]
    assert graded.words[1].completeness == pytest.approx(2 / 3)
    assert graded.completeness == pytest.approx(8 / 9)
    graded = _grader(T=0.75).grade(_judged("B UH K K EH S K AE"))
    assert _marks(graded) == [("T", "doubtful", 0.75)]


def test_what_was_put_in_is_told_beside_a_wrong_phone_alone() -> None:
    judged = _judged("B L UH K K EH S K AE T")
    assert _marks(judged) == [(None, "inserted", None)]
    assert _marks(_grader().grade(judged)) == []
    assert (None, "inserted", None) in _marks(_grader(S=0.0).grade(judged))


def test_silence_and_a_recording_too_short_for_its_text_are_graded() -> None:
    quiet = np.log(silence(50)).astype(np.float32)
    for posteriors in (quiet, quiet[:3]):
        graded = _grader(0.0).grade(check(posteriors, LABELS, WORDS, FRAME_S))
        assert {status for _, status, _ in _marks(graded)} == {"deleted"}
        assert [word.score for word in graded.words] == [0.0, 0.0]
        assert graded.completeness == 0.0


def test_evidence_has_a_row_for_each_phone_asked_for_and_is_finite() -> None:
    for said in (AS_READ, f"B L {AS_READ[2:]} AH", "S"):
        seen = evidence(_judged(said), PHONES)
        assert seen.phones.shape == (9, WIDTHS["phones"])
        assert seen.words.shape == (2, WORD_WIDTH)
        assert seen.sentence.shape == (SENTENCE_WIDTH,)
        assert all(np.isfinite(part).all() for part in (seen.phones, seen.words, seen.sentence))
    named = seen.phones[:, -len(PHONES) :]
    assert [PHONES[column] for column in named.argmax(axis=1)] == AS_READ.split()
    assert (named.sum(axis=1) == 1).all()


def test_a_wrong_phone_is_seen_in_its_own_row_first() -> None:
    right, wrong = (
        evidence(_judged(said), PHONES).phones for said in (AS_READ, "B UH K K EH S K IY T")
    )
    own = np.abs(right - wrong)[:, :3].sum(axis=1)
    assert own.argmax() == AS_READ.split().index("AE")


def test_a_phone_without_a_grade_is_named() -> None:
    with pytest.raises(PronunciationFault, match="the phone 'B' has no grade; grades are of AA K"):
        evidence(_judged(), ("AA", "K"))


def test_a_bundle_without_grades_grades_nothing() -> None:
    assert grader_of({"model.onnx": b""}, LABELS) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"words.low": None}, "lacks words.low"),
        ({"phones.hidden": None}, "lacks phones.hidden"),
        ({"sentence.output": np.zeros((1, 13), np.float32)}, r"sentence.output must .* \(2, 13\)"),
        ({"words.high": np.full(WORD_WIDTH, np.nan, np.float32)}, "words.high must be finite"),
        ({"wrong_below": np.array(1.0)}, "wrong_below must be finite float32"),
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, np.ndarray | None], said: str) -> None:
    arrays = arrays_of(_grader()) | change
    packed = _packed({name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(BundleFault, match=rf"grades\.npz: .*{said}.*Run compress grade again"):
        grader_of({GRADES_FILE: packed}, LABELS)
    with pytest.raises(BundleFault, match=r"^grades\.npz"):
        grader_of({GRADES_FILE: packed[:40]}, LABELS)
