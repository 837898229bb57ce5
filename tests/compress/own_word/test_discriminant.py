"""The line between takes and other speech."""

import numpy as np
import pytest
import torch

from compress import CompressError
from compress.own_word import discriminant
from compress.own_word.discriminant import Frames, draw_line, hear_takes, logits_when_left_out
from compress.own_word.takes import Take
from train.data.audio import PackedAudio
from train.data.rooms import Surroundings
from train.data.running import Speech
from train.models.causal_keyword_transformer import (
    CausalKeywordTransformer,
    CausalKeywordTransformerConfig,
)

DIM, PER_TAKE, OTHERS = 6, 30, 3000


def frames(apart, rng, *, takes=3, odd=0.0):
    """Normal vectors; those of takes lie `apart` along one axis, take 0 `odd` along another."""
    spread = np.eye(DIM) + 0.2 * rng.normal(size=(DIM, DIM))
    vectors, said, scene, take = [], [], [], []
    for number in range(takes):
        centre = np.zeros(DIM)
        centre[0], centre[1] = apart, odd if number == 0 else 0.0
        vectors.append((rng.normal(size=(PER_TAKE, DIM)) + centre) @ spread)
        said += [True] * PER_TAKE
        scene += [number * 10 + index % 10 for index in range(PER_TAKE)]
        take += [number] * PER_TAKE
    vectors.append(rng.normal(size=(OTHERS, DIM)) @ spread)
    return Frames(
        np.concatenate(vectors),
        np.array(said + [False] * OTHERS),
        np.array(scene + list(range(1000, 1000 + OTHERS))),
        np.array(take + [-1] * OTHERS),
    )


def test_a_hundredth_of_other_frames_reach_0_and_scenes_with_takes_have_4_in_the_mean():
    heard = frames(8.0, np.random.default_rng(0))
    logits = draw_line(heard).logits(heard.vectors)
    assert np.mean(logits[~heard.said] > 0.0) == pytest.approx(0.01, abs=1e-3)
    best = [logits[heard.said & (heard.scene == each)].max() for each in range(30)]
    assert np.mean(best) == pytest.approx(4.0)
    assert logits[heard.said].min() > 0.0


def test_it_is_the_discriminant_of_the_equation():
    heard = frames(4.0, np.random.default_rng(1))
    parts = [heard.vectors[heard.said == said] for said in (True, False)]
    centred = np.concatenate([part - part.mean(0) for part in parts])
    within = centred.T @ centred / len(centred)
    expected = np.linalg.solve(within, parts[0].mean(0) - parts[1].mean(0))
    found = draw_line(heard).weight
    # As far as they tell vectors apart; so many leave the covariance nearly as it is.
    alike = found @ within @ expected
    cosine = alike / np.sqrt((found @ within @ found) * (expected @ within @ expected))
    assert cosine > 0.995


def test_takes_that_are_no_other_than_other_speech_are_refused():
    with pytest.raises(CompressError, match=r"cannot be told from other speech.*leave --enroll"):
        draw_line(frames(0.0, np.random.default_rng(2)))


def test_a_take_that_is_like_the_others_is_told_by_them_and_an_odd_one_is_not():
    heard = frames(8.0, np.random.default_rng(3))
    for take in range(3):
        logits = logits_when_left_out(heard, take)
        assert logits.shape == (10,)
        assert logits.min() > 0.0
    heard.vectors[heard.take == 0] *= -1.0  # on the other side of the line of the other two
    assert logits_when_left_out(heard, 0).max() < 0.0


def test_takes_are_heard_at_their_ends_among_other_speech(monkeypatch):
    monkeypatch.setattr(discriminant, "_SCENES_PER_TAKE", 8)
    monkeypatch.setattr(discriminant, "_OTHER_SCENES", 10)
    rng = np.random.default_rng(5)
    packed = PackedAudio(rng.integers(-3000, 3000, 32_000).astype(np.int16), {"a": (0, 32_000)})
    sizes = CausalKeywordTransformerConfig(num_layers=1, embed_dim=8, num_heads=1, ffn_dim=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = CausalKeywordTransformer(sizes).eval()
    waveform = rng.normal(0.0, 0.2, 11_200).astype(np.float32)
    takes = [Take("a", waveform, (1600, 9600)), Take("b", waveform[::-1].copy(), (1600, 9600))]
    speech = Speech([(packed, ("a",))])
    heard = hear_takes(body, takes, speech, Surroundings(), seed=0)
    assert heard.vectors.shape == (len(heard.said), 8)
    assert set(heard.take[heard.said]) == {0, 1}
    config = discriminant._SAID
    most = (config.early_ms + config.late_ms) // 40 + 1
    scenes, counts = np.unique(heard.scene[heard.said], return_counts=True)
    assert len(scenes) >= 14  # of 16; at a scene's very end an answer may come too late
    assert counts.max() <= most
    assert not heard.said[heard.take == -1].any()
    again = hear_takes(body, takes, speech, Surroundings(), seed=0)
    np.testing.assert_array_equal(heard.vectors, again.vectors)
