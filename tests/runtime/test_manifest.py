"""manifest.json: written as it is read, and never an exception of another family."""

import copy
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_steps import STATES, manifest

from runtime.bundle import MANIFEST_FILE, Decision, Manifest, State, Streaming, Tensor, seal
from runtime.faults import BundleFault
from runtime.manifest import digest_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def _paths(raw: Any, path: tuple = ()) -> list[tuple]:
    """Where every value lies, the containers included."""
    items = raw.items() if isinstance(raw, dict) else enumerate(raw)
    found = [path] if path else []
    for key, value in items:
        found += _paths(value, (*path, key)) if isinstance(value, (dict, list)) else [(*path, key)]
    return found


def _sealed(raw: dict[str, Any], path: tuple, value: Any, *, delete: bool = False) -> str:
    """The manifest with one value exchanged and its digest made right again."""
    raw = copy.deepcopy(raw)
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    if delete:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    if path != ("digest",):
        raw["digest"] = digest_of(raw)
    return json.dumps(raw)


def test_reads_back_what_it_writes(make_manifest: Callable[..., Manifest]) -> None:
    manifest = make_manifest({"model.onnx": "a" * 64, "golden.npz": "b" * 64})
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_an_unsealed_manifest_is_not_written(make_manifest: Callable[..., Manifest]) -> None:
    files = {"model.onnx": "a" * 64, "golden.npz": "b" * 64}
    sealed = make_manifest(files)
    unsealed = Manifest(
        name="other",
        labels=sealed.labels,
        streaming=sealed.streaming,
        decision=sealed.decision,
        files=files,
    )
    with pytest.raises(BundleFault, match="seal"):
        unsealed.to_json()
    assert Manifest.from_json(seal(unsealed).to_json()).name == "other"


@pytest.mark.parametrize("value", [float("nan"), Path("teacher"), {1, 2}])
def test_what_json_cannot_hold_is_refused_at_sealing(
    make_manifest: Callable[..., Manifest], value: Any
) -> None:
    with pytest.raises(BundleFault, match="JSON"):
        make_manifest(
            {"model.onnx": "a" * 64, "golden.npz": "b" * 64}, provenance={"teacher": value}
        )


def test_the_digest_is_over_canonical_json(manifest_raw: dict[str, Any]) -> None:
    reordered = json.dumps(dict(reversed(manifest_raw.items())), indent=7)
    assert Manifest.from_json(reordered) == Manifest.from_json(json.dumps(manifest_raw))


def test_every_changed_byte_is_refused_or_leaves_the_meaning(bundle: Path) -> None:
    original = (bundle / MANIFEST_FILE).read_bytes()
    manifest = Manifest.from_json(original.decode())
    for place in range(len(original)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(original)
            changed[place] ^= flip
            try:
                read = Manifest.from_json(changed.decode("utf-8", errors="surrogateescape"))
            except BundleFault:
                continue
            assert read == manifest, place


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused_in_words(
    manifest_raw: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(_paths(manifest_raw)))
    value = data.draw(JSON | st.sampled_from([-1, 0, 10**400, True, "", "yes", "../x", 1 << 25]))
    try:
        text = _sealed(manifest_raw, path, value, delete=data.draw(st.booleans()))
    except BundleFault:
        return  # NaN: no JSON text holds it
    try:
        manifest = Manifest.from_json(text)
    except BundleFault:
        return
    assert 0 < manifest.streaming.hop_samples <= manifest.streaming.window_samples
    assert set(manifest.decision.keywords) <= set(manifest.labels)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        '{"schema_version": NaN}',
        '{"schema_version": 1e999}',
        '{"a": 1, "a": 1}',
        '{"n": ' + "9" * 5000 + "}",
        "\ufeff{}",
    ],
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(BundleFault):
        Manifest.from_json(text)


