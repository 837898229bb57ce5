"""A resumed run equals an uninterrupted one, and a run folder belongs to one run."""

import dataclasses
import json
import signal

import numpy as np
import pytest
import torch

from train import rounds, run
from train.config import BatchConfig, LogConfig, MaskConfig, OptimizerConfig
from train.data.audio import PackedAudio
from train.data.label_share import LabelShare
from train.data.spec_augment import SpecAugmentConfig
from train.errors import RecipeError, TrainError
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.models import wav2vec2
from train.models.causal_keyword_transformer import CausalKeywordTransformerConfig
from train.models.causal_tcn import CausalTcnConfig
from train.models.ds_cnn import DsCnnConfig
from train.models.keyword_transformer import KeywordEncoder, save_keyword_encoder
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.models.wav2vec2 import load_encoder, save_encoder
from train.objectives.hubert import Hubert, RoundConfig
from train.objectives.hubert import Recipe as HubertRecipe
from train.pretrain import pretrain
from train.tasks.augmenting import AugmentConfig
from train.tasks.keywords import KeywordObjective, load_keywords

UPDATES = 6
OPTIMIZER = OptimizerConfig(learning_rate=3e-3, warmup_updates=2, clip_norm=1.0)
BATCH = BatchConfig(seconds=2.0, crop_seconds=0.6, min_seconds=0.3)
LOG = LogConfig(log_every=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def hubert(encoder_config):
    return HubertRecipe(
        objective="hubert",
        encoder=encoder_config(),
        rounds=(
            RoundConfig(units="mfcc", num_clusters=4, updates=UPDATES),
            RoundConfig(units="layer", layer=1, num_clusters=5, updates=UPDATES),
        ),
        mask=MaskConfig(prob=0.5, span=3),
        final_dim=8,
        optimizer=OPTIMIZER,
        batch=BATCH,
        log=LOG,
        seed=5,
    )


@pytest.fixture(scope="module")
def whole(hubert, corpus, tmp_path_factory):
    """A pretraining that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert pretrain(hubert, corpus, out, resume=False) == out / "model"
    return out


def test_a_run_leaves_a_model_a_config_and_a_line_an_update(whole, corpus, hubert, logged_steps):
    for folder in (whole / "round1", whole / "round2"):
        assert logged_steps(folder / "metrics.jsonl") == list(range(UPDATES))
        assert not (folder / "state").exists()
    stored = json.loads((whole / "config.json").read_text())
    assert stored["recipe"] == json.loads(json.dumps(dataclasses.asdict(hubert)))
    assert stored["from"] == {"data": corpus.name}
    assert load_encoder(whole / "model").config == hubert.encoder
    first = load_encoder(whole / "round1" / "model").state_dict()
    second = load_encoder(whole / "model").state_dict()
    assert not torch.equal(first["mask_embedding"], second["mask_embedding"])


# Before the first state, between two, right after one, in the last update; then round 2.
@pytest.mark.parametrize("at", [1, 3, 4, 5, 6, 9, 11])
def test_a_pretraining_stopped_at_an_update_ends_as_if_it_were_not(
    at, hubert, corpus, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(Hubert, "forward", at=at):
        pretrain(hubert, corpus, out, resume=False)
    assert not (out / "model").exists()
    torch.rand(at + 1)  # another process would draw on from elsewhere
    pretrain(hubert, corpus, out, resume=True)
    assert_same_run(whole, out)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (rounds, "mfcc_units"),
        (rounds, "layer_units"),
        (rounds.Units, "save"),
        (wav2vec2, "save_checkpoint"),
        (run, "finish"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pretraining_stopped_between_its_steps_ends_as_if_it_were_not(
    owner, name, hubert, corpus, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(owner, name, at=0):
        pretrain(hubert, corpus, out, resume=False)
    pretrain(hubert, corpus, out, resume=True)
    assert_same_run(whole, out)


def test_stopped_twice_it_still_ends_the_same(
    hubert, corpus, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(Hubert, "forward", at=3):
        pretrain(hubert, corpus, out, resume=False)
    with stopping(Hubert, "forward", at=3):  # update 5 of round 1
        pretrain(hubert, corpus, out, resume=True)
    pretrain(hubert, corpus, out, resume=True)
    assert_same_run(whole, out)


def test_a_log_line_cut_short_is_written_again(
    hubert, corpus, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    with stopping(Hubert, "forward", at=3):
        pretrain(hubert, corpus, out, resume=False)
    metrics = out / "round1" / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-9])
    pretrain(hubert, corpus, out, resume=True)
    assert_same_run(whole, out)


def test_ctrl_c_arrives_as_such_and_the_last_state_stays(
    hubert, corpus, whole, tmp_path, stopping, assert_same_run
):
    out = tmp_path / "run"
    handler = signal.getsignal(signal.SIGINT)
    with stopping(Hubert, "forward", at=3, error=KeyboardInterrupt):
        pretrain(hubert, corpus, out, resume=False)
    assert signal.getsignal(signal.SIGINT) is handler
    state = torch.load(out / "round1" / "state" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    pretrain(hubert, corpus, out, resume=True)
    assert_same_run(whole, out)


def test_a_finished_run_is_not_trained_again(hubert, corpus, whole, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    for name in ("forward", "__init__"):
        monkeypatch.setattr(Hubert, name, lambda *args, **kwargs: pytest.fail("trained again"))
    assert pretrain(hubert, corpus, whole, resume=True) == whole / "model"
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_another_seed_makes_another_model(hubert, corpus, whole, tmp_path):
    other = dataclasses.replace(hubert, seed=6, rounds=hubert.rounds[:1])
    pretrain(other, corpus, tmp_path / "run", resume=False)
    state = load_encoder(tmp_path / "run" / "model").state_dict()
    same = load_encoder(whole / "round1" / "model").state_dict()
    assert not torch.equal(state["mask_embedding"], same["mask_embedding"])


def test_a_run_is_not_gone_on_with_unasked(hubert, corpus, whole):
    with pytest.raises(TrainError, match=r"holds a run already; .* --resume .* another --out"):
        pretrain(hubert, corpus, whole, resume=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, r"recipe\.seed: 5, now 6"),
        (
            {"optimizer": dataclasses.replace(OPTIMIZER, learning_rate=1e-3)},
            r"recipe\.optimizer\.learning_rate: 0\.003, now 0\.001",
        ),
        ({"rounds": (RoundConfig(units="mfcc", num_clusters=4, updates=9),)}, r"recipe\.rounds: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_run_is_not_resumed_with_another_recipe(change, message, hubert, corpus, whole):
    with pytest.raises(TrainError, match=message):
        pretrain(dataclasses.replace(hubert, **change), corpus, whole, resume=True)


def test_a_run_is_not_resumed_on_other_data(hubert, whole, tmp_path):
    with pytest.raises(TrainError, match=r"from\.data: "):
        pretrain(hubert, tmp_path, whole, resume=True)


def test_a_folder_of_something_else_is_left_alone(hubert, corpus, tmp_path):
    (tmp_path / "thesis.tex").write_text("ours")
    for resume in (False, True):
        with pytest.raises(TrainError, match="not empty and holds no run of ours"):
            pretrain(hubert, corpus, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["{", "[1, 2]", '"run"', "\udcff"])
def test_a_damaged_config_is_one_clear_error(text, hubert, corpus, tmp_path):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TrainError, match=r"config\.json"):
        pretrain(hubert, corpus, tmp_path, resume=True)


def test_the_metrics_are_numbers_of_the_loss(whole):
    lines = (whole / "round2" / "metrics.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        # the recipe leaves the feature penalty at ten, the reference's weight
        total = line["cross_entropy"] + 10.0 * line["feature_penalty"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)


@pytest.fixture(scope="module")
def encoder_folder(make_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "model"
    encoder = make_encoder()
    save_encoder(folder, encoder.config, encoder.state_dict(), provenance={})
    return folder


TINY_TRANSFORMER = {"embed_dim": 8, "num_heads": 2, "head_dim": 4, "ffn_dim": 8, "num_layers": 1}


def keywords(body, **augment):
    return KeywordsRecipe(
        task="keywords",
        body=body,
        ds_cnn=DsCnnConfig(num_mels=10, channels=4, num_blocks=1),
        keyword_transformer=KeywordTransformerConfig(**TINY_TRANSFORMER, window_samples=8_000),
        causal_keyword_transformer=CausalKeywordTransformerConfig(**TINY_TRANSFORMER),
        causal_tcn=CausalTcnConfig(channels=6, dilations=(1, 2)),
        augment=AugmentConfig(**augment),
        min_clips_per_label=2,
        window_seconds=0.5,
        updates=UPDATES,
        body_rate_scale=0.5,
        optimizer=OPTIMIZER,
        batch=BATCH,
        log=LOG,
        seed=2,
    )


@pytest.fixture(
    scope="module",
    params=[
        "wav2vec2",
        "ds_cnn",
        "keyword_transformer",
        "causal_keyword_transformer",
        "causal_tcn",
    ],
)
def tuned(request, corpus, encoder_folder, tmp_path_factory):
    """A fine-tuning that nothing interrupted: recipe, encoder or None, folder."""
    model = encoder_folder if request.param == "wav2vec2" else None
    more = {"max_lead_ms": 300} if "causal" in request.param else {}
    if request.param != "wav2vec2":
        more["stripes"] = SpecAugmentConfig(time_masks=1, feature_masks=1)
    recipe = keywords(request.param, max_speed_change=0.1, **more)
    out = tmp_path_factory.mktemp("tuned") / "run"
    finetune(recipe, corpus, model, out, random_init=False, resume=False)
    return recipe, model, out


@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_fine_tuning_stopped_at_an_update_ends_as_if_it_were_not(
    at, tuned, corpus, tmp_path, stopping, assert_same_run
):
    recipe, model, whole = tuned
    out = tmp_path / "run"
    with stopping(KeywordObjective, "forward", at=at):
        finetune(recipe, corpus, model, out, random_init=False, resume=False)
    torch.rand(at + 1)
    finetune(recipe, corpus, model, out, random_init=False, resume=True)
    assert_same_run(whole, out)


@pytest.mark.parametrize("name", ["save_keywords", "predict"])
def test_a_fine_tuning_stopped_after_its_updates_ends_as_if_it_were_not(
    name, tuned, corpus, tmp_path, stopping, assert_same_run
):
    import train.finetune

    recipe, model, whole = tuned
    out = tmp_path / "run"
    with stopping(train.finetune, name, at=0):
        finetune(recipe, corpus, model, out, random_init=False, resume=False)
    finetune(recipe, corpus, model, out, random_init=False, resume=True)
    assert_same_run(whole, out)


def test_a_finished_fine_tuning_is_not_trained_again(tuned, corpus, monkeypatch):
    recipe, model, whole = tuned
    monkeypatch.setattr(KeywordObjective, "__init__", lambda *args, **kwargs: pytest.fail("again"))
    assert finetune(recipe, corpus, model, whole, random_init=False, resume=True) == whole / "model"


def test_scores_count_every_clip_of_the_held_out_partitions(tuned):
    _, _, whole = tuned
    scores = json.loads((whole / "scores.json").read_text())
    assert scores["labels"] == ["_silence_", "no", "yes"]
    for partition in ("valid", "test"):
        counts = scores[partition]["confusion"]
        assert sum(map(sum, counts)) == scores[partition]["clips"] == 3
        assert scores[partition]["accuracy"] == sum(counts[i][i] for i in range(3)) / 3
    assert load_keywords(whole / "model").labels == ("_silence_", "no", "yes")


def test_a_keyword_model_is_gone_on_with_its_classifier_where_labels_are_the_same(
    tuned, corpus, tmp_path
):
    recipe, _, whole = tuned
    if recipe.body == "wav2vec2":  # its keyword models are made of encoders
        return
    taken = dataclasses.replace(recipe, updates=0, seed=9)
    again = tmp_path / "again"
    finetune(taken, corpus, whole / "model", again, random_init=False, resume=False)
    before, after = (load_keywords(folder / "model") for folder in (whole, again))
    assert_equal(before.state_dict(), after.state_dict())
    assert (again / "scores.json").read_text() == (whole / "scores.json").read_text()
    fewer = dataclasses.replace(taken, labels=before.labels[:-1])
    finetune(fewer, corpus, whole / "model", tmp_path / "fewer", random_init=False, resume=False)
    other = load_keywords(tmp_path / "fewer" / "model")
    assert other.labels == before.labels[:-1]
    assert_equal(before.body.state_dict(), other.body.state_dict())
    with pytest.raises(RecipeError, match="another body than the recipe's 'conformer'"):
        finetune(
            dataclasses.replace(taken, body="conformer"),
            corpus,
            whole / "model",
            tmp_path / "other",
            random_init=False,
            resume=False,
        )


def assert_equal(states, others):
    assert states.keys() == others.keys()
    assert all(torch.equal(states[name], others[name]) for name in states)


def test_random_init_takes_the_sizes_of_an_encoder_and_none_of_its_weights(
    corpus, encoder_folder, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr("train.run.fit", lambda learner, *rest, **more: seen.append(learner))
    for random_init in (False, True):
        out = tmp_path / str(random_init)
        finetune(
            keywords("wav2vec2"),
            corpus,
            encoder_folder,
            out,
            random_init=random_init,
            resume=False,
        )
    given, fresh = (learner.objective.model.body.encoder for learner in seen)
    stored = load_encoder(encoder_folder)
    assert given.config == fresh.config == stored.config
    assert torch.equal(given.feature_projection.weight, stored.feature_projection.weight)
    assert not torch.equal(fresh.feature_projection.weight, stored.feature_projection.weight)
    rates = {
        name: group["lr"]
        for group in seen[0].configure_optimizers()["optimizer"].param_groups
        for name, parameter in seen[0].objective.named_parameters()
        if any(parameter is member for member in group["params"])
    }
    for name, rate in rates.items():
        share = 0.5 if ".encoder." in name else 1.0
        assert rate == pytest.approx(share * OPTIMIZER.learning_rate / 3), name  # first of 2 + 1


@pytest.fixture(scope="module")
def keyword_encoder_folder(tmp_path_factory):
    """A Keyword Transformer of half-second windows as a pretraining leaves it."""
    folder = tmp_path_factory.mktemp("keyword-encoder") / "model"
    config = KeywordTransformerConfig(**TINY_TRANSFORMER, window_samples=8_000, pool="mean")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        encoder = KeywordEncoder(config)
    save_keyword_encoder(folder, config, encoder.state_dict(), provenance={"objective": "kws"})
    return folder


@pytest.mark.parametrize("random_init", [False, True])
def test_a_pretrained_keyword_transformer_is_the_body_and_its_sizes_are_the_checkpoints(
    random_init, corpus, keyword_encoder_folder, tmp_path
):
    from safetensors.torch import load_file

    recipe = dataclasses.replace(
        keywords("keyword_transformer"),
        keyword_transformer=KeywordTransformerConfig(
            **TINY_TRANSFORMER, window_samples=8_000, pool="mean"
        ),
        body_rate_scale=1e-6,
    )
    out = tmp_path / "run"
    finetune(recipe, corpus, keyword_encoder_folder, out, random_init=random_init, resume=False)
    made = load_keywords(out / "model")
    assert made.body.config.pool == "mean"
    stored = load_file(keyword_encoder_folder / "model.safetensors")
    same = torch.allclose(made.body.patch.weight, stored["patch.weight"], atol=1e-6)
    assert same != random_init
    told = json.loads((out / "config.json").read_text())["from"]["model"]
    assert told["objective"] == "kws"


def test_a_recipe_of_other_sizes_than_the_checkpoints_is_refused(
    corpus, keyword_encoder_folder, tmp_path
):
    with pytest.raises(
        RecipeError, match=r"has keyword_transformer\.pool 'mean' .* 'class'; sizes"
    ):
        finetune(
            keywords("keyword_transformer"),
            corpus,
            keyword_encoder_folder,
            tmp_path / "run",
            random_init=False,
            resume=False,
        )
    assert not (tmp_path / "run").exists()


def test_windows_of_another_length_than_the_checkpoints_are_refused(
    corpus, keyword_encoder_folder, tmp_path
):
    recipe = dataclasses.replace(
        keywords("keyword_transformer"),
        keyword_transformer=KeywordTransformerConfig(),
        window_seconds=1.0,
    )
    with pytest.raises(RecipeError, match=r"windows of 8000 samples; set window_seconds to 0\.5"):
        finetune(
            recipe,
            corpus,
            keyword_encoder_folder,
            tmp_path / "run",
            random_init=False,
            resume=False,
        )


@pytest.mark.parametrize(
    ("body", "given", "message"),
    [("wav2vec2", False, "needs --model"), ("ds_cnn", True, "takes no --model")],
)
def test_a_body_and_a_model_must_fit(body, given, message, corpus, encoder_folder, tmp_path):
    model = encoder_folder if given else None
    with pytest.raises(RecipeError, match=message):
        finetune(keywords(body), corpus, model, tmp_path / "run", random_init=False, resume=False)
    assert not (tmp_path / "run").exists()


def test_a_lead_is_for_bodies_that_a_stream_can_run(corpus, tmp_path):
    recipe = keywords("ds_cnn", max_lead_ms=100)
    with pytest.raises(RecipeError, match=r"max_lead_ms .* body 'ds_cnn' .* causal body"):
        finetune(recipe, corpus, None, tmp_path / "run", random_init=False, resume=False)
    assert not (tmp_path / "run").exists()


def test_stripes_are_for_bodies_with_a_front_end(corpus, encoder_folder, tmp_path):
    recipe = keywords("wav2vec2", stripes=SpecAugmentConfig(time_masks=1))
    with pytest.raises(RecipeError, match=r"stripes hides features, and body 'wav2vec2'"):
        finetune(recipe, corpus, encoder_folder, tmp_path / "run", random_init=False, resume=False)


def test_surroundings_and_labels_are_what_a_training_hears(
    corpus, tmp_path, write_surroundings, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        "train.run.fit", lambda learner, source, *_, **__: seen.append((learner, source))
    )
    recipe = dataclasses.replace(keywords("ds_cnn"), labelled=LabelShare(share=0.4))
    finetune(
        recipe,
        corpus,
        None,
        tmp_path / "run",
        random_init=False,
        resume=False,
        surroundings=write_surroundings,
    )
    ((learner, source),) = seen
    around = learner.objective.variation.around
    silence = [cut for cut in source.cuts if cut.supervisions[0].text == "_silence_"]
    assert [len(noise) for noise in around.noises[len(silence) :]] == [9_000]
    assert [len(room) for room in around.rooms] == [400]
    # 18 clips are for training, 6 of each label
    assert len(source.cuts) == 3 * round(0.4 * 6)
    assert json.loads((tmp_path / "run/config.json").read_text())["from"]["surroundings"] == "rooms"


@pytest.fixture
def write_surroundings(tmp_path):
    import soundfile

    root = tmp_path / "rooms"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("hum", 9_000), ("hall", 400), ("later", 800)):
        soundfile.write(root / f"{name}.wav", rng.normal(0, 0.1, size), 16_000)
    (root / "manifest.csv").write_text(
        "path,label,split\nhum.wav,noise,train\nhall.wav,rir,train\nlater.wav,rir,test\n"
    )
    return root


def test_a_body_of_one_window_is_trained_on_no_other():
    with pytest.raises(ValueError, match=r"judges no other window; set window_seconds to 0\.5"):
        dataclasses.replace(keywords("keyword_transformer"), window_seconds=1.0)


def test_audio_is_decoded_once_for_all_steps(hubert, corpus, whole, monkeypatch):
    monkeypatch.setattr("train.data.audio.decode", lambda *args: pytest.fail("decoded again"))
    from train.data.corpus import read_corpus

    packed = PackedAudio.of(read_corpus(corpus), progress=False)
    assert len(packed.spans) == 24
