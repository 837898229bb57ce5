"""Our wav2vec 2.0 loss and its gradients against transformers' Wav2Vec2ForPreTraining."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from train.data.batches import Batch
from train.models.importing import import_checkpoint
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.objectives.wav2vec2 import Contest, Recipe, Wav2Vec2, draw_negatives
from train.seeding import Draws

GROUPS, NUM_NEGATIVES = 2, 7
LENGTHS = [16_000, 11_000, 9_000]
TOLERANCE = 1e-4
"""Relative: cosines in float32, divided by 0.1, summed in another order."""


def theirs_with(entries: int) -> Wav2Vec2ForPreTraining:
    torch.manual_seed(0)
    model = Wav2Vec2ForPreTraining(
        Wav2Vec2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
            feat_extract_norm="layer",  # padding then changes nothing
            do_stable_layer_norm=False,
            num_codevector_groups=GROUPS,
            num_codevectors_per_group=entries,
            codevector_dim=12,
            proj_codevector_dim=12,
            diversity_loss_weight=0.1,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            feat_quantizer_dropout=0.0,
            layerdrop=0.0,
            mask_time_prob=0.65,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
        model.quantizer.codevectors.uniform_()  # transformers leaves them as memory was
        model.quantizer.weight_proj.weight.normal_()
    return model


def ours_from(theirs: Wav2Vec2ForPreTraining, folder: Path, entries: int) -> Wav2Vec2:
    theirs.save_pretrained(folder)
    imported = import_checkpoint(
        folder,
        given={
            "normalize_waveform": False,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "input_dropout": 0.0,
            "layerdrop": 0.0,
            "feature_grad_mult": 1.0,
        },
    )
    assert imported.objective is not None
    encoder = Wav2Vec2Encoder(imported.config)
    encoder.load_state_dict(imported.state)
    recipe = Recipe(
        objective="wav2vec2",
        encoder=imported.config,
        groups=GROUPS,
        entries=entries,
        final_dim=12,
        num_negatives=NUM_NEGATIVES,
        features_dropout=0.0,
        feature_penalty=0.0,
    )
    objective = Wav2Vec2(encoder, recipe)
    heads = {name for name in objective.state_dict() if not name.startswith("encoder.")}
    assert heads == set(imported.objective[1])
    objective.load_state_dict(imported.objective[1], strict=False)
    return objective


def pair(folder: Path, *, entries: int, training: bool) -> tuple[Wav2Vec2ForPreTraining, Wav2Vec2]:
    theirs = theirs_with(entries)
    ours = ours_from(theirs, folder, entries)
    return theirs.train(training), ours.train(training)


def waveforms(lengths: list[int]) -> Tensor:
    waveform = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0.0
    return waveform


def hidden_frames(counts: list[int], width: int, seed: int = 0) -> np.ndarray:
    """So many hidden frames in each row, among its first 27, which no row's padding reaches."""
    rng = np.random.default_rng(seed)
    hidden = np.zeros((len(counts), width), dtype=bool)
    for row, count in enumerate(counts):
        hidden[row, rng.choice(27, count, replace=False)] = True
    return hidden


def generators(rows: int) -> list[np.random.Generator]:
    return Draws(3, 0).rows(list(range(rows)))


def their_negatives(contest: Contest, hidden: np.ndarray) -> Tensor:
    """Ours as indices of batch * frames; frames that are not scored point to frame 0."""
    indices = np.zeros((*hidden.shape, NUM_NEGATIVES), dtype=np.int64)
    flat = contest.places[0] * hidden.shape[1] + contest.places[1]
    seen = np.zeros(len(hidden), dtype=int)
    for row, frame in contest.places.T:
        chosen = contest.slots[row][contest.negatives[row, seen[row]]]
        indices[row, frame] = flat[chosen]
        seen[row] += 1
    return torch.from_numpy(indices)


def scores(theirs: Any, ours: Wav2Vec2, counts: list[int]) -> tuple[Any, Tensor, Tensor, dict]:
    """Of one batch: all of theirs; our contrastive loss, diversity loss and log."""
    waveform, lengths = waveforms(LENGTHS), torch.tensor(LENGTHS)
    hidden = hidden_frames(counts, ours.encoder.config.num_frames(max(LENGTHS)))
    contest = draw_negatives(hidden, NUM_NEGATIVES, generators(len(counts)))
    expected = theirs(
        waveform,
        attention_mask=(torch.arange(waveform.shape[1]) < lengths.unsqueeze(1)).long(),
        mask_time_indices=torch.from_numpy(hidden),
        sampled_negative_indices=their_negatives(contest, hidden),
    )
    output = ours.encoder(waveform, lengths, torch.from_numpy(hidden))
    entropy, diversity, parts = ours.contrast(output, contest, temperature=2.0)
    assert contest.places.shape[1] == sum(counts)
    return expected, entropy, diversity, parts


def noiseless(logits: Tensor, tau: float = 1.0, hard: bool = False, **_: Any) -> Tensor:
    """What torch's function does when its noise is zero."""
    assert hard
    soft = (logits / tau).softmax(-1)
    chosen = functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return chosen - soft.detach() + soft