def test_a_key_given_twice_is_refused(manifest_raw: dict[str, Any]) -> None:
    text = json.dumps(manifest_raw)
    with pytest.raises(BundleFault, match="twice"):
        Manifest.from_json(text.replace('"task":', '"task": "keywords", "task":'))


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("schema_version",), "2.0", "reads 1.x"),
        (("schema_version",), "one", "must look like"),
        (("task",), "keyword", "Did you mean 'keywords'"),
        (("sample_rate",), 100, r"sample_rate must lie in \[4000, 192000\]"),
        (("sample_rate",), 16000.0, "must be an integer"),
        (("streaming", "form"), "stateful", "sliding_window"),
        (("streaming", "hop_samples"), 801, r"must lie in \[1, 800\], got 801"),
        (("streaming", "window_samples"), -800, "got -800"),
        (("streaming", "windows"), 3, "did you mean 'streaming.*'|unknown key"),
        (("decision", "threshold"), 0, r"\(0, 1\], got 0"),
        (("decision", "threshold"), 1.5, r"\(0, 1\], got 1.5"),
        (("decision", "threshold"), True, "must be a number"),
        (("decision", "thresholds"), {"maybe": 0.5}, "not among the keywords"),
        (("decision", "thresholds"), {"_silence_": 0.5}, "not among the keywords"),
        (("decision", "thresholds"), {"yes": 0}, r"that of 'yes' must lie in \(0, 1\], got 0"),
        (("decision", "thresholds"), {"no": 1.01}, r"that of 'no' must lie in \(0, 1\]"),
        (("decision", "thresholds"), {"no": True}, "decision.thresholds.no must be a number"),
        (("decision", "thresholds"), {"no": None}, "decision.thresholds.no must be a number"),
        (("decision", "thresholds"), [0.5], "decision.thresholds must be an object"),
        (("decision", "patience"), 0, "patience"),
        (("decision", "patience"), 5, "must overlap"),
        (("decision", "keywords"), ["maybe"], "not among the labels"),
        (("decision", "keywords"), [], "1 to 10,000 names, got 0"),
        (("labels",), [f"word {number}" for number in range(10_001)], "got 10,001"),
        (("labels",), ["yes", "yes", "no"], "differ"),
        (("labels",), ["yes\nno", "yes", "no"], "printable"),
        (("labels",), ["yes", "no"], "posteriors"),
        (("inputs", 0, "name"), "audio", "pcm"),
        (("inputs", 0, "shape"), ["batch", 799], "pcm"),
        (("files", "../../etc/passwd"), "0" * 64, "plain file name"),
        (("files", "manifest.json"), "0" * 64, "cannot list itself"),
        (("files", "Manifest.json"), "0" * 64, "case does not count"),
        (("files", "MODEL.onnx"), "0" * 64, "case does not count"),
        (("files", "nul.txt"), "0" * 64, "plain file name"),
        (("files", "model.onnx"), "abc", "sha256"),
        (("files", "model.v2.onnx"), "0" * 64, "each of a format of its own"),
        (("extra",), 1, "unknown key 'extra'"),
        (("digest",), "0" * 64, "changed after it was sealed"),
    ],
)
def test_a_broken_rule_is_named(
    manifest_raw: dict[str, Any], path: tuple, value: Any, words: str
) -> None:
    with pytest.raises(BundleFault, match=words):
        Manifest.from_json(_sealed(manifest_raw, path, value))


def test_scores_that_smoothing_would_keep_are_bounded(
    make_manifest: Callable[..., Manifest],
) -> None:
    words = tuple(f"word {number}" for number in range(101))
    files = {"model.onnx": "a" * 64, "golden.npz": "b" * 64}
    for smoothing_windows, fits in ((9_900, True), (10_000, False)):
        decision = Decision(keywords=words, threshold=0.5, smoothing_windows=smoothing_windows)
        if fits:
            make_manifest(files, labels=words, decision=decision)
        else:
            with pytest.raises(BundleFault, match="at most 1,000,000 scores"):
                make_manifest(files, labels=words, decision=decision)


def test_a_newer_minor_version_may_hold_more(manifest_raw: dict[str, Any]) -> None:
    raw = manifest_raw | {"schema_version": "1.7", "colour": "red"}
    raw["streaming"] = raw["streaming"] | {"lookahead_samples": 0}
    raw["digest"] = digest_of(raw)
    assert Manifest.from_json(json.dumps(raw)).labels == tuple(raw["labels"])


