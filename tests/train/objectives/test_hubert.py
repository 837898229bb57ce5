"""HuBERT's loss as the paper writes it, and what may not enter it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.config import MaskConfig
from train.data.masking import span_mask
from train.objectives.hubert import Hubert, Recipe, RoundConfig
from train.seeding import Draws
from train.targets.units import Units

NUM_UNITS = 7
MASK = MaskConfig(prob=0.5, span=3)
LENGTHS = [16_000, 9_000]


def units_for(lengths, *, rate_hz=100, seed=0, short_by=0):
    """As many units as MFCC frames, or as encoder frames at 50 Hz."""
    rng = np.random.default_rng(seed)
    hop = 16_000 // rate_hz
    return Units(
        {
            f"cut{row}": rng.integers(0, NUM_UNITS, (length - 400) // hop + 1 - short_by).astype(
                np.int16
            )
            for row, length in enumerate(lengths)
        },
        rate_hz,
        NUM_UNITS,
    )


def hubert(encoder, units, **changes):
    values = {"mask": MASK, "final_dim": 6, "temperature": 0.1, "feature_penalty": 10.0}
    rounds = (RoundConfig(units="mfcc", num_clusters=NUM_UNITS, updates=1),)
    recipe = Recipe(objective="hubert", encoder=encoder.config, rounds=rounds, **(values | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Hubert(encoder, recipe, units).eval()


def frame_mask(encoder, lengths, mask=MASK, seed=0):
    return span_mask(
        [encoder.config.num_frames(length) for length in lengths],
        mask_prob=mask.prob,
        span=mask.span,
        min_spans=mask.min_spans,
        rng=Draws(seed, 0).rows(list(range(len(lengths)))),
    )


def loss(objective, batch, seed=0):
    with torch.no_grad():
        return objective(batch, Draws(seed, 0))


def plain_cross_entropies(objective, batch, hidden_frames):
    """-log softmax(cos(A o, e_c) / tau) at the unit of each frame that has one: eq. 3, in numpy."""
    with torch.no_grad():
        output = objective.encoder(
            batch.waveform, batch.lengths, torch.from_numpy(hidden_frames)
        ).output.double()
    weight = objective.final_proj.weight.detach().double().numpy()
    bias = objective.final_proj.bias.detach().double().numpy()
    embeddings = objective.unit_embeddings.detach().double().numpy()
    entropies = np.full(hidden_frames.shape, np.nan)
    hits = np.zeros(hidden_frames.shape)
    for row, cut_id in enumerate(batch.cut_ids):
        sequence = objective.units.sequences[cut_id]
        step = objective.units.rate_hz // 50
        for frame in range(hidden_frames.shape[1]):
            index = batch.starts[row] // (16_000 // objective.units.rate_hz) + step * frame
            if index >= len(sequence):
                continue
            projected = weight @ output[row, frame].numpy() + bias
            cosines = [
                projected @ embedding / np.linalg.norm(projected) / np.linalg.norm(embedding)
                for embedding in embeddings
            ]
            powers = np.exp(np.array(cosines) / objective.recipe.temperature)
            entropies[row, frame] = -np.log(powers[sequence[index]] / powers.sum())
            hits[row, frame] = powers.argmax() == sequence[index]
    return entropies, hits


@pytest.mark.parametrize("rate_hz", [100, 50])
@pytest.mark.parametrize("masked_share", [1.0, 0.5])
def test_the_loss_is_the_papers_cross_entropy_and_the_feature_penalty(
    rate_hz, masked_share, make_encoder, make_batch
):
    objective = hubert(
        make_encoder(), units_for(LENGTHS, rate_hz=rate_hz), masked_share=masked_share
    )
    batch = make_batch(LENGTHS)
    hidden_frames = frame_mask(objective.encoder, LENGTHS)
    entropies, hits = plain_cross_entropies(objective, batch, hidden_frames)
    masked = np.nanmean(entropies[hidden_frames])
    with torch.no_grad():
        features = objective.encoder.extract(normalized(objective, batch))
        rows = [
            row[: objective.encoder.config.num_frames(length)]
            for row, length in zip(features, batch.num_samples, strict=True)
        ]
        penalty = float(torch.cat(rows).square().mean())
    made = loss(objective, batch)
    weights = np.where(hidden_frames, masked_share, 1 - masked_share) * ~np.isnan(entropies)
    mean = np.nansum(weights * entropies) / weights.sum()
    assert made.count == pytest.approx(weights.sum())
    assert float(made.total) / made.count == pytest.approx(mean + 10.0 * penalty, rel=1e-5)
    assert float(made.parts["cross_entropy"]) == pytest.approx(masked, rel=1e-5)
    assert float(made.parts["feature_penalty"]) == pytest.approx(penalty, rel=1e-5)
    assert float(made.parts["masked_accuracy"]) == pytest.approx(hits[hidden_frames].mean())


def normalized(objective, batch):
    from train.models.wav2vec2 import normalize_waveform

    assert objective.encoder.config.normalize_waveform
    return normalize_waveform(batch.waveform, batch.lengths)


def test_unmasked_frames_do_not_enter_the_loss(make_encoder, make_batch):
    encoder, units = make_encoder(), units_for([16_000])
    batch = make_batch([16_000])
    hidden_frames = frame_mask(encoder, [16_000])[0]
    before = float(loss(hubert(encoder, units), batch).total)
    other = units.sequences["cut0"].copy()
    other[::2][~hidden_frames] += 1
    other[::2] %= NUM_UNITS
    other[1::2] = 0  # between two encoder frames
    unseen = Units({"cut0": other}, 100, NUM_UNITS)
    assert float(loss(hubert(encoder, unseen), batch).total) == before
    other[2 * np.nonzero(hidden_frames)[0][0]] += 1
    other %= NUM_UNITS
    assert float(loss(hubert(encoder, unseen), batch).total) != before


def test_padding_does_not_enter_the_loss_even_where_visible_frames_do(make_encoder, make_batch):
    lengths = [16_000, 5_000]
    objective = hubert(make_encoder(), units_for(lengths), masked_share=0.5)
    batch = make_batch(lengths)
    hidden_frames = frame_mask(objective.encoder, lengths)
    entropies, _ = plain_cross_entropies(objective, batch, hidden_frames)
    assert np.isnan(entropies[1, objective.encoder.config.num_frames(5_000) :]).all()


def test_a_crop_takes_the_units_of_its_own_time(make_encoder, make_batch):
    encoder = make_encoder()
    units = units_for([16_000])
    crop = make_batch([8_000], starts=[160 * 30])
    moved = Units({"cut0": units.sequences["cut0"][30:]}, 100, NUM_UNITS)
    assert float(loss(hubert(encoder, units), crop).total) == float(
        loss(hubert(encoder, moved), make_batch([8_000])).total
    )


def test_frames_past_the_last_unit_do_not_enter_the_loss(make_encoder, make_batch):
    encoder = make_encoder()
    objective = hubert(encoder, units_for([16_000], short_by=40))
    batch = make_batch([16_000])
    hidden_frames = frame_mask(encoder, [16_000])
    assert hidden_frames[0, 30:].any()
    entropies, _ = plain_cross_entropies(objective, batch, hidden_frames)
    assert np.isnan(entropies[0, 29:]).all()
    expected = np.nanmean(entropies[hidden_frames])
    assert float(loss(objective, batch).parts["cross_entropy"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("masked_share", [1.0, 0.5])
def test_a_batch_without_a_hidden_frame_is_a_finite_loss(masked_share, make_encoder, make_batch):
    objective = hubert(
        make_encoder(),
        units_for([16_000]),
        mask=MaskConfig(prob=0.0, min_spans=0),
        masked_share=masked_share,
    )
    made = objective(make_batch([16_000]), Draws(0, 0))
    assert torch.isfinite(made.total)
    assert all(torch.isfinite(part) for part in made.parts.values())
    made.total.backward()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in objective.parameters()
        if parameter.grad is not None
    )


@pytest.mark.parametrize("pre_norm", [False, True])
def test_behind_a_mask_over_everything_the_waveform_is_gone(pre_norm, make_encoder, make_batch):
    encoder = make_encoder(pre_norm=pre_norm)
    everything = torch.ones(2, encoder.config.num_frames(8_000), dtype=torch.bool)
    with torch.inference_mode():
        first, second = (
            encoder(make_batch([8_000, 8_000], seed=seed).waveform, None, everything).output
            for seed in (1, 2)
        )
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[1])


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 40), span=st.integers(2, 9), seed=st.integers(0, 99))
def test_samples_that_only_masked_frames_see_change_nothing(
    make_encoder, make_batch, start, span, seed
):
    # without normalization, which mixes all samples of an utterance into each
    encoder = make_encoder(normalize_waveform=False)
    batch = make_batch([16_000])
    mask = torch.zeros(1, encoder.config.num_frames(16_000), dtype=torch.bool)
    mask[0, start : start + span] = True
    # frame i sees samples [320 i, 320 i + 400)
    first = 320 * (start - 1) + 400 if start else 0
    last = 320 * (start + span)
    changed = batch.waveform.clone()
    rng = np.random.default_rng(seed)
    changed[0, first:last] = torch.from_numpy(rng.normal(0, 1, changed[0, first:last].numel()))
    with torch.inference_mode():
        before = encoder(batch.waveform, batch.lengths, mask).hidden_states
        after = encoder(changed, batch.lengths, mask).hidden_states
        bare = encoder(changed, batch.lengths).output
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(bare, after[-1])


@settings(max_examples=20, deadline=None)
@given(
    short=st.integers(400, 6_000),
    extra=st.integers(0, 6_000),
    pre_norm=st.booleans(),
    seed=st.integers(0, 99),
)
def test_padding_never_changes_a_layer_norm_encoder(
    make_encoder, make_batch, short, extra, pre_norm, seed
):
    # In double precision: LayerNorms over eight nearly equal channels amplify what float32 kernels
    # round differently for another batch or length, up to the size of a small leak.
    encoder = make_encoder(pre_norm=pre_norm).double()
    batch = make_batch([short, short + extra], seed=seed)
    waveform = batch.waveform.double()
    frames = encoder.config.num_frames(short)
    mask = torch.zeros(2, encoder.config.num_frames(short + extra), dtype=torch.bool)
    mask[:, : frames // 2] = True
    with torch.inference_mode():
        together = encoder(waveform, batch.lengths, mask)
        alone = encoder(waveform[:1, :short], batch.lengths[:1], mask[:1, :frames])
    assert together.padding_mask[0].sum() == mask.shape[1] - frames
    for padded, plain in zip(
        together.hidden_states + together.ffn_outputs,
        alone.hidden_states + alone.ffn_outputs,
        strict=True,
    ):
        assert torch.allclose(padded[:1, :frames], plain, atol=1e-11, rtol=1e-11)


def test_a_dropped_layer_passes_its_input_on(make_encoder, make_batch):
    encoder = make_encoder(layerdrop=0.5, num_heads=(1,) * 8, ffn_dim=(4,) * 8).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = encoder(make_batch([2_000]).waveform)
    states = output.hidden_states
    skipped = [torch.equal(states[i], states[i + 1]) for i in range(8)]
    assert len(states) == 9
    assert 0 < sum(skipped) == 8 - len(output.ffn_outputs) < 8
