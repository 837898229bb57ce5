"""What a search takes where little is given, said line by line on standard error."""

import logging
from pathlib import Path

from train.data.audio import cache_folder
from train.data.synthetic import make_keyword_corpus
from train.errors import DataError

from .. import CompressError
from ..budget import LATENCY, amount
from ..cost.latency import DeviceTable
from ..counts import parse_count, short_count
from ..feasible import Feasibility, feasibility
from ..keyword_spaces import KeywordSubnet
from ..published import PUBLISHED, find_supernet, space_of
from ..shipped import SHIPPED
from .config import SearchConfig
from .keyword_models import RUN
from .winner import Places, Winner

_log = logging.getLogger(__name__)

_SPEECH = "speech-1"
"""In the cache; its number rises when other clips are made."""
_CLIPS = (100, 150, 50)
"""Of each keyword, of unknown words and of silence; a tenth is held out: 60 s. 19 MB."""


def settle(
    config: SearchConfig,
    *,
    supernet: str | None,
    data: Path | None,
    out: Path | None,
    teacher: Path | None = None,
    device: Path | None = None,
    storage: str | None = None,
) -> Places:
    """Fill in what was not given, and say what is taken.

    Args:
        config: what is looked for.
        supernet: a run folder, a checkpoint or a name; None: the one that ships with the package.
        data: a corpus; None: speech that espeak-ng makes, once, into the cache.
        out: the run folder; None: one below runs/ that is named after the budget.
        teacher: as for `Places`, like the others.
        device: a table of block latencies.
        storage: where workers share scores.

    Raises:
        CompressError: nothing fits, said before anything is downloaded or made; or there is no
            such supernet, or no speech to score it on.
    """
    named = supernet or SHIPPED[0]
    space = space_of(named)
    table = None if device is None else DeviceTable.read(device)
    found = feasibility(space, config.budget(space, table))
    places = Places(
        supernet=find_supernet(named),
        data=data or _speech(),
        out=out or Path("runs") / f"search-{_words_of(found.limits)}",
        teacher=teacher,
        device=device,
        storage=storage,
    )
    whence = ""
    if places.supernet != Path(named):
        whence = (
            ", which ships with the package" if named in SHIPPED else ", as its authors gave it"
        )
    num_scored = min(config.num_trials, found.num_within)
    limits = ", ".join(amount(name, limit) for name, limit in found.limits.items())
    for line in (
        f"supernet  {named}{whence}",
        f"data      {places.data}" + ("" if data else ", made by espeak-ng; --data takes your own"),
        f"budget    {limits}: {found.num_within:,} of {found.num_subnets:,} subnets fit",
        f"scorer    {config.scorer_for(space)}, for {num_scored:,} of them",
        f"out       {places.out}",
    ):
        _log.info("%s", line)
    return places


def tell_next(winner: Winner, places: Places, supernet: str | None) -> None:
    """Say what can be done with a winner, and what would make a better one."""
    found = winner.result.feasibility
    if found.num_within == found.num_subnets:
        _log.info("every subnet keeps this budget, so it ruled none out: %s", _tighter(found))
    _log.info("next:")
    _log.info("  compress report %s", places.out)
    if isinstance(winner.result.best.subnet, KeywordSubnet):
        run = places.out / RUN
        _log.info("  compress export %s --out keywords.bundle", run)
        _log.info("  compress finetune … --model %s --set updates=…: trained further", run)
        return
    _log.info(
        "  compress finetune keywords-tiny --model %s --data recordings/ --out runs/keywords",
        places.out,
    )
    if supernet is None:
        _log.info("  compress distill …, then compress search RUN: a supernet of your own speech")
        _log.info("  compress search --supernet %s …: larger, downloaded", _a_published_one())


def _tighter(found: Feasibility) -> str:
    least, most = (costs["params"] for costs in (found.smallest_costs, found.largest_costs))
    return (
        f"the largest has {most:,} parameters. Try --target-params "
        f"{short_count((least + most) / 2, 2)}"
    )


def _a_published_one() -> str:
    """Of those whose bytes can be checked."""
    return next(name for name, known in PUBLISHED.items() if known.checksum is not None)


def _speech() -> Path:
    folder = cache_folder() / _SPEECH
    if not folder.is_dir():
        _log.info("no --data: making a little speech in %s", folder)
        try:
            make_keyword_corpus(
                folder,
                clips_per_keyword=_CLIPS[0],
                clips_unknown=_CLIPS[1],
                clips_silence=_CLIPS[2],
                progress=True,
            )
        except DataError as fault:
            raise CompressError(
                f"there is no speech to score on, and none can be made: {fault}. Give --data"
            ) from None
    return folder


def _words_of(limits: dict[str, int]) -> str:
    """'30M', or '30M-1.2Gmacs-8ms' of several limits; no two budgets have the same."""
    words = {
        "params": _count,
        "macs": lambda limit: f"{_count(limit)}macs",
        "size_bytes": lambda limit: f"{limit / 1e6:.12g}MB",
        LATENCY: lambda limit: f"{limit / 1e6:.12g}ms",
    }
    return "-".join(words[name](limit) for name, limit in limits.items())


def _count(value: int) -> str:
    short = short_count(value)
    return short if parse_count(short) == value else str(value)
