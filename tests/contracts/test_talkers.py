"""What every program that says things must keep, asked of every file found."""

import importlib
import json
import pkgutil
from importlib.util import find_spec

import numpy as np
import pytest
from onnx import TensorProto, helper

from compress import CompressError
from compress.own_word import talkers
from compress.own_word.talkers.espeak import EspeakTalker
from train.data.cuts import PARTITIONS
from train.data.voices import Speaker
from train.errors import DataError

NAMES = sorted(module.name for module in pkgutil.iter_modules(talkers.__path__))
HAVE_PIPER = find_spec("piper") is not None


def piper_voice(folder, *, speakers: int, kind: str = "espeak"):
    """A voice of piper's form: 0.05 s of a tone for each sound that it is given, plus noise."""
    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "step"], ["pitches"]),
        helper.make_node("Unsqueeze", ["pitches", "two"], ["columns"]),
        helper.make_node("Mul", ["columns", "time"], ["phases"]),  # (1, sounds, samples)
        helper.make_node("Sin", ["phases"], ["tones"]),
        helper.make_node("Slice", ["scales", "one", "two_", "zero"], ["length"]),
        helper.make_node("RandomNormalLike", ["tones"], ["noise"], scale=0.01),
        helper.make_node("Add", ["tones", "noise"], ["noisy"]),
        helper.make_node("Mul", ["noisy", "length"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["output"]),
    ]
    time = np.arange(1102, dtype=np.float32)[None, None]
    tensors = [
        helper.make_tensor("step", TensorProto.FLOAT, [], [0.01]),
        helper.make_tensor("two", TensorProto.INT64, [1], [2]),
        helper.make_tensor("two_", TensorProto.INT64, [1], [2]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("time", TensorProto.FLOAT, time.shape, time.ravel()),
        helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 1, -1]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "sounds"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, None])]
    graph = helper.make_graph(nodes, "voice", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / f"tones-{speakers}.onnx"
    path.write_bytes(model.SerializeToString())
    symbols = "_^$ abdefhijklmnoprstuvwzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒθːˈˌ"
    config = {
        "audio": {"sample_rate": 22_050},
        "espeak": {"voice": "en-us"},
        "phoneme_type": kind,
        "num_symbols": len(symbols),
        "num_speakers": speakers,
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(symbols)},
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=NAMES)
def talker(request, tmp_path_factory):
    if request.param == "espeak":
        return EspeakTalker(Speaker(), ["en-us", "en-gb-x-rp"])
    assert request.param == "piper", f"say here how a {request.param} is made"
    if not HAVE_PIPER:
        pytest.skip("piper-tts is not installed")
    module = importlib.import_module(f"{talkers.__name__}.piper")
    folder = tmp_path_factory.mktemp("voices")
    return module.PiperTalker([piper_voice(folder, speakers=count) for count in (1, 20)])


def test_a_voice_is_of_one_partition_and_the_same_in_every_run(talker):
    voices = {partition: talker.voices(partition) for partition in PARTITIONS}
    assert len(voices["train"]) > len(voices["test"]) > 0
    every = [voice for names in voices.values() for voice in names]
    assert len(set(every)) == len(every)
    assert voices == {partition: talker.voices(partition) for partition in PARTITIONS}


def test_a_text_and_its_sounds_are_said_at_16_khz_without_silence_around(talker):
    speaker = Speaker()
    for partition in PARTITIONS:
        voice = talker.voices(partition)[0]
        sounds = speaker.phones("hey otter", talker.accent_of(voice))
        for said in ("hey otter", sounds):
            waveform = talker.say(said, voice, np.random.default_rng(0))
            assert waveform.dtype == np.float32
            assert waveform.ndim == 1
            assert np.abs(waveform).max() == pytest.approx(1.0)
            assert 0.2 < len(waveform) / 16_000 < 4.0
            assert np.abs(waveform[:400]).max() > 0.02
            assert np.abs(waveform[-400:]).max() > 0.02


def test_every_take_is_another(talker):
    voice = talker.voices("train")[0]
    takes = [talker.say("otter", voice, np.random.default_rng(number)) for number in range(4)]
    assert len({take.tobytes() for take in takes}) == 4


@pytest.mark.skipif(HAVE_PIPER, reason="piper-tts is installed")
def test_without_piper_the_way_out_is_told(tmp_path):
    module = importlib.import_module(f"{talkers.__name__}.piper")
    with pytest.raises(CompressError, match="pip install piper-tts"):
        module.PiperTalker([tmp_path / "voice.onnx"])


@pytest.mark.skipif(not HAVE_PIPER, reason="piper-tts is not installed")
def test_a_file_that_is_no_voice_for_this_is_named(tmp_path):
    module = importlib.import_module(f"{talkers.__name__}.piper")
    with pytest.raises(DataError, match=r"absent.onnx is no voice of piper's"):
        module.PiperTalker([tmp_path / "absent.onnx"])
    with pytest.raises(DataError, match="reads letters, not sounds"):
        module.PiperTalker([piper_voice(tmp_path, speakers=1, kind="text")])


@pytest.mark.skipif(not HAVE_PIPER, reason="piper-tts is not installed")
def test_a_few_voices_are_all_trained_on(tmp_path):
    module = importlib.import_module(f"{talkers.__name__}.piper")
    few = module.PiperTalker([piper_voice(tmp_path, speakers=1)])
    assert few.voices("train") == ["tones-1#0"]
    assert few.voices("valid") == few.voices("test") == []
