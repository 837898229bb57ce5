"""A causal body judged at every frame of running sound."""

import numpy as np
import pytest
import torch

from train.data.audio import PackedAudio
from train.data.cuts import recording_cut, sorted_cuts
from train.data.rooms import Surroundings
from train.data.running import Speech, Words
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)
from train.seeding import Draws
from train.tasks.augmenting import AugmentConfig
from train.tasks.keywords import KeywordModel
from train.tasks.running import IGNORED, RunningConfig, Stage, frame_labels
from train.tasks.spotting import SpottingObjective, every_frame, hear_recordings

LABELS = ("_unknown_", "go", "stop")
SIZES = [4_000, 6_000, 5_000]


@pytest.fixture(scope="module")
def model():
    config = CausalKeywordTransformerConfig(embed_dim=8, num_layers=1, num_heads=1, head_dim=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return KeywordModel(CausalKeywordTransformer(config), LABELS).eval()


@pytest.fixture(scope="module")
def packed():
    samples = np.random.default_rng(0).normal(0, 3_000, sum(SIZES)).astype(np.int16)
    ends = np.cumsum(SIZES)
    spans = {
        f"cut{i}": (int(end - size), int(end))
        for i, (size, end) in enumerate(zip(SIZES, ends, strict=True))
    }
    return PackedAudio(samples, spans)


@pytest.fixture(scope="module")
def objective(model, packed):
    stage = Stage(
        RunningConfig(scene_seconds=1.0, keyword_weight=3.0, focus=1.5),
        AugmentConfig(),
        Speech([(packed, ("cut2",))]),
        Surroundings(),
    )
    spans = {f"cut{row}": (500, size - 500) for row, size in enumerate(SIZES)}
    return SpottingObjective(model, stage, Words(packed, spans), label_smoothing=0.0)


def test_the_loss_is_the_mean_over_frames_that_are_judged(objective, model, make_batch):
    batch = make_batch(SIZES[:2], labels=["go", "stop"])
    loss = objective(batch, Draws(3, 7))
    total = count = 0.0
    for row, rng in enumerate(Draws(3, 7).rows([0, 1])):
        clip = batch.waveform[row, : SIZES[row]].numpy()
        scene = objective.stage.scene(clip, (500, SIZES[row] - 500), 16_000, rng)
        wanted = frame_labels(
            scene, 1 + row, objective.stage.config, hop_samples=640, window_samples=16_000
        )
        with torch.inference_mode():
            logits = every_frame(model, torch.from_numpy(scene.waveform[None]))[0].log_softmax(-1)
        for frame, label in zip(logits, wanted, strict=True):
            if label != IGNORED:
                weight = 3.0 if label else 1.0
                focus = (1.0 - float(frame[label].exp())) ** 1.5
                total -= weight * focus * float(frame[label])
                count += weight
    assert loss.count == pytest.approx(count)
    assert float(loss.total) == pytest.approx(total, rel=1e-4)
    assert set(loss.parts) == {"told", "false"}


def test_a_row_does_not_depend_on_the_rows_beside_it(objective, make_batch):
    batch = make_batch(SIZES[:2], labels=["go", "stop"])
    both = objective(batch, Draws(0, 0))
    alone = []
    for row in range(2):
        one = make_batch(
            [SIZES[row]],
            labels=[("go", "stop")[row]],
            cut_ids=[f"cut{row}"],
            rows=[row],
            waveform=batch.waveform[row : row + 1, : SIZES[row]],
        )
        alone.append(objective(one, Draws(0, 0)))
    assert both.count == pytest.approx(sum(loss.count for loss in alone))
    assert float(both.total) == pytest.approx(sum(float(loss.total) for loss in alone), rel=1e-4)


def test_the_last_frame_is_what_the_body_gives_of_the_whole(model):
    waveform = torch.randn(2, 6_400, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        last = every_frame(model, waveform)[:, -1]
        torch.testing.assert_close(last, model(waveform), rtol=1e-5, atol=1e-5)


def test_recordings_are_heard_alike_alone_and_together(model, packed, tmp_path):
    cuts = sorted_cuts(
        recording_cut(f"cut{i}", tmp_path / "a.wav", duration_s=size / 16_000, partition="test")
        for i, size in enumerate(SIZES)
    )
    together = hear_recordings(model, cuts, packed, late_samples=1_600)
    assert together.shape == (3, 3)
    for row, cut_id in enumerate(cuts.ids):
        one = cuts.filter(lambda cut, wanted=cut_id: cut.id == wanted).to_eager()
        alone = hear_recordings(model, one, packed, late_samples=1_600)
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    np.testing.assert_allclose(together[:, 0], 1 - together[:, 1:].max(1), atol=1e-6)
