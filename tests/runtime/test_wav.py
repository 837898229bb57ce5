"""WAV files: every width and layout, and any bytes end in a waveform or an AudioFault."""

import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtime.wav
from runtime.faults import AudioFault
from runtime.wav import read_wav

WavBytes = Callable[..., bytes]


def _tone(num_frames: int = 300, num_channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(rng.uniform(-1, 1, (num_frames, num_channels)))


def _read(tmp_path: Path, content: bytes) -> tuple[np.ndarray, int]:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    return read_wav(path)


@pytest.mark.parametrize("num_channels", [1, 2, 5])
@pytest.mark.parametrize(
    "code, bits, step",
    [(1, 8, 2**-7), (1, 16, 2**-15), (1, 24, 2**-23), (1, 32, 2**-31), (3, 32, 0), (3, 64, 0)],
)
def test_every_width_and_channel_count_is_read(
    tmp_path: Path, wav_bytes: WavBytes, code: int, bits: int, step: float, num_channels: int
) -> None:
    frames = _tone(num_channels=num_channels)
    waveform, rate_hz = _read(tmp_path, wav_bytes(frames, 44100, bits=bits, code=code))
    assert (waveform.dtype, rate_hz) == (np.float32, 44100)
    # A quantization step at the upper edge, where +1 is not there; and float32's own rounding.
    np.testing.assert_allclose(waveform, frames.mean(axis=1), rtol=0, atol=step + 1e-7)


def test_the_standard_librarys_own_files_are_read_exactly(tmp_path: Path) -> None:
    integers = np.random.default_rng(1).integers(-32768, 32768, 501).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as handle:
        handle.setnchannels(1)
        handle.setsampwidth(2)
        handle.setframerate(8000)
        handle.writeframes(integers.tobytes())
    waveform, rate_hz = read_wav(tmp_path / "a.wav")
    assert rate_hz == 8000
    np.testing.assert_array_equal(waveform, integers / 32768)


def test_blocks_leave_no_seam(
    tmp_path: Path, wav_bytes: WavBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = wav_bytes(_tone(1000, 3), bits=24)
    whole, _ = _read(tmp_path, content)
    monkeypatch.setattr(runtime.wav, "_BLOCK_FRAMES", 100)
    np.testing.assert_array_equal(_read(tmp_path, content)[0], whole)


def test_unknown_chunks_are_passed_over_with_their_padding(
    tmp_path: Path, wav_bytes: WavBytes
) -> None:
    odd = b"LIST" + struct.pack("<I", 5) + b"data!" + b"\0"
    plain = _read(tmp_path, wav_bytes(_tone()))[0]
    np.testing.assert_array_equal(_read(tmp_path, wav_bytes(_tone(), extra=odd * 3))[0], plain)


def test_an_extensible_format_is_read(tmp_path: Path, wav_bytes: WavBytes) -> None:
    content = wav_bytes(_tone(), bits=24)
    fields = struct.pack("<HHIHH", 22, 24, 4, 1, 0) + runtime.wav._GUID_TAIL[2:]
    form = struct.pack("<H", 0xFFFE) + content[22:36] + fields
    extensible = content[:16] + struct.pack("<I", len(form)) + form + content[36:]
    np.testing.assert_array_equal(_read(tmp_path, extensible)[0], _read(tmp_path, content)[0])
    with pytest.raises(AudioFault, match="extensible"):
        _read(tmp_path, extensible.replace(runtime.wav._GUID_TAIL, b"x" * 14))


@pytest.mark.parametrize(
    "data_size, riff_size", [(0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, None), (0, 0), (0, 0xFFFFFFFF)]
)
def test_what_a_pipe_leaves_is_read_to_the_end(
    tmp_path: Path, wav_bytes: WavBytes, data_size: int, riff_size: int | None
) -> None:
    content = wav_bytes(_tone(), data_size=data_size, riff_size=riff_size)
    plain = _read(tmp_path, wav_bytes(_tone()))[0]
    np.testing.assert_array_equal(_read(tmp_path, content + b"\x01")[0], plain)


def test_float_samples_beyond_one_are_clipped(tmp_path: Path, wav_bytes: WavBytes) -> None:
    waveform, _ = _read(tmp_path, wav_bytes(np.array([0.5, 1.5, -2.0]), bits=32, code=3))
    np.testing.assert_array_equal(waveform, [0.5, 1.0, -1.0])


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"RIFF", "not a WAV"),
        (b"hello, I am a text file\n", "not a WAV"),
        (b"RIFF\0\0\0\0AVI LIST", "not a WAV"),
        (b"RF64" + b"\0" * 40, "RF64"),
        (b"RIFF\x04\0\0\0WAVE", "ends before its samples"),
        (b"RIFF\x04\0\0\0WAVEdata\x04\0\0\0abcd", "before their format"),
        (b"RIFF\x04\0\0\0WAVEfmt \x04\0\0\0abcd", "truncated"),
    ],
)
def test_what_is_no_wav_is_refused_with_its_path(
    tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(AudioFault, match=rf"a\.wav: .*{words}") as caught:
        _read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_truncated_recording_is_refused(tmp_path: Path, wav_bytes: WavBytes) -> None:
    with pytest.raises(AudioFault, match="truncated: 600 bytes of samples stated, 500 there"):
        _read(tmp_path, wav_bytes(_tone())[:-100])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"code": 7, "bits": 8}, "mu-law"),
        ({"code": 99}, "format 99"),
        ({"code": 3, "bits": 16}, "16 bits"),
        ({"rate_hz": 100}, "100 samples a second"),
        ({"rate_hz": 10**6}, "1000000 samples a second"),
        ({"data_size": 599}, "whole frames"),
        ({"data_size": 0}, "holds no samples"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, wav_bytes: WavBytes, changes: dict[str, int], words: str
) -> None:
    with pytest.raises(AudioFault, match=words):
        _read(tmp_path, wav_bytes(_tone(), **changes))


