"""Takes of a clip: each way of varying it alone, and what is hidden of the features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.data.augment import change_speed, fit_length, in_room
from train.data.rooms import Surroundings
from train.data.spec_augment import SpecAugmentConfig, stripes
from train.models.ds_cnn import DsCnn, DsCnnConfig
from train.tasks.augmenting import AugmentConfig, Variation, front_ends, striped

STILL = {"max_shift_ms": 0, "noise_prob": 0.0, "max_gain_db": 0.0, "room_prob": 0.0}


def clip_of(seed=0, size=4_000):
    return np.random.default_rng(seed).normal(0, 0.1, size).astype(np.float32)


def rng(seed=7):
    return np.random.default_rng(seed)


def test_nothing_that_was_not_asked_for_changes_a_clip():
    clip = clip_of()
    np.testing.assert_array_equal(Variation(AugmentConfig(**STILL)).vary(clip, 0, rng()), clip)
    # rooms and noises are used by default, where there are some
    room = Surroundings((), (clip_of(1, 90),))
    assert Variation(AugmentConfig(**STILL), room).vary(clip, 0, rng()) is not clip


def test_a_speed_is_drawn_within_its_reach_and_the_window_keeps_its_length():
    clip = clip_of()
    config = AugmentConfig(**(STILL | {"max_speed_change": 0.15}))
    taken = Variation(config).vary(clip, 0, rng())
    speed = 1.0 + rng().uniform(-0.15, 0.15)
    np.testing.assert_allclose(taken, fit_length(change_speed(clip, speed), len(clip)))


def test_a_room_is_one_of_those_given_and_comes_before_the_noise():
    clip, rooms = clip_of(), (clip_of(1, 90), clip_of(2, 50))
    config = AugmentConfig(**(STILL | {"room_prob": 1.0}))
    heard = {
        Variation(config, Surroundings((), rooms)).vary(clip, 0, rng(seed)).tobytes()
        for seed in range(20)
    }
    assert heard == {in_room(clip, room).tobytes() for room in rooms}
    noise = np.full(10, 0.5, np.float32)
    config = AugmentConfig(
        **(STILL | {"room_prob": 1.0, "noise_prob": 1.0}), lowest_snr_db=0.0, highest_snr_db=0.0
    )
    taken = Variation(config, Surroundings((noise,), rooms[:1])).vary(clip, 0, rng())
    added = taken - in_room(clip, rooms[0])
    assert np.ptp(added) < 1e-6  # the noise is flat: the room has not touched it


def test_clips_are_left_as_they_were():
    clip = clip_of()
    before = clip.copy()
    config = AugmentConfig(max_speed_change=0.1, room_prob=1.0, noise_prob=1.0)
    Variation(config, Surroundings((clip_of(3),), (clip_of(1, 50),))).vary(clip, 0, rng())
    np.testing.assert_array_equal(clip, before)


@given(
    frames=st.integers(1, 60),
    features=st.integers(1, 50),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    widest=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    seed=st.integers(0, 99),
)
def test_stripes_are_whole_and_no_more_than_asked(frames, features, counts, widest, seed):
    config = SpecAugmentConfig(
        time_masks=counts[0],
        max_frames=widest[0],
        feature_masks=counts[1],
        max_features=widest[1],
    )
    hidden = stripes(frames, features, config, rng(seed))
    assert hidden.shape == (frames, features)
    rows, columns = hidden.all(1), hidden.all(0)
    assert rows.sum() <= counts[0] * widest[0] or columns.all()
    assert columns.sum() <= counts[1] * widest[1] or rows.all()
    np.testing.assert_array_equal(hidden, rows[:, None] | columns)
    assert config.masks == bool(counts[0] * widest[0] + counts[1] * widest[1])


@pytest.fixture(scope="module")
def body():
    return DsCnn(DsCnnConfig(num_mels=10, channels=4, num_blocks=1)).eval()


def features_inside(body, waveform, config, rngs):
    seen = []
    with striped(body, config, rngs):
        handle = body.input_norm.register_forward_hook(lambda *call: seen.append(call[1][0]))
        body(waveform)
        handle.remove()
    return seen[0].transpose(1, 2)


@torch.no_grad()
def test_what_is_hidden_of_features_becomes_their_mean_row_by_row(body):
    waveform = torch.from_numpy(np.stack([clip_of(1), clip_of(2)]))
    config = SpecAugmentConfig(time_masks=1, max_frames=9, feature_masks=1, max_features=4)
    plain = features_inside(body, waveform, SpecAugmentConfig(), [rng(1), rng(2)])
    made = features_inside(body, waveform, config, [rng(1), rng(2)])
    for row, seed in enumerate((1, 2)):
        hidden = torch.from_numpy(stripes(*plain.shape[1:], config, rng(seed)))
        mean = plain[row].mean(0).expand_as(plain[row])
        torch.testing.assert_close(made[row], torch.where(hidden, mean, plain[row]))
    after = features_inside(body, waveform, SpecAugmentConfig(), [rng(1), rng(2)])
    assert torch.equal(after, plain)  # outside, the body is as it was
    assert len(front_ends(body)) == 1
    assert not body.frontend._forward_hooks
