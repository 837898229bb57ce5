"""wav2vec 2.0: eq. 3 and 4 written plainly, negatives, and what a recipe may ask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.config import MaskConfig
from train.objectives._parts import frame_mask
from train.objectives.wav2vec2 import Recipe, draw_negatives
from train.seeding import Draws

LENGTHS = [16_000, 9_000, 5_000]


def captured(objective, batch, monkeypatch):
    """The loss, and the contest that it scored."""
    contests = []

    def keep(hidden, num_negatives, rngs):
        contests.append(draw_negatives(hidden, num_negatives, rngs))
        return contests[-1]

    monkeypatch.setattr("train.objectives.wav2vec2.draw_negatives", keep)
    with torch.no_grad():
        loss = objective(batch, Draws(0, batch.step))
    return loss, contests[0]


def plain_entropies(objective, output, contest):
    """-log of the positive's share among cosines to it and its negatives, frame by frame."""
    names = ("project_q", "final_proj")
    weights = {name: getattr(objective, name).weight.double().numpy() for name in names}
    biases = {name: getattr(objective, name).bias.double().numpy() for name in names}
    scores = objective.quantizer.weight_proj
    books = objective.quantizer.codevectors.double().numpy().reshape(2, objective.recipe.entries, 3)

    def code(row, frame):
        logits = scores.weight @ output.normed_features[row, frame] + scores.bias
        return logits.view(2, -1).argmax(-1).tolist()

    def target(row, frame):
        chosen = np.concatenate([books[g, entry] for g, entry in enumerate(code(row, frame))])
        return weights["project_q"] @ chosen + biases["project_q"]

    entropies, hits, seen = [], [], dict.fromkeys(range(len(contest.filler)), 0)
    for row, frame in contest.places.T:
        context = weights["final_proj"] @ output.output[row, frame].double().numpy()
        context = context + biases["final_proj"]
        others = [place for place in contest.places.T if place[0] == row]
        powers = []
        for number in (seen[row], *contest.negatives[row, seen[row]]):
            vector = target(*others[number])
            cosine = context @ vector / np.linalg.norm(context) / np.linalg.norm(vector)
            powers.append(np.exp(cosine / objective.recipe.temperature))
        for index, number in enumerate(contest.negatives[row, seen[row]], start=1):
            if code(*others[number]) == code(row, frame):
                powers[index] = 0.0
        entropies.append(-np.log(powers[0] / sum(powers)))
        hits.append(powers[0] == max(powers))
        seen[row] += 1
    return np.array(entropies), np.array(hits)


@pytest.mark.parametrize("entries", [2, 40], ids=["many-repeats", "few-repeats"])
@torch.no_grad()
def test_the_loss_is_the_papers_contrast_diversity_and_feature_penalty(
    entries, make_objective, make_batch, monkeypatch
):
    objective = make_objective(
        "wav2vec2", entries=entries, diversity_weight=0.3, feature_penalty=7.0
    )
    batch = make_batch(LENGTHS)
    loss, contest = captured(objective, batch, monkeypatch)
    hidden = frame_mask(batch, objective.encoder.config, objective.recipe.mask, Draws(0, 0))
    np.testing.assert_array_equal(contest.places, np.stack(hidden.nonzero()))
    output = objective.encoder(batch.waveform, batch.lengths, torch.from_numpy(hidden))
    entropies, hits = plain_entropies(objective, output, contest)
    scores = objective.quantizer.weight_proj(output.normed_features[torch.from_numpy(hidden)])
    shares = scores.double().view(-1, 2, entries).softmax(-1).mean(0).numpy()
    perplexity = sum(np.exp(-(group * np.log(group)).sum()) for group in shares)
    diversity = 1 - perplexity / (2 * entries)
    valid = [
        row[: objective.encoder.config.num_frames(length)]
        for row, length in zip(output.conv_features, LENGTHS, strict=True)
    ]
    penalty = float(torch.cat(valid).square().mean())
    # float32 cosines over 0.1
    mean = entropies.mean() + 0.3 * diversity + 7.0 * penalty
    assert loss.count == hidden.sum() == len(entropies)
    assert float(loss.total) / loss.count == pytest.approx(mean, rel=1e-4)
    assert float(loss.parts["contrastive"]) == pytest.approx(entropies.mean(), rel=1e-4)
    assert float(loss.parts["diversity"]) == pytest.approx(diversity, rel=1e-4)
    assert float(loss.parts["masked_accuracy"]) == pytest.approx(hits.mean())


masks = st.lists(st.lists(st.booleans(), min_size=30, max_size=30), min_size=1, max_size=4)


@given(rows=masks, num_negatives=st.integers(1, 9), seed=st.integers(0, 99))
def test_negatives_are_other_hidden_frames_of_the_same_row(rows, num_negatives, seed):
    hidden = np.array(rows)
    contest = draw_negatives(hidden, num_negatives, Draws(seed, 0).rows(list(range(len(rows)))))
    counts = np.where(hidden.sum(1) > 1, hidden.sum(1), 0)
    np.testing.assert_array_equal((~contest.filler).sum(1), counts)
    assert contest.places.shape[1] == counts.sum()
    for row, count in enumerate(counts):
        slots = contest.slots[row, :count]
        places = contest.places[:, slots]
        assert (places[0] == row).all()
        if count:
            np.testing.assert_array_equal(places[1], np.flatnonzero(hidden[row]))
        negatives = contest.negatives[row, :count]
        assert ((negatives >= 0) & (negatives < max(count, 1))).all()
        assert (negatives != np.arange(count)[:, None]).all()