@pytest.mark.parametrize("counts", [[12, 12, 12], [20, 3, 9], [2, 14, 5]], ids=str)
@pytest.mark.parametrize("entries", [40, 3], ids=["few-repeats", "many-repeats"])
def test_in_eval_losses_with_hard_codes_are_transformers(
    tmp_path: Path, counts: list[int], entries: int
) -> None:
    theirs, ours = pair(tmp_path, entries=entries, training=False)
    with torch.no_grad():
        expected, entropy, _, parts = scores(theirs, ours, counts)
    assert float(entropy) == pytest.approx(float(expected.contrastive_loss), rel=TOLERANCE)
    # transformers' perplexity is of hard codes in eval; ours trains the soft one and logs both
    perplexity = float(parts["code_perplexity"])
    assert perplexity == pytest.approx(float(expected.codevector_perplexity), rel=TOLERANCE)
    unused = (GROUPS * entries - perplexity) / (GROUPS * entries) * sum(counts)
    assert unused == pytest.approx(float(expected.diversity_loss), rel=TOLERANCE)


def test_a_negative_with_the_positives_code_is_out_of_the_contest_as_in_transformers(
    tmp_path: Path,
) -> None:
    theirs, ours = pair(tmp_path, entries=2, training=False)
    with torch.no_grad():
        expected, entropy, _, _ = scores(theirs, ours, [20, 12, 15])
        ours.quantizer.weight_proj.bias[::2] += 1e6  # every frame takes the first entry
        _, alone, _, parts = scores(theirs, ours, [20, 12, 15])
    assert float(entropy) == pytest.approx(float(expected.contrastive_loss), rel=TOLERANCE)
    assert float(entropy) > 1.0
    assert float(alone) == 0.0
    assert float(parts["code_perplexity"]) == pytest.approx(GROUPS, rel=1e-5)


@pytest.mark.parametrize("counts", [[12, 12, 12], [16, 3, 9]], ids=str)
def test_in_training_losses_are_transformers_and_so_is_every_gradient(
    tmp_path: Path, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "gumbel_softmax", noiseless)
    # 600 entries: no code repeats. In training transformers compares vectors that were summed
    # from rounded shares, and so misses some that are the same.
    theirs, ours = pair(tmp_path, entries=600, training=True)
    expected, entropy, diversity, _ = scores(theirs, ours, counts)
    num_hidden = sum(counts)
    total = entropy + num_hidden * ours.recipe.diversity_weight * diversity
    for mine, theirs_ in (
        (entropy, expected.contrastive_loss),
        (num_hidden * diversity, expected.diversity_loss),
        (total, expected.loss),
    ):
        assert mine.item() == pytest.approx(theirs_.item(), rel=TOLERANCE)
    total.backward()
    expected.loss.backward()
    gradients = {name: weight.grad for name, weight in ours.named_parameters()}
    pairs = {
        "quantizer.weight_proj.weight": theirs.quantizer.weight_proj.weight,
        "quantizer.codevectors": theirs.quantizer.codevectors,
        "project_q.weight": theirs.project_q.weight,
        "final_proj.weight": theirs.project_hid.weight,
        "encoder.mask_embedding": theirs.wav2vec2.masked_spec_embed,
        "encoder.layers.0.attention.q_proj.weight": theirs.wav2vec2.encoder.layers[
            0
        ].attention.q_proj.weight,
        "encoder.feature_extractor.0.conv.weight": theirs.wav2vec2.feature_extractor.conv_layers[
            0
        ].conv.weight,
    }
    for name, weight in pairs.items():
        scale = float(weight.grad.abs().max())
        assert scale > 0, name
        # float32 through a dozen layers and back
        assert torch.allclose(gradients[name], weight.grad, rtol=1e-3, atol=1e-4 * scale), name


def test_the_update_weighs_the_parts_as_transformers_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "gumbel_softmax", noiseless)
    theirs, ours = pair(tmp_path, entries=600, training=True)
    lengths = [16_000, 16_000]
    waveform = waveforms(lengths)
    hidden = hidden_frames([10, 14], ours.encoder.config.num_frames(16_000))
    contest = draw_negatives(hidden, NUM_NEGATIVES, generators(2))
    monkeypatch.setattr("train.objectives.wav2vec2.frame_mask", lambda *_: hidden)
    monkeypatch.setattr("train.objectives.wav2vec2.draw_negatives", lambda *_: contest)
    batch = Batch(
        cut_ids=["a", "b"],
        waveform=waveform,
        lengths=torch.tensor(lengths),
        num_samples=lengths,
        starts=[0, 0],
        labels=["", ""],
        rows=[0, 1],
        step=0,
    )
    with torch.no_grad():
        made = ours(batch, Draws(3, 0))
        expected = theirs(
            waveform,
            mask_time_indices=torch.from_numpy(hidden),
            sampled_negative_indices=their_negatives(contest, hidden),
        )
    assert made.count == 24
    assert float(made.total) == pytest.approx(float(expected.loss), rel=TOLERANCE)
