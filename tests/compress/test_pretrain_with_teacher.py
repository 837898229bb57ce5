"""`compress pretrain` of patches: a masked autoencoder, and a student that learns from it."""

import json

import pytest

from train.models.checkpoints import digest, load_config, load_objective
from train.models.patches import load_patches

SMALL = [
    "encoder.num_mels=16",
    "encoder.embed_dim=16",
    "encoder.head_dim=8",
    "decoder.dim=8",
    "decoder.num_heads=2",
    "decoder.ffn_dim=8",
    "updates=3",
    "batch.seconds=4.0",
    "log.log_every=1",
]
DEPTH = {"mae-tiny": 4, "dmae-tiny": 2}


def words(recipe, corpus, out, *more):
    depth = DEPTH[recipe]
    sizes = [f"encoder.num_heads={[2] * depth}", f"encoder.ffn_dim={[24] * depth}"]
    settings = [part for setting in [*SMALL, *sizes] for part in ("--set", setting)]
    return ["pretrain", recipe, "--data", corpus, "--out", out, *settings, *more]


@pytest.fixture
def teacher(call, corpus, tmp_path):
    """The run folder of a masked autoencoder."""
    code, _, err = call(*words("mae-tiny", corpus, tmp_path / "mae"))
    assert code == 0, err
    return tmp_path / "mae"


def test_a_student_learns_from_a_teachers_run_and_says_from_which(call, corpus, tmp_path, teacher):
    out = tmp_path / "dmae"
    asked = words("dmae-tiny", corpus, out, "--teacher", teacher)
    code, told, err = call(*asked, "--json")
    assert code == 0, err
    assert json.loads(told) == {"teacher": str(out / "model")}
    assert load_patches(out / "model").config.num_layers == 2
    provenance = load_config(out / "model", "patches")["provenance"]
    assert provenance["teacher"] == digest(teacher / "model")
    name, heads = load_objective(out / "model", "patches")
    assert name == "dmae"
    assert {key.split(".")[0] for key in heads} == {"decoder", "projection"}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert all(line["feature_distance"] > 0 for line in lines)
    assert "feature distance" in (out / "report.html").read_text()
    # the same weights and heads serve another run as its first ones
    more = words("dmae-tiny", corpus, tmp_path / "on", "--teacher", teacher, "--init", out)
    assert call(*more)[0] == 0
    other = call(*words("mae-tiny", corpus, tmp_path / "mae2", "--seed", "1"))
    assert other[0] == 0
    code, _, err = call(
        *words("dmae-tiny", corpus, out, "--teacher", tmp_path / "mae2", "--resume")
    )
    assert code == 1
    assert "was started with another recipe (from.teacher:" in err


def test_a_dry_run_tells_how_far_the_teacher_runs(call, corpus, tmp_path, teacher):
    asked = words("dmae-tiny", corpus, tmp_path / "x", "--teacher", teacher, "--dry-run", "--json")
    code, told, err = call(*asked)
    assert code == 0, err
    plan = json.loads(told)
    assert plan["teacher_layers_run"] == "3 of 4"
    counted = sum(weight.numel() for weight in load_patches(teacher / "model").parameters())
    assert plan["objective_params"]["teacher"] == counted
    assert plan["encoder_params"] < counted
    assert plan["training_flops"] > 0
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_teacher_that_is_missing_or_of_no_use_is_told_before_anything_starts(
    call, corpus, tmp_path, dry
):
    code, _, err = call(*words("dmae-tiny", corpus, tmp_path / "x", *dry))
    assert code == 2
    assert "--teacher, such as one of mae-tiny, or do without by --set feature_weight=0" in err
    code, _, err = call(*words("mae-tiny", corpus, tmp_path / "x", "--teacher", tmp_path, *dry))
    assert code == 2
    assert "--teacher goes with recipes that learn from a frozen one" in err
    assert not (tmp_path / "x").exists()


def test_a_teacher_of_another_family_or_other_patches_is_refused(call, corpus, tmp_path, teacher):
    asked = words("dmae-tiny", corpus, tmp_path / "x", "--teacher", teacher)
    code, _, err = call(*asked, "--set", "encoder.patch_frames=4")
    assert code == 2
    assert "the teacher has encoder.patch_frames 8 where the recipe has 4" in err
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"family": "wav2vec2"}')
    (foreign / "model.safetensors").write_bytes(b"")
    code, _, err = call(*words("dmae-tiny", corpus, tmp_path / "x", "--teacher", foreign))
    assert code == 1
    assert "holds a checkpoint of 'wav2vec2', not of 'patches'" in err
    assert not (tmp_path / "x").exists()


def test_without_features_the_students_recipe_is_plain_masked_autoencoding(call, corpus, tmp_path):
    code, _, err = call(*words("dmae-tiny", corpus, tmp_path / "x", "--set", "feature_weight=0"))
    assert code == 0, err
    assert "feature_distance" not in (tmp_path / "x" / "metrics.jsonl").read_text()
