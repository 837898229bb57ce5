"""A corpus as tar shards: written once, read from end to end, never held whole.

The format is lhotse's Shar: for each shard a `cuts.NNNNNN.jsonl.gz` of descriptions and a
`recording.NNNNNN.tar` of FLAC in the same order. `shards.json` lists them, and may list URLs.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import numpy as np

from runtime.atomic import replacing_folder

from ..errors import DataError
from ..progress import track
from .audio import Waveform, decode, to_int16
from .cuts import SAMPLE_RATE
from .fetch import is_url, read_url

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut, Recording

INDEX = "shards.json"
_FORMAT = 1
_SHORT_RATIO = 0.01
"""A recording may be this much shorter than stated; codecs pad."""
_DAMAGE = (
    tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError,
)  # fmt: skip
"""What reading a broken tar or manifest raises, in Python, lhotse or the pipe's command."""


@dataclass(frozen=True)
class Shard:
    """Where the two halves of a shard are: a path, a URL, or `pipe:` and a shell command."""

    cuts: str
    """Descriptions, JSON lines, gzipped or not."""
    recording: str
    """Tar of audio files, each followed by its lhotse manifest."""


@dataclass(frozen=True)
class Entry:
    """A recording of a shard, as its description says."""

    cut_id: str
    num_samples: int
    """At 16 kHz."""
    label: str
    """Word or sentence; empty where unknown."""


