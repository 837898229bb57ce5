"""`compress prune`, called as a user calls it, and what takes its result."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pruning_cases import CONFIG, encoder_of

from compress.cost.encoder_params import encoder_params
from compress.cost.macs import macs
from compress.folders import recipe_folder
from compress.prune.recipe import PruneRecipe
from compress.spaces import get_space
from compress.supernet import Supernet, save_supernet
from train.models.checkpoints import digest, load_config
from train.models.wav2vec2 import load_encoder, save_encoder
from train.models.wav2vec2_config import Conv, Wav2Vec2Config
from train.recipe import load_recipe
from train.tasks.keywords import KeywordModel, PooledEncoder, save_keywords

TINY = Wav2Vec2Config(
    conv_layers=(
        Conv(channels=16, kernel=10, stride=5),
        Conv(channels=24, kernel=8, stride=8),
        Conv(channels=24, kernel=8, stride=8),
    ),
    embed_dim=24,
    num_heads=(4, 4),
    ffn_dim=(48, 48),
    head_dim=6,
    pos_conv_kernel=4,
    pos_conv_groups=2,
)


BY_NORM = ("--set", "importance=magnitude")
"""Where recordings are not the point."""


@pytest.fixture
def teacher(tmp_path):
    folder = tmp_path / "teacher"
    encoder = encoder_of(TINY).float()
    provenance = {"licence": "made in a test"}
    save_encoder(folder / "model", TINY, encoder.state_dict(), provenance=provenance)
    return folder


def files(folder: Path):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_holds_an_ordinary_checkpoint_and_says_what_became_of_it(call, teacher, tmp_path):
    out = tmp_path / "pruned"
    words = ("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--out", out)
    target = encoder_params(TINY) * 2 // 3
    code, shown, err = call(*words, "--target-params", target, "--json")
    assert code == 0, err
    told = json.loads(shown)
    pruned = load_encoder(out / "model")
    assert files(out) == {
        "config.json", "pruned.json", "model/config.json", "model/model.safetensors",
    }  # fmt: skip
    assert told["params"] == {
        "before": encoder_params(TINY),
        "after": sum(weight.numel() for weight in pruned.parameters()),
        "target": target,
    }
    assert told["params"]["after"] <= target
    assert told["macs"] == {"before": macs(TINY).total, "after": macs(pruned.config).total}
    heads = [part.split("/") for part in told["kept"]["heads"].split()]
    assert [int(after) for after, _ in heads] == list(pruned.config.num_heads)
    assert [int(before) for _, before in heads] == list(TINY.num_heads)
    provenance = load_config(out / "model", "wav2vec2")["provenance"]
    assert provenance == {
        "pruned_from": digest(teacher / "model"),
        "importance": "magnitude",
        "source": {"licence": "made in a test"},
    }
    stored = json.loads((out / "pruned.json").read_text())
    before, after = load_encoder(teacher / "model").state_dict(), pruned.state_dict()
    for unit in stored["units"]:
        if unit["kind"] == "ffn":
            name = f"layers.{unit['layers'][0]}.ffn.up.weight"
            assert torch.equal(after[name], before[name][unit["kept"]])
    # again: not by mistake; with --resume it is done already, but for what was lost
    code, _, err = call(*words, "--target-params", target)
    assert (code, "go on with --resume" in err) == (1, True)
    code, again, _ = call(*words, "--target-params", target, "--resume", "--json")
    assert (code, again) == (0, shown)
    code, _, err = call(*words, "--target-params", target - 1, "--resume")
    assert (code, "started with another recipe (recipe.target_params" in err) == (1, True)


def test_stopped_before_its_model_was_written_it_goes_on(call, teacher, tmp_path, stopping):
    import compress.prune.run as module

    out, whole = tmp_path / "stopped", tmp_path / "whole"
    words = ("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--out")
    assert call(*words, whole)[0] == 0
    with stopping(module, "save_encoder", at=0, error=KeyboardInterrupt):
        recipe = load_recipe("prune-tiny", PruneRecipe, recipe_folder("compress"), [BY_NORM[1]])
        module.prune(recipe, teacher / "model", None, out, resume=False)
    assert not (out / "model").exists()
    assert call(*words, out, "--resume")[0] == 0
    assert digest(out / "model") == digest(whole / "model")


def test_a_dry_run_tells_the_same_and_writes_nothing(call, teacher, tmp_path):
    words = ("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--target-macs", "1.5M", "--json")
    before = files(tmp_path)
    code, shown, err = call(*words, "--dry-run")
    assert code == 0, err
    assert files(tmp_path) == before
    told = json.loads(call(*words, "--out", tmp_path / "pruned")[1])
    del told["model"]
    assert json.loads(shown) == told
    assert told["macs"]["after"] <= 1_500_000


def test_recordings_decide_and_the_seed_draws_them(call, teacher, corpus, tmp_path):
    def pruned(name, seed):
        words = ("prune", "prune-tiny", "--model", teacher, "--data", corpus, "--seed", seed)
        sets = ("--set", "calibration.num_clips=3")
        code, _, err = call(*words, *sets, "--out", tmp_path / name)
        assert code == 0, err
        return json.loads((tmp_path / name / "pruned.json").read_text())["units"]

    first = pruned("first", 0)
    assert first == pruned("second", 0)
    assert first != pruned("third", 1)
    made_from = json.loads((tmp_path / "first" / "config.json").read_text())["from"]
    assert made_from == {"model": digest(teacher / "model"), "data": corpus.name}


def test_the_encoder_of_a_keyword_model_is_pruned_like_any(call, teacher, tmp_path):
    model = KeywordModel(PooledEncoder(load_encoder(teacher / "model")), ("no", "yes"))
    save_keywords(tmp_path / "keywords" / "model", model)
    out = tmp_path / "pruned"
    words = ("prune", "prune-tiny", *BY_NORM, "--model", tmp_path / "keywords", "--out", out)
    code, _, err = call(*words)
    assert code == 0, err
    assert (
        call("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--out", tmp_path / "plain")[0]
        == 0
    )
    assert digest(out / "model") == digest(tmp_path / "plain" / "model")


def test_what_is_pruned_can_be_fine_tuned_and_pruned_again(call, teacher, corpus, tmp_path):
    assert (
        call("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--out", tmp_path / "once")[0]
        == 0
    )
    again = ("--model", tmp_path / "once", "--out", tmp_path / "twice", "--set", "heads.ratio=0.5")
    code, _, err = call("prune", "prune-tiny", *BY_NORM, *again)
    assert code == 0, err
    twice = load_encoder(tmp_path / "twice" / "model").config
    assert twice.num_heads == (2, 2)
    values = (
        "batch.seconds=4.0", "batch.crop_seconds=1.0", "updates=2", "min_clips_per_label=4",
        "log.log_every=1",
    )  # fmt: skip
    sets = [word for value in values for word in ("--set", value)]
    tuned = ("--model", tmp_path / "twice", "--data", corpus, "--out", tmp_path / "keywords")
    code, _, err = call("finetune", "keywords-tiny", *tuned, *sets)
    assert code == 0, err
    sizes = load_config(tmp_path / "keywords" / "model", "keywords")["sizes"]
    assert sizes["ffn_dim"] == list(twice.ffn_dim)


def test_transformers_take_it_while_its_layers_are_even_and_heads_fill_its_width(
    call, teacher, tmp_path
):
    from transformers import HubertModel

    even, uneven, fewer = (tmp_path / name for name in ("even", "uneven", "fewer"))
    base = ("prune", "prune-tiny", *BY_NORM, "--model", teacher)
    no_heads = ("--set", "heads.ratio=0")
    only_one = ("--set", "ffn.whole_layers=[0]")
    assert call(*base, "--out", even, *no_heads)[0] == 0
    assert call(*base, "--out", uneven, *no_heads, *only_one)[0] == 0
    assert call(*base, "--out", fewer)[0] == 0

    def convert(folder):
        return call("convert", folder, "--to", "huggingface", "--out", tmp_path / "theirs")

    code, _, err = convert(uneven)
    assert (code, "no class for layers of different widths" in err) == (1, True)
    code, _, err = convert(fewer)
    assert (code, "heads of 18 in all in an encoder 24 wide" in err) == (1, True)
    assert convert(even)[0] == 0
    theirs, ours = (
        HubertModel.from_pretrained(tmp_path / "theirs").eval(),
        load_encoder(even / "model").eval(),
    )
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = theirs(waveform).last_hidden_state, ours(waveform).output
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)  # float32 through two layers


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (["--target-params", "10"], 1, "pruning cannot reach 10 parameters"),
        (["--target-macs", "1G"], 1, "nothing is to be pruned"),
        (["--set", "importance=taylor"], 2, "'taylor' needs --data"),
        (["--data", "."], 2, "'magnitude' takes no --data"),
        (["--set", "importance=magnitud"], 2, "importance"),
        (["--set", "fnn.ratio=0.5"], 2, "did you mean 'ffn'"),
        (["--set", "ffn.ratoi=0.5"], 2, "did you mean 'ratio'"),
        (["--set", "heads.ratio=1.0"], 2, "largest_ratio"),
        (["--set", "heads.whole_layers=[9]"], 2, "the model has layers 0 to 1"),
        (["--target-params", "few"], 2, "expected a count"),
        (["--model", "nowhere"], 1, "nowhere is not a checkpoint"),
    ],
)
def test_bad_calls_are_told_in_a_line_and_leave_nothing(
    call, teacher, tmp_path, changes, code, message
):
    words = (
        "prune",
        "prune-tiny",
        *BY_NORM,
        "--model",
        teacher,
        "--out",
        tmp_path / "out",
        *changes,
    )
    found, shown, err = call(*words)
    assert (found, shown) == (code, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_without_a_place_it_asks_for_one(call, teacher):
    code, _, err = call("prune", "prune-tiny", *BY_NORM, "--model", teacher)
    assert (code, "needs --out" in err) == (2, True)


def test_a_model_without_an_encoder_is_told(call, tmp_path):
    from train.models.ds_cnn import DsCnn, DsCnnConfig

    save_keywords(tmp_path / "model", KeywordModel(DsCnn(DsCnnConfig()), ("no", "yes")))
    code, _, err = call(
        "prune", "prune-tiny", *BY_NORM, "--model", tmp_path, "--out", tmp_path / "out"
    )
    assert (code, "without an encoder" in err) == (1, True)


def test_a_supernet_is_to_be_cut_first(call, tmp_path):
    supernet = Supernet(get_space("otolite-tiny"), target_dim=4)
    save_supernet(tmp_path / "model", supernet, provenance={})
    code, _, err = call(
        "prune", "prune-tiny", *BY_NORM, "--model", tmp_path, "--out", tmp_path / "out"
    )
    assert (code, "compress cut" in err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_people_see_what_each_layer_keeps(call, teacher):
    _, shown, _ = call("prune", "prune-tiny", *BY_NORM, "--model", teacher, "--dry-run")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "heads 3/4 3/4" in lines
    assert "ffn 24/48 24/48" in lines
    assert any(line.startswith(f"params before {encoder_params(TINY):,}, after") for line in lines)


def test_the_recipe_of_base_fits_base_and_keeps_its_widths_round():
    from compress.prune.budget import Scores, choose_widths
    from compress.prune.parts import parts_of, resized

    config = Wav2Vec2Config()
    recipe = load_recipe("prune", PruneRecipe, recipe_folder("compress"))
    parts = parts_of(config, recipe)
    scores = Scores(tuple(np.arange(part.num_units, 0.0, -1) for part in parts), comparable=True)
    pruned = resized(config, parts, choose_widths(config, parts, scores, recipe))
    assert {conv.channels for conv in pruned.conv_layers} == {384}
    assert (set(pruned.num_heads), set(pruned.ffn_dim)) == ({9}, {1536})
    assert encoder_params(CONFIG) < encoder_params(pruned) < encoder_params(config)
