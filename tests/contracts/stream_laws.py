"""Bodies and encoders in a form, on every engine here: the stream is what was trained.

Two files of tests bind these laws to their own `case`: two processes share the conversions.
"""

import copy
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from export.bundle import export_keywords
from export.verify import probe
from runtime.backends.onnx import Engine
from runtime.bundle import read_bundle
from runtime.manifest import Decision, Streaming
from runtime.replay import streamed
from runtime.stream import start_all
from train.models.frontend_config import FrontEndConfig
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import Conv, StreamingConfig, Wav2Vec2Config
from train.tasks.bodies import BODIES, CausalBody
from train.tasks.causal_step import CausalStep
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel, pooled

pytest.importorskip("litert_torch", reason="the extra 'tflite' is not installed")

LABELS = ("_silence_", "no", "yes")
FORMS = ("sliding_window", "incremental")
TOLERANCE = 1e-5
"""Engines sum float32 in orders of their own."""
HOP, NUM_HOPS = 330, 12
"""Between windows, no multiple of any frame; and how many answers a recording has."""
KALDI, ARM, WHOLE = 400 + 8 * 160, 480 + 8 * 160, 3 * 640
"""Windows that end with a frame, or are a whole number of a body's own: all of one is heard."""
LAST_SAMPLES = 80
"""At an answer's end, that float32 must hear: 5 ms, of a signal that was not there."""
WIDTHS = {"embed_dim": 8, "num_heads": 2, "ffn_dim": 8, "num_layers": 1}
TCN = {"patch_frames": 2, "channels": 12, "dilations": (1, 4), "kernel": 2}
TINY = {
    # every stage, and a block that keeps its width: each further one only takes time to convert
    "bc_resnet": ({"tau": 0.5, "num_blocks": (2, 1, 1, 1)}, ARM),
    "conformer": (
        {**WIDTHS, "stem_channels": 4, "conv_kernel": 3, "left_frames": 3, "pooled_frames": 4},
        WHOLE,
    ),
    "ds_cnn": ({"num_mels": 12, "channels": 6, "num_blocks": 1}, KALDI),
    "keyword_transformer": ({**WIDTHS, "head_dim": 4, "window_samples": ARM}, ARM),
    "causal_keyword_transformer": (
        {**WIDTHS, "head_dim": 4, "patch_frames": 2, "left_ms": 60, "pooled_ms": 80},
        KALDI,
    ),
    "causal_tcn": (
        {**TCN, "front_end": FrontEndConfig(num_mels=20)},  # two bins or more to a band
        KALDI,
    ),
}
"""Sizes of each body, and samples of its window."""
CONVS = (Conv(channels=6, kernel=10, stride=5), Conv(channels=6, kernel=8, stride=4))
ENCODER = {
    "conv_layers": CONVS, "embed_dim": 8, "num_heads": (2,), "ffn_dim": (8,), "head_dim": 4,
    "pos_conv_kernel": 4, "pos_conv_groups": 2,
}  # fmt: skip
LAYER_NORM = {"conv_norm": "layer", "normalize_waveform": True}
ENCODERS = {
    "encoder-group": ENCODER,
    "encoder-layer": {**ENCODER, **LAYER_NORM, "pre_norm": True},
    "encoder-streaming": {
        **ENCODER, **LAYER_NORM, "streaming": StreamingConfig(chunk_frames=4, left_frames=6),
    },
}  # fmt: skip
ENCODER_WINDOW = 45 + 20 * 51  # one frame, and 51 strides
CHUNK_FRAMES = 4


def make_body(family):
    if family in ENCODERS:
        return pooled(Wav2Vec2Encoder(Wav2Vec2Config(**ENCODERS[family]))), ENCODER_WINDOW
    sizes, window_samples = TINY[family]  # a new body adds its line above
    return BODIES[family].build(BODIES[family].config(**sizes)), window_samples


