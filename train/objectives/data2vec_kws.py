"""data2vec-KWS: data2vec for Keyword Transformers, small ones (arXiv:2210.01703).

Masks, loss and head are data2vec's. The teacher is a copy of all that learns, the embedding of
frames included, and its targets are layers' outputs, normalized before and after their mean. The
published code normalizes over the class token, too, which is left out here.
"""

from typing import Literal

from pydantic.dataclasses import dataclass

from ..config import STRICT
from ..models.keyword_transformer import KeywordEncoder
from ..models.keyword_transformer_config import KeywordTransformerConfig
from ..targets.ema import EmaConfig, EmaKeywordTeacher
from .data2vec import Data2Vec, Data2VecRecipe


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Recipe(Data2VecRecipe):
    """data2vec pretraining of a Keyword Transformer; the defaults are the paper's."""

    objective: Literal["data2vec_kws"]
    """The paper that this recipe follows."""
    encoder: KeywordTransformerConfig
    """Sizes of what learns."""
    target_of: Literal["ffn", "layer"] = "layer"
    """What is averaged of the teacher's layers: as in data2vec, `ffn`, or their outputs."""
    normalize_mean: bool = True
    """The average, too, is brought to zero mean and unit variance over each window."""
    ema: EmaConfig = EmaConfig(updates=1_000)
    """How slowly the teacher follows."""


class Data2VecKws(Data2Vec):
    """A Keyword Transformer of whose tokens some are hidden, and a copy that sees all."""

    @staticmethod
    def teacher_of(encoder: KeywordEncoder) -> EmaKeywordTeacher:
        """A copy, the embedding of frames included."""
        return EmaKeywordTeacher(encoder)


build = Data2VecKws