@pytest.mark.parametrize(
    "value, words", [(np.nan, "NaN"), (np.inf, "infinite"), (12000.0, "peak of 12000")]
)
def test_float_samples_that_are_no_audio_are_refused(
    tmp_path: Path, wav_bytes: WavBytes, value: float, words: str
) -> None:
    with pytest.raises(AudioFault, match=words):
        _read(tmp_path, wav_bytes(np.array([0.0, value]), bits=64, code=3))


def test_a_path_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.wav", tmp_path, tmp_path / "nul\0.wav"):
        with pytest.raises(AudioFault, match="cannot be read"):
            read_wav(path)


def test_a_file_over_the_limit_is_refused(
    tmp_path: Path, wav_bytes: WavBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.wav, "MAX_FILE_BYTES", 100)
    with pytest.raises(AudioFault, match="split it"):
        _read(tmp_path, wav_bytes(_tone()))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes_are_a_waveform_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, wav_bytes: WavBytes, data: st.DataObject
) -> None:
    bits, code = data.draw(st.sampled_from([(8, 1), (16, 1), (24, 1), (32, 3), (64, 3)]))
    content = bytearray(wav_bytes(_tone(20, 2), bits=bits, code=code))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "fuzz.wav"
    path.write_bytes(content)
    try:
        waveform, rate_hz = read_wav(path)
    except AudioFault:
        return
    assert 0 < len(waveform) <= len(content)
    assert np.abs(waveform).max() <= 1.0
    assert 4000 <= rate_hz <= 192_000


@given(content=st.binary(max_size=100))
def test_any_bytes_after_a_header_are_a_waveform_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.wav"
    path.write_bytes(b"RIFF\x24\0\0\0WAVE" + content)
    with pytest.raises(AudioFault):
        read_wav(path)