@functools.cache
def make_model(family):
    """No norm or bias is left at ones and zeros; running statistics are those of signals."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        body, window_samples = make_body(family)
        model = KeywordModel(body, LABELS)
        for name, tensor in model.named_parameters():
            if name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                tensor.normal_(std=0.3)
        model.classifier.weight.mul_(4)  # posteriors away from a third
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.momentum = None  # the mean over what is heard
        signals = probe(8 * window_samples, batch=1, seed=9).reshape(8, window_samples)
        model.train()(torch.from_numpy(signals))
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_var.clamp_(min=0.01)  # less would blow up float32's last bits
    return model.eval(), window_samples


def causal(family):
    return isinstance(make_model(family)[0].body, CausalBody)


def cases(families):
    """Each family in each form that it has."""
    return [
        (family, form)
        for family in families
        for form in FORMS
        if form == FORMS[0] or causal(family)
    ]


class Case:
    """A family in a form: the bundle's graphs on all engines, and what torch answers."""

    def __init__(self, family, form, folder):
        self.module, window_samples = self.made(family, form)
        self.exact = copy.deepcopy(self.module).double()
        if form == FORMS[0]:
            streaming = Streaming(window_samples=window_samples, hop_samples=HOP)
        else:
            streaming = Streaming(
                form=form,
                window_samples=self.module.window_samples,
                hop_samples=self.module.chunk_samples,
            )
        self.export(
            self.module,
            folder,
            name=family,
            streaming=streaming,
            provenance={},
            measured={},
            formats=("onnx", "tflite"),
        )
        self.graph = (folder / "model.onnx").read_bytes()
        started = [*start_all(read_bundle(folder))]
        self.models = {f"{file} on {model.engine.version}": model for file, model in started}
        self.files = {file for file, _ in started}
        self.streaming = started[0][1].manifest.streaming
        self.hop = self.streaming.hop_samples
        self.recordings = [self.recording(seed) for seed in range(3)]
        self.expected = [self.offline(pcm / np.float32(32_768)) for pcm in self.recordings]

    def made(self, family, form):
        """What is exported, and the samples of its window."""
        model, window_samples = make_model(family)
        return (model if form == FORMS[0] else KeywordStep(model, CHUNK_FRAMES)), window_samples

    def export(self, *args, **kwargs):
        """Write the bundle."""
        decision = Decision(keywords=LABELS[1:], threshold=0.5)
        export_keywords(*args, labels=LABELS, decision=decision, **kwargs)

    def recording(self, seed):
        """int16, after silence or loud at once; half a hop more than its answers need."""
        signal = probe(NUM_HOPS * self.hop + self.hop // 2, batch=1, seed=seed)[0]
        signal[: seed * 2 * self.hop] = 0.0
        return np.round(signal * 32_767).astype(np.int16)

    def offline(self, waveform, dtype=torch.float32):
        """Torch's answers to a whole recording, by the law's own words."""
        pcm = torch.from_numpy(waveform).to(dtype)[None]
        module = self.exact if dtype is torch.float64 else self.module
        with torch.inference_mode():
            if isinstance(module, CausalStep):
                return module.answers(pcm)[0].numpy()
            padded = nn.functional.pad(pcm, (self.streaming.window_samples, 0))
            ends = range(self.hop, pcm.shape[1] + 1, self.hop)
            windows = [padded[0, end : end + self.streaming.window_samples] for end in ends]
            return torch.cat([module(window[None]) for window in windows]).softmax(-1).numpy()


@settings(max_examples=15)
@given(
    blocks=st.lists(st.integers(0, 1_000) | st.sampled_from([1, 7, HOP, 2 * HOP]), max_size=24),
    seed=st.integers(0, 2),
    dtype=st.sampled_from(["int16", "float32", "float64"]),
)
def test_any_blocks_give_what_the_trained_form_answers(case, blocks, seed, dtype):
    waveform = case.recordings[seed]
    if dtype != "int16":
        waveform = (waveform / 32_768.0).astype(dtype)
    expected = case.expected[seed][: min(sum(blocks), len(waveform)) // case.hop]
    for place, model in case.models.items():
        answers = streamed(model, waveform, blocks)
        assert answers.shape == expected.shape, place
        if len(expected):
            assert np.abs(answers - expected).max() <= TOLERANCE, place


def test_every_graph_runs_and_its_answers_are_worth_comparing(case):
    assert case.files == {"model.onnx", "model.tflite"}
    for answers in case.expected:
        assert len(answers) == NUM_HOPS
        assert np.ptp(answers, axis=0).max() > 1e-3


@settings(max_examples=8)
@given(number=st.integers(0, NUM_HOPS - 1), seed=st.integers(0, 2))
def test_an_answer_hears_its_last_sample_and_none_after(case, number, seed):
    end = (number + 1) * case.hop
    waveform = (case.recordings[seed] / 32_768.0).astype(np.float32)
    later, changed = waveform.copy(), waveform.copy()
    later[end:] = 0.5 * np.cos(np.arange(len(waveform) - end))
    changed[end - 1] += 0.5 if changed[end - 1] < 0 else -0.5
    # One computation of one shape: what is not heard changes no bit, and windows that fade out
    # at their ends leave so little of one sample that it takes float64 to see it.
    answers = case.offline(waveform, torch.float64)
    assert (case.offline(later, torch.float64)[: number + 1] == answers[: number + 1]).all()
    heard = case.offline(changed, torch.float64)
    assert (heard[:number] == answers[:number]).all()
    assert (heard[number] != answers[number]).any()

    changed[end - LAST_SAMPLES : end] = 0.5 * np.cos(np.arange(LAST_SAMPLES))
    for place, model in case.models.items():
        assert len(streamed(model, waveform, [end - 1])) == number, place
        answers = streamed(model, waveform, [end])
        assert len(answers) == number + 1, place  # the manifest's delay: none beyond its hop
        assert (streamed(model, later, [len(later)])[: number + 1] == answers).all(), place
        heard = streamed(model, changed, [end])
        assert (heard[:number] == answers[:number]).all(), place
        assert (heard[number] != answers[number]).any(), place


@settings(max_examples=8)
@given(number=st.integers(0, NUM_HOPS - 1), seed=st.integers(0, 2))
def test_a_window_hears_nothing_before_it(case, number, seed):
    start = (number + 1) * case.hop - case.streaming.window_samples
    if case.streaming.form == "incremental" or start <= 0:
        return
    waveform = (case.recordings[seed] / 32_768.0).astype(np.float32)
    changed = waveform.copy()
    changed[:start] = 0.5
    for place, model in case.models.items():
        answers = (streamed(model, one, [len(one)])[number] for one in (waveform, changed))
        assert np.array_equal(*answers), place


@settings(max_examples=15)
@given(data=st.data(), batch=st.integers(1, 3), loudness=st.sampled_from([0.0, 1e-3, 0.3, 1.0]))
def test_an_onnx_graph_of_windows_takes_any_batch_and_length(case, data, batch, loudness):
    engine = Engine(case.graph)
    if case.streaming.form == "incremental" or engine.inputs[0].shape[0] == 1:
        return  # steps, and an encoder that hears in chunks, are of one shape
    window_samples = case.streaming.window_samples
    samples = data.draw(st.integers((window_samples + 1) // 2, 3 * window_samples))
    pcm = np.float32(loudness) * probe(samples, batch=batch, seed=samples)
    with torch.inference_mode():
        expected = case.module(torch.from_numpy(pcm)).softmax(-1).numpy()
    answers = engine.run({"pcm": pcm})["posteriors"]
    assert answers.shape == (batch, len(LABELS))
    assert np.abs(answers - expected).max() <= TOLERANCE
