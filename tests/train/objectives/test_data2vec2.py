"""data2vec 2.0: students that see a part, put in order again, against the whole written plainly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from train.models.context import Visible
from train.objectives._parts import shown
from train.objectives.data2vec2 import DecoderConfig, Recipe
from train.seeding import Draws
from train.targets.layers import layer_mean

LENGTHS = [16_000, 9_000, 5_000]


def plain_attention_biases(alibi, places):
    """(heads, shown, shown) by a loop over heads and pairs."""
    scales = alibi.scale.clamp_min(0.0)
    return torch.stack(
        [
            torch.tensor([[-abs(i - j) * slope * scale for j in places] for i in places])
            for slope, scale in zip(alibi.slopes.tolist(), scales.tolist(), strict=True)
        ]
    )


def plain_student(encoder, projected, mask):
    """(shown, embed_dim) of one copy without padding: no batch, no gather, no filler."""
    zeroed = projected.clone()
    zeroed[mask] = 0.0
    hidden = (zeroed + encoder.pos_conv(zeroed.unsqueeze(0))[0])[~mask]
    hidden = encoder.norm(hidden).unsqueeze(0)
    biases = plain_attention_biases(encoder.alibi, np.flatnonzero(~mask).tolist())
    for layer in encoder.layers:
        hidden, _ = layer(hidden, biases.unsqueeze(0))
    return hidden[0]


def plain_decoder(decoder, hidden):
    """(frames, embed_dim) to predictions, in float64 and one utterance at a time."""
    hidden = hidden.double()
    for index, conv in enumerate(decoder.convs):
        made = functional.conv1d(
            hidden.T.unsqueeze(0),
            conv.weight.double(),
            conv.bias.double(),
            padding=conv.kernel_size[0] // 2,
            groups=conv.groups,
        )[0].T
        made = (made - made.mean(1, keepdim=True)) / torch.sqrt(
            made.var(1, correction=0, keepdim=True) + 1e-5
        )
        made = functional.gelu(made)
        hidden = made if index == 0 else made + hidden  # the first one changes the width
    return hidden @ decoder.proj.weight.double().T + decoder.proj.bias.double()


@torch.no_grad()
def test_the_loss_is_that_of_every_copy_by_itself(make_objective, make_batch, score):
    objective = make_objective("data2vec2")
    objective.encoder.alibi.scale.copy_(torch.tensor([0.7, 1.6]))
    batch = make_batch(LENGTHS)
    hidden = objective._masks(batch, Draws(0, 0))
    total, count = 0.0, 0
    for row, length in enumerate(LENGTHS):
        projected = objective.encoder.project(batch.waveform[row : row + 1, :length]).projected
        frames = projected.shape[1]
        seen = objective.teacher.contextualize(projected, None).ffn_outputs
        target = layer_mean(seen, None, top_layers=2, normalize=True)[0].double()
        for mask in hidden[3 * row : 3 * row + 3, :frames]:
            whole = torch.zeros_like(projected[0])  # noise_std is 0
            whole[~mask] = plain_student(objective.encoder, projected[0], mask)
            error = plain_decoder(objective.decoder, whole) - target
            total += float(error[mask].square().sum()) / error.shape[1] ** 0.5
            count += int(mask.sum())
    made = score(objective, batch)
    assert made.count == count == 3 * sum(frames // 2 for frames in (49, 27, 15))
    # float32 layers of padded rows against rows of their own
    assert float(made.total) == pytest.approx(total, rel=1e-4)


@pytest.fixture
def bare(make_objective):
    """An objective whose decoder gives back what it is given."""

    def make(**changes):
        objective = make_objective("data2vec2", **changes)
        objective.decoder = Identity()
        return objective

    return make


class Identity(torch.nn.Module):
    def forward(self, hidden, padding_mask):
        return hidden


@torch.no_grad()
def test_visible_frames_come_back_at_their_places_and_hidden_ones_are_empty(bare, make_batch):
    objective = bare()
    batch = make_batch(LENGTHS)
    hidden = objective._masks(batch, Draws(0, 0))
    local = objective.encoder.project(batch.waveform, batch.lengths)
    padding = local.padding_mask.repeat_interleave(3, 0)
    frames = [objective.encoder.config.num_frames(length) for length in LENGTHS]
    whole = objective._student(local.projected, padding, hidden, frames)
    for copy, mask in enumerate(hidden):
        length = frames[copy // 3]
        alone = plain_student(objective.encoder, local.projected[copy // 3, :length], mask[:length])
        assert torch.allclose(whole[copy, :length][~mask[:length]], alone, atol=1e-5, rtol=1e-5)
        assert (whole[copy, :length][mask[:length]] == 0.0).all()
        assert (whole[copy, length:] == 0.0).all()


@torch.no_grad()
def test_with_nothing_hidden_the_student_is_the_plain_encoder(bare, make_batch):
    objective = bare(mask_ratio=1e-6)
    batch = make_batch(LENGTHS)
    hidden = objective._masks(batch, Draws(0, 0))
    assert not hidden.any()
    local = objective.encoder.project(batch.waveform, batch.lengths)
    frames = [objective.encoder.config.num_frames(length) for length in LENGTHS]
    padding = local.padding_mask.repeat_interleave(3, 0)
    whole = objective._student(local.projected, padding, hidden, frames)
    plain = objective.encoder(batch.waveform, batch.lengths).output
    for row, length in enumerate(frames):
        for copy in whole[3 * row : 3 * row + 3]:
            assert torch.allclose(copy[:length], plain[row, :length], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_gaps_hold_noise_of_the_asked_deviation(bare, make_batch):
    decoder = DecoderConfig(dim=8, groups=4, noise_std=0.25)
    objective = bare(decoder=decoder)
    batch = make_batch([160_000])
    hidden = objective._masks(batch, Draws(0, 0))
    local = objective.encoder.project(batch.waveform)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = objective._student(local.projected, None, hidden, [499])
    gaps = whole[torch.from_numpy(hidden)]
    assert gaps.numel() == 3 * 249 * 16
    # a mean and a deviation of 11,952 draws; five of their own deviations
    assert float(gaps.mean()) == pytest.approx(0.0, abs=5 * 0.25 / 109)
    assert float(gaps.std()) == pytest.approx(0.25, rel=5 / 154)


@torch.no_grad()
def test_biases_of_shown_frames_are_rows_and_columns_of_the_whole(make_encoder):
    alibi = make_encoder(alibi=True).alibi
    alibi.scale.copy_(torch.tensor([0.4, 2.0]))
    whole = alibi(torch.arange(40).unsqueeze(0))[0]
    places = torch.tensor([[0, 3, 4, 17, 39], [1, 2, 5, 30, 31]])
    for row, biases in zip(places, alibi(places), strict=True):
        assert torch.equal(biases, whole[:, row][:, :, row])
        plain = plain_attention_biases(alibi, row.tolist())
        assert torch.allclose(biases, plain, rtol=1e-6)


@given(
    rows=st.lists(st.integers(1, 200), min_size=1, max_size=5),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_what_is_shown_is_all_that_is_neither_hidden_nor_padding_in_order(rows, share, seed):
    hidden = np.random.default_rng(seed).random((len(rows), max(rows))) < share
    lengths = np.array(rows)
    visible = shown(hidden, lengths, torch.device("cpu"))
    assert isinstance(visible, Visible)
    filler = visible.filler
    if filler is None:
        filler = torch.zeros_like(visible.places, dtype=torch.bool)
    else:
        assert filler.any()
    assert visible.places.shape == filler.shape
    for row, length in enumerate(lengths):
        places = visible.places[row][~filler[row]].tolist()
        assert places == [frame for frame in range(length) if not hidden[row, frame]]
        assert (visible.places[row][filler[row]] == 0).all()


@torch.no_grad()
def test_each_copy_has_a_mask_of_its_own_and_all_share_the_teachers_pass(
    make_objective, make_batch, score, monkeypatch
):
    objective = make_objective("data2vec2", num_masks=4)
    passes = []
    contextualize = objective.teacher.contextualize

    def noted(projected, *rest):
        passes.append(len(projected))
        return contextualize(projected, *rest)

    monkeypatch.setattr(objective.teacher, "contextualize", noted)
    batch = make_batch([16_000, 16_000])
    masks = objective._masks(batch, Draws(0, 0))
    assert len(np.unique(masks, axis=0)) == len(masks) == 8
    made = score(objective, batch)
    assert passes == [2]
    assert made.count == 8 * 24


def test_an_encoder_with_a_mask_embedding_is_refused(make_objective):
    with pytest.raises(ValueError, match=r"leaves hidden frames out: set encoder\.mask_embedding"):
        make_objective("data2vec2", encoder={"mask_embedding": True})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_ratio": 1.0}, r"mask_ratio lie in \(0, 1\)"),
        ({"mask_ratio": 0.0}, r"mask_ratio lie in \(0, 1\)"),
        ({"num_masks": 0}, "must be 1 or more"),
        ({"mask_span": 0}, "must be 1 or more"),
        ({"mask_adjust": -0.1}, "must be 0 or more"),
        ({"decoder": DecoderConfig(dim=10)}, "groups must divide"),
        ({"top_layers": 3}, r"top_layers must lie in \[1, 2\]"),
    ],
)
def test_impossible_settings_are_refused(changes, said, encoder_config):
    encoder = encoder_config(mask_embedding=False)
    values = {"objective": "data2vec2", "encoder": encoder, "top_layers": 2}
    Recipe(**values)
    with pytest.raises(ValueError, match=said):
        Recipe(**(values | changes))


@pytest.mark.parametrize("changes", [{"kernel": 4}, {"input_dropout": 1.0}, {"noise_std": -1.0}])
def test_an_impossible_decoder_is_refused(changes):
    with pytest.raises(ValueError, match="must"):
        DecoderConfig(**changes)
