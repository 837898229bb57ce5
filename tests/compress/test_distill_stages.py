"""A resumed distillation equals an uninterrupted one, in both of its stages."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from compress import spaces
from compress.distill import stages
from compress.distill.lighthubert import LightHubert
from compress.distill.stages import DistillRecipe, distill
from compress.spaces import Space
from compress.supernet import load_supernet
from train import run
from train.config import BatchConfig, LogConfig, MaskConfig, OptimizerConfig
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(spaces._SPACES, space.name, space)
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