def test_every_other_frame_is_drawn_equally_often():
    hidden = np.zeros((1, 40), dtype=bool)
    hidden[0, 3:15] = True  # 12 frames, so 11 others each
    contest = draw_negatives(hidden, 11_000, [np.random.default_rng(0)])
    for frame, drawn in enumerate(contest.negatives[0]):
        counts = np.bincount(drawn, minlength=12)
        assert counts[frame] == 0
        # chi-square of 10 degrees of freedom: above 40 once in 60,000
        others = np.delete(counts, frame)
        assert (((others - 1_000) ** 2) / 1_000).sum() < 40


def test_negatives_are_not_drawn_from_the_numbers_that_drew_the_mask(
    make_objective, make_batch, score, monkeypatch
):
    given_to = {}

    def note(name, function):
        def noted(first, *args, **kwargs):
            rngs = kwargs.get("rng") or args[-1]
            given_to[name] = [rng.bit_generator.state["state"] for rng in rngs]
            return function(first, *args, **kwargs)

        return noted

    from train.data.masking import span_mask

    monkeypatch.setattr("train.objectives._parts.span_mask", note("mask", span_mask))
    monkeypatch.setattr(
        "train.objectives.wav2vec2.draw_negatives", note("negatives", draw_negatives)
    )
    score(make_objective("wav2vec2"), make_batch(LENGTHS))
    assert len(given_to["mask"]) == len(given_to["negatives"]) == 3
    for masks, negatives in zip(given_to["mask"], given_to["negatives"], strict=True):
        assert masks != negatives


def test_a_row_with_one_hidden_frame_has_no_contest_and_spoils_no_other(make_objective, make_batch):
    objective = make_objective("wav2vec2")
    batch = make_batch([16_000, 16_000])
    hidden = np.zeros((2, 49), dtype=bool)
    hidden[0, 4:13] = True
    hidden[1, 20] = True
    alone = draw_negatives(hidden[:1], 6, Draws(0, 0).rows([0]))
    both = draw_negatives(hidden, 6, Draws(0, 0).rows([0, 1]))
    assert both.places.shape[1] == 9
    with torch.no_grad():
        output = objective.encoder(batch.waveform, None, torch.from_numpy(hidden))
        wanted, *_ = objective.contrast(output, alone, 2.0)
        found, *_ = objective.contrast(output, both, 2.0)
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


def test_a_batch_of_rows_with_one_hidden_frame_each_is_worth_nothing(make_objective, make_batch):
    objective = make_objective("wav2vec2").train()
    output = objective.encoder(make_batch([16_000]).waveform, None, None)
    hidden = np.zeros((1, 49), dtype=bool)
    hidden[0, 7] = True
    contest = draw_negatives(hidden, 6, Draws(0, 0).rows([0]))
    entropy, diversity, parts = objective.contrast(output, contest, 2.0)
    (entropy + diversity).backward()
    assert float(entropy.detach()) == 0.0
    assert all(torch.isfinite(part).all() for part in parts.values())
    for weight in objective.parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all()


def recipe(encoder_config, **changes):
    return Recipe(objective="wav2vec2", encoder=encoder_config(), **changes)


@settings(max_examples=30)
@given(update=st.integers(0, 2_000_000))
def test_the_gumbel_temperature_falls_geometrically_to_its_floor(encoder_config, update):
    base = recipe(encoder_config)
    assert base.gumbel_temperature(update) == max(2.0 * 0.999995**update, 0.5)
    large = recipe(encoder_config, gumbel_end=0.1)
    assert large.gumbel_temperature(update) == max(2.0 * 0.999995**update, 0.1)


def test_an_update_uses_the_temperature_of_its_number(make_objective, make_batch, score):
    objective = make_objective("wav2vec2", gumbel_decay=0.9)
    seen = []
    objective.quantizer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for step in (0, 3, 50):
        parts = score(objective, make_batch([9_000], step=step)).parts
        assert float(parts["gumbel_temperature"]) == pytest.approx(seen[-1])
    assert seen == pytest.approx([2.0, 2.0 * 0.9**3, 0.5])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"final_dim": 7}, "multiple of groups"),
        ({"num_negatives": 0}, "num_negatives must be 1 or more"),
        ({"features_dropout": 1.0}, r"features_dropout must lie in \[0, 1\)"),
        ({"temperature": 0.0}, "must be positive"),
        ({"gumbel_decay": -1.0}, "must be positive"),
        ({"diversity_weight": -0.1}, "must be 0 or more"),
        ({"updates": 0}, "updates must be 1 or more"),
    ],
)
def test_impossible_settings_are_refused(changes, said, encoder_config):
    with pytest.raises(ValueError, match=said):
        recipe(encoder_config, **changes)


def test_the_mask_of_a_recipe_is_the_papers_by_default(encoder_config):
    assert recipe(encoder_config).mask == MaskConfig(prob=0.65, span=10, min_spans=2)
