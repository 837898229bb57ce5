"""Search a trained supernet within a budget, cut the winner out, and measure it as exported."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass as checked_dataclass

from runtime.atomic import replacing_file
from train import run
from train.config import STRICT
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.models.checkpoints import digest
from train.models.wav2vec2 import load_encoder, save_encoder
from train.recipe import plain_config

from .. import CompressError
from ..budget import Budget
from ..cost.latency import DeviceTable
from ..feasible import feasibility
from ..spaces import Space
from ..subnet import Subnet
from ..supernet import load_supernet, materialize
from . import record
from .candidates import Candidate, SearchResult
from .measure import measured
from .origins import Origin, origin_of
from .scorers import Setting, build_scorer
from .study import run_search

_log = logging.getLogger(__name__)

_MIN_SECONDS = 0.3
"""Held-out clips for a supernet whose recipe is not known."""