FILES = {"model.onnx": "a" * 64, "golden.npz": "b" * 64}


@pytest.fixture(scope="module")
def steps_raw() -> dict[str, Any]:
    """manifest.json of a model with states."""
    raw: dict[str, Any] = json.loads(manifest(FILES).to_json())
    return raw


def test_states_are_read_back_as_written(steps_raw: dict[str, Any]) -> None:
    made = manifest(FILES)
    assert Manifest.from_json(made.to_json()) == made
    assert made.inputs == (Tensor(name="pcm", shape=(1, 200), dtype="float32"),)
    assert made.outputs == (Tensor(name="posteriors", shape=(1, 3), dtype="float32"),)
    assert steps_raw["schema_version"] == "1.3"
    assert steps_raw["states"] == [
        {"name": "tail", "shape": [1, 3], "dtype": "float32", "initial": 0.0},
        {"name": "leak", "shape": [1, 2], "dtype": "float32", "initial": 0.25},
    ]
    assert [tensor.name for tensor in made.graph_inputs] == ["pcm", "tail", "leak"]
    named = {tensor.name: tensor.shape for tensor in made.graph_outputs}
    assert named == {"posteriors": (1, 3), "tail_next": (1, 3), "leak_next": (1, 2)}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_manifest_of_an_older_schema_reads_as_before(
    manifest_raw: dict[str, Any], version: str
) -> None:
    assert "states" not in manifest_raw
    assert "thresholds" not in manifest_raw["decision"]
    assert "phrases" not in manifest_raw
    raw = manifest_raw | {"schema_version": version}
    raw["digest"] = digest_of(raw)
    old = Manifest.from_json(json.dumps(raw))
    assert (old.states, old.decision.thresholds) == ((), {})
    assert Manifest.from_json(old.to_json()) == old


def test_thresholds_of_keywords_are_read_back_as_written(
    make_manifest: Callable[..., Manifest],
) -> None:
    given = types.MappingProxyType({"no": 0.25})
    decision = Decision(keywords=("yes", "no"), threshold=0.5, thresholds=given)
    made = make_manifest(FILES, decision=decision)
    assert json.loads(made.to_json())["decision"]["thresholds"] == {"no": 0.25}
    read = Manifest.from_json(made.to_json())
    assert read == made
    assert [read.decision.threshold_of(word) for word in ("yes", "no")] == [0.5, 0.25]


