"""Speech from text by espeak-ng, whose library and voices come with espeakng-loader."""

import ctypes
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

ESPEAK_RATE = 22_050
"""Samples per second of espeak-ng's speech."""

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback runs inside espeak_Synth
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report a missing data folder, do not abort
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_POS_CHARACTER, _UTF8 = 1, 1
_PHONEMES = 0x100  # espeakPHONEMES: what stands in [[ ]] are names of phonemes
_IPA = 0x02  # espeakPHONEMES_IPA, of espeak_TextToPhonemes
_BETWEEN = "_"

_LANGUAGE = re.compile(r"^language\s+(\S+)", re.MULTILINE)

_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Phone(NamedTuple):
    """A sound of a voice's language."""

    name: str
    """What espeak-ng calls it, its stress before it: `'eI`. Languages use names otherwise."""
    ipa: str
    """Without stress; empty where espeak-ng does not tell."""


Word = tuple[Phone, ...]


class Speaker:
    """espeak-ng with a state of its own, for one thread.

    The library keeps its state, down to the flutter of a voice, in globals that nothing resets.
    So each speaker loads a private copy of it: the same calls in the same order give the same
    samples, whatever else has spoken in the process.
    """

    _kept: ClassVar[list[Any]] = []  # a library that is unloaded under its callback crashes

    def __init__(self, seed: int = 0) -> None:
        """Load the library.

        Args:
            seed: of the voices' noise.

        Raises:
            DataError: espeakng-loader is not installed, or its library does not load here.
        """
        library, data = _package()
        self._folder = tempfile.TemporaryDirectory(prefix="otolite-espeak-")
        try:
            self._library = ctypes.CDLL(shutil.copy(library, self._folder.name))
        except OSError as fault:
            raise DataError(
                f"espeak-ng's library {library} does not load ({fault}); install "
                "espeakng-loader again, on a platform that it has a wheel for"
            ) from None
        self._declare()
        # espeak-ng cuts a path of its data at 160 bytes, and environments lie deeper than that.
        short = Path(self._folder.name) / "espeak-ng-data"
        short.symlink_to(data, target_is_directory=True)
        path = str(short).encode()
        if self._library.espeak_Initialize(_SYNCHRONOUS, 0, path, _DONT_EXIT) != ESPEAK_RATE:
            raise DataError(
                f"espeak-ng finds no voices in {data}, linked as {short}; install "
                "espeakng-loader again, and set TMPDIR to a short path"
            )
        self._data = data
        self._variants = {file.name for file in (data / "voices" / "!v").iterdir()}
        self._parts: list[NDArray[np.int16]] = []
        callback = _CALLBACK(_collector(self._parts))
        self._library.espeak_SetSynthCallback(callback)
        self._kept.append((self._library, callback))
        self._library.espeak_ng_SetRandSeed(seed)

    def speak(
        self,
        text: str | tuple[Word, ...],
        voice: str,
        *,
        rate: int = 160,
        pitch: int = 50,
        pitch_range: int = 50,
    ) -> NDArray[np.float32]:
        """Say `text`.

        Args:
            text: in the language of the voice; or its sounds, by the names they have there.
            voice: a language and perhaps a variant, as in `en-us+f3`.
            rate: words per minute, in [80, 450].
            pitch: in [0, 100]; 50 is the voice's own.
            pitch_range: liveliness in [0, 100]; 0 is monotone.

        Returns:
            (samples,) in [-1, 1] at `ESPEAK_RATE`, the silence around it included.

        Raises:
            DataError: an unknown voice or variant, or text that makes no sound.
        """
        self._choose(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._parts.clear()
        data = (text if isinstance(text, str) else _named(text)).encode()
        flags = _UTF8 if isinstance(text, str) else _UTF8 | _PHONEMES
        self._library.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, flags, None, None)
        if not self._parts or not any(part.any() for part in self._parts):
            raise DataError(f"espeak-ng says nothing for {text!r}; give words of {voice!r}")
        return np.concatenate(self._parts).astype(np.float32) / np.float32(32768)

    def phones(self, text: str, voice: str) -> tuple[Word, ...]:
        """The sounds of `text` as `voice` would say it, word by word.

        Numbers and what is spelled letter by letter are as many words as are said.

        Raises:
            DataError: an unknown voice, or a part that it would say in another language.
        """
        self._choose(voice)
        names, ipa = (self._transcribed(text, mode) for mode in (0, _IPA))
        if any("(" in word for word in names):
            raise DataError(
                f"espeak-ng's voice {voice!r} says a part of {text!r} in another language; write "
                "it as it is written in that of the voice, or take a voice of its language"
            )
        if len(ipa) != len(names):
            ipa = [""] * len(names)
        words = (_phones(*pair) for pair in zip(names, ipa, strict=True))
        return tuple(word for word in words if word)

    def languages(self) -> list[str]:
        """The languages and accents that there are voices of, such as en-us."""
        texts = (
            file.read_text("utf-8")
            for file in self._data.joinpath("lang").rglob("*")
            if file.is_file()
        )
        return sorted({name for text in texts for name in _LANGUAGE.findall(text)})

    def _transcribed(self, text: str, mode: int) -> list[str]:
        """Words as espeak-ng writes their sounds, an underscore between two sounds."""
        rest, clauses = ctypes.c_char_p(text.encode()), []
        while rest.value:
            said = self._library.espeak_TextToPhonemes(
                ctypes.byref(rest), _UTF8, mode | ord(_BETWEEN) << 8
            )
            clauses.append((said or b"").decode())
        return " ".join(clauses).split()

    def _choose(self, voice: str) -> None:
        _, plus, variant = voice.partition("+")
        # espeak-ng falls back to the plain voice where a variant is unknown, and says nothing.
        known = not plus or variant in self._variants
        if not known or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError(
                f"espeak-ng has no voice {voice!r}; take a language such as en-us or "
                "en-gb-scotland, and after a + one of its variants such as f3 or m7"
            )

    def _declare(self) -> None:
        integer, text, size = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
        unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
        library = self._library
        library.espeak_Initialize.argtypes = [integer, integer, text, integer]
        library.espeak_SetVoiceByName.argtypes = [text]
        library.espeak_SetParameter.argtypes = [integer, integer, integer]
        library.espeak_SetSynthCallback.argtypes = [_CALLBACK]
        library.espeak_SetSynthCallback.restype = None
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(text), integer, integer]
        library.espeak_TextToPhonemes.restype = text
        library.espeak_Synth.argtypes = [
            text, size, unsigned, integer, unsigned, unsigned, pointer, pointer,
        ]  # fmt: skip


