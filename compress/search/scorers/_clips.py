"""Which clips a scorer looks at: the same ones for every subnet and every worker."""

import numpy as np
from lhotse import CutSet

from train.data.corpus import usable

from . import Setting


def held_out(setting: Setting, partition: str, *, most: int | None = None) -> CutSet:
    """At most `most` clips of a partition, `setting.num_clips` without it, drawn by the seed.

    Raises:
        DataError: there are none.
    """
    cuts = usable(setting.cuts, partition=partition, min_seconds=setting.min_seconds)
    most = setting.num_clips if most is None else most
    if len(cuts) > most:
        chosen = np.random.default_rng(setting.seed).permutation(len(cuts))[:most]
        ids = list(cuts.ids)
        cuts = cuts.subset(cut_ids=[ids[index] for index in np.sort(chosen)])
    return cuts
