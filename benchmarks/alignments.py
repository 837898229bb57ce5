"""Where each phone lies in an utterance: forced alignment by pocketsphinx and its dictionary.

The learners' accents and a model of native speech make these boundaries rough; they are the same
for every model that is compared on them. Utterances with a word that the dictionary lacks, or that
do not align, are left out.
"""

import json
from pathlib import Path

from pocketsphinx import Decoder

from runtime.atomic import replacing_file
from train.data.audio import PackedAudio, to_int16
from train.data.corpus import read_corpus
from train.data.phones import Phone

_HOP_S = 0.01
_SILENCE = ("SIL", "+")


def aligned(corpus_folder: Path, nth: int, done: Path) -> dict[str, list[Phone]]:
    """Phones of every nth utterance by cut id, without silence; made once and kept in `done`."""
    if not done.is_file():
        corpus = read_corpus(corpus_folder)
        packed = PackedAudio.of(corpus, progress=False)
        chosen = sorted(corpus, key=lambda cut: str(cut.id))[::nth]
        decoder = Decoder(lm=None, loglevel="FATAL")
        found = {}
        for cut in chosen:
            waveform = packed.waveform(cut.id)
            phones = _align(decoder, to_int16(waveform).tobytes(), cut.supervisions[0].text)
            if phones:
                found[cut.id] = phones
        with replacing_file(done) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    stored = json.loads(done.read_text(encoding="utf-8"))
    return {
        cut_id: [(str(phone), float(start), float(length)) for phone, start, length in phones]
        for cut_id, phones in stored.items()
    }


def _align(decoder: Decoder, samples: bytes, text: str) -> list[Phone]:
    words = "".join(letter if letter.isalpha() or letter == "'" else " " for letter in text)
    words = words.lower().split()
    if not words or any(decoder.lookup_word(word) is None for word in words):
        return []
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, samples)
        decoder.set_alignment()
        _decode(decoder, samples)
        found = decoder.get_alignment()
    except RuntimeError:  # no path through the words
        return []
    phones = [phone for word in found or () for phone in word]
    return [
        (str(phone.name), phone.start * _HOP_S, phone.duration * _HOP_S)
        for phone in phones
        if not str(phone.name).startswith(_SILENCE)
    ]


def _decode(decoder: Decoder, samples: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
