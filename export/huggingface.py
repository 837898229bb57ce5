"""Audio classifiers of Hugging Face transformers: what a folder holds, and its graph by optimum."""

import json
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from runtime.faults import one_line

from . import ExportError
from .exportable import Windows
from .extras import optimum_missing
from .raw_pcm import from_pcm
from .targets import Target, get_target

ARCHITECTURES = (
    "Data2VecAudioForSequenceClassification",
    "HubertForSequenceClassification",
    "UniSpeechSatForSequenceClassification",
    "Wav2Vec2ForSequenceClassification",
    "WavLMForSequenceClassification",
)
"""Those that were tried: waveform in, one answer for all of it out."""
FORMAT = "onnx"
"""All that optimum writes, of `targets`."""
SAMPLE_RATE = 16_000
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_OPSET = 20
_MOST_PARAMS = 500_000_000
"""A graph with its weights is one file of at most 2 GiB."""
_TRAINING_ONLY = "masked_spec_embed"
"""What hides frames in training; some files have it where the model no longer does, or not."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder of transformers' `save_pretrained`, read without transformers."""

    folder: Path
    architecture: str
    """Class of transformers, one of `ARCHITECTURES`."""
    labels: tuple[str, ...]
    """In the order of the logits."""
    normalize: bool
    """Waveforms are brought to zero mean and unit variance."""
    least_samples: int
    """Shorter waveforms give no frame."""
    files: tuple[Path, ...]
    """All that is read."""


