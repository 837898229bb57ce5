"""Published supernets: where their authors put them, brought here once and kept in the cache."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from train.data.audio import cache_folder
from train.data.fetch import Checksum, download
from train.errors import TrainError
from train.models.checkpoints import load_config, stated_family
from train.models.importing import recognize
from train.nearest import nearest

from . import CompressError
from .any_space import AnySpace
from .folders import checkpoint_in
from .importing import import_supernet, save_imported_supernet
from .keyword_supernet import FAMILY as KEYWORDS
from .keyword_supernet import keyword_space
from .shipped import SHIPPED, shipped
from .spaces import get_space
from .supernet import FAMILY

_log = logging.getLogger(__name__)

_HUB = "https://huggingface.co/mechanicalsea/lighthubert"
_REVISION = "e7f3407ece452dd0c848a03ce7e51a0fb6a7e6e8"
"""The hub's last one; a file under it cannot change, as one under `main` could."""

_PAUSE_S = 0.25
"""Before the second try; six tries take 8 s where there is no network."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A supernet as its authors offer it."""

    url: str
    about: str
    """Its size in words; none of the authors' pages states it to the byte."""
    space: str
    licence: str
    checksum: Checksum | None = None
    """None: no page that we could read states one."""

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rpartition("/")[2]


def _lighthubert(file: str, space: str, sha256: str | None = None) -> Published:
    page = f"{_HUB}/blob/main/{file}"
    return Published(
        url=f"{_HUB}/resolve/{_REVISION}/{file}",
        about="381 MB",
        space=space,
        licence="Apache-2.0, as the authors' model card says",
        checksum=None if sha256 is None else Checksum("sha256", sha256, page),
    )


# Addresses: the table in the README of github.com/mechanicalsea/lighthubert and of the hub's page.
PUBLISHED = {
    "lighthubert-base": _lighthubert("lighthubert_base.pt", "lighthubert-base"),
    "lighthubert-small": _lighthubert(
        "lighthubert_small.pt",
        "lighthubert-small",
        "0a10f994a76bfa3d8e84d58138bb30e2ee1a6375390c63c45479b4c2574d7b92",
    ),
    "lighthubert-stage1": _lighthubert("lighthubert_stage1.pt", "lighthubert-base"),
}
"""By the name that stands for a supernet wherever a run folder could."""


def find_supernet(text: str) -> Path:
    """The folder of a supernet.

    Args:
        text: a run folder or checkpoint, which is returned as it is; or the name of a supernet that
            ships with the package, or of a published one, which is downloaded where it is not in
            the cache.

    Raises:
        CompressError: neither a folder nor a name, or it cannot be had.
    """
    if Path(text).is_dir():
        return Path(text)
    _check_name(text)
    return shipped(text) if text in SHIPPED else published(text)


def space_of(text: str) -> AnySpace:
    """The space of such a supernet, counted as its models are, without downloading it.

    Raises:
        CompressError: neither a folder nor a name.
        TrainError: the folder holds no supernet.
    """
    if text in PUBLISHED and not Path(text).is_dir():
        return get_space(PUBLISHED[text].space)
    folder = checkpoint_in(find_supernet(text))
    if stated_family(folder) == KEYWORDS:
        config = load_config(folder, KEYWORDS, "space", "labels", "window_samples")
        return replace(
            keyword_space(config["space"]),
            num_labels=len(config["labels"]),
            window_samples=config["window_samples"],
        )
    return get_space(str(load_config(folder, FAMILY, "space")["space"]))


def published(name: str, *, progress: bool = True) -> Path:
    """The checkpoint folder of a published supernet; downloaded, checked and imported once.

    Args:
        name: one of `PUBLISHED`.
        progress: show a bar on standard error.

    Raises:
        CompressError: it cannot be had from here, or is not what it should be; the message says
            how to bring it by hand.
    """
    known = PUBLISHED[name]
    folder = cache_folder() / "supernets" / name
    if (folder / "config.json").is_file():
        return folder
    file = folder.parent / known.file_name
    checked = "" if known.checksum else ", and no checksum of it is known here"
    _log.info("%s: downloading %s from %s%s", name, known.about, known.url, checked)
    try:
        digest = download(
            known.url, file, checksum=known.checksum, progress=progress, pause_s=_PAUSE_S
        )
        if known.checksum is None:
            _log.warning("%s cannot be verified; its sha256 is %s", known.url, digest)
        read = import_supernet(recognize(file), space=known.space)
        provenance = {
            **read.provenance(known.licence),
            "url": known.url,
            "verified_by": known.checksum.source if known.checksum else "nothing",
        }
        save_imported_supernet(read, folder, source=file, provenance=provenance)
    except (TrainError, CompressError) as fault:
        raise CompressError(
            f"{name} cannot be had: {fault}. By hand: bring {known.url} here from wherever there "
            f"is a network, `compress import {known.file_name} --out runs/{name}`, and name "
            f"runs/{name} where {name} stands"
        ) from None
    except OSError as fault:
        raise CompressError(
            f"{name} cannot be kept in {folder.parent} ({fault.strerror or fault}); make room "
            "there for 800 MB, or set OTOLITE_CACHE to a folder on another disk"
        ) from None
    file.unlink()
    return folder


def _check_name(text: str) -> None:
    names = (*SHIPPED, *PUBLISHED)
    if text not in names:
        raise CompressError(
            f"{text} is neither a folder nor the name of a supernet: {nearest(text, names)}"
        )
