"""A step module is exported where its stream is what was trained, and refused with the reason."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_step_modules import CHUNK, HOP, LABELS, WINDOW, TinyStep, tiny_step
from torch import nn

from export import ExportError
from export.clips import Face
from export.layers import layers_of
from export.streaming import checked, exportable
from export.targets import onnx as target
from export.verify import parity, probe
from runtime.backends.onnx import Engine
from runtime.manifest import State, Streaming


class Changed(TinyStep):
    """The tiny step with something about it changed."""

    def __init__(self, **attributes):
        super().__init__(tiny_step().model)
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.fixture(scope="module")
def step():
    return checked(tiny_step(), (len(LABELS),))


@pytest.fixture(scope="module")
def graph(step, tmp_path_factory):
    path = tmp_path_factory.mktemp("steps") / "model.onnx"
    step.write(target, path)
    return path.read_bytes()


def states_without(name):
    return tuple(state for state in tiny_step().states if state.name != name)


def test_the_graph_takes_and_gives_what_the_manifest_will_say(step, graph):
    engine = Engine(graph)
    inputs = {tensor.name: tensor.shape for tensor in engine.inputs}
    outputs = {tensor.name: tensor.shape for tensor in engine.outputs}
    states = {state.name: state.shape for state in step.states}
    assert inputs == {"pcm": (1, CHUNK), **states}
    assert list(inputs) == ["pcm", *states]
    assert outputs == {
        "posteriors": (1, 3),
        **{f"{name}_next": shape for name, shape in states.items()},
    }
    assert {tensor.dtype for tensor in (*engine.inputs, *engine.outputs)} == {"float32"}


def test_the_graph_names_its_layers_and_no_path_of_this_machine(graph):
    import onnx

    model = onnx.load_from_string(graph)
    layers = {layer.name: layer.front_end for layer in layers_of(model.graph)}
    assert layers == {
        "frontend.conv": True,
        "conv.conv": False,
        "attention.k_proj": False,
        "attention.v_proj": False,
        "attention.q_proj": False,
        "attention.out_proj": False,
        "classifier": False,
    }
    assert b".py" not in graph
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@settings(max_examples=15, deadline=None)
@given(chunks=st.integers(1, 40), seed=st.integers(0, 99), loudness=st.sampled_from([0, 1e-3, 1]))
def test_the_graphs_steps_give_the_trained_forms_answers(step, graph, chunks, seed, loudness):
    pcm = np.float32(loudness) * probe(chunks * CHUNK, batch=1, seed=seed)
    assert parity(step.answers, graph, [pcm]) <= 1e-5  # float32 sums


def test_answers_are_worth_comparing(step):
    answers = step.answers(probe(40 * CHUNK, batch=1, seed=0))
    assert answers.shape == (40, 3)
    assert np.ptp(answers, axis=0).max() > 0.1


def test_a_clip_that_fills_no_chunk_is_put_after_silence(step, graph):
    engine = Engine(graph)
    clip = probe(3 * CHUNK - 50, batch=1, seed=4)
    answers = Face.of(engine.inputs).answers(engine.run, clip, "posteriors")
    padded = np.concatenate([np.zeros((1, 50), dtype=np.float32), clip], axis=1)
    assert np.array_equal(step.fitting(clip[0]), padded)
    assert np.abs(answers - step.answers(padded)).max() <= 1e-5


def test_the_module_stays_as_it_is():
    module = tiny_step().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    checked(module, (len(LABELS),))
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_a_model_that_looks_ahead_in_training_is_refused():
    class Ahead(TinyStep):
        """Its trained form hears a frame more than its steps do."""

        def answers(self, waveform):
            waveform = nn.functional.pad(waveform, (0, HOP))[:, HOP:]
            return super().answers(waveform)

    with pytest.raises(
        ExportError,
        match=r"stream would differ from the trained form by 0\.\d+, at most 1e-05 is allowed; "
        r"of 1 answers number 0, at sample 160, is the first.*looks ahead or a state is missing",
    ):
        checked(Ahead(tiny_step().model), (len(LABELS),))


def test_a_step_that_forgets_a_state_is_refused_where_that_begins_to_count():
    class Forgets(TinyStep):
        def forward(self, pcm, *states):
            names = [state.name for state in self.states]
            after = dict(zip(names, super().forward(pcm, *states)[1:], strict=True))
            after["conv_tail"] = torch.zeros_like(after["conv_tail"])
            return super().forward(pcm, *states)[0], *after.values()

    with pytest.raises(ExportError, match="of 3 answers number 1, at sample 320, is the first"):
        checked(Forgets(tiny_step().model), (len(LABELS),))


def test_a_stream_that_gives_no_number_is_refused():
    class Nan(TinyStep):
        def forward(self, pcm, *states):
            posteriors, *after = super().forward(pcm, *states)
            return posteriors / 0 * 0, *after

    with pytest.raises(ExportError, match="differ from the trained form by nan"):
        checked(Nan(tiny_step().model), (len(LABELS),))


def test_a_model_without_steps_is_refused_by_what_it_lacks():
    with pytest.raises(ExportError, match="Linear has no chunk_samples, window_samples, states, "):
        checked(nn.Linear(2, 2), (3,))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"chunk_samples": 0}, r"chunk_samples must lie in \[1, 800\]"),
        ({"window_samples": 100}, r"chunk_samples must lie in \[1, 100\].*got 160"),
        ({"states": ()}, "without states hears each chunk alone"),
        ({"states": states_without("seen") * 2}, "must differ in their names"),
        ({"states": (State(name="Seen", shape=(1, 5)),)}, "its name must be 1 to 100 of a-z"),
        ({"states": (State(name="pcm", shape=(1, 5)),)}, "its name must be 1 to 100 of a-z"),
        (
            {"states": (State(name="a", shape=(1, 5)), State(name="a_next", shape=(1, 5)))},
            "'a_next': its name must be",
        ),
        ({"states": (State(name="a", shape=(2, 5)),)}, r"shape must be \(1, ...\) without 0"),
        ({"states": (State(name="a", shape=(1, 0)),)}, r"shape must be \(1, ...\) without 0"),
        ({"states": (State(name="a", shape=()),)}, r"shape must be \(1, ...\) without 0"),
        ({"states": (State(name="a", shape=(1, 5), dtype="float16"),)}, "must be float32 and"),
        ({"states": (State(name="a", shape=(1, 5), initial=1.0),)}, "begin as 0.0, got float32 f"),
    ],
)
def test_what_a_manifest_could_not_say_is_refused(attributes, message):
    with pytest.raises(ExportError, match=message):
        checked(Changed(**attributes), (len(LABELS),))


def test_shapes_that_do_not_fit_are_named():
    class Short(TinyStep):
        def forward(self, pcm, *states):
            return super().forward(pcm, *states)[:-1]

    class Wide(TinyStep):
        def forward(self, pcm, *states):
            posteriors, seen, *rest = super().forward(pcm, *states)
            return posteriors, torch.cat([seen, seen], dim=1), *rest

    class Late(TinyStep):
        def answers(self, waveform):
            return super().answers(waveform)[:, 1:]

    model = tiny_step().model
    with pytest.raises(ExportError, match=r"posteriors as float32 \(1, 4\), got torch.float32 \(1"):
        checked(tiny_step(), (4,))
    with pytest.raises(ExportError, match="must give a tuple of 6 tensors, posteriors, seen_next"):
        checked(Short(model), (3,))
    with pytest.raises(ExportError, match=r"seen_next as float32 \(1, 5\), got .* \(1, 10\)"):
        checked(Wide(model), (3,))
    with pytest.raises(ExportError, match=r"answers must give \(2, 1, 3\) posteriors"):
        checked(Late(model), (3,))


def test_a_stream_of_another_hop_or_window_is_refused():
    def streaming(**sizes):
        return Streaming(form="incremental", **sizes)

    exported = exportable(
        tiny_step(), streaming(window_samples=WINDOW, hop_samples=CHUNK), len(LABELS)
    )
    assert exported.states == tiny_step().states
    for sizes in ({"hop_samples": HOP}, {"window_samples": 2 * WINDOW}):
        asked = streaming(**{"window_samples": WINDOW, "hop_samples": CHUNK, **sizes})
        with pytest.raises(ExportError, match="must be the stream's hop_samples"):
            exportable(tiny_step(), asked, len(LABELS))