class Classifier(nn.Module):
    """transformers' own way from samples to logits: its feature extractor, then its model."""

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__()
        self.model = model
        self.extractor = extractor

    def forward(self, pcm: Tensor) -> Tensor:
        """(batch, samples) to logits (batch, labels); not to be traced."""
        features = self.extractor(list(pcm.numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        logits: Tensor = self.model(**features).logits
        return logits


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read what a folder says about itself; no weight is looked at.

    Raises:
        ExportError: another architecture, no safetensors, no labels, another sample rate, or a
            file that is missing or damaged.
    """
    config = _json(folder / _CONFIG)
    architectures = config.get("architectures") or ["a model of no stated architecture"]
    if architectures[0] not in ARCHITECTURES:
        raise ExportError(
            f"{folder} holds {architectures[0]}; what can be exported through optimum is "
            f"{', '.join(ARCHITECTURES)}. An encoder without labels goes another way: compress "
            "import takes it in, compress finetune gives it labels, and that run is exported"
        )
    preprocessor = _json(folder / _PREPROCESSOR)
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ExportError(f"{folder} is of {rate} Hz; bundles listen at {SAMPLE_RATE}")
    normalize = preprocessor.get("do_normalize", True)
    if not isinstance(normalize, bool):
        raise ExportError(f"{folder / _PREPROCESSOR}: do_normalize must be true or false")
    return Checkpoint(
        folder=folder,
        architecture=architectures[0],
        labels=_labels(config.get("id2label"), folder),
        normalize=normalize,
        least_samples=_least_samples(config, folder),
        files=(folder / _CONFIG, folder / _PREPROCESSOR, *_weights(folder)),
    )


def load_classifier(checkpoint: Checkpoint) -> Classifier:
    """Load weights and feature extractor; nothing of the folder is run, nothing is fetched.

    Raises:
        ExportError: optimum is not installed, a tensor is missing, unexpected or misshapen, or the
            model is too large for one graph.
    """
    folder = checkpoint.folder
    try:
        import optimum.exporters.onnx  # noqa: F401  # before minutes go into weights
        import transformers
    except ImportError as fault:
        raise optimum_missing("exporting a checkpoint of transformers", fault) from None
    try:
        model, found = getattr(transformers, checkpoint.architecture).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(
            folder, local_files_only=True
        )
    # A damaged folder raises anything, from KeyError to safetensors' own.
    except Exception as fault:
        raise ExportError(
            f"transformers {transformers.__version__} cannot load {folder}: {one_line(fault, 300)}"
        ) from fault
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(str(name) for name in found[what] if _TRAINING_ONLY not in str(name))
        if names:  # transformers would go on with random numbers in their place
            raise ExportError(
                f"{folder} does not hold {checkpoint.architecture}: {what.partition('_')[0]} "
                f"{names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            )
    num_params = sum(parameter.numel() for parameter in model.parameters())
    if num_params > _MOST_PARAMS:
        raise ExportError(
            f"{folder} has {num_params:,} parameters; a graph of one file holds at most "
            f"{_MOST_PARAMS:,}. Distil or prune it first (compress import, compress distill)"
        )
    return Classifier(model.eval(), extractor)


class CheckpointWindows(Windows):
    """A `Classifier`, run anew on every window; optimum writes its graph."""

    def write(self, target: Target, path: Path) -> None:
        """Any batch and length, from raw samples to posteriors.

        Raises:
            ExportError: another format than ONNX.
        """
        if target is not get_target(FORMAT):
            raise ExportError(
                f"a checkpoint of transformers goes through optimum, which writes no "
                f"*{target.SUFFIX}; export it to {FORMAT} alone"
            )
        classifier = self.module.classifier  # the copy: weights that are computed are no layers
        assert isinstance(classifier, Classifier)
        graph = _by_optimum(classifier.model, self._window_samples)
        from_pcm(graph, normalize=classifier.extractor.do_normalize)
        path.write_bytes(graph.SerializeToString(deterministic=True))


def _by_optimum(model: Any, window_samples: int) -> Any:
    """transformers' model as an onnx.ModelProto, from `input_values` to `logits`."""
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of a tracer; what counts is checked by verify.py
        logging.getLogger("optimum").setLevel(logging.ERROR)
        describe = TasksManager.get_exporter_config_constructor(
            "onnx", model, task="audio-classification", library_name="transformers"
        )
        temporary = Path(folder) / "exported.onnx"
        export(
            model,
            describe(model.config),
            temporary,
            opset=_OPSET,
            input_shapes={"batch_size": 2, "audio_sequence_length": window_samples},
            disable_dynamic_axes_fix=True,  # it would run the graph only to name its axes
        )
        return onnx.load(temporary)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(
            f"{path} is missing; transformers' save_pretrained of the model writes {_CONFIG}, of "
            f"the feature extractor {_PREPROCESSOR}, without which nobody knows what it was fed"
        ) from None
    except (OSError, ValueError) as fault:
        raise ExportError(f"{path} is damaged: {fault}") from None
    if not isinstance(values, dict):
        raise ExportError(f"{path} is damaged: it holds no JSON object")
    return values


def _labels(id2label: object, folder: Path) -> tuple[str, ...]:
    """Labels by their numbers, which are 0, 1, 2 and so on."""
    entries = id2label if isinstance(id2label, dict) else {}
    labels = tuple(entries.get(str(number)) for number in range(len(entries)))
    named = [label for label in labels if isinstance(label, str) and label]
    if len(named) < 2 or len(set(named)) != len(entries):
        raise ExportError(
            f'{folder / _CONFIG}: id2label must name each class once, from "0" on, and two at '
            f"least; got {json.dumps(id2label)[:120]}"
        )
    return tuple(named)


def _least_samples(config: dict[str, Any], folder: Path) -> int:
    """Receptive field of the convolutions that make one frame."""
    kernels, strides = (_counts(config.get(name)) for name in ("conv_kernel", "conv_stride"))
    if not kernels or len(kernels) != len(strides):
        raise ExportError(
            f"{folder / _CONFIG}: conv_kernel and conv_stride must be equally long lists of whole "
            "numbers above zero"
        )
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _counts(values: object) -> list[int]:
    """A list of whole numbers above zero; empty where it is none."""
    if not isinstance(values, list):
        return []
    counts = [value for value in values if type(value) is int and value > 0]
    return counts if len(counts) == len(values) else []


def _weights(folder: Path) -> tuple[Path, ...]:
    """The files of tensors; a pickle can run code as it is opened, so it is never."""
    if (folder / _WEIGHTS).is_file():
        return (folder / _WEIGHTS,)
    if (folder / _INDEX).is_file():
        shards = _json(folder / _INDEX).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ExportError(f"{folder / _INDEX} names {name!r}, no .safetensors beside it")
            if not (folder / name).is_file():
                raise ExportError(f"{folder} is incomplete: {name} is missing")
        if names:
            return (folder / _INDEX, *(folder / name for name in names))
        raise ExportError(f"{folder / _INDEX} is damaged: it has no weight_map")
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    held = f"only {', '.join(pickles)}, which opening could run" if pickles else "no weights"
    raise ExportError(
        f"{folder} holds {held}; {_WEIGHTS} is needed. Where you trust the file, transformers "
        "writes it: model.save_pretrained(folder, safe_serialization=True)"
    )
