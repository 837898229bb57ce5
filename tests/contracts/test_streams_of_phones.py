"""Phones by every causal body, on every engine here: see stream_laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_laws import (  # noqa: F401
    CHUNK_FRAMES,
    FORMS,
    Case,
    cases,
    make_body,
    test_an_answer_hears_its_last_sample_and_none_after,
    test_any_blocks_give_what_the_trained_form_answers,
    test_every_graph_runs_and_its_answers_are_worth_comparing,
)

from export.bundle import export_phones
from runtime.phrases.asked import listening_for
from train.tasks.bodies import BODIES, is_causal
from train.tasks.phone_step import PhoneStep
from train.tasks.phones import LABELS, PhoneModel


class PhoneCase(Case):
    def made(self, family, form):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            body, window_samples = make_body(family)
            model = PhoneModel(body).eval()
            for name, tensor in model.named_parameters():
                if name.endswith("norm.weight"):
                    tensor.uniform_(0.5, 1.5)
                elif name.endswith("bias"):
                    tensor.normal_(std=0.3)
            model.classifier.weight.mul_(8)  # posteriors away from even
        return PhoneStep(model, CHUNK_FRAMES), window_samples

    def export(self, *args, **kwargs):
        export_phones(*args, labels=LABELS, frames=CHUNK_FRAMES, **kwargs)


@pytest.fixture(
    scope="module",
    params=[case for case in cases(filter(is_causal, BODIES)) if case[1] != FORMS[0]],
)
def case(request, tmp_path_factory):
    family, form = request.param
    return PhoneCase(family, form, tmp_path_factory.mktemp("bundle") / "tiny.bundle")


@settings(max_examples=15)
@given(blocks=st.lists(st.integers(0, 3_000), max_size=12), seed=st.integers(0, 2))
def test_frames_in_any_blocks_are_those_of_all_at_once_and_of_torch(case, blocks, seed):
    waveform = case.recordings[seed]
    expected = case.expected[seed].reshape(-1, len(LABELS))
    for place, model in case.models.items():
        stream, parts, start = model.stream(), [], 0
        for num_samples in [*blocks, len(waveform)]:
            parts.append(stream.push(waveform[start : start + num_samples]))
            start += num_samples
        heard = np.concatenate([part.log_posteriors for part in parts])
        assert heard.shape == expected.shape, place
        assert np.abs(np.exp(heard) - expected).max() <= 1e-5, place
        ends = np.cumsum([len(part.log_posteriors) for part in parts])
        assert [part.first_frame for part in parts] == [0, *ends[:-1]], place


@settings(max_examples=10)
@given(blocks=st.lists(st.integers(0, 3_000), max_size=12), seed=st.integers(0, 2))
def test_typed_keywords_in_any_blocks_are_those_of_all_at_once(case, blocks, seed):
    waveform = case.recordings[seed]
    frames = case.expected[seed].reshape(-1, len(LABELS))
    usual = [LABELS[place] for place in np.argsort(-frames[:, 1:-2].mean(axis=0))[:3] + 1]
    keywords = {"one": [usual[:1]], "one two": [usual[:2], usual[2:]], "all": [usual]}
    for model in case.models.values():
        listening = listening_for(model, keywords)
        whole = [*listening.stream(threshold=0.05).push(waveform)]
        stream, events, start = listening.stream(threshold=0.05), [], 0
        for num_samples in [*blocks, len(waveform)]:
            events += stream.push(waveform[start : start + num_samples])
            start += num_samples
        assert events == whole
