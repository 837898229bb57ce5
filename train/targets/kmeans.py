"""Make units by k-means over MFCCs (round 1) or over a layer of an encoder (later rounds).

Source: HuBERT, arXiv:2106.07447, section 3.1 and 4.1; settings as in its reference code.
"""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from ..data.source import Source
from ..errors import DataError
from ..models.frontend import HOP_SAMPLES, SAMPLE_RATE, Mfcc
from ..models.wav2vec2 import Wav2Vec2Encoder
from ..progress import track
from .units import Units

Features = Iterator[tuple[str, NDArray[np.float32]]]

_log = logging.getLogger(__name__)


def mfcc_units(source: Source, *, num_clusters: int, fit_frames: int, seed: int) -> Units:
    """Units of the first round: 39-dimensional MFCCs at 100 Hz."""
    frontend = Mfcc()

    def features() -> Features:
        for cut_id, waveform in source.waveforms():
            yield cut_id, frontend(torch.from_numpy(waveform).unsqueeze(0))[0].numpy()

    rate_hz = SAMPLE_RATE // HOP_SAMPLES
    return _cluster(features, source.fits_memory, num_clusters, fit_frames, rate_hz, seed)


def layer_units(
    source: Source,
    encoder: Wav2Vec2Encoder,
    *,
    layer: int,
    num_clusters: int,
    fit_frames: int,
    seed: int,
) -> Units:
    """Units of a later round: the output of a transformer layer, counted from 1.

    Raises:
        DataError: the encoder has no such layer.
    """
    if not 1 <= layer <= encoder.config.num_layers:
        raise DataError(
            f"layer must lie in [1, {encoder.config.num_layers}], the encoder's layers; got {layer}"
        )
    encoder.eval()

    def features() -> Features:
        for batch in source.whole(batch_size=16):
            with torch.inference_mode():
                output = encoder(batch.waveform, batch.lengths)
            hidden: Tensor = output.hidden_states[layer]
            for row, cut_id in enumerate(batch.cut_ids):
                frames = encoder.config.num_frames(int(batch.lengths[row]))
                yield cut_id, hidden[row, :frames].numpy()

    rate_hz = SAMPLE_RATE // encoder.config.stride_samples
    return _cluster(features, source.fits_memory, num_clusters, fit_frames, rate_hz, seed)


def _cluster(
    features: Callable[[], Features],
    kept: bool,
    num_clusters: int,
    fit_frames: int,
    rate_hz: int,
    seed: int,
) -> Units:
    """Fit on a sample of frames and label all.

    Features that fit memory are `kept` from one pass to the other; others are made twice.
    """
    by_cut = list(track(features(), "features")) if kept else None
    frames = _sample(features() if by_cut is None else iter(by_cut), fit_frames, seed)
    if len(frames) < num_clusters:
        raise DataError(
            f"{len(frames)} frames cannot make {num_clusters} clusters; "
            "give more audio or a smaller num_clusters"
        )
    kmeans = MiniBatchKMeans(
        n_clusters=num_clusters,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        tol=0.0,
        max_no_improvement=100,
        n_init=3,  # the reference takes 20, for little
        reassignment_ratio=0.0,
        random_state=seed,
    ).fit(frames)
    _log.info(
        "k-means: %d clusters, inertia %.4g per frame", num_clusters, kmeans.inertia_ / len(frames)
    )
    sequences = {
        cut_id: kmeans.predict(rows).astype(np.int16)
        for cut_id, rows in (track(features(), "units") if by_cut is None else by_cut)
    }
    return Units(sequences, rate_hz, num_clusters)


def _sample(features: Features, num_frames: int, seed: int) -> NDArray[np.float32]:
    """At most `num_frames` frames, each as likely as the next, from a stream of unknown length.

    Every frame draws a number, and those with the smallest stay, in their order.
    """
    rng = np.random.default_rng(seed)
    blocks: list[NDArray[np.float32]] = []
    keys: list[NDArray[np.float64]] = []
    held = 0
    for _, rows in features:
        blocks.append(rows)
        keys.append(rng.random(len(rows)))
        held += len(rows)
        if held > 2 * num_frames:
            blocks, keys = _smallest(blocks, keys, num_frames)
            held = num_frames
    if not blocks:
        return np.zeros((0, 1), dtype=np.float32)
    blocks, _ = _smallest(blocks, keys, num_frames)
    return blocks[0]


def _smallest(
    blocks: list[NDArray[np.float32]], keys: list[NDArray[np.float64]], num_frames: int
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float64]]]:
    frames, drawn = np.concatenate(blocks), np.concatenate(keys)
    if len(drawn) > num_frames:
        chosen = np.sort(np.argpartition(drawn, num_frames)[:num_frames])
        frames, drawn = frames[chosen], drawn[chosen]
    return [frames], [drawn]
