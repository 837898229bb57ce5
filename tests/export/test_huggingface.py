"""What a folder of transformers says about itself, and the folders that cannot be exported.

None of it wants optimum; tests/export/test_optimum.py does.
"""

import json
import sys

import pytest
import tiny_transformers
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.parametrize import is_parametrized

from export import ExportError
from export.bundle import export_keywords
from export.huggingface import load_classifier, read_checkpoint
from export.quantize import Precision, Quantizer
from export.streaming import exportable
from export.targets import onnx as target
from runtime.manifest import Decision, Streaming

HUBERT = "HubertForSequenceClassification"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "hubert"
    tiny_transformers.save(folder, HUBERT)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may spoil."""
    for path in original.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change(path, **values):
    """Set keys of a JSON file; None leaves one out."""
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))


def test_facts_are_read_without_weights(folder):
    (folder / "model.safetensors").write_bytes(b"")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.architecture == HUBERT
    assert checkpoint.labels == tiny_transformers.LABELS
    assert checkpoint.normalize is True
    assert checkpoint.least_samples == 400  # HuBERT's receptive field
    names = [path.name for path in checkpoint.files]
    assert names == ["config.json", "preprocessor_config.json", "model.safetensors"]


def test_labels_come_in_the_order_of_their_numbers(folder):
    names = {str(number): f"word{number}" for number in range(12)}
    change(folder / "config.json", id2label=dict(sorted(names.items())))  # "10" before "2"
    assert read_checkpoint(folder).labels == tuple(f"word{number}" for number in range(12))


def test_a_feature_extractor_normalizes_unless_it_says_otherwise(folder):
    change(folder / "preprocessor_config.json", do_normalize=None)
    assert read_checkpoint(folder).normalize is True
    change(folder / "preprocessor_config.json", do_normalize=False)
    assert read_checkpoint(folder).normalize is False


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"architectures": ["HubertModel"]}, "HubertModel; .*compress import"),
        ("config.json", {"architectures": ["ASTForAudioClassification"]}, "ASTForAudio"),
        ("config.json", {"architectures": None}, "no stated architecture"),
        ("config.json", {"id2label": None}, "id2label must name each class once"),
        ("config.json", {"id2label": {"0": "no"}}, "two at least"),
        ("config.json", {"id2label": {"0": "no", "1": "no"}}, "each class once"),
        ("config.json", {"id2label": {"1": "no", "2": "yes"}}, 'from "0" on'),
        ("config.json", {"id2label": {"0": "no", "1": 7}}, "each class once"),
        ("config.json", {"conv_stride": [5, 2]}, "conv_stride must be equally long"),
        ("config.json", {"conv_kernel": None}, "conv_kernel and conv_stride"),
        ("config.json", {"conv_stride": [5, 2, 2, 2, 2, 2, "x"]}, "lists of whole numbers"),
        ("config.json", {"conv_stride": [5, 2, 2, 2, 2, 2, 0]}, "lists of whole numbers"),
        ("preprocessor_config.json", {"sampling_rate": 8_000}, "8000 Hz; bundles listen at 16000"),
        ("preprocessor_config.json", {"do_normalize": "yes"}, "do_normalize must be true or false"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_told_before_anything_is_loaded(folder, file, values, message):
    change(folder / file, **values)
    with pytest.raises(ExportError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_missing_or_damaged_file_is_named(folder, file):
    (folder / file).write_text("{")
    with pytest.raises(ExportError, match=rf"{file} is damaged"):
        read_checkpoint(folder)
    (folder / file).unlink()
    with pytest.raises(ExportError, match=rf"{file} is missing.*save_pretrained"):
        read_checkpoint(folder)


def test_a_checkpoint_of_pickles_is_never_opened(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    assert read_checkpoint(folder).files[-1].name == "model.safetensors"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"only pytorch_model.bin, which opening could run; .*"):
        read_checkpoint(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ExportError, match=r"holds no weights; model.safetensors is needed"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "pytorch_model.bin"])
def test_an_index_names_safetensors_beside_it_and_nothing_else(folder, name):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert [path.name for path in read_checkpoint(folder).files[2:]] == [
        index.name,
        "part.safetensors",
    ]
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors", "b": name}}))
    with pytest.raises(ExportError, match=r"names '.*', no .safetensors beside it"):
        read_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(ExportError, match=r"is incomplete: gone.safetensors is missing"):
        read_checkpoint(folder)
    index.write_text("{}")
    with pytest.raises(ExportError, match="has no weight_map"):
        read_checkpoint(folder)


@pytest.fixture
def without_optimum(monkeypatch):
    """As where it is not installed, here and in the environment that has it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "optimum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optimum", None)


