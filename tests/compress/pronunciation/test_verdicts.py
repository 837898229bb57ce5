"""What a detector of mispronunciations is worth."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.pronunciation.columns import paired
from compress.pronunciation.verdicts import Verdicts, judge, judge_pairs

PHONES = st.lists(st.sampled_from("ABC"), max_size=7)


def counted(canonical, perceived, recognized):
    """True accepts, false rejects, false accepts, correct diagnoses, diagnosis errors."""
    found = judge(canonical.split(), perceived.split(), recognized.split())
    return (
        found.true_accepts,
        found.false_rejects,
        found.false_accepts,
        found.correct_diagnoses,
        found.diagnosis_errors,
    )


@pytest.mark.parametrize(
    ("canonical", "perceived", "recognized", "expected"),
    [
        ("TH IH", "TH IH", "TH IH", (2, 0, 0, 0, 0)),
        ("TH IH", "TH IH", "S IH", (1, 1, 0, 0, 0)),
        ("TH IH", "TH IH", "IH", (1, 1, 0, 0, 0)),
        # substituted
        ("TH IH", "S IH", "TH IH", (1, 0, 1, 0, 0)),
        ("TH IH", "S IH", "S IH", (1, 0, 0, 1, 0)),
        ("TH IH", "S IH", "T IH", (1, 0, 0, 0, 1)),
        ("TH IH", "S IH", "IH", (1, 0, 0, 0, 1)),
        # left out
        ("AE N D", "AE N", "AE N D", (2, 0, 1, 0, 0)),
        ("AE N D", "AE N", "AE N", (2, 0, 0, 1, 0)),
        ("AE N D", "AE N", "AE N T", (2, 0, 0, 0, 1)),
        # put in before a phone, and after one
        ("S T AA P", "EH S T AA P", "S T AA P", (4, 0, 1, 0, 0)),
        ("S T AA P", "EH S T AA P", "EH S T AA P", (4, 0, 0, 1, 0)),
        ("S T AA P", "EH S T AA P", "AH S T AA P", (4, 0, 0, 0, 1)),
        ("S T AA P", "S T AA P AH", "S T AA P AH", (4, 0, 0, 1, 0)),
        ("S T AA P", "S T AA P AH", "EH S T AA P", (4, 1, 1, 0, 0)),
        ("S T AA P", "S T AA P", "S T AA P AH", (4, 1, 0, 0, 0)),
        # one K of two
        ("B UH K K EY S", "B UH K EY S", "B UH K EY S", (5, 0, 0, 1, 0)),
        ("B UH K K EY S", "B UH K EY S", "B UH K K EY S", (5, 0, 1, 0, 0)),
        ("B UH K K EY S", "B UH K K EY S", "B UH K EY S", (5, 1, 0, 0, 0)),
        # nothing at all of one, two or three
        ("", "", "", (0, 0, 0, 0, 0)),
        ("AE N", "", "", (0, 0, 0, 2, 0)),
        ("AE N", "AE N", "", (0, 2, 0, 0, 0)),
        ("AE N", "", "AE N", (0, 0, 2, 0, 0)),
        ("", "AE", "", (0, 0, 1, 0, 0)),
        ("", "", "AE", (0, 1, 0, 0, 0)),
        # pauses are no phones, a sound that is no English phone is one
        ("SIL AE SIL N", "AE N SIL", "AE SIL N", (2, 0, 0, 0, 0)),
        ("AE N", "ERR N", "ERR N", (1, 0, 0, 1, 0)),
    ],
)  # fmt: skip
def test_hand_made_cases(canonical, perceived, recognized, expected):
    assert counted(canonical, perceived, recognized) == expected


def test_rates_are_those_of_the_literature():
    found = Verdicts(
        true_accepts=80, false_rejects=10, false_accepts=4, correct_diagnoses=3, diagnosis_errors=3
    )
    assert found.true_rejects == 6
    assert found.precision == 6 / 16
    assert found.recall == 6 / 10
    assert found.f1 == pytest.approx(2 * (6 / 16) * (6 / 10) / (6 / 16 + 6 / 10))
    assert found.false_acceptance_rate == 4 / 10
    assert found.false_rejection_rate == 10 / 90
    assert found.diagnosis_error_rate == 3 / 6
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["false_rejects"], told["true_rejects"], told["recall"]) == (10, 6, 0.6)


def test_accepting_all_finds_nothing_and_rejecting_all_finds_everything():
    canonical, perceived = ["TH", "IH", "NG", "K"], ["S", "IH", "NG"]
    accepting = judge(canonical, perceived, canonical)
    assert (accepting.true_accepts, accepting.false_accepts) == (2, 2)
    assert (accepting.precision, accepting.recall, accepting.f1) == (None, 0.0, 0.0)
    assert (accepting.false_acceptance_rate, accepting.diagnosis_error_rate) == (1.0, None)
    rejecting = judge(canonical, perceived, ["ERR"] * 4)
    assert (rejecting.true_accepts, rejecting.false_rejects, rejecting.true_rejects) == (0, 2, 2)
    assert (rejecting.precision, rejecting.recall) == (0.5, 1.0)
    assert (rejecting.false_rejection_rate, rejecting.diagnosis_error_rate) == (1.0, 1.0)


def test_nothing_said_has_no_rates():
    assert {name for name, value in Verdicts().to_dict().items() if value is None} == {
        "precision",
        "recall",
        "f1",
        "false_acceptance_rate",
        "false_rejection_rate",
        "diagnosis_error_rate",
    }


def test_annotated_places_decide_what_was_said_wrong():
    # aligned anew, this would be one substitution
    pairs = [("T", None), (None, "D")]
    assert judge_pairs(pairs, ["D"]) == Verdicts(correct_diagnoses=2)
    assert judge_pairs(pairs, ["T"]) == Verdicts(false_accepts=2)


@given(PHONES, PHONES, PHONES)
def test_how_much_is_wrong_does_not_depend_on_who_listens(canonical, perceived, recognized):
    pairs = paired(canonical, perceived)
    wrong = sum(first != second for first, second in pairs)
    found = judge(canonical, perceived, recognized)
    assert found.false_accepts + found.true_rejects == wrong
    assert found.true_accepts + found.false_rejects >= len(pairs) - wrong


@given(PHONES, PHONES)
def test_a_perfect_listener_makes_no_mistake(canonical, perceived):
    found = judge(canonical, perceived, perceived)
    assert found.false_accepts == found.false_rejects == found.diagnosis_errors == 0


def test_utterances_add_up():
    whole = judge(["A"], ["A"], ["A"]) + judge(["A"], ["B"], ["B"]) + judge(["A"], ["A"], ["C"])
    assert whole == Verdicts(true_accepts=1, correct_diagnoses=1, false_rejects=1)
