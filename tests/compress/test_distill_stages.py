"""A resumed distillation equals an uninterrupted one, in both of its stages."""

import dataclasses
import json
from dataclasses import replace

import pytest
import torch

from compress import CompressError, spaces
from compress.distill import stages
from compress.distill.lighthubert import LightHubert
from compress.distill.sampling import sampling_names
from compress.distill.stages import DistillRecipe, distill
from compress.spaces import Space, get_space
from compress.supernet import Supernet, load_supernet, save_supernet
from train import run
from train.config import BatchConfig, DeviceConfig, LogConfig, MaskConfig, OptimizerConfig
from train.errors import TrainError
from train.models.wav2vec2 import Wav2Vec2Encoder, save_encoder
from train.models.wav2vec2_config import Wav2Vec2Config, paper_conv_layers
from train.seeding import seeded

UPDATES = 6
RECIPE = DistillRecipe(
    scheme="lighthubert",
    space="test-tiny",
    top_layers=1,
    mask=MaskConfig(prob=0.5, span=3),
    stage1_updates=UPDATES,
    stage2_updates=UPDATES,
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_updates=2, clip_norm=1.0),
    batch=BatchConfig(seconds=2.0, crop_seconds=0.6, min_seconds=0.3),
    log=LogConfig(log_every=1, checkpoint_every=2),
    seed=4,
)
ENCODER = Wav2Vec2Config(
    conv_layers=paper_conv_layers(8),
    conv_norm="layer",
    normalize_waveform=True,
    embed_dim=16,
    num_heads=(2,) * 3,
    ffn_dim=(32,) * 3,
    head_dim=4,
    pos_conv_kernel=4,
    pos_conv_groups=4,
    layerdrop=0.3,
)


@pytest.fixture(scope="module", autouse=True)
def tiny_space():
    space = Space(
        name="test-tiny",
        supernet=ENCODER,
        embed_dim=(8, 16),
        num_heads=(1, 2),
        ffn_ratio=(1.0, 2.0),
        depth=(2, 3),
    )
    narrow = replace(space, name="test-narrow", embed_dim=(8,))
    with pytest.MonkeyPatch.context() as patch:
        for this in (space, narrow):
            patch.setitem(spaces._SPACES, this.name, this)
        yield


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "model"
    config = replace(ENCODER, embed_dim=12, num_heads=(2,) * 2, ffn_dim=(16,) * 2)
    with seeded(9):
        encoder = Wav2Vec2Encoder(config)
    save_encoder(folder, config, encoder.state_dict(), provenance={})
    return folder


