"""Steps against sliding windows: what a second of audio costs the same causal model in both forms.

Every model answers each 80 ms, once by a step that hands its states on, once by all of its window
anew. Graphs take turns on one thread, hop by hop; "stream" is the runtime's Stream with everything
that Python does, "engine" the graph alone. Weights are random: they make no difference to time.
Multiply-accumulates are half of what torch's flop counter counts: matrix products, convolutions and
attention, the front end's matrices among them; norms and activations are left out.
Example: python benchmarks/forms.py --models kwt conformer --formats onnx
"""

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from compress.spaces import get_space
from export.exportable import Exportable, Windows
from export.streaming import checked
from export.targets import get_target, target_names
from export.verify import probe
from runtime.manifest import GOLDEN_FILE, Decision, Manifest, Streaming
from runtime.stream import Model
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.models.conformer import Conformer, ConformerConfig
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import StreamingConfig
from train.tasks.bodies import CausalBody
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel, pooled

SAMPLE_RATE, HOP_SAMPLES = 16_000, 1_280
LABELS = ("_silence_", "_unknown_", "yes", "no", "up", "down", "left", "right", "on", "off")
STEP, WINDOW = "incremental", "sliding_window"
_RUNS = 5
"""Hops between two looks at the clock."""


def _hubert() -> CausalBody:
    space = get_space("otolite-tiny")
    config = dataclasses.replace(
        space.config(space.largest()),
        conv_norm="layer",
        streaming=StreamingConfig(chunk_frames=4, left_frames=48),
    )
    body = pooled(Wav2Vec2Encoder(config))
    assert isinstance(body, CausalBody)
    return body


BODIES: dict[str, Callable[[], CausalBody]] = {
    "tcn": lambda: CausalTcn(CausalTcnConfig()),
    "kwt": lambda: CausalKeywordTransformer(CausalKeywordTransformerConfig()),
    "kwt-12": lambda: CausalKeywordTransformer(
        CausalKeywordTransformerConfig(num_layers=12, num_heads=1, head_dim=64, ffn_dim=256)
    ),
    "conformer": lambda: Conformer(ConformerConfig()),
    "hubert": _hubert,
}
"""The recipes keywords-tcn and keywords-kwt-causal, a causal one of the paper's KWT-1,
keywords-conformer, and otolite-tiny's largest subnet in chunks."""


@dataclass(frozen=True)
class Row:
    """One model's one form in one format, per second of audio but for `step_us`."""

    model: str
    format: str
    form: str
    mmacs: float
    engine_ms: float
    """Least of all looks at the clock: what the work takes where nothing else runs."""
    engine_median_ms: float
    stream_ms: float
    stream_median_ms: float
    step_us: float
    """Of the engine, for one answer."""
    weights_kb: int
    """That an answer reads."""


def mega_macs(run: Callable[[], object]) -> float:
    """Of one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 2 / 1e6


class Timed:
    """One graph: its engine's runs and its stream's hops, in processor time."""

    def __init__(self, exported: Exportable, form: str, window: int, suffix: str) -> None:
        target = get_target(suffix)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{suffix}"
            exported.write(target, path)
            graph = path.read_bytes()
        digest = "0" * 64  # nothing is read from a file
        manifest = Manifest(
            name="timed",
            labels=LABELS,
            streaming=Streaming(form=form, window_samples=window, hop_samples=HOP_SAMPLES),
            decision=Decision(keywords=LABELS[2:], threshold=1.0, smoothing_windows=3),
            states=exported.states,
            files={f"model.{suffix}": digest, GOLDEN_FILE: digest},
        )
        self._engine = target.Engine(graph, threads=1)
        self._stream = Model(manifest, self._engine).stream(gate=False)
        pcm = probe(HOP_SAMPLES if form == STEP else window, batch=1, seed=0)
        zeros = {state.name: np.zeros(state.shape, np.float32) for state in exported.states}
        self._feeds = {"pcm": pcm, **zeros}
        self._hop = probe(HOP_SAMPLES, batch=1, seed=0)[0]
        self.engine: list[float] = []
        self.stream: list[float] = []

    def round(self) -> None:
        """A few runs of each."""
        for seconds, run in (
            (self.engine, lambda: self._engine.run(self._feeds)),
            (self.stream, lambda: self._stream.push(self._hop)),
        ):
            run()  # the caches are as the other graph left them
            start = time.process_time()
            for _ in range(_RUNS):
                run()
            seconds.append((time.process_time() - start) / _RUNS)


def rows(name: str, suffix: str, rounds: int) -> list[Row]:
    """Both forms of a model in a format."""
    torch.manual_seed(0)
    body = BODIES[name]()
    model = KeywordModel(body, LABELS).eval()
    step = KeywordStep(model, HOP_SAMPLES // body.hop_samples)
    window = -(-body.window_samples // HOP_SAMPLES) * HOP_SAMPLES
    exported: dict[str, Exportable] = {
        STEP: checked(step, len(LABELS)),
        WINDOW: Windows(model, window),
    }
    states: list[Tensor] = [torch.zeros(state.shape) for state in step.states]
    mmacs = {
        STEP: mega_macs(lambda: step(torch.zeros(1, HOP_SAMPLES), *states)),
        WINDOW: mega_macs(lambda: model(torch.zeros(1, window))),
    }
    timed = {form: Timed(one, form, window, suffix) for form, one in exported.items()}
    for _ in range(rounds):
        for one in timed.values():
            one.round()
    answers = SAMPLE_RATE / HOP_SAMPLES
    tables = [value for value in model.buffers() if value.is_floating_point()]
    num_weights = sum(value.numel() for value in (*model.parameters(), *tables))
    return [
        Row(
            model=name,
            format=suffix,
            form=form,
            mmacs=mmacs[form] * answers,
            engine_ms=min(one.engine) * answers * 1e3,
            engine_median_ms=float(np.median(one.engine)) * answers * 1e3,
            stream_ms=min(one.stream) * answers * 1e3,
            stream_median_ms=float(np.median(one.stream)) * answers * 1e3,
            step_us=min(one.engine) * 1e6,
            weights_kb=num_weights * 4 // 1000,
        )
        for form, one in timed.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=BODIES, default=list(BODIES))
    parser.add_argument("--formats", nargs="+", choices=target_names(), default=target_names())
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write every figure here, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one thread; per second of audio: least (median) processor ms")
    print(
        f"{'model':10} {'format':7} {'form':15} {'MMAC':>8} {'engine ms':>16} {'stream ms':>16} "
        f"{'us/answer':>10} {'weights kB':>11}"
    )
    found = []
    for name in arguments.models:
        for suffix in arguments.formats:
            pair = rows(name, suffix, arguments.rounds)
            found.extend(pair)
            for row in pair:
                engine = f"{row.engine_ms:.2f} ({row.engine_median_ms:.2f})"
                stream = f"{row.stream_ms:.2f} ({row.stream_median_ms:.2f})"
                print(
                    f"{row.model:10} {row.format:7} {row.form:15} {row.mmacs:8.1f} {engine:>16} "
                    f"{stream:>16} {row.step_us:10.0f} {row.weights_kb:11,}"
                )
            step, window = pair
            print(
                f"{'':10} {'':7} {'window / step':15} {window.mmacs / step.mmacs:7.1f}x "
                f"{window.engine_ms / step.engine_ms:15.1f}x "
                f"{window.stream_ms / step.stream_ms:15.1f}x",
                flush=True,
            )
    if arguments.json is not None:
        figures = [dataclasses.asdict(row) for row in found]
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
