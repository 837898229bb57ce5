"""Is a graph in 8 bits still the model? If not, which layers cost it what it was."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Tensor

from . import ExportError
from .clips import Face, long_streams, spread, takes
from .layers import matching
from .quantize import Precision
from .targets import LayerQuantizer, Target, library_of, onnx
from .verify import kernel_difference, odd_lengths

AUTO = "auto"
"""Among the layers to keep in float: as many of the worst as the limits ask for."""
SNR_CEILING_DB = 100.0
"""What is closer counts as this close: float32 itself holds no more of a logit."""
_SENSITIVITY_WINDOWS = 32
_ODD_WINDOWS = 4
_KERNEL_WINDOWS = 32
_KERNEL_FACTOR = 10.0
_LEAST_TOLERANCE, _MOST_TOLERANCE = 1e-3, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Real audio to learn ranges from, and other audio to judge by; float32 in [-1, 1]."""

    calibration: NDArray[np.float32]
    """(clips, window_samples)."""
    windows: NDArray[np.float32]
    """(clips, window_samples), none of them in `calibration`. Of steps, the answer at a clip's end
    is the one that has heard all of it."""
    wanted: NDArray[np.int64] | None
    """(clips,), the right label's number for each of `windows`; None where nobody knows."""
    accuracy: Callable[[Sequence[NDArray[np.float32]]], float] | None = None
    """In place of `wanted`, where one label says nothing of a clip: from all posteriors to each of
    `windows`, (answers, ...), to what is right of them, at most 1."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a model in 8 bits may be from the one in float."""

    min_snr_db: float = 20.0
    """Least signal-to-noise ratio of the logits, the signal being float's: a tenth in amplitude."""
    max_accuracy_drop: float = 0.005
    """Most accuracy lost, as a ratio in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_snr_db <= SNR_CEILING_DB:
            raise ExportError(
                f"min_snr_db must lie in (0, {SNR_CEILING_DB:g}], got {self.min_snr_db}"
            )
        if not 0.0 <= self.max_accuracy_drop <= 1.0:
            raise ExportError(f"max_accuracy_drop must lie in [0, 1], got {self.max_accuracy_drop}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization:
    """What is asked of `export_keywords` beyond float32."""

    precision: Precision
    """One of the 8-bit ones."""
    evidence: Evidence
    """To learn and to judge by."""
    quantizer: str | None = None
    """Library that rewrites graphs of the formats that know it; None: each format's usual one."""
    keep_float: tuple[str, ...] = ()
    """Layers to leave as they are; `*` stands for anything, `AUTO` for what the limits ask for."""
    limits: Limits = Limits()
    """What a graph must keep to be written."""
    sensitivity: bool = False
    """Tell of each layer, not only where the gate refuses."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A graph in 8 bits beside the float one, over all answers to the evidence's windows."""

    snr_db: float
    """Of the logits."""
    odd_lengths_snr_db: float | None
    """The same over lengths that nobody rounds to; None for a graph of one length."""
    largest_difference: float
    """Of a posterior."""
    odd_lengths_largest_difference: float | None
    """The same over those lengths."""
    streams_snr_db: float | None = None
    """Of steps alone: of the logits over streams of 10 s, whose states go round many times."""
    streams_largest_difference: float | None = None
    """Of a posterior over those streams."""
    accuracy: float | None
    """In 8 bits, at most 1: the evidence's own, or of steps by the answers at the windows' ends."""
    float32_accuracy: float | None
    """The float graph's, over the same windows."""

    def faults(self, limits: Limits) -> list[str]:
        """What breaks a limit, in words; none where the graph may be written."""
        found = []
        for what, snr_db in (
            ("the logits", self.snr_db),
            ("the logits on odd lengths", self.odd_lengths_snr_db),
            ("the logits of streams of 10 s", self.streams_snr_db),
        ):
            if snr_db is not None and not snr_db >= limits.min_snr_db:  # NaN breaks it too
                found.append(
                    f"{what} are {snr_db:.1f} dB above the error, {limits.min_snr_db:g} are asked"
                )
        if self.accuracy is not None and self.float32_accuracy is not None:
            drop = self.float32_accuracy - self.accuracy
            if drop > limits.max_accuracy_drop:
                found.append(
                    f"accuracy falls from {self.float32_accuracy:.4f} to {self.accuracy:.4f}, "
                    f"{limits.max_accuracy_drop:g} may be lost"
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A graph that passed."""

    graph: bytes
    quantizer: str
    """Library that rewrote it."""
    comparison: Comparison
    tolerance: float
    """Most that a posterior may differ by on another machine."""
    kept_float: tuple[str, ...]
    """Layers that could be quantized and are not, in the order of computation."""
    layers_snr_db: dict[str, float] | None
    """For each layer in 8 bits, what it alone costs; None where not asked for."""


class Judge:
    """Compares graphs with the float one, whose answers are computed once."""

    def __init__(self, graph: bytes, evidence: Evidence, target: Target = onnx) -> None:
        """Run the float graph.

        Args:
            graph: of windows or of steps; a softmax makes its `posteriors`.
            target: of the graph's format.
            evidence: its windows are run one by one, as on a device: `int8-dynamic` scales by the
                loudest of a batch, and a batch would hide what single windows meet.
        """
        self._evidence = evidence
        self._target = target
        windows = evidence.windows
        faces = target.Engine(graph).faces
        self._recordings: dict[str, Sequence[NDArray[np.float32]]] = {"windows": list(windows)}
        odd = odd_windows(windows, faces)
        if odd:
            self._recordings["odd lengths"] = odd
        if len(faces[0]) > 1:
            self._recordings["streams"] = long_streams(windows)
        self._float32 = self._all_answers(graph)

    def _all_answers(self, graph: bytes) -> "dict[str, _Answers]":
        return {
            name: _answers(graph, some, self._target) for name, some in self._recordings.items()
        }

    def compare(self, graph: bytes) -> Comparison:
        """Over all windows, and what else there is to compare on."""
        int8 = self._all_answers(graph)
        ratios = {name: self._float32[name].snr_db(int8[name]) for name in int8}
        gaps = {name: self._float32[name].largest_difference(int8[name]) for name in int8}
        return Comparison(
            snr_db=ratios["windows"],
            odd_lengths_snr_db=ratios.get("odd lengths"),
            streams_snr_db=ratios.get("streams"),
            largest_difference=gaps["windows"],
            odd_lengths_largest_difference=gaps.get("odd lengths"),
            streams_largest_difference=gaps.get("streams"),
            accuracy=_accuracy(int8["windows"], self._evidence),
            float32_accuracy=_accuracy(self._float32["windows"], self._evidence),
        )

    def sensitivity(self, quantizer: LayerQuantizer, names: Collection[str]) -> dict[str, float]:
        """For each layer, the SNR in dB of the graph with this layer alone in 8 bits.

        One in 8 bits rather than one in float: errors of layers add up nearly as powers, and
        among them all, what a single one adds is lost where another is far worse.
        """
        windows = self._evidence.windows
        some = spread(windows, _SENSITIVITY_WINDOWS)
        float32 = self._float32["windows"].of(some)
        return {
            layer.name: float32.snr_db(
                _answers(quantizer.quantized([layer.name]), windows[some], self._target)
            )
            for layer in quantizer.layers
            if layer.name in names
        }


def quantize(graph: bytes, asked: Quantization, target: Target = onnx) -> Accepted:
    """Quantize, and let through only what is still the model.

    Args:
        graph: the float one.
        asked: precision, audio, limits.
        target: of the graph's format.

    Raises:
        ExportError: nothing can be quantized, a name fits no layer, or the result breaks a limit;
            the message then names the layers without which it would not.
    """
    library = library_of(target, asked.quantizer)
    quantizer = target.Quantizer(
        graph, asked.precision, asked.evidence.calibration, library=library
    )
    patterns = [pattern for pattern in asked.keep_float if pattern != AUTO]
    kept = matching(target.layers(graph), patterns)
    names = [layer.name for layer in quantizer.layers if layer.name not in kept]
    judge = Judge(graph, asked.evidence, target)
    found = _judged(judge, quantizer, names)
    faults = found.comparison.faults(asked.limits)
    if faults:
        costs = judge.sensitivity(quantizer, names)
        worst = sorted(names, key=lambda name: costs[name])
        lighter = _fewest_left_out(judge, quantizer, worst, asked.limits)
        refused = f"{asked.precision} was not written: {'; '.join(faults)}."
        if lighter is None:
            raise ExportError(f"{refused} No choice of layers passes; export another precision.")
        if AUTO not in asked.keep_float:
            left_out = [name for name in worst if name not in lighter.names]
            raise ExportError(f"{refused} {_way_out(patterns, left_out, costs)}")
        found = lighter
    windows = asked.evidence.windows
    moved = kernel_difference(found.graph, windows[spread(windows, _KERNEL_WINDOWS)], target)
    return Accepted(
        graph=found.graph,
        quantizer=library,
        comparison=found.comparison,
        tolerance=float(np.clip(_KERNEL_FACTOR * moved, _LEAST_TOLERANCE, _MOST_TOLERANCE)),
        kept_float=tuple(layer.name for layer in quantizer.layers if layer.name not in found.names),
        layers_snr_db=judge.sensitivity(quantizer, found.names) if asked.sensitivity else None,
    )


def snr_db(signal: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """10 log10 of the signal's power over the difference's, at most `SNR_CEILING_DB`."""
    power = float(np.square(signal, dtype=np.float64).sum())
    error = float(np.square(signal.astype(np.float64) - other).sum())
    if error <= power * 10.0 ** (-SNR_CEILING_DB / 10.0):
        return SNR_CEILING_DB
    return float(10.0 * np.log10(max(power, np.finfo(np.float64).tiny) / error))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """A choice of layers, the graph with them in 8 bits, and what was measured of it."""

    names: frozenset[str]
    graph: bytes
    comparison: Comparison


def _judged(judge: Judge, quantizer: LayerQuantizer, names: Collection[str]) -> _Judged:
    graph = quantizer.quantized(names)
    return _Judged(names=frozenset(names), graph=graph, comparison=judge.compare(graph))


def _fewest_left_out(
    judge: Judge, quantizer: LayerQuantizer, worst: Sequence[str], limits: Limits
) -> _Judged | None:
    """The graph without few of the worst layers that keeps the limits; None where none does.

    The fewest, if leaving out one more never breaks a limit that was kept. That all of them
    together break one is known.

    Args:
        judge: of the float graph.
        quantizer: of the same.
        worst: names of layers, the worst first.
        limits: to keep.
    """

    def without(count: int) -> _Judged | None:
        found = _judged(judge, quantizer, worst[count:])
        return None if found.comparison.faults(limits) else found

    low, high = 0, 1  # so many left out break a limit; so many are tried
    passing = None
    while high < len(worst) and (passing := without(high)) is None:
        low, high = high, 2 * high
    if passing is None:
        high = len(worst) - 1  # one layer is left to quantize
        passing = without(high) if high > low else None
    while passing is not None and high - low > 1:
        middle = (low + high) // 2
        fewer = without(middle)
        low, high = (middle, high) if fewer is None else (low, middle)
        passing = fewer or passing
    return passing


def _way_out(patterns: Sequence[str], left_out: Sequence[str], costs: Mapping[str, float]) -> str:
    """What to say to the command line so that it passes."""
    flags = " ".join(f"--keep-float {name}" for name in [*patterns, *left_out])
    told = ", ".join(f"{name} {costs[name]:.1f} dB" for name in left_out)
    return f"It passes with: {flags} (alone in 8 bits: {told}), which --keep-float {AUTO} finds"


def odd_windows(
    windows: NDArray[np.float32], faces: Sequence[tuple[Tensor, ...]]
) -> list[NDArray[np.float32]]:
    """Some of the windows, repeated or cut to other lengths.

    Args:
        windows: (clips, samples).
        faces: of the engine. Lengths are those that nobody rounds to, as far as it takes them; of
            a graph of fixed ones all its others, if it has any.
    """
    usual = windows.shape[1]
    lengths = [length for length in odd_lengths(usual) if takes(faces, (1, length))]
    if lengths == [usual]:
        lengths = []
    for inputs in faces[1:]:
        lengths += [int(tensor.shape[1]) for tensor in inputs if tensor.name == "pcm"]
    return [
        np.resize(window, length)
        for length in lengths
        for window in windows[spread(windows, _ODD_WINDOWS)]
    ]


@dataclass(frozen=True, eq=False)
class _Answers:
    """What a graph says to some recordings."""

    posteriors: list[NDArray[np.float32]]
    """(answers, ..., labels) of each recording."""
    logits: list[NDArray[np.float32]]
    """The same before the softmax, which ignores the mean: it is zero."""

    def of(self, numbers: NDArray[np.int64]) -> "_Answers":
        """To some of the recordings."""
        return _Answers(
            [self.posteriors[number] for number in numbers],
            [self.logits[number] for number in numbers],
        )

    def snr_db(self, other: "_Answers") -> float:
        """Of the other's logits; the signal is these."""
        return snr_db(np.concatenate(self.logits), np.concatenate(other.logits))

    def largest_difference(self, other: "_Answers") -> float:
        """Of a posterior."""
        gaps = np.concatenate(self.posteriors) - np.concatenate(other.posteriors)
        return float(np.abs(gaps).max())


def _answers(graph: bytes, recordings: Iterable[NDArray[np.float32]], target: Target) -> _Answers:
    probed, logits_name = target.with_logits(graph)
    engine = target.Engine(probed)
    face = Face.of(engine.inputs)
    answers = _Answers([], [])
    for recording in recordings:
        runs = [outputs for _, outputs in face.play(engine.run, recording[None])]
        posteriors = np.concatenate([outputs["posteriors"] for outputs in runs])
        if logits_name is None:
            logits = np.log(np.maximum(posteriors, np.finfo(np.float32).tiny))
        else:
            logits = np.concatenate([outputs[logits_name] for outputs in runs])
        answers.posteriors.append(posteriors)
        answers.logits.append(logits - logits.mean(axis=-1, keepdims=True))
    return answers


def _accuracy(answers: _Answers, evidence: Evidence) -> float | None:
    """The evidence's own, or else by the last answer to each recording."""
    if evidence.accuracy is not None:
        return evidence.accuracy(answers.posteriors)
    if evidence.wanted is None:
        return None
    last = np.stack([posteriors[-1] for posteriors in answers.posteriors])
    return float((last.argmax(axis=1) == evidence.wanted).mean())