@pytest.fixture(scope="module")
def whole(corpus, teacher, tmp_path_factory):
    """A distillation that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert distill(RECIPE, teacher, corpus, out, resume=False) == out / "model"
    return out


def test_both_stages_leave_a_line_an_update_and_no_state(whole, logged_steps):
    for stage in ("stage1", "stage2"):
        assert logged_steps(whole / stage / "metrics.jsonl") == list(range(UPDATES))
        assert not (whole / stage / "state").exists()


def test_the_second_stage_goes_on_with_the_weights_of_the_first(whole, corpus, teacher, tmp_path):
    first, last = (load_supernet(whole / part) for part in ("stage1/model", "model"))
    assert not torch.equal(first.head.weight, last.head.weight)
    # with next to no learning in stage 2, its weights stay those of stage 1
    slow = replace(RECIPE, optimizer=replace(RECIPE.optimizer, learning_rate=1e-12))
    distill(slow, teacher, corpus, tmp_path / "run", resume=False)
    first, last = (load_supernet(tmp_path / "run" / part) for part in ("stage1/model", "model"))
    for name, tensor in first.state_dict().items():
        assert torch.allclose(tensor, last.state_dict()[name], atol=1e-9), name


@pytest.mark.parametrize("at", [1, 3, 4, 6, 7, 11])
def test_a_distillation_stopped_at_an_update_ends_as_if_it_were_not(
    at, corpus, teacher, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(LightHubert, "forward", at=at):
        distill(RECIPE, teacher, corpus, out, resume=False)
    assert not (out / "model").exists()
    torch.rand(at + 1)  # another process would draw on from elsewhere
    distill(RECIPE, teacher, corpus, out, resume=True)
    assert_same_run(whole, out)


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [(stages, "save_supernet", 0), (stages, "save_supernet", 1), (run, "finish", 0),
     (run, "finish", 1)],
    ids=["save 1", "save 2", "finish 1", "finish 2"],
)  # fmt: skip
def test_a_distillation_stopped_after_a_stage_ends_as_if_it_were_not(
    owner, name, at, corpus, teacher, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(owner, name, at=at):
        distill(RECIPE, teacher, corpus, out, resume=False)
    distill(RECIPE, teacher, corpus, out, resume=True)
    assert_same_run(whole, out)


@pytest.mark.parametrize("at", [3, 9])
def test_ctrl_c_in_either_stage_arrives_as_such_and_loses_nothing(
    at, corpus, teacher, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(LightHubert, "forward", at=at, error=KeyboardInterrupt):
        distill(RECIPE, teacher, corpus, out, resume=False)
    stage = "stage1" if at < UPDATES else "stage2"
    state = torch.load(out / stage / "state" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    distill(RECIPE, teacher, corpus, out, resume=True)
    assert_same_run(whole, out)


@pytest.mark.parametrize("sampling", sampling_names())
def test_under_any_sampling_a_resumed_one_stage_run_ends_as_if_it_were_not_stopped(
    sampling, corpus, teacher, tmp_path, stopping, assert_same_run, logged_steps
):
    recipe = replace(RECIPE, sampling=sampling, num_random=1, stage1_updates=0, stage2_updates=4)
    distill(recipe, teacher, corpus, tmp_path / "whole", resume=False)
    with stopping(LightHubert, "forward", at=3):
        distill(recipe, teacher, corpus, tmp_path / "run", resume=False)
    torch.rand(3)
    distill(recipe, teacher, corpus, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert not (tmp_path / "run" / "stage1").exists()
    assert logged_steps(tmp_path / "run" / "stage2" / "metrics.jsonl") == list(range(4))


# Stands still, so that its end is its start.
ONE_UPDATE = replace(
    RECIPE,
    stage1_updates=0,
    stage2_updates=1,
    optimizer=replace(RECIPE.optimizer, learning_rate=1e-12),
)


def begun(recipe, teacher, corpus, out, **options):
    """What a distillation that hardly learns starts from."""
    distill(recipe, teacher, corpus, out, resume=False, **options)
    return load_supernet(out / "model").state_dict()


def test_without_a_first_stage_the_second_starts_from_the_seeds_weights(corpus, teacher, tmp_path):
    with seeded(RECIPE.seed):
        fresh = Supernet(get_space("test-tiny"), 12).state_dict()
    for name, tensor in begun(ONE_UPDATE, teacher, corpus, tmp_path / "run").items():
        assert torch.allclose(fresh[name], tensor, atol=1e-9), name


def test_a_distillation_starts_from_another_spaces_supernet_of_the_same_sizes(
    corpus, teacher, whole, tmp_path
):
    recipe = replace(ONE_UPDATE, space="test-narrow")
    given = load_supernet(whole / "model").state_dict()
    started = begun(recipe, teacher, corpus, tmp_path / "run", init=whole / "model")
    for name, tensor in started.items():
        assert torch.allclose(given[name], tensor, atol=1e-9), name
    with pytest.raises(TrainError, match=r"from\.init"):
        distill(recipe, teacher, corpus, tmp_path / "run", resume=True)


def test_a_supernet_of_other_sizes_is_no_start_and_leaves_no_run(corpus, teacher, tmp_path):
    with seeded(0):
        other = Supernet(get_space("test-tiny"), 9)
    save_supernet(tmp_path / "other", other, provenance={})
    with pytest.raises(CompressError, match=r"teacher of width 9.* is 12 wide"):
        distill(RECIPE, teacher, corpus, tmp_path / "run", resume=False, init=tmp_path / "other")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("start", ["random", "teacher"])
def test_a_distillation_starts_from_an_encoder_of_the_stored_sizes(start, corpus, tmp_path):
    with seeded(2):
        own = Wav2Vec2Encoder(ENCODER)
    teacher = tmp_path / "own"
    save_encoder(teacher, ENCODER, own.state_dict(), provenance={})
    recipe = replace(ONE_UPDATE, start=start)
    init = teacher if start == "random" else None  # given by name, or by the recipe
    started = begun(recipe, teacher, corpus, tmp_path / "run", init=init)
    for name, tensor in own.state_dict().items():
        assert torch.allclose(started[f"encoder.{name}"], tensor, atol=1e-9), name


def test_an_encoder_of_other_sizes_is_no_start_and_leaves_no_run(corpus, teacher, tmp_path):
    with pytest.raises(
        CompressError,
        match=r"has encoder\.embed_dim 12 where space 'test-tiny' .*16.*start='random'",
    ):
        distill(replace(RECIPE, start="teacher"), teacher, corpus, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "sandwhich"}, "did you mean 'sandwich'"),
        ({"num_random": -1}, "num_random must be 0 or more, got -1"),
        ({"stage1_updates": -1}, "stage1_updates 0 or more; got 1, 6, -1"),
        ({"stage2_updates": 0}, "stage2_updates must be 1 or more.* got 1, 0, 6"),
        ({"devices": DeviceConfig(strategy="fsdp")}, "strategy must be 'ddp'.*'fsdp'"),
    ],
)
def test_a_recipe_says_what_it_does_not_take(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)


def test_bfloat16_distils_almost_as_float32_does(corpus, teacher, whole, tmp_path):
    recipe = replace(RECIPE, stage1_updates=2, stage2_updates=2)
    recipe = replace(recipe, devices=DeviceConfig(precision="bf16"))
    distill(recipe, teacher, corpus, tmp_path / "run", resume=False)
    losses = [
        json.loads((out / "stage1" / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for out in (whole, tmp_path / "run")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)  # 8 bits of a product
    state = load_supernet(tmp_path / "run" / "model").state_dict()
    assert all(weight.dtype == torch.float32 for weight in state.values())


def test_a_finished_distillation_is_not_trained_again(corpus, teacher, whole, monkeypatch):
    monkeypatch.setattr(LightHubert, "__init__", lambda *args, **kwargs: pytest.fail("again"))
    assert distill(RECIPE, teacher, corpus, whole, resume=True) == whole / "model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_layers": 2}, r"recipe\.top_layers: 1, now 2"),
        ({"frames": "all"}, r"recipe\.frames: 'masked', now 'all'"),
        ({"mask": MaskConfig(prob=0.4, span=3)}, r"recipe\.mask\.prob: 0\.5, now 0\.4"),
    ],
)
def test_a_distillation_is_not_resumed_with_another_recipe(change, message, corpus, teacher, whole):
    with pytest.raises(TrainError, match=message):
        distill(dataclasses.replace(RECIPE, **change), teacher, corpus, whole, resume=True)


def test_a_distillation_is_not_resumed_with_another_teacher(corpus, whole, tmp_path):
    with pytest.raises(TrainError, match=r"from\.teacher"):
        distill(RECIPE, tmp_path / "other", corpus, whole, resume=True)