def speak(
    text: str, voice: str, rate: int = 160, pitch: int = 50
) -> tuple[NDArray[np.float32], int]:
    """Say `text` by a fresh `Speaker`: a waveform (samples,) and its rate, 22,050 Hz.

    Raises:
        DataError: as `Speaker` and its `speak`.
    """
    return Speaker().speak(text, voice, rate=rate, pitch=pitch), ESPEAK_RATE


def _named(words: tuple[Word, ...]) -> str:
    """Sounds as espeak-ng reads them."""
    return " ".join("".join(phone.name for phone in word) for word in words).join(("[[", "]]"))


def _phones(names: str, ipa: str) -> Word:
    """A word's sounds under both names; without IPA where the two cannot be told to agree."""
    named = [name for name in names.split(_BETWEEN) if name]
    written = ipa.split(_BETWEEN)
    # espeak-ng writes palatalization, ";", as a sound of its own, which IPA mostly joins.
    joined = re.sub(f"{_BETWEEN};", ";", names).split(_BETWEEN)
    for candidate in (named, joined):
        if len(candidate) == len(written):
            pairs = zip(candidate, written, strict=True)
            return tuple(Phone(name, sound.lstrip("ˈˌ")) for name, sound in pairs)
    return tuple(Phone(name, "") for name in named)


def _collector(parts: list[NDArray[np.int16]]) -> Callable[[Any, int, Any], int]:
    """A callback that copies what is said; it knows no speaker, whom it would keep alive."""

    def collect(samples: Any, num_samples: int, _events: Any) -> int:
        if samples and num_samples > 0:
            parts.append(np.ctypeslib.as_array(samples, shape=(num_samples,)).copy())
        return 0  # go on

    return collect


def _package() -> tuple[Path, Path]:
    """The library and the data folder of espeakng-loader."""
    try:
        import espeakng_loader
    except ImportError:
        raise DataError(
            "speech cannot be made without espeakng-loader; install it with "
            '`pip install "otolite[synthesis]"`'
        ) from None
    # Its own load_library prints and swallows what goes wrong.
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
