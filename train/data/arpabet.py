"""The 39 phones of ARPAbet that English is written in, and IPA in them."""

PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""Without stress, as CMUdict and speechocean762 have them."""

PAUSE = "SIL"
"""No sound, between phones that are told."""

UNCLEAR = "ERR"
"""A sound that is no English phone."""

_IPA = {
    "ɑː": "AA", "ɑ": "AA", "ɒ": "AA", "a": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH",
    "ɔː": "AO", "ɔ": "AO", "oː": "AO", "aʊ": "AW", "aɪ": "AY", "b": "B", "tʃ": "CH", "d": "D",
    "ð": "DH", "ɛ": "EH", "e": "EH", "ɚ": "ER", "ɜː": "ER", "ɜ": "ER", "ɝ": "ER", "eɪ": "EY",
    "f": "F", "ɡ": "G", "g": "G", "h": "HH", "ɪ": "IH", "ᵻ": "IH", "iː": "IY", "i": "IY",
    "dʒ": "JH", "k": "K", "x": "K", "l": "L", "ɫ": "L", "m": "M", "n": "N", "n̩": "AH N",
    "ŋ": "NG", "oʊ": "OW", "əʊ": "OW", "o": "OW", "ɔɪ": "OY", "p": "P", "ɹ": "R", "r": "R",
    "s": "S", "ʃ": "SH", "t": "T", "ɾ": "T", "ʔ": "T", "θ": "TH", "ʊ": "UH", "uː": "UW",
    "u": "UW", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip
_LONGEST = max(len(sound) for sound in _IPA)


def bare(symbol: str) -> str:
    """A phone as `PHONES` has it: capitals, without stress (`ah0`) or place in a word (`AH0_B`)."""
    return symbol.partition("_")[0].rstrip("012").upper()


def from_ipa(sounds: str) -> list[str] | None:
    """English sounds in ARPAbet; None where one is of another language.

    Args:
        sounds: IPA without stress, such as that of espeak-ng's English voices. A flap is a T, and
            an R that is written after a vowel that holds it is not said twice.
    """
    found: list[str] = []
    place = 0
    while place < len(sounds):
        for length in range(min(_LONGEST, len(sounds) - place), 0, -1):
            phones = _IPA.get(sounds[place : place + length])
            if phones is not None:
                break
        else:
            return None
        if phones != "R" or not found or found[-1] != "R":
            found += phones.split()
        place += length
    return found
