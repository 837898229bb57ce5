"""What a training on running sound draws from: words, and hours of sound without them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse import CutSet

from .data.audio import PackedAudio
from .data.corpus import read_corpus, usable
from .data.cuts import SILENCE, UNKNOWN, label_of
from .data.label_share import labelled
from .data.rooms import Surroundings
from .data.running import Speech, Words, read_speech, without_keywords
from .data.selection import check_labels, labels_of, partition_of
from .errors import DataError
from .labelled import LabelledRecipe, recorded_silence

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunningSound:
    """A labelled corpus and speech beside it, as a spotter hears them."""

    labels: tuple[str, ...]
    """Nothing of them, then the keywords."""
    train: CutSet
    """Clips of keywords that are learned from."""
    words: Words
    """Where in these the keywords are."""
    speech: Speech
    """Without keywords."""
    scored: CutSet
    """Clips of keywords and of other sound, of all partitions."""
    packed: PackedAudio
    """The corpus, whole."""
    silence: CutSet
    """Its clips of noise alone, to learn from."""

    def around(self, given: Surroundings) -> Surroundings:
        """Given noises and rooms, and the corpus's own recorded silence."""
        own = recorded_silence(self.silence, self.packed)
        return replace(given, noises=(*own, *given.noises))


def read_running_sound(
    recipe: LabelledRecipe, data: Path, negatives: Sequence[Path]
) -> RunningSound:
    """Read and decode what a recipe learns from and is scored on.

    Args:
        recipe: its labels are the keywords; without any, every label with enough clips.
        data: a labelled corpus with partitions. What holds no keyword in it is other speech.
        negatives: corpora of other speech, of which the train partitions are heard.

    Raises:
        DataError: a corpus cannot be read, or there is no clip of a keyword or no other speech.
    """
    cuts = read_corpus(data)
    train = usable(cuts, partition="train", min_seconds=recipe.batch.min_seconds)
    asked = recipe.labels or labels_of(train, min_clips=recipe.min_clips_per_label)
    keywords = tuple(label for label in asked if label not in (UNKNOWN, SILENCE))
    check_labels(keywords, train)
    packed = PackedAudio.of(cuts, progress=True)
    said = cuts.filter(lambda cut: label_of(cut) in keywords).to_eager()
    others = without_keywords(cuts, keywords)
    learned = labelled(
        train.filter(lambda cut: label_of(cut) in keywords).to_eager(), recipe.labelled
    )
    unsaid = partition_of(others, "train")
    silence = unsaid.filter(lambda cut: label_of(cut) == SILENCE).to_eager()
    spoken = unsaid.filter(lambda cut: label_of(cut) != SILENCE).to_eager()
    more = read_speech(negatives, keywords, min_seconds=recipe.batch.min_seconds)
    speech = Speech([(packed, tuple(spoken.ids)), *more])
    if not speech.hours:
        raise DataError(
            f"{data} holds nothing but keywords, and running sound needs speech without them; "
            "give some with --negatives"
        )
    _log.info("%d clips of keywords, %.2f hours of other speech", len(learned), speech.hours)
    words = Words.of(learned, packed)
    labels = (UNKNOWN, *keywords)
    return RunningSound(labels, learned, words, speech, said + others, packed, silence)
