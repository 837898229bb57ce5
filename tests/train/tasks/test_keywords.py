"""The keyword head: pooling, augmentation, posteriors in order, and the confusion picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.audio import PackedAudio
from train.data.augment import fit_length
from train.data.cuts import recording_cut, sorted_cuts
from train.data.rooms import Surroundings
from train.seeding import Draws
from train.tasks.augmenting import AugmentConfig, ClipPool, Variation
from train.tasks.keywords import (
    KeywordModel,
    KeywordObjective,
    PooledEncoder,
    clips,
    confusion,
    predict,
)

LABELS = ("no", "yes", "stop")


@pytest.fixture(scope="module")
def model(make_encoder):
    body = PooledEncoder(make_encoder())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        body.layer_weights.data.normal_()
        return KeywordModel(body, LABELS).eval()


def test_the_vector_is_the_mean_over_frames_of_the_weighted_layers(model, make_batch):
    batch = make_batch([4_000, 4_000])
    body = model.body
    with torch.inference_mode():
        states = body.encoder(batch.waveform).hidden_states
        shares = np.exp(body.layer_weights.detach().numpy())
        shares /= shares.sum()
        expected = sum(
            float(share) * state.mean(1) for share, state in zip(shares, states, strict=True)
        )
        assert torch.allclose(body(batch.waveform), expected, atol=1e-5)  # float32 sums


@settings(max_examples=15, deadline=None)
@given(short=st.integers(400, 4_000), extra=st.integers(0, 4_000))
def test_padding_never_changes_the_logits(model, make_batch, short, extra):
    batch = make_batch([short, short + extra])
    with torch.inference_mode():
        together = model(batch.waveform, batch.lengths)
        alone = model(batch.waveform[:1, :short], batch.lengths[:1])
    # float32 kernels of another length sum in another order
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_layers_that_are_dropped_while_training_leave_the_vector_whole(make_encoder, make_batch):
    body = PooledEncoder(make_encoder(layerdrop=0.9, num_heads=(2,) * 6, ffn_dim=(8,) * 6)).train()
    vector = body(make_batch([2_000]).waveform)
    assert vector.shape == (1, 16)
    vector.sum().backward()
    assert body.layer_weights.grad is not None


def objective(model, **changes):
    noises = changes.pop("noises", [np.full(50, 0.3, np.float32)])
    around = Surroundings(tuple(noises), tuple(changes.pop("rooms", ())))
    leads = changes.pop("leads", None)
    augment = AugmentConfig(**{"max_shift_ms": 20, **changes})
    variation = Variation(augment, around, leads)
    return KeywordObjective(model, variation, window_samples=3_000, label_smoothing=0.1)


def test_the_loss_is_smoothed_cross_entropy_of_the_clips_as_they_are(model, make_batch):
    batch = make_batch([3_000, 2_000, 5_000], labels=["yes", "no", "stop"])
    made = objective(model, max_shift_ms=0, noise_prob=0.0, max_gain_db=0.0)
    rows = np.stack([fit_length(row, 3_000) for row in unpadded(batch)])
    with torch.inference_mode():
        loss = made(batch, Draws(0, 0))
        log_posteriors = model(torch.from_numpy(rows)).double().log_softmax(-1).numpy()
    wanted = np.full((3, 3), 0.1 / 3)
    wanted[[0, 1, 2], [1, 0, 2]] += 0.9
    assert float(loss.total) / loss.count == pytest.approx(
        -(wanted * log_posteriors).sum(1).mean(), rel=1e-5
    )
    hits = log_posteriors.argmax(1) == np.array([1, 0, 2])
    assert float(loss.parts["accuracy"]) == pytest.approx(hits.mean())


def unpadded(batch):
    return [
        row[:length].numpy() for row, length in zip(batch.waveform, batch.num_samples, strict=True)
    ]


def test_a_generator_in_the_same_state_varies_clips_alike(model, make_batch):
    batch = make_batch([3_000, 2_500], labels=["yes", "no"])
    made = objective(model)
    with torch.inference_mode():
        first, same, other = (float(made(batch, Draws(seed, 0)).total) for seed in (0, 0, 1))
    assert first == same != other


def test_each_clip_of_a_batch_is_varied_on_its_own(model, make_batch, monkeypatch):
    batch = make_batch([3_000, 3_000], labels=["yes", "yes"])
    batch.waveform[1] = batch.waveform[0]
    seen = []
    monkeypatch.setattr(model, "forward", lambda rows: seen.append(rows) or torch.zeros(2, 3))
    objective(model)(batch, Draws(0, 0))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_noise_comes_at_the_ratio_that_was_asked(model, make_batch, monkeypatch):
    batch = make_batch([3_000], labels=["yes"])
    noise = np.random.default_rng(5).normal(0, 0.2, 3_000).astype(np.float32)
    seen = []
    monkeypatch.setattr(model, "forward", lambda rows: seen.append(rows) or torch.zeros(1, 3))
    made = objective(
        model,
        max_shift_ms=0,
        noise_prob=1.0,
        max_gain_db=0.0,
        lowest_snr_db=10.0,
        highest_snr_db=10.0,
        noises=[noise],
    )
    made(batch, Draws(0, 0))
    added = (seen[0] - batch.waveform).numpy()
    ratio_db = 10 * np.log10(np.mean(batch.waveform.numpy() ** 2) / np.mean(added**2))
    assert ratio_db == pytest.approx(10.0, abs=1e-3)


@pytest.fixture
def pool():
    """Two clips that no other has a sample of: 500 of one value, and 9,000 of another."""
    samples = np.repeat(np.array([8_192, -16_384], np.int16), [500, 9_000])
    return ClipPool(PackedAudio(samples, {"a": (0, 500), "b": (500, 9_500)}), ("a", "b"))


def heard(model, batch, monkeypatch, step, **changes):
    """What the body hears of a batch at an update: (batch, samples)."""
    seen = []
    answer = torch.zeros(batch.waveform.shape[0], 3)
    monkeypatch.setattr(model, "forward", lambda rows: seen.append(rows) or answer)
    plain = {"max_shift_ms": 0, "noise_prob": 0.0, "max_gain_db": 0.0}
    objective(model, **plain, **changes)(batch, Draws(3, step))
    return seen[0].numpy()


def test_a_lead_is_the_end_of_another_clip_before_the_window(model, make_batch, monkeypatch, pool):
    batch = make_batch([3_000] * 8, labels=["yes"] * 8)
    lengths, kinds = set(), set()
    for step in range(6):
        rows = heard(model, batch, monkeypatch, step, leads=pool, max_lead_ms=100, lead_prob=0.7)
        lead, window = rows[:, :-3_000], rows[:, -3_000:]
        assert np.array_equal(window, batch.waveform.numpy())
        length = lead.shape[1]
        assert length <= 1_600
        lengths.add(length)
        short = np.concatenate([np.zeros(max(0, length - 500)), np.full(min(500, length), 0.25)])
        known = {"silence": np.zeros(length), "long": np.full(length, -0.5), "short": short}
        for row in lead:
            (kind,) = [kind for kind, wanted in known.items() if np.array_equal(row, wanted)]
            kinds.add(kind)
    assert len(lengths) == 6
    assert kinds == set(known)


def test_a_rows_lead_does_not_hang_on_the_rows_beside_it(model, make_batch, monkeypatch, pool):
    batch = make_batch([3_000] * 4, labels=["yes"] * 4)
    changes = {"leads": pool, "max_lead_ms": 100}
    whole = heard(model, batch, monkeypatch, 2, **changes)
    half = make_batch([3_000] * 2, labels=["yes"] * 2, rows=[2, 3])
    half.waveform[:] = batch.waveform[2:]
    monkeypatch.undo()
    assert np.array_equal(heard(model, half, monkeypatch, 2, **changes), whole[2:])


def test_without_a_lead_the_window_is_all(model, make_batch, monkeypatch, pool):
    batch = make_batch([3_000], labels=["yes"])
    assert heard(model, batch, monkeypatch, 0, leads=pool).shape == (1, 3_000)


def test_clips_lose_their_padding_before_they_are_centred(make_batch):
    batch = make_batch([100, 40])
    long, short = clips(batch, 60)
    assert np.array_equal(long, batch.waveform[0, 20:80].numpy())
    assert np.array_equal(short[10:50], batch.waveform[1, :40].numpy())
    assert not short[:10].any()
    assert not short[50:].any()


def test_posteriors_come_in_the_order_of_the_cuts(model):
    rng = np.random.default_rng(2)
    lengths = [3_000, 1_200, 2_400, 900, 3_600]  # batches are made by length
    ends = np.cumsum([0, *lengths])
    packed = PackedAudio(
        rng.integers(-9_000, 9_000, ends[-1]).astype(np.int16),
        {f"{row}": (int(ends[row]), int(ends[row + 1])) for row in range(5)},
    )
    cuts = sorted_cuts(
        recording_cut(f"{row}", f"/{row}.wav", duration_s=length / 16_000, partition="test")
        for row, length in enumerate(lengths)
    )
    posteriors = predict(model.train(), cuts, packed, window_samples=2_000)
    assert not model.training
    assert np.allclose(posteriors.sum(1), 1.0, atol=1e-6)
    for row, cut_id in enumerate(cuts.ids):
        clip = fit_length(packed.waveform(cut_id), 2_000)
        with torch.inference_mode():
            expected = model(torch.from_numpy(clip)[None]).softmax(-1)[0].numpy()
        assert np.allclose(posteriors[row], expected, atol=1e-5), cut_id  # another batch size


def test_a_row_is_what_was_said_and_a_column_what_was_heard():
    heard = [1, 1, 0, 2, 2]
    posteriors = np.eye(3, dtype=np.float32)[heard]
    counts = confusion(posteriors, ["yes", "no", "no", "stop", "yes"], LABELS)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_prob": 1.1}, "noise_prob"),
        ({"max_shift_ms": -1}, "max_shift_ms"),
        ({"max_gain_db": -0.1}, "max_gain_db"),
        ({"room_prob": -0.1}, "room_prob must lie in"),
        ({"max_speed_change": 1.0}, "max_speed_change in"),
        ({"lead_prob": 1.1}, "lead_prob must lie in"),
        ({"max_lead_ms": -1}, "max_lead_ms be 0 or more"),
        ({"lowest_snr_db": 9.0, "highest_snr_db": 8.0}, "lowest_snr_db 9.0 is above"),
    ],
)
def test_an_augmentation_outside_its_range_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**change)
