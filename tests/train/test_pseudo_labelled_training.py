"""Trainings of phones on recordings that nobody annotated: who is heard, who teaches, going on."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from train.config import BatchConfig, LogConfig, OptimizerConfig
from train.data.label_share import LabelShare
from train.errors import DataError, TrainError
from train.models.causal_tcn import CausalTcn, CausalTcnConfig
from train.models.wav2vec2 import save_encoder
from train.phone_training import train_phones
from train.phones_recipe import PhonesRecipe
from train.tasks.augmenting import AugmentConfig
from train.tasks.phones import PhoneModel, PhoneObjective, load_phones, save_phones
from train.tasks.pseudo_labels import PhoneTeacher, PseudoLabelObjective, UnlabelledConfig

MOMENTUM = UnlabelledConfig(labels="momentum", share=0.5, first_weight_updates=5)
OFFLINE = UnlabelledConfig(labels="offline", share=0.5)
RECIPE = PhonesRecipe(
    task="phones",
    body="causal_tcn",
    causal_tcn=CausalTcnConfig(channels=8, dilations=(1, 2)),
    labelled=LabelShare(share=0.5),
    unlabelled=MOMENTUM,
    updates=5,
    augment=AugmentConfig(max_shift_ms=0),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_updates=2),
    batch=BatchConfig(seconds=4.0, crop_seconds=2.0, min_seconds=0.3),
    log=LogConfig(log_every=1, checkpoint_every=2),
)
SUPERVISED = dataclasses.replace(RECIPE, unlabelled=None, labelled=LabelShare())


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Hiss of four speakers who say that it is phones; of two recordings nobody knows them."""
    root = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(0)
    lines = ["path,speaker,split,phones"]
    partitions = ["train"] * 10 + ["valid", "test", "test"]
    for number, partition in enumerate(partitions):
        seconds = 0.6 + number / 20
        soundfile.write(root / f"{number}.wav", rng.normal(0, 0.1, round(seconds * 16_000)), 16_000)
        phones = "" if number in (8, 9, 12) else "AA B AA"
        lines.append(f"{number}.wav,s{number % 4},{partition},{phones}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def make_model(channels=8):
    torch.manual_seed(3)
    model = PhoneModel(CausalTcn(CausalTcnConfig(channels=channels, dilations=(1, 2))))
    with torch.no_grad():
        model.classifier.weight.mul_(30.0)  # it hears phones in hiss
    return model


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "model"
    save_phones(folder, make_model())
    return folder


def changed(**changes):
    return dataclasses.replace(RECIPE, unlabelled=dataclasses.replace(MOMENTUM, **changes))


@pytest.fixture
def teachers(monkeypatch):
    """All teachers, in the order in which trainings made them."""
    made = []
    monkeypatch.setattr(
        "train.beginning.PhoneTeacher", lambda model: made.append(PhoneTeacher(model)) or made[-1]
    )
    return made


@pytest.fixture
def batches(monkeypatch):
    """Rows of all batches that objectives of either kind hear, and the phones they know."""
    heard = []

    def listening(original):
        def forward(objective, batch, draws):
            heard.append((list(batch.cut_ids), objective.said))
            return original(objective, batch, draws)

        return forward

    for kind in (PhoneObjective, PseudoLabelObjective):
        monkeypatch.setattr(kind, "forward", listening(kind.forward))
    return heard


def trained(recipe, spoken, out, **given):
    train_phones(recipe, spoken, out, **given)
    return load_file(out / "model" / "model.safetensors")


def same(first, second):
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("config", [MOMENTUM, OFFLINE], ids=["momentum", "offline"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_training_stopped_at_an_update_ends_as_if_it_were_not(
    config, at, spoken, start, tmp_path, stopping, assert_same_run, teachers
):
    recipe = dataclasses.replace(RECIPE, unlabelled=config)
    whole, out = tmp_path / "whole", tmp_path / "run"
    train_phones(recipe, spoken, whole, model=start)
    with stopping(PseudoLabelObjective, "forward", at=at):
        train_phones(recipe, spoken, out, model=start)
    train_phones(recipe, spoken, out, model=start, resume=True)
    assert_same_run(whole, out)
    first, _, last = teachers  # the second was stopped
    assert same(first.state_dict(), last.state_dict())
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["pseudo_learned"] > 0  # else nothing was taught


def test_a_momentum_teacher_that_stands_still_is_the_offline_one(spoken, start, tmp_path):
    runs = {
        name: trained(recipe, spoken, tmp_path / name, model=start)
        for name, recipe in {
            "still": changed(first_weight=1.0),
            "offline": dataclasses.replace(RECIPE, unlabelled=OFFLINE),
            "moving": changed(first_weight=1e-6),
        }.items()
    }
    assert same(runs["still"], runs["offline"])
    assert not same(runs["moving"], runs["offline"])


def test_a_speaker_who_is_held_back_is_in_no_labelled_batch(spoken, start, tmp_path, batches):
    def heard(recipe, **given):
        batches.clear()
        recipe = dataclasses.replace(recipe, updates=12)  # epochs of either kind
        train_phones(recipe, spoken, tmp_path / f"run{len(list(tmp_path.iterdir()))}", **given)
        rows = {cut_id for cut_ids, _ in batches for cut_id in cut_ids}
        (known,) = {tuple(sorted(said)) for _, said in batches}
        return rows, set(known)

    def speakers(cut_ids):
        return {int(cut_id.partition(".")[0]) % 4 for cut_id in cut_ids}

    rows, known = heard(dataclasses.replace(RECIPE, unlabelled=None))
    assert rows == known
    assert len(speakers(known)) == 2
    mixed, still_known = heard(RECIPE, model=start)
    assert still_known == known
    assert mixed - known == {f"{number}.wav" for number in range(10)} - known
    assert speakers(mixed - known - {"8.wav", "9.wav"}) == {0, 1, 2, 3} - speakers(known)
    assert heard(changed(share=None), model=start) == (mixed, known)
    assert heard(changed(share=1.0), model=start) == (mixed - known, set())


def test_without_held_back_speakers_those_whom_nobody_annotated_teach_alone(
    spoken, start, tmp_path, batches
):
    train_phones(
        dataclasses.replace(RECIPE, labelled=LabelShare()), spoken, tmp_path / "run", model=start
    )
    rows = {cut_id for cut_ids, said in batches for cut_id in cut_ids if cut_id not in said}
    assert rows == {"8.wav", "9.wav"}


def test_a_student_goes_on_with_all_that_its_model_knows(spoken, start, tmp_path):
    slow = dataclasses.replace(RECIPE, optimizer=OptimizerConfig(learning_rate=1e-12))
    before, after = (
        load_file(start / "model.safetensors"),
        trained(slow, spoken, tmp_path / "run", model=start),
    )
    for name in ("classifier.weight", "body.blocks.0.linear.weight"):
        assert torch.allclose(after[name], before[name], atol=1e-6)


def test_a_teacher_of_other_sizes_teaches_a_new_student_and_is_told_of(spoken, start, tmp_path):
    save_phones(tmp_path / "teacher", make_model(channels=12))
    recipe = dataclasses.replace(RECIPE, unlabelled=OFFLINE)
    taught = trained(recipe, spoken, tmp_path / "run", teacher=tmp_path / "teacher")
    assert load_phones(tmp_path / "run/model").body.config.channels == 8
    other = trained(recipe, spoken, tmp_path / "other", teacher=start)
    assert not same(taught, other)
    stored = json.loads((tmp_path / "run/config.json").read_text())["from"]
    assert set(stored["teacher"]) == {"sha256"}
    assert stored["model"] is None


@pytest.mark.parametrize("random_init", [False, True])
def test_a_model_teaches_offline_as_it_was_whatever_its_student_starts_from(
    random_init, spoken, start, tmp_path, teachers
):
    recipe = dataclasses.replace(
        RECIPE, unlabelled=OFFLINE, optimizer=OptimizerConfig(learning_rate=1e-5)
    )
    after = trained(recipe, spoken, tmp_path / "run", model=start, random_init=random_init)
    before = load_file(start / "model.safetensors")
    assert same(before, teachers[0].state_dict())
    moved = (after["classifier.weight"] - before["classifier.weight"]).abs().max()
    assert (moved > 0.1) == random_init
    assert moved > 0


@pytest.mark.parametrize(
    ("recipe", "given", "said"),
    [
        (SUPERVISED, {"teacher": "start"}, "for a recipe with \\[unlabelled\\]"),
        (RECIPE, {}, "name a model of phones to start from with --model"),
        (RECIPE, {"model": "start", "random_init": True}, "leave --random-init out"),
        (RECIPE, {"model": "start", "teacher": "start"}, "which needs no --teacher"),
        (RECIPE, {"model": "absent"}, "there is no such folder"),
        (dataclasses.replace(RECIPE, unlabelled=OFFLINE), {}, "--teacher, or with --model"),
        (
            dataclasses.replace(RECIPE, unlabelled=OFFLINE),
            {"teacher": "encoder"},
            "of 'wav2vec2', not of 'phones'",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused(
    recipe, given, said, spoken, start, make_encoder, tmp_path
):
    encoder = make_encoder()
    save_encoder(tmp_path / "encoder", encoder.config, encoder.state_dict(), provenance={})
    folders = {"start": start, "encoder": tmp_path / "encoder", "absent": tmp_path / "absent"}
    given = {name: folders.get(value, value) for name, value in given.items()}
    with pytest.raises(TrainError, match=said):
        train_phones(recipe, spoken, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_corpus_whose_phones_are_all_known_is_refused(tmp_path, spoken, start):
    known = dataclasses.replace(
        RECIPE,
        labelled=LabelShare(),
        batch=BatchConfig(seconds=4.0, crop_seconds=0.95, min_seconds=0.3),
    )  # the two that nobody annotated are longer
    with pytest.raises(DataError, match=r"of all 8 train recordings .* lower labelled.share"):
        train_phones(known, spoken, tmp_path / "run", model=start)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_share_that_holds_no_recording_is_refused(share):
    with pytest.raises(ValueError, match=r"leaves 0.4 s to one kind of recordings"):
        changed(share=share)
