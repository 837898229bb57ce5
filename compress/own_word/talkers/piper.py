"""piper: voices that were learned from people; a file for each, which the user brings.

The library draws a voice's noise itself and takes no seed: clips differ from run to run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.data.cuts import SAMPLE_RATE, hashed_share
from train.data.synthetic import trimmed
from train.data.voices import Phone
from train.errors import DataError

from ... import CompressError
from . import Said, Waveform

_FEW = 10
"""Fewer voices are all trained on; those that are held out are then espeak-ng's alone."""
_HELD_OUT = {"valid": (0.8, 0.9), "test": (0.9, 1.0)}
_LENGTHS = (0.8, 1.25)
_NOISES = (0.4, 0.9)
_RHYTHMS = (0.5, 1.0)
_STRESSES = {"'": "ˈ", ",": "ˌ"}


class PiperTalker:
    """Every speaker of some voice files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Load the files.

        Args:
            files: piper's `.onnx`, each with its `.onnx.json` beside it.

        Raises:
            CompressError: piper is not installed.
            DataError: a file that is no voice, or one that reads letters and no sounds.
        """
        try:
            from piper import PiperVoice
        except ImportError:
            raise CompressError(
                "voices of piper need its package: pip install piper-tts (its licence is the GPL); "
                "without --piper-voice espeak-ng speaks alone"
            ) from None
        self._voices = {}
        for file in files:
            try:
                voice = PiperVoice.load(file)
            except Exception as fault:  # whatever json, onnxruntime and piper raise
                raise DataError(
                    f"{file} is no voice of piper's ({fault}); give its .onnx, with the .onnx.json "
                    "beside it"
                ) from None
            if voice.config.phoneme_type.value != "espeak":
                raise DataError(
                    f"{file} reads letters, not sounds, and cannot say near misses; take a voice "
                    "of phoneme_type espeak"
                )
            for number in range(max(1, voice.config.num_speakers)):
                self._voices[f"{file.stem}#{number}"] = (voice, number)

    def voices(self, partition: str) -> list[str]:
        """As `Talker`."""
        return [name for name in sorted(self._voices) if self._partition(name) == partition]

    def accent_of(self, voice: str) -> str:
        """As `Talker`."""
        accent: str = self._voices[voice][0].config.espeak_voice
        return accent

    def say(self, said: Said, voice: str, rng: np.random.Generator) -> Waveform:
        """As `Talker`; `rng` sets the rate and how much is left to chance."""
        import soxr
        from piper import SynthesisConfig

        loaded, number = self._voices[voice]
        settings = SynthesisConfig(
            speaker_id=number if loaded.config.num_speakers > 1 else None,
            length_scale=float(rng.uniform(*_LENGTHS)),
            noise_scale=float(rng.uniform(*_NOISES)),
            noise_w_scale=float(rng.uniform(*_RHYTHMS)),
        )
        text = said if isinstance(said, str) else _ipa(said)
        chunks = [chunk.audio_float_array for chunk in loaded.synthesize(text, settings)]
        waveform = np.concatenate([np.zeros(0, dtype=np.float32), *chunks])
        if not np.any(waveform):
            raise DataError(f"piper's voice {voice} says nothing for {text!r}; leave the voice out")
        return trimmed(soxr.resample(waveform, loaded.config.sample_rate, SAMPLE_RATE))

    def _partition(self, name: str) -> str:
        share = hashed_share(name)
        held_out = [part for part, (low, high) in _HELD_OUT.items() if low <= share < high]
        return held_out[0] if held_out and len(self._voices) >= _FEW else "train"


def _ipa(words: Sequence[Sequence[Phone]]) -> str:
    """Sounds as piper takes them in place of text."""
    said = (
        "".join(_STRESSES.get(phone.name[:1], "") + phone.ipa for phone in word) for word in words
    )
    return f"[[{' '.join(said)}]]"
