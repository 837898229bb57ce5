"""Right words against wrong ones: who tells from a recording that a word was not said in it?

Texts of speechocean762's test half, each as it was read and with one word replaced by another's;
both checkers are given the same phones. Each lives in a process of its own, and they take turns.
"""

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from compress.pronunciation.lessons import Graded, Words, read_graded

RATE_HZ = 16_000
TURNS = 4
_UNFIT = -1e3
"""Of a word in a text that does not lie on the recording at all: that, too, is an answer."""
Scorer = Callable[[np.ndarray, Words], list[float] | None]
"""A recording and a text to a score for each word, higher where it fits; None where none is."""


@dataclass(frozen=True)
class Trial:
    """A sentence and a text of which one word is not said."""

    cut_id: str
    read: Words
    asked: Words
    place: int
    """Of the word that differs."""


def trials(graded: Graded, nth: int) -> list[Trial]:
    """Of every nth sentence, one word replaced by a word of another sentence at random."""
    rng = np.random.default_rng(0)
    texts = [
        [(word.text, word.phones) for word in graded.scores[cut.id].words] for cut in graded.cuts
    ]
    known = sorted({word for text in texts for word in text})
    made = []
    for number in range(0, len(texts), nth):
        asked = list(texts[number])
        place = int(rng.integers(len(asked)))
        others = [word for word in known if word[1] != asked[place][1]]
        asked[place] = others[rng.integers(len(others))]
        made.append(Trial(graded.cuts[number].id, texts[number], asked, place))
    return made


def compare(
    scorers: dict[str, tuple[Callable[..., Scorer], tuple[Any, ...]]], data: Path, nth: int
) -> dict[str, dict[str, float]]:
    """Let each scorer judge all trials, in turns.

    Args:
        scorers: by name, what makes one and what it is given.
        data: speechocean762.
        nth: which of its test sentences.

    Returns:
        by name: AUC, words compared, CPU seconds a second of audio, memory at most beside what the
        process takes without a scorer.
    """
    chosen = trials(read_graded(data, "test"), nth)
    context = multiprocessing.get_context("spawn")
    pools = {
        name: ProcessPoolExecutor(1, context, initializer=_begin, initargs=(make, given, data))
        for name, (make, given) in scorers.items()
    }
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in scorers}
    for turn in range(TURNS):
        for name, pool in pools.items():
            answers[name].append(pool.submit(_judge, chosen[turn::TURNS]).result())
    for pool in pools.values():
        pool.shutdown()
    return {name: _summed(parts) for name, parts in answers.items()}


def _summed(parts: list[dict[str, Any]]) -> dict[str, float]:
    right = [score for part in parts for score in part["right"]]
    wrong = [score for part in parts for score in part["wrong"]]
    audio_s = sum(part["audio_s"] for part in parts)
    return {
        "auc": float(roc_auc_score([1] * len(right) + [0] * len(wrong), right + wrong)),
        "words": len(right),
        "unscored": sum(part["unscored"] for part in parts),
        "cpu": sum(part["cpu_s"] for part in parts) / audio_s,
        "audio_s": audio_s,
        "peak_mb": max(part["peak_mb"] for part in parts),
    }


_scorer: Scorer
_graded: Graded
_bare_kb: int
"""Peak memory before there is a scorer."""


def _begin(make: Callable[..., Scorer], given: tuple[Any, ...], data: Path) -> None:
    global _scorer, _graded, _bare_kb
    _graded = read_graded(data, "test")
    _bare_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _scorer = make(*given)


def _judge(chosen: list[Trial]) -> dict[str, Any]:
    right, wrong, unscored, cpu_s, audio_s = [], [], 0, 0.0, 0.0
    for trial in chosen:
        waveform = _graded.packed.waveform(trial.cut_id)
        begin = time.process_time()
        scores = [_scorer(waveform, text) for text in (trial.read, trial.asked)]
        cpu_s += time.process_time() - begin
        audio_s += 2 * len(waveform) / RATE_HZ
        unscored += scores.count(None)
        for told, scored in ((right, scores[0]), (wrong, scores[1])):
            told.append(_UNFIT if scored is None else scored[trial.place])
    peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - _bare_kb) / 1024
    return {
        "right": right,
        "wrong": wrong,
        "unscored": unscored,
        "cpu_s": cpu_s,
        "audio_s": audio_s,
        "peak_mb": peak_mb,
    }


def otolite(bundle: Path) -> Scorer:
    """Fit of a word, by our runtime."""
    from runtime.phone_stream import hear
    from runtime.pronunciation import check
    from runtime.stream import load

    model = load(bundle)

    def score(waveform: np.ndarray, words: Words) -> list[float] | None:
        frames = hear(model, [waveform])
        checked = check(frames.log_posteriors, model.labels, words, frames.frame_s)
        fits = [word.fit for word in checked.words]
        return [fit for fit in fits if fit is not None] if None not in fits else None

    return score


def pocketsphinx(data: Path, nth: int) -> Scorer:
    """Forced alignment of the text against a free loop of phones, nats a frame of a word.

    Words go into the dictionary before the first alignment: later ones are not found by it.
    """
    from pocketsphinx import Decoder, get_model_path

    from train.data.audio import to_int16

    aligner = Decoder(lm=None, loglevel="FATAL")
    loop = Decoder(
        lm=None,
        allphone=f"{get_model_path('en-us')}/en-us-phone.lm.bin",
        allphone_ci=True,
        loglevel="FATAL",
    )
    asked = [trial.read + trial.asked for trial in trials(read_graded(data, "test"), nth)]
    names = {phones: "" for words in asked for _, phones in words}
    for number, phones in enumerate(names):
        names[phones] = f"word{number}"
        aligner.add_word(names[phones], " ".join(phones), update=number == len(names) - 1)

    def score(waveform: np.ndarray, words: Words) -> list[float] | None:
        samples = to_int16(waveform).tobytes()
        aligner.set_align_text(" ".join(names[phones] for _, phones in words))
        try:
            _decode(aligner, samples)
        except RuntimeError:  # no path through the text
            return None
        found = [seg for seg in aligner.seg() or () if seg.word.startswith("word")]
        if len(found) != len(words):
            return None
        _decode(loop, samples)
        free = np.zeros(len(waveform) * 100 // RATE_HZ + 10)
        for seg in loop.seg() or ():
            free[seg.start_frame : seg.end_frame + 1] = _nats(seg)
        return [
            _nats(seg) - float(free[seg.start_frame : seg.end_frame + 1].mean()) for seg in found
        ]

    return score


def _nats(seg: Any) -> float:
    """A frame's share of a segment's acoustic likelihood, which comes as such."""
    least = np.finfo(np.float64).tiny
    return float(np.log(max(seg.ascore, least))) / int(seg.end_frame + 1 - seg.start_frame)


def _decode(decoder: Any, samples: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