def test_several_graphs_are_listed_onnx_first(make_manifest: Callable[..., Manifest]) -> None:
    names = ("model.tflite", "model.gguf", "model.onnx", "golden.npz", "notes.txt")
    manifest = make_manifest(dict.fromkeys(names, "0" * 64))
    assert manifest.model_files == ("model.onnx", "model.gguf", "model.tflite")
    assert manifest.model_file == "model.onnx"
    five = (*names, "model.a", "model.b")
    with pytest.raises(BundleFault, match="wanted 1 to 4 models"):
        make_manifest(dict.fromkeys(five, "0" * 64))
    with pytest.raises(BundleFault, match="wanted 1 to 4 models"):
        make_manifest({"golden.npz": "0" * 64})


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("states",), [], "'incremental' has 1 to 1,024 states, got 0"),
        (("states",), None, "states must be a list"),
        (("states", 0), "tail", r"states\[0\] must be an object"),
        (("states", 0, "sizes"), [1], "unknown key 'states.*sizes"),
        (("states", 0, "name"), "", "printable"),
        (("states", 0, "name"), "ta\til", "printable"),
        (("states", 0, "name"), "leak", "'leak' would be two tensors"),
        (("states", 0, "name"), "pcm", "'pcm' would be two tensors"),
        (("states", 0, "name"), "posteriors", "'posteriors' would be two tensors"),
        (("states", 0, "name"), "leak_next", "'leak_next' would be two tensors"),
        (("states", 0, "shape"), [], "1 to 8 sizes"),
        (("states", 0, "shape"), [2, 3], "batch of 1 first"),
        (("states", 0, "shape"), [1, 0], "1 or more"),
        (("states", 0, "shape"), [1, -(10**30)], "1 or more"),
        (("states", 0, "shape"), ["batch", 3], "must hold sizes"),
        (("states", 0, "shape"), [1, True], "must hold sizes"),
        (("states", 0, "shape"), [1] * 9, "1 to 8 sizes"),
        (("states", 0, "shape"), [1, 1 << 24], "67,108,864 bytes together"),
        (("states", 0, "shape"), [1, 10**300], "an integer of"),
        (("states", 0, "dtype"), "float16", "must be float32, got 'float16'"),
        (("states", 0, "initial"), 1e39, "finite float32"),
        (("states", 0, "initial"), 10**400, "finite float32, got an integer of"),
        (("states", 0, "initial"), False, "must be a number"),
        (("streaming", "form"), "sliding_window", "pcm"),
        (("streaming", "form"), "increments", "Did you mean 'incremental'"),
        (("streaming", "hop_samples"), 199, r"pcm: float32 \(1, 199\)"),
        (("streaming", "hop_samples"), 801, r"must lie in \[1, 800\], got 801"),
        (("inputs", 0, "shape"), ["batch", 200], r"pcm: float32 \(1, 200\)"),
        (("inputs", 0, "shape"), [1, "samples"], r"pcm: float32 \(1, 200\)"),
        (("outputs", 0, "shape"), ["batch", 3], r"posteriors: float32 \(1, 3\)"),
    ],
)
def test_a_broken_rule_of_states_is_named(
    steps_raw: dict[str, Any], path: tuple, value: Any, words: str
) -> None:
    with pytest.raises(BundleFault, match=words):
        Manifest.from_json(_sealed(steps_raw, path, value))


def test_a_state_lacks_nothing(steps_raw: dict[str, Any]) -> None:
    with pytest.raises(BundleFault, match="has 1 to 1,024 states, got 0"):
        Manifest.from_json(_sealed(steps_raw, ("states",), None, delete=True))
    for key in ("name", "shape", "dtype", "initial"):
        with pytest.raises(BundleFault, match=rf"states\[1\]\.{key} is missing"):
            Manifest.from_json(_sealed(steps_raw, ("states", 1, key), None, delete=True))


def test_windows_have_no_states(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(BundleFault, match="'sliding_window' has no states, got 2"):
        make_manifest(FILES, states=STATES)


def test_states_are_bounded() -> None:
    many = tuple(State(name=f"s{number}", shape=(1, 1)) for number in range(1_024))
    assert len(manifest(FILES, states=many).states) == 1_024
    with pytest.raises(BundleFault, match="got 1,025"):
        manifest(FILES, states=(*many, State(name="more", shape=(1, 1))))
    with pytest.raises(BundleFault, match="finite float32, got nan"):
        manifest(FILES, states=(State(name="s", shape=(1, 1), initial=float("nan")),))


@settings(max_examples=100)
@given(data=st.data())
def test_states_of_any_kind_are_read_or_refused_in_words(
    steps_raw: dict[str, Any], read_or_refused: Callable[..., Any], data: st.DataObject
) -> None:
    paths = [path for path in _paths(steps_raw) if path[0] in ("states", "streaming", "inputs")]
    path = data.draw(st.sampled_from(paths))
    value = data.draw(JSON | st.sampled_from([-1, 0, 10**400, True, "", "pcm", "leak", 1 << 25]))
    try:
        text = _sealed(steps_raw, path, value, delete=data.draw(st.booleans()))
    except BundleFault:
        return  # NaN: no JSON text holds it
    read = read_or_refused(lambda: Manifest.from_json(text))
    for state in read.states if read else ():
        assert np.isfinite(np.float32(state.initial))
        assert state.shape[0] == 1


def test_the_dataclasses_keep_the_rules_without_json() -> None:
    with pytest.raises(BundleFault, match="hop_samples"):
        Streaming(window_samples=10, hop_samples=11)
    with pytest.raises(BundleFault, match="threshold"):
        Decision(keywords=("yes",), threshold=float("nan"))
