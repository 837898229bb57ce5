"""Phones by CTC: the loss against enumeration, what is spelled, and error rates."""

import itertools

import numpy as np
import pytest
import torch
from lhotse import CutSet

from train.data.arpabet import PHONES
from train.data.audio import PackedAudio
from train.data.cuts import recording_cut
from train.errors import TrainError
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.seeding import Draws
from train.tasks.augmenting import AugmentConfig, Variation
from train.tasks.phones import (
    BLANK,
    LABELS,
    PhoneModel,
    PhoneObjective,
    load_phones,
    phone_error_rate,
    save_phones,
    spelled,
)

AS_IT_IS = AugmentConfig(max_shift_ms=0, room_prob=0.0, noise_prob=0.0, max_gain_db=0.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PhoneModel(CausalTcn(CausalTcnConfig(channels=8, dilations=(1, 2), dropout=0.0))).eval()


def without_repeats_and_blanks(path):
    return [label for label, _ in itertools.groupby(path) if label != LABELS.index(BLANK)]


@pytest.mark.parametrize("phones", [(), ("AA",), ("AA", "B"), ("B", "B")])
def test_the_loss_is_that_of_all_paths_that_spell_the_phones(model, make_batch, phones):
    batch = make_batch([480], cut_ids=["a"])  # with its tail seven frames
    objective = PhoneObjective(model, Variation(AS_IT_IS), {"a": phones})
    waveform = torch.zeros(1, 7 * 640)
    waveform[0, :480] = batch.waveform[0]
    with torch.no_grad():
        loss = objective(batch, Draws(0, 0))
        posteriors = model(waveform)[0].softmax(-1).double().numpy()
    wanted = [LABELS.index(phone) for phone in phones]
    few = sorted({LABELS.index(BLANK), *wanted})  # no other label is on a path that spells them
    total = sum(
        np.prod(posteriors[np.arange(7), path])
        for path in itertools.product(few, repeat=7)
        if without_repeats_and_blanks(path) == wanted
    )
    assert loss.total.item() == pytest.approx(-np.log(total), rel=1e-4)
    assert loss.count == len(phones)


def test_a_recording_too_short_for_its_phones_counts_for_nothing(model, make_batch):
    objective = PhoneObjective(model, Variation(AS_IT_IS), {"a": ("AA",) * 9})
    assert objective(make_batch([480], cut_ids=["a"]), Draws(0, 0)).total.item() == 0.0


def test_repeats_are_one_phone_unless_a_blank_parts_them():
    path = [0, 1, 1, 0, 1, 2, 2, 0]
    scores = torch.nn.functional.one_hot(torch.tensor(path), len(LABELS)).float()
    assert spelled(scores) == [1, 1, 2]


class Told(torch.nn.Module):
    """Answers with one label's number in each frame, whatever it hears."""

    def __init__(self, path):
        super().__init__()
        self.path = torch.nn.Parameter(torch.tensor(path, dtype=torch.float32))
        self.body = CausalTcn(CausalTcnConfig(channels=8, dilations=(1,)))

    def forward(self, waveform):
        path = self.path.long().repeat(len(waveform), 1)
        return torch.nn.functional.one_hot(path, len(LABELS)).float()


def test_the_error_rate_is_edits_over_what_was_said():
    cuts = CutSet.from_cuts(
        [recording_cut(name, name, duration_s=0.5, partition="test") for name in "ab"]
    )
    packed = PackedAudio(np.zeros(16_000, np.float32), {"a": (0, 8_000), "b": (8_000, 16_000)})
    heard = Told([1, 1, 0, 2, 0, *[0] * 14])  # AA AE
    said = {"a": ("AA", "AE"), "b": ("AA", "B", "AE", "D")}
    assert phone_error_rate(heard, cuts, packed, said) == pytest.approx(2 / 6)


def test_a_checkpoint_answers_as_the_model(model, tmp_path):
    save_phones(tmp_path / "model", model)
    waveform = torch.randn(2, 3_200)
    with torch.no_grad():
        assert torch.equal(load_phones(tmp_path / "model").eval()(waveform), model(waveform))


def test_a_checkpoint_of_other_phones_is_refused(model, tmp_path, monkeypatch):
    save_phones(tmp_path / "model", model)
    monkeypatch.setattr("train.tasks.phones.LABELS", LABELS[:-1])
    with pytest.raises(TrainError, match="train it anew"):
        load_phones(tmp_path / "model")


def test_labels_are_the_blank_arpabet_a_pause_and_an_error():
    assert ("_blank_", *PHONES, "SIL", "ERR") == LABELS
    assert len(PHONES) == 39
