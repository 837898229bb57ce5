"""Search of a supernet of encoders."""

import logging
from typing import Any

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder, save_encoder

from ..any_space import AnySubnet
from ..cost.macs import SAMPLE_RATE
from ..subnet import Subnet
from ..supernet import load_supernet, materialize
from . import record
from .candidates import SearchResult
from .config import SearchConfig
from .measure import measured
from .origins import origin_of
from .polish import check_origin, polish
from .scorers import Setting, build_scorer
from .subject import Places, Score, Subject

_log = logging.getLogger(__name__)

_POLISH = "polish"
_MIN_SECONDS = 0.3
"""Of held-out clips, where a supernet's recipe is not known."""


class Encoders(Subject):
    """Encoders of the wav2vec 2.0 family, compared by a file of scorers/."""

    def __init__(self, config: SearchConfig, places: Places) -> None:
        """Read the supernet and what is known of its origin."""
        self.origin = origin_of(places.supernet, places.teacher)
        if config.polish_updates:
            check_origin(self.origin)
        self.supernet = load_supernet(self.origin.checkpoint)
        super().__init__(config, places, self.supernet.space)
        self.made_from["supernet"] = digest(self.origin.checkpoint)
        if self.origin.teacher is not None:
            self.made_from["teacher"] = digest(self.origin.teacher)

    def scorer(self) -> Score:
        """By held-out clips of the corpus."""
        corpus = read_corpus(self.places.data)
        recipe, teacher = self.origin.recipe, self.origin.teacher
        score = build_scorer(
            self.config.scorer_for(self.space),
            Setting(
                supernet=self.supernet,
                teacher=None if teacher is None else load_encoder(teacher),
                targets=self.origin.targets,
                cuts=corpus,
                packed=PackedAudio.of(corpus, progress=True),
                num_clips=self.config.num_clips,
                min_seconds=_MIN_SECONDS if recipe is None else recipe.batch.min_seconds,
                seed=self.config.seed,
            ),
        )

        def of(subnet: AnySubnet) -> float:
            assert isinstance(subnet, Subnet), "spaces of encoders hold encoders"
            return score(subnet)

        return of

    def cut_out(self, result: SearchResult) -> dict[str, Any]:
        """Polish, cut, save and measure."""
        config, out, subnet = self.config, self.places.out, result.best.subnet
        assert isinstance(subnet, Subnet), "spaces of encoders hold encoders"
        polished = None
        if config.polish_updates:
            _log.info("polishing the winner for %d updates", config.polish_updates)
            polish(
                self.supernet,
                subnet,
                self.origin,
                self.places.data,
                out / _POLISH,
                updates=config.polish_updates,
                seed=config.seed,
            )
            polished = {
                "updates": config.polish_updates,
                "score_before": result.score,
                "score_after": self.scorer()(subnet),
            }
        dense = materialize(self.supernet, subnet).eval()
        provenance = {"subnet": record.plain(subnet), **self.made_from}
        save_encoder(out / "model", dense.config, dense.state_dict(), provenance=provenance)
        window_samples = self.device.window_samples if self.device else SAMPLE_RATE
        threads = self.device.threads if self.device else 1
        return {
            "fine_tuned": polished,
            "measured": measured(dense, out, window_samples=window_samples, threads=threads),
        }
