"""Grades of a pronunciation as people give them, by small networks that learned from experts'."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import read_arrays
from ..faults import BundleFault
from .evidence import SENTENCE_WIDTH, WORD_WIDTH, evidence, phone_width
from .judgement import Phone, Sentence, Status, Word, completeness
from .phone_columns import BLANK, NO_PHONE, PAUSE

GRADES_FILE = "grades.npz"
"""Of a bundle, where it grades."""
MOST = 2.0
"""The best grade; the worst is 0."""

_UNSAID_BELOW = 0.5
"""A phone that was not heard and has a lower grade was never said."""
_MAX_BYTES = 1 << 20
_OUTPUTS = {"phones": 1, "words": 1, "sentence": 2}
"""Grades of each; a sentence's are its own and its fluency."""
_HEAD = ("low", "high", "hidden", "hidden_bias", "output", "output_bias")


@dataclass(frozen=True, eq=False)
class Head:
    """A network of one hidden layer, over figures kept to what it has learned from."""

    low: np.ndarray
    """float32 (features,), the least that was seen of each."""
    high: np.ndarray
    hidden: np.ndarray
    """float32 (units, features)."""
    hidden_bias: np.ndarray
    output: np.ndarray
    """float32 (outputs, units)."""
    output_bias: np.ndarray

    def __call__(self, figures: np.ndarray) -> np.ndarray:
        """(rows, features) to grades in [0, MOST], (rows, outputs)."""
        known = np.clip(figures, self.low, self.high)
        units = np.maximum(known @ self.hidden.T + self.hidden_bias, 0.0)
        grades: np.ndarray = np.clip(units @ self.output.T + self.output_bias, 0.0, MOST)
        return grades


@dataclass(frozen=True, eq=False)
class Grader:
    """What grades sentences of one phone model."""

    phones: Head
    words: Head
    sentence: Head
    names: tuple[str, ...]
    """Phones that may be asked for."""
    wrong_below: float
    """A phone of a lower grade is told as wrong."""

    def grade(self, sentence: Sentence) -> Sentence:
        """Grade a checked sentence, and tell as wrong what the grades say is.

        Grades know more than the comparison that `check` tells mistakes by: how the rest of the
        sentence is read, and what experts let pass. So they decide which phones are wrong; what was
        said in place of those is told as it was heard, and "doubtful" where that was the phone, or
        where it was not heard and not so bad that it was left out. In a word without a wrong phone
        nothing was put in.

        Raises:
            PronunciationFault: a phone without a grade.
        """
        seen = evidence(sentence, self.names)
        of_phones = iter(self.phones(seen.phones)[:, 0].tolist())
        of_words = self.words(seen.words)[:, 0].tolist()
        whole, fluency = self.sentence(seen.sentence[None])[0].tolist()
        words = [
            self._word(word, score, of_phones)
            for word, score in zip(sentence.words, of_words, strict=True)
        ]
        phones = [phone for word in words for phone in word.phones]
        return dataclasses.replace(
            sentence,
            words=tuple(words),
            completeness=completeness(phones),
            score=whole,
            fluency=fluency,
        )

    def _word(self, word: Word, score: float, of_phones: Iterator[float]) -> Word:
        phones = [
            phone if phone.phone is None else self._phone(phone, next(of_phones))
            for phone in word.phones
        ]
        if all(phone.status in ("correct", "inserted") for phone in phones):
            phones = [phone for phone in phones if phone.phone is not None]
        return dataclasses.replace(
            word, phones=tuple(phones), completeness=completeness(phones), score=score
        )

    def _phone(self, phone: Phone, score: float) -> Phone:
        if score >= self.wrong_below:
            return dataclasses.replace(phone, status="correct", heard=phone.phone, score=score)
        if phone.status == "deleted" and score < _UNSAID_BELOW:
            return phone
        heard_as = phone.heard if phone.status == "substituted" else phone.phone
        status: Status = "substituted" if phone.status == "substituted" else "doubtful"
        return dataclasses.replace(phone, status=status, heard=heard_as, score=score)


def gradable(labels: Sequence[str]) -> tuple[str, ...]:
    """Of a phone model's labels those that may be asked for and graded."""
    return tuple(name for name in labels if name not in (BLANK, PAUSE, NO_PHONE))


def grader_of(files: Mapping[str, bytes], labels: Sequence[str]) -> Grader | None:
    """The grader in a bundle's files; None where it has none.

    Args:
        files: of the bundle by name.
        labels: of its model.

    Raises:
        BundleFault: `GRADES_FILE` holds none for these labels.
    """
    if GRADES_FILE not in files:
        return None
    try:
        arrays = read_arrays(files[GRADES_FILE], what="grades", max_bytes=_MAX_BYTES)
        names = gradable(labels)
        widths = {
            "phones": phone_width(len(names)),
            "words": WORD_WIDTH,
            "sentence": SENTENCE_WIDTH,
        }
        heads = {name: _head(arrays, name, width) for name, width in widths.items()}
        wrong_below = _array(arrays, "wrong_below", ())
    except BundleFault as fault:
        raise BundleFault(f"{GRADES_FILE}: {fault}. Run compress grade again.") from fault
    return Grader(**heads, names=names, wrong_below=float(wrong_below))


def arrays_of(grader: Grader) -> dict[str, np.ndarray]:
    """What `GRADES_FILE` holds, by name."""
    heads = {name: getattr(grader, name) for name in _OUTPUTS}
    arrays = {
        f"{name}.{part}": np.asarray(getattr(head, part), dtype=np.float32)
        for name, head in heads.items()
        for part in _HEAD
    }
    return arrays | {"wrong_below": np.array(grader.wrong_below, dtype=np.float32)}


def _head(arrays: Mapping[str, np.ndarray], name: str, width: int) -> Head:
    units = arrays[f"{name}.hidden"].shape[:1] if f"{name}.hidden" in arrays else ()
    outputs = _OUTPUTS[name]
    shapes = ((width,), (width,), (*units, width), units, (outputs, *units), (outputs,))
    return Head(
        *(
            _array(arrays, f"{name}.{part}", shape)
            for part, shape in zip(_HEAD, shapes, strict=True)
        )
    )


def _array(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in arrays:
        raise BundleFault(f"lacks {name}")
    array = arrays[name]
    if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
        raise BundleFault(
            f"{name} must be finite float32 of the shape {shape}, got {array.dtype} {array.shape}"
        )
    return array
