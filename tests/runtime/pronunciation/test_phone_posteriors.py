"""A phone model's output, checked and made ready."""

import numpy as np
import pytest

from runtime.faults import PronunciationFault
from runtime.pronunciation.phone_columns import FLOOR
from runtime.pronunciation.phone_posteriors import prepared

LABELS = ("K", "_blank_", "AE", "SIL", "ERR")
PROBABILITIES = np.array([[0.1, 0.5, 0.1, 0.2, 0.1], [0.0, 0.0, 1.0, 0.0, 0.0]])


def _logs(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities).astype(np.float32)


def test_blanks_and_pauses_become_one_column_and_come_first() -> None:
    posteriors = prepared(_logs(PROBABILITIES), LABELS)
    assert posteriors.columns.names == ("_blank_", "K", "AE", "ERR")
    assert np.exp(posteriors.log_probs[0]) == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=1e-6)


def test_a_saturated_models_zeros_stay_finite() -> None:
    posteriors = prepared(_logs(PROBABILITIES), LABELS)
    assert posteriors.log_probs[1] == pytest.approx([FLOOR, FLOOR, 0.0, FLOOR], abs=1e-6)


def test_a_model_without_pauses_and_errors_will_do() -> None:
    posteriors = prepared(_logs(np.array([[0.25, 0.75]])), ("T", "_blank_"))
    assert np.exp(posteriors.log_probs) == pytest.approx(np.array([[0.75, 0.25]]))


@pytest.mark.parametrize(
    ("log_posteriors", "labels", "message"),
    [
        (np.zeros((0, 5)), LABELS, "no frames"),
        (np.zeros((3, 4)), LABELS, r"\(frames, 5\), a column for each label, got \(3, 4\)"),
        (np.zeros(5), LABELS, r"got \(5,\)"),
        (np.zeros((3, 5)), LABELS, "a sum of 5 in frame 0: pass log-softmax, not logits"),
        (np.full((3, 5), np.nan), LABELS, "a sum of nan"),
        (np.full((1, 5), 800.0), LABELS, "a sum of inf"),
        (_logs(PROBABILITIES), ("K", "B", "AE", "SIL", "ERR"), "hold '_blank_'"),
        (_logs(PROBABILITIES), ("K", "_blank_", "K", "SIL", "ERR"), "all different"),
    ],
)
def test_what_is_no_posteriors_is_refused(
    log_posteriors: np.ndarray, labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PronunciationFault, match=message):
        prepared(log_posteriors, labels)


def test_a_phone_that_the_model_does_not_know_is_named() -> None:
    posteriors = prepared(_logs(PROBABILITIES), LABELS)
    assert posteriors.columns.find(("K", "AE", "K"), "the word") == [1, 2, 1]
    with pytest.raises(PronunciationFault, match=r"'cat' has a phone 'T'.*\(K AE\)"):
        posteriors.columns.find(("K", "AE", "T"), "the word 'cat'")
    for never_asked in ("SIL", "ERR", "_blank_", "AE1"):
        with pytest.raises(PronunciationFault, match=never_asked):
            posteriors.columns.find((never_asked,), "x")
    with pytest.raises(PronunciationFault, match="no phones"):
        posteriors.columns.find((), "x")