def write_shards(
    cuts: CutSet, folder: Path, *, seconds_per_shard: float, seed: int = 0, progress: bool = False
) -> list[Shard]:
    """Decode recordings and write them as 16 kHz mono, 16-bit FLAC in shards of like duration.

    The recordings are shuffled first, so that a shard is a fair sample of the corpus. Samples are
    those of `PackedAudio`, bit for bit. The folder appears when all of it is written.

    Args:
        cuts: whole recordings or windows of them.
        folder: made, or replaced.
        seconds_per_shard: wanted audio of a shard; speech takes about 18 kB a second.
        seed: of the shuffle.
        progress: show a bar on standard error.

    Raises:
        DataError: no cuts, a recording that cannot be decoded or is shorter than stated, or an id
            that cannot be a file's name.
        ValueError: a shard without duration.
    """
    if not seconds_per_shard > 0:
        raise ValueError(f"seconds_per_shard must be positive, got {seconds_per_shard}")
    everything = list(cuts)
    if not everything:
        raise DataError("there are no recordings to write as shards; check the partition")
    order = np.random.default_rng(seed).permutation(len(everything))
    chosen = [everything[index] for index in order]
    seconds = np.array([cut.duration for cut in chosen])
    num_shards = min(max(1, round(float(seconds.sum()) / seconds_per_shard)), len(chosen))
    # The shard of each cut by the audio before it: all come out equal within a recording.
    places = (np.cumsum(seconds) - seconds) / seconds.sum() * num_shards
    groups = [np.flatnonzero(places.astype(int) == number) for number in range(num_shards)]
    groups = [group for group in groups if len(group)]
    numbers = range(len(groups))
    with replacing_folder(folder) as temporary:
        listed = [
            _write_shard([chosen[index] for index in groups[number]], temporary, number)
            for number in (track(numbers, "writing shards") if progress else numbers)
        ]
        index = {"format": _FORMAT, "sample_rate": SAMPLE_RATE, "shards": listed}
        (temporary / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return find_shards(folder)


def holds_shards(path: Path) -> bool:
    """Whether a path is a shards.json, or a folder with one or with shards of lhotse's."""
    if path.name == INDEX or (path / INDEX).is_file():
        return True
    return any(path.glob("cuts.*.jsonl*")) and any(path.glob("recording.*.tar"))


def find_shards(source: Path | str | Sequence[Shard]) -> list[Shard]:
    """List the shards of a folder, of a shards.json, or those given.

    Args:
        source: a folder that `write_shards` or lhotse's SharWriter filled; a shards.json or its
            URL, whose entries are URLs or names beside it; or shards, which alone may be
            `pipe:` commands: a file from elsewhere runs nothing here.

    Raises:
        DataError: nothing there, a missing half, or an index that is none.
    """
    if isinstance(source, str | Path):
        if is_url(str(source)):
            url = str(source)
            url = url if url.endswith(".json") else url.rstrip("/") + "/" + INDEX
            shards = _listed(_bytes(url), url)
        else:
            shards = _found(Path(source))
    else:
        shards = list(source)
    if not shards:
        raise DataError(f"{source} lists no shards; write some with compress prepare --shards")
    for shard in shards:
        for half in (shard.cuts, shard.recording):
            if _is_file(half) and not Path(half).is_file():
                raise DataError(f"shard {half} is missing; copy it again, or write the shards anew")
    return shards


def entries(shard: Shard) -> list[Entry]:
    """What a shard holds, in its order; no audio is read.

    Raises:
        DataError: the description is missing or cannot be right.
    """
    with _damage_of(shard.cuts):
        data = _bytes(shard.cuts)
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    held: dict[str, Entry] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = _entry(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError):
            raise DataError(
                f"{shard.cuts}, line {number} describes no single-channel cut; write the shard anew"
            ) from None
        if held.setdefault(entry.cut_id, entry) is not entry:
            raise DataError(f"{shard.cuts}, line {number} repeats {entry.cut_id!r}; write it anew")
    return list(held.values())


def recordings(shard: Shard) -> Iterator[tuple[str, Recording]]:
    """Each recording of a shard with its encoded audio in memory, in the shard's order.

    Raises:
        DataError: the tar is missing or damaged.
    """
    from lhotse.shar import TarIterator

    with _damage_of(shard.recording):
        tar = shard.recording if _is_file(shard.recording) else BytesIO(_bytes(shard.recording))
        for manifest, path in TarIterator(tar):
            if manifest is not None:
                yield str(path.parent / path.stem), manifest


def num_samples(recording: Recording) -> int:
    """Samples of a recording once it is at 16 kHz."""
    return int(recording.num_samples * SAMPLE_RATE // recording.sampling_rate)


def decoded(
    recording: Recording, shard: Shard, start: int = 0, length: int | None = None
) -> Waveform:
    """Decode a recording, or a part of it, to mono at 16 kHz.

    Args:
        recording: one of `recordings`.
        shard: named where it fails.
        start: first sample, counted at 16 kHz.
        length: samples at 16 kHz; None: to the end.

    Raises:
        DataError: it is no audio, or holds samples that are no finite numbers.
    """
    from lhotse.audio.utils import AudioLoadingError, DurationMismatchError

    duration_s = None if length is None else length / SAMPLE_RATE
    try:
        channels = recording.load_audio(offset=start / SAMPLE_RATE, duration=duration_s)
    except (AudioLoadingError, DurationMismatchError, OSError, ValueError) as fault:
        reason = " ".join(str(fault).split())[:200]
        raise DataError(_damaged(shard.recording, f"{recording.id}: {reason}")) from None
    waveform = np.asarray(channels, dtype=np.float32).mean(axis=0)
    if recording.sampling_rate != SAMPLE_RATE:
        import soxr

        waveform = soxr.resample(waveform, recording.sampling_rate, SAMPLE_RATE)
    if not np.isfinite(waveform).all() or len(waveform) == 0:
        raise DataError(_damaged(shard.recording, f"{recording.id} holds no finite samples"))
    return np.ascontiguousarray(waveform[:length], dtype=np.float32)


def waveforms(shards: Iterable[Shard], min_seconds: float = 0.0) -> Iterator[tuple[str, Waveform]]:
    """Every recording once, in the shards' order: its id and (samples,) float32 at 16 kHz.

    One recording is in memory at a time.

    Raises:
        DataError: a shard is missing or damaged, or holds fewer recordings than it describes.
    """
    for shard in shards:
        described = [entry.cut_id for entry in entries(shard)]
        there = 0
        for cut_id, recording in recordings(shard):
            there += 1
            if num_samples(recording) >= min_seconds * SAMPLE_RATE:
                yield cut_id, decoded(recording, shard)
        if there < len(described):
            raise DataError(_damaged(shard.recording, f"{there} of {len(described)} recordings"))


def lacking(shard: Shard, cut_id: str) -> DataError:
    """The fault of a tar without a recording that its description names."""
    return DataError(_damaged(shard.recording, f"it lacks {cut_id}"))


def _write_shard(cuts: Sequence[MonoCut], folder: Path, number: int) -> dict[str, Any]:
    from lhotse import AudioSource, Recording, fastcopy
    from lhotse.shar import AudioTarWriter, JsonlShardWriter

    names = {"cuts": f"cuts.{number:06d}.jsonl.gz", "recording": f"recording.{number:06d}.tar"}
    total = 0
    with (
        JsonlShardWriter(str(folder / names["cuts"]), shard_size=None) as descriptions,
        AudioTarWriter(str(folder / names["recording"]), shard_size=None, format="flac") as tar,
    ):
        for cut in cuts:
            waveform = _waveform(cut)
            duration_s = len(waveform) / SAMPLE_RATE
            recording = Recording(
                id=cut.id,
                sources=[AudioSource(type="shar", channels=[0], source="")],
                sampling_rate=SAMPLE_RATE,
                num_samples=len(waveform),
                duration=duration_s,
            )
            tar.write(cut.id, to_int16(waveform)[None], SAMPLE_RATE, manifest=recording)
            descriptions.write(
                fastcopy(cut, start=0.0, duration=duration_s, channel=0, recording=recording)
            )
            total += len(waveform)
    return {**names, "num_cuts": len(cuts), "seconds": total / SAMPLE_RATE}


def _waveform(cut: MonoCut) -> Waveform:
    name = Path(f"{cut.id}.flac")
    if str(name.parent / name.stem) != cut.id or name.is_absolute() or ".." in name.parts:
        raise DataError(f"the id {cut.id!r} cannot be a file's name in a tar; rename the recording")
    path = Path(str(cut.recording.sources[0].source))
    waveform = decode(path)
    stated_s, decoded_s = cut.recording.duration, len(waveform) / SAMPLE_RATE
    if decoded_s < stated_s - max(0.1, _SHORT_RATIO * stated_s):
        raise DataError(
            f"{path} holds {decoded_s:.3f} s where {stated_s:.3f} s are stated: it is truncated or "
            "misdescribed; replace it, or correct the duration"
        )
    if cut.start == 0.0 and cut.duration == stated_s:
        return waveform
    begin = round(cut.start * SAMPLE_RATE)
    return waveform[begin : begin + round(cut.duration * SAMPLE_RATE)]


def _entry(cut: Mapping[str, Any]) -> Entry:
    texts = [supervision.get("text") for supervision in cut.get("supervisions") or []]
    return Entry(
        cut_id=str(cut["id"]),
        num_samples=round(float(cut["duration"]) * SAMPLE_RATE),
        label=str(texts[0] or "") if texts else "",
    )


def _found(path: Path) -> list[Shard]:
    index = path / INDEX if path.is_dir() else path
    if index.is_file():
        return _listed(index.read_bytes(), str(index))
    if not path.is_dir():
        raise DataError(f"{path} does not exist; name a folder of shards or a {INDEX}")
    return [
        Shard(str(cuts), str(path / f"recording.{cuts.name.split('.')[1]}.tar"))
        for cuts in sorted(path.glob("cuts.*.jsonl*"))
    ]


def _listed(data: bytes, where: str) -> list[Shard]:
    try:
        named = [(row["cuts"], row["recording"]) for row in json.loads(data)["shards"]]
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{where} is no list of shards; it needs {{'shards': [{{'cuts': …, 'recording': …}}]}}"
        ) from None
    for name in (str(name) for pair in named for name in pair):
        if name.startswith("pipe:"):
            raise DataError(
                f"{where} asks to run {name!r}: a file may list names and URLs, not commands"
            )
    return [Shard(_beside(where, str(cuts)), _beside(where, str(tar))) for cuts, tar in named]


def _beside(where: str, name: str) -> str:
    """A name in an index, seen from the index."""
    if is_url(where):
        return urljoin(where, name)
    return name if "://" in name else str(Path(where).parent / name)


def _is_file(source: str) -> bool:
    return "://" not in source and not source.startswith("pipe:")


def _bytes(source: str) -> bytes:
    """All of a file, an answer, or what a command prints."""
    if is_url(source):
        return read_url(source)
    if source.startswith("pipe:"):
        # lhotse's own pipe tells a failed command from a short file only sometimes.
        done = subprocess.run(source[5:], shell=True, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise OSError(f"the command ended with {done.returncode}")
        return done.stdout
    if _is_file(source):
        return Path(source).read_bytes()
    if importlib.util.find_spec("smart_open") is None:
        raise DataError(f"{source} is read by smart_open; install it with `pip install smart_open`")
    from lhotse.serialization import open_best

    with open_best(source, "rb") as stream:
        return bytes(stream.read())


@contextmanager
def _damage_of(source: str) -> Iterator[None]:
    """Say in one line which shard cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(
            f"shard {source} is missing; copy it again, or write the shards anew"
        ) from None
    except _DAMAGE as fault:
        raise DataError(_damaged(source, str(fault))) from None


def _damaged(source: str, reason: str) -> str:
    reason = " ".join(reason.split()).rstrip(".")
    return f"shard {source} is damaged ({reason}); copy it again, or write the shards anew"