WAY_OUT = r'pip install "otolite\[optimum\]" in an environment of its own, since optimum-onnx'


def test_without_optimum_a_checkpoint_tells_what_to_install_and_where(folder, without_optimum):
    with pytest.raises(ExportError, match=WAY_OUT):
        load_classifier(read_checkpoint(folder))


def test_without_optimum_its_quantizer_tells_what_to_install_and_where(without_optimum):
    from tiny_graphs import audio, tiny_graph

    quantizer = Quantizer(tiny_graph(), Precision.INT8_DYNAMIC, audio(2, seed=1), library="optimum")
    with pytest.raises(ExportError, match=f"--quantizer optimum needs optimum .*{WAY_OUT}"):
        quantizer.quantized(["classifier"])


@pytest.fixture
def with_exporter(monkeypatch):
    """Loading asks that the exporter is there and does not use it."""
    from types import ModuleType

    for name in ("optimum", "optimum.exporters", "optimum.exporters.onnx"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


def test_a_checkpoint_is_loaded_whole_or_not_at_all(folder, with_exporter):
    """transformers itself would fill a missing tensor with random numbers and warn."""
    tensors = load_file(folder / "model.safetensors")
    classifier = load_classifier(read_checkpoint(folder))
    answers = classifier(torch.zeros(2, 4_000))
    assert answers.shape == (2, 3)
    name = "hubert.encoder.layers.1.feed_forward.output_dense.weight"
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=f"does not hold {HUBERT}: missing {name}"):
        load_classifier(read_checkpoint(folder))
    save_file(tensors | {"extra": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match="unexpected extra"):
        load_classifier(read_checkpoint(folder))
    change(folder / "config.json", id2label={str(number): f"w{number}" for number in range(5)})
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match=r"cannot load .*|mismatched classifier"):
        load_classifier(read_checkpoint(folder))
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ExportError, match="cannot load"):
        load_classifier(read_checkpoint(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ("tflite",)}, r"optimum, which writes no \*\.tflite; export it to onnx"),
        ({"form": "incremental"}, "only causal models have one. Export the sliding_window form"),
    ],
)
def test_it_runs_on_windows_and_is_written_as_onnx(
    folder, tmp_path_factory, with_exporter, changes, message
):
    out = tmp_path_factory.mktemp("out") / "a.bundle"
    form = changes.get("form", "sliding_window")
    with pytest.raises(ExportError, match=message):
        export_keywords(
            load_classifier(read_checkpoint(folder)),
            out,
            name="tiny",
            labels=tiny_transformers.LABELS,
            streaming=Streaming(form=form, window_samples=3_200, hop_samples=800),
            decision=Decision(keywords=("no", "yes"), threshold=0.5),
            provenance={},
            measured={},
            formats=changes.get("formats", ("onnx",)),
        )
    assert list(out.parent.iterdir()) == []


def test_optimum_gets_weights_as_they_are(folder, with_exporter, monkeypatch):
    """A weight that the graph would compute is no layer, and stays in float."""
    classifier = load_classifier(read_checkpoint(folder))
    assert any(is_parametrized(part) for part in classifier.modules())
    streaming = Streaming(window_samples=3_200, hop_samples=800)
    given = []

    def by_optimum(model, window_samples):
        given.append((model, window_samples))
        raise ExportError("seen")

    monkeypatch.setattr("export.huggingface._by_optimum", by_optimum)
    with pytest.raises(ExportError, match="seen"):
        exportable(classifier, streaming, 3).write(target, folder / "model.onnx")
    ((model, window_samples),) = given
    assert window_samples == 3_200
    assert not any(is_parametrized(part) for part in model.modules())
