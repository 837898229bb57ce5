"""LibriSpeech: 960 h of read English with text, and its four official held-out sets.

Source: V. Panayotov et al., ICASSP 2015, table 1; https://www.openslr.org/12. Sizes are those of
the final release, as Kaldi's download_and_untar.sh lists them; digests those that
torchaudio.datasets.LIBRISPEECH checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DataError
from ..cuts import duration_of, recording_cut
from ..fetch import Archive, Checksum

if TYPE_CHECKING:
    from lhotse import MonoCut

LICENCE = "CC BY 4.0"
_ROOT = "LibriSpeech"
_SOURCE = "torchaudio.datasets.LIBRISPEECH"
_PARTITIONS = {"train": "train", "dev": "valid", "test": "test"}


def _part(name: str, hours: float, size_bytes: int, sha256: str) -> Archive:
    return Archive(
        url=f"https://www.openslr.org/resources/12/{name}.tar.gz",
        hours=hours,
        size_bytes=size_bytes,
        checksum=Checksum("sha256", sha256, _SOURCE),
    )


PARTS = {
    name: _part(name, hours, size_bytes, sha256)
    for name, hours, size_bytes, sha256 in (
        (
            "dev-clean", 5.4, 337_926_286,
            "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
        ),
        (
            "dev-other", 5.3, 314_305_928,
            "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
        ),
        (
            "test-clean", 5.4, 346_663_984,
            "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        ),
        (
            "test-other", 5.1, 328_757_843,
            "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
        ),
        (
            "train-clean-100", 100.6, 6_387_309_499,
            "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        ),
        (
            "train-clean-360", 363.6, 23_049_477_885,
            "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
        ),
        (
            "train-other-500", 496.7, 30_593_501_606,
            "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
        ),
    )
}  # fmt: skip


def cuts(root: Path) -> Iterator[MonoCut]:
    """Read every set that is there; what its name begins with decides the partition.

    Word times are taken along where the LibriSpeech-Alignments lie beside the transcripts
    (SPEAKER-CHAPTER.alignment.txt).

    Raises:
        DataError: no transcripts, or one without its recording.
    """
    from lhotse.recipes.librispeech import parse_alignments

    transcripts = sorted((root / _ROOT).glob("*/*/*/*.trans.txt"))
    if not transcripts:
        raise DataError(
            f"{root / _ROOT} holds no SET/SPEAKER/CHAPTER/*.trans.txt; unpack an archive there"
        )
    for transcript in transcripts:
        times = transcript.with_name(transcript.name.replace(".trans.", ".alignment."))
        aligned = parse_alignments(times) if times.is_file() else {}
        for line in transcript.read_text(encoding="utf-8").splitlines():
            name, _, text = line.strip().partition(" ")
            if name:
                yield _utterance(root, transcript, name, text.strip(), aligned)


def _utterance(
    root: Path, transcript: Path, name: str, text: str, aligned: Mapping[str, Any]
) -> MonoCut:
    path = transcript.parent / f"{name}.flac"
    if not path.is_file():
        raise DataError(f"{transcript} has a line for {path.name}, which is missing; unpack anew")
    kind = transcript.parents[2].name.partition("-")[0]
    if kind not in _PARTITIONS:
        raise DataError(
            f"{transcript.parents[2]} is no set of LibriSpeech: it begins with none of "
            f"{', '.join(_PARTITIONS)}; move it away"
        )
    cut = recording_cut(
        path.relative_to(root).as_posix(),
        path,
        duration_s=duration_of(path),
        partition=_PARTITIONS[kind],
        label=text,
        speaker=transcript.parents[1].name,
    )
    if name in aligned:
        cut.supervisions[0].alignment = {"word": aligned[name]}
    return cut
