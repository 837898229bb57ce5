"""A resumed run equals an uninterrupted one, by whatever objective; teachers and units included."""

import pytest
import torch

from compress.folders import recipe_folder
from train import run as runs
from train.models.patches import PatchEncoder, load_patches, save_patches
from train.models.patches_config import PatchesConfig
from train.objectives import Objective
from train.pretrain import get_objective, load_pretraining, objective_names, pretrain
from train.seeding import seeded

UPDATES = 5
PASSES = 2
SMALL_FRAMES = (
    "encoder.conv_layers=[{channels=8,kernel=10,stride=5},{channels=8,kernel=3,stride=4},"
    "{channels=8,kernel=3,stride=4},{channels=8,kernel=4,stride=4}]",
    "encoder.embed_dim=16",
    "encoder.head_dim=8",
    "encoder.num_heads=[2, 2]",
    "encoder.ffn_dim=[24, 24]",
    "encoder.pos_conv_groups=4",
    # every source of randomness is on
    "encoder.dropout=0.1",
    "encoder.attention_dropout=0.1",
    "encoder.input_dropout=0.1",
    "encoder.layerdrop=0.3",
)
SMALL_PATCHES = (
    "encoder.num_mels=16",
    "encoder.embed_dim=16",
    "encoder.head_dim=8",
    "encoder.num_heads=[2, 2]",
    "encoder.ffn_dim=[24, 24]",
)
SMALL_KEYWORDS = (
    "encoder.frontend=tensorflow-mfcc",
    "encoder.embed_dim=8",
    "encoder.head_dim=4",
    "encoder.ffn_dim=12",
    "encoder.num_layers=2",
    "encoder.dropout=0.1",
)
SMALL_OF = {"dmae": SMALL_PATCHES, "data2vec_kws": SMALL_KEYWORDS}
SMALL = (
    "optimizer.warmup_updates=2",
    "optimizer.learning_rate=3e-3",
    "batch.seconds=4.0",
    "batch.crop_seconds=0.6",
    "batch.device_seconds=2.0",
    "log.log_every=1",
    "log.checkpoint_every=2",
    "seed=5",
)
SMALLER = {
    "hubert": (
        "final_dim=8",
        "rounds.0.num_clusters=4",
        f"rounds.0.updates={UPDATES}",
        "rounds.1.num_clusters=5",
        "rounds.1.layer=1",
        f"rounds.1.updates={UPDATES}",
    ),
    "wav2vec2": (f"updates={UPDATES}", "final_dim=8", "entries=5", "features_dropout=0.1"),
    "data2vec": (f"updates={UPDATES}", "top_layers=1", "ema.start=0.5", "ema.updates=4"),
    "data2vec_kws": (f"updates={UPDATES}", "top_layers=1", "ema.start=0.5", "ema.updates=4"),
    "data2vec2": (
        f"updates={UPDATES}",
        "top_layers=1",
        "ema.start=0.5",
        "ema.updates=4",
        "decoder.dim=8",
        "decoder.groups=4",
        "decoder.input_dropout=0.1",
    ),
    "dmae": (f"updates={UPDATES}", "decoder.dim=8", "decoder.num_heads=2", "decoder.ffn_dim=8"),
}


def frozen_teacher(folder):
    """The checkpoint of a patch encoder of three layers."""
    config = PatchesConfig(
        num_mels=16,
        patch_frames=8,
        patch_mels=8,
        embed_dim=24,
        num_heads=(2,) * 3,
        ffn_dim=(24,) * 3,
        head_dim=8,
    )
    with seeded(1):
        state = PatchEncoder(config).state_dict()
    save_patches(folder, config, state, provenance={})
    return folder


class Run:
    """What a pretraining left behind besides its folder."""

    def __init__(self, name, corpus, folder, *, resume=False):
        """Run, and keep each fit's whole objective and the updates it was told of."""
        self.folder = folder
        self.states: list[dict[str, torch.Tensor]] = []
        self.updates: list[int] = []
        needs_teacher = name == "dmae"
        changes = (*SMALL_OF.get(name, SMALL_FRAMES), *SMALL, *SMALLER[name])
        teacher = frozen_teacher(folder.parent / "teacher") if needs_teacher else None
        stem = f"{name.replace('_', '-')}-tiny"
        recipe = load_pretraining(stem, recipe_folder("train"), changes)
        assert recipe.batch.passes(1) == PASSES
        kind, fit = objective_class(name), runs.fit
        after_update = kind.after_update

        def noted(objective, update):
            self.updates.append(update)
            after_update(objective, update)

        def kept(learner, *args, **kwargs):
            fit(learner, *args, **kwargs)
            state = learner.objective.state_dict()
            self.states.append({key: tensor.clone() for key, tensor in state.items()})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "after_update", noted)
            patch.setattr(runs, "fit", kept)
            pretrain(recipe, corpus, folder, resume=resume, teacher=teacher)


def objective_class(name):
    (kind,) = {
        member
        for member in vars(get_objective(name)).values()
        if isinstance(member, type)
        and issubclass(member, Objective)
        and member.__module__.endswith(f".{name}")
    }
    return kind


@pytest.fixture(scope="module", params=objective_names())
def whole(request, corpus, tmp_path_factory):
    """Name and uninterrupted run of an objective's tiny recipe, cut down further."""
    return request.param, Run(request.param, corpus, tmp_path_factory.mktemp("whole") / "run")


def test_what_follows_the_weights_moves_once_an_update_whatever_the_passes(whole):
    name, run = whole
    rounds = 2 if name == "hubert" else 1
    assert run.updates == [*range(1, UPDATES + 1)] * rounds
    assert len(run.states) == rounds


@pytest.mark.parametrize("whole", ["dmae"], indirect=True)
def test_a_teacher_that_is_given_stays_as_it_was(whole):
    _, run = whole
    given = load_patches(run.folder.parent / "teacher").state_dict()
    for key, tensor in given.items():
        assert torch.equal(run.states[-1][f"teacher.{key}"], tensor), key
    stored = load_patches(run.folder / "model").state_dict()
    assert stored.keys() == {
        key.removeprefix("encoder.") for key in run.states[-1] if key.startswith("encoder.")
    }


def test_a_teacher_lags_behind_its_student_and_both_are_in_the_state(whole):
    name, run = whole
    state = run.states[-1]
    teacher = [key for key in state if key.startswith("teacher.")]
    assert bool(teacher) == (name.startswith("data2vec") or name == "dmae")
    if name == "dmae":
        return
    for key in teacher:
        student = state["encoder." + key.removeprefix("teacher.")]
        if name == "data2vec" and ".pos_conv." in f".{key}":
            assert torch.equal(state[key], student), key
        elif "weight" in key:
            assert not torch.equal(state[key], student), key


# Before the first state, in the second pass of an update after one, in the last update.
@pytest.mark.parametrize("at", [1, 2 * PASSES + 1, (UPDATES - 1) * PASSES])
def test_a_run_stopped_at_an_update_ends_as_if_it_were_not(
    at, whole, corpus, tmp_path, stopping, assert_same_run
):
    name, uninterrupted = whole
    folder = tmp_path / "run"
    with stopping(objective_class(name), "forward", at=at):
        Run(name, corpus, folder)
    assert not (folder / "model").exists()
    torch.rand(at + 1)  # another process would draw on from elsewhere
    resumed = Run(name, corpus, folder, resume=True)
    assert_same_run(uninterrupted.folder, folder)
    assert len(resumed.states) == len(uninterrupted.states)
    for mine, other in zip(resumed.states, uninterrupted.states, strict=True):
        assert mine.keys() == other.keys()
        for key, tensor in mine.items():
            assert torch.equal(tensor, other[key]), key
