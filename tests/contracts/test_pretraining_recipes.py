"""Pretraining recipes against their papers, in literal numbers."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from compress.folders import recipe_folder
from train.errors import RecipeError
from train.keywords_recipe import KeywordsRecipe
from train.models.keyword_transformer import KeywordEncoder
from train.models.patches import PatchEncoder
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.pretrain import get_objective, load_pretraining, objective_names
from train.recipe import load_recipe

FOLDER = recipe_folder("train")
OF_FRAMES = [name for name in objective_names() if name not in ("dmae", "data2vec_kws")]
STEMS = [f"{name}-{size}" for name in OF_FRAMES for size in ("base", "large", "tiny")]
TEACHER_OF = {"dmae-base": "mae-large", "dmae-tiny": "mae-tiny"}
OF_PATCHES = [*TEACHER_OF, "mae-base", *TEACHER_OF.values()]

TRAINING = {
    # updates, peak rate, warm-up, schedule, clipping, seconds an update, of a device, of a crop
    "wav2vec2-base": (400_000, 5e-4, 32_000, "linear", 0.0, 5_600, 87.5, 15.625),
    "wav2vec2-large": (1_000_000, 5e-3, 32_000, "linear", 0.0, 9_600, 75.0, 20.0),
    "hubert-base": (400_000, 5e-4, 32_000, "linear", 10.0, 2_800, 87.5, 15.625),
    "hubert-large": (400_000, 1.5e-3, 32_000, "linear", 1.0, 7_200, 56.25, 15.625),
    "data2vec-base": (400_000, 5e-4, 12_000, "tri_stage", 0.0, 3_800, 237.5, 20.0),
    "data2vec2-base": (400_000, 7.5e-4, 8_000, "cosine", 0.0, 500, 62.5, 20.0),
    "data2vec2-large": (600_000, 4e-4, 10_000, "cosine", 1.0, 960, 20.0, 20.0),
}
"""Of the papers' configs; data2vec Large has no published schedule."""

DEVICES = {
    "wav2vec2-base": 64, "wav2vec2-large": 128, "hubert-base": 32, "hubert-large": 128,
    "data2vec-base": 16, "data2vec2-base": 8, "data2vec2-large": 48,
}  # fmt: skip

MASKS = {
    # probability, span, least spans
    "wav2vec2": (0.65, 10, 2),
    "hubert": (0.8, 10, 2),
    "data2vec": (0.65, 10, 1),
}

TEACHERS = {
    # layers of the target, decay at first and at last, updates between
    "data2vec-base": (8, 0.999, 0.9999, 30_000),
    "data2vec2-base": (8, 0.999, 0.99999, 75_000),
    "data2vec2-large": (16, 0.9997, 1.0, 300_000),
}

PARAMETERS = {
    # all that learns, and the encoder's
    "wav2vec2-base": (95_044_608, 94_371_712),
    "wav2vec2-large": (317_390_592, 315_438_720),
    "hubert-base": (94_696_576, 94_371_712),
    "hubert-large": (316_606_336, 315_435_136),
    "data2vec-base": (93_754_880, 93_164_288),
    "data2vec2-base": (93_783_308, 93_163_532),
}
"""Of the papers' models; HuBERT's published files hold four classes more, that nothing is."""


def recipe_of(stem):
    return load_pretraining(stem, FOLDER)


@pytest.mark.parametrize("name", objective_names())
def test_an_override_cannot_pass_one_objectives_recipe_off_as_anothers(name):
    other = next(other for other in objective_names() if other != name)
    with pytest.raises(RecipeError, match="objective: "):
        load_pretraining(f"{name.replace('_', '-')}-tiny", FOLDER, [f"objective={other}"])


def objective_on_meta(recipe):
    module = get_objective(recipe.objective)
    with torch.device("meta"):
        encoder = Wav2Vec2Encoder(recipe.encoder)
        if hasattr(module, "build"):
            return module.build(encoder, recipe)
        return module.Hubert(
            encoder, recipe, SimpleNamespace(num_clusters=recipe.rounds[-1].num_clusters)
        )


@pytest.mark.parametrize("stem", STEMS)
def test_every_objective_has_a_recipe_of_each_size_that_builds(stem):
    recipe = recipe_of(stem)
    assert recipe.objective == stem.split("-")[0]
    objective = objective_on_meta(recipe)
    assert objective.encoder.config == recipe.encoder
    learned = sum(weight.numel() for weight in objective.parameters() if weight.requires_grad)
    encoder = sum(weight.numel() for weight in objective.encoder.parameters())
    if stem in PARAMETERS:
        assert (learned, encoder) == PARAMETERS[stem]
    elif stem.endswith("-tiny"):
        assert 1_290_000 < learned < 1_330_000  # all tiny teachers compare
    else:
        assert encoder == pytest.approx(315e6, rel=0.01)  # every Large


@pytest.mark.parametrize("stem", TRAINING)
def test_updates_rates_and_batches_are_the_papers(stem):
    recipe = recipe_of(stem)
    updates = recipe.updates if hasattr(recipe, "updates") else recipe.rounds[-1].updates
    optimizer, batch = recipe.optimizer, recipe.batch
    assert TRAINING[stem] == (
        updates,
        optimizer.learning_rate,
        optimizer.warmup_updates,
        optimizer.schedule,
        optimizer.clip_norm,
        batch.seconds,
        batch.device_seconds,
        batch.crop_seconds,
    )
    assert (optimizer.betas, optimizer.eps, optimizer.weight_decay) == ((0.9, 0.98), 1e-6, 0.01)
    assert optimizer.decay_vectors == (recipe.objective != "data2vec2")
    assert batch.min_seconds == 2.0
    assert batch.trim
    # one pass on as many devices as the authors had, as many passes on one
    assert batch.passes(DEVICES[stem]) == 1
    assert batch.passes(1) == DEVICES[stem]


def test_three_stages_of_data2vec_are_three_ninety_and_seven_percent():
    for stem in ("data2vec-base", "data2vec-large"):
        recipe = recipe_of(stem)
        assert 100 * recipe.optimizer.warmup_updates == 3 * recipe.updates
        assert 100 * recipe.optimizer.decay_updates == 7 * recipe.updates


def test_rounds_of_hubert_are_the_papers():
    rounds = [dataclasses.astuple(stage) for stage in recipe_of("hubert-base").rounds]
    assert [(kind, clusters, updates) for kind, _, clusters, _, updates in rounds] == [
        ("mfcc", 100, 250_000),
        ("layer", 500, 400_000),
    ]
    assert recipe_of("hubert-base").rounds[1].layer == 6
    (stage,) = recipe_of("hubert-large").rounds
    assert (stage.units, stage.layer, stage.num_clusters) == ("layer", 9, 500)


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("name", MASKS)
def test_masks_are_the_papers(name, size):
    mask = recipe_of(f"{name}-{size}").mask
    assert (mask.prob, mask.span, mask.min_spans) == MASKS[name]


@pytest.mark.parametrize("stem", ["data2vec2-base", "data2vec2-large"])
def test_blocks_copies_and_decoder_of_data2vec_2_are_the_papers(stem):
    recipe = recipe_of(stem)
    assert (recipe.mask_ratio, recipe.mask_span, recipe.mask_adjust) == (0.5, 5, 0.05)
    large = stem.endswith("large")
    assert recipe.num_masks == (12 if large else 8)
    decoder = dataclasses.asdict(recipe.decoder)
    assert decoder == {
        "dim": 768 if large else 384,
        "kernel": 7,
        "groups": 16,
        "num_layers": 4,
        "input_dropout": 0.1,
        "noise_std": 0.01,
    }
    assert recipe.encoder.alibi
    assert not recipe.encoder.mask_embedding


@pytest.mark.parametrize("stem", TEACHERS)
def test_teachers_follow_and_are_averaged_as_in_the_papers(stem):
    recipe = recipe_of(stem)
    ema = recipe.ema
    assert (recipe.top_layers, ema.start, ema.end, ema.updates) == TEACHERS[stem]
    assert recipe.smooth_l1_beta == 0.0
    assert recipe.check_after == 5_000


def test_contrast_and_quantizer_of_wav2vec_2_are_the_papers():
    base, large = recipe_of("wav2vec2-base"), recipe_of("wav2vec2-large")
    for recipe in (base, large):
        assert (recipe.groups, recipe.entries, recipe.num_negatives) == (2, 320, 100)
        assert (recipe.temperature, recipe.diversity_weight) == (0.1, 0.1)
        assert (recipe.gumbel_start, recipe.gumbel_decay) == (2.0, 0.999995)
    assert (base.final_dim, base.gumbel_end, base.feature_penalty) == (256, 0.5, 10.0)
    assert (large.final_dim, large.gumbel_end, large.feature_penalty) == (768, 0.1, 0.0)
    assert (base.features_dropout, large.features_dropout) == (0.1, 0.0)


ENCODERS = {
    # extractor's norm, its biases, waveform normalized, pre-norm, positions (kernel, depth),
    # dropout, input dropout, layerdrop, factor on the extractor's gradient
    "wav2vec2-base": ("group", False, False, False, (128, 1), 0.1, 0.1, 0.05, 0.1),
    "wav2vec2-large": ("layer", True, True, True, (128, 1), 0.0, 0.0, 0.0, 1.0),
    "hubert-base": ("group", False, False, False, (128, 1), 0.1, 0.1, 0.05, 0.1),
    "hubert-large": ("layer", False, True, True, (128, 1), 0.0, 0.0, 0.0, 1.0),
    "data2vec-base": ("layer", False, True, False, (19, 5), 0.1, 0.0, 0.05, 1.0),
    "data2vec-large": ("layer", False, True, False, (19, 5), 0.1, 0.0, 0.05, 1.0),
    "data2vec2-base": ("layer", False, True, False, (19, 5), 0.1, 0.0, 0.05, 1.0),
    "data2vec2-large": ("layer", False, True, False, (19, 5), 0.1, 0.0, 0.05, 1.0),
}


@pytest.mark.parametrize("stem", ENCODERS)
def test_encoders_are_the_papers(stem):
    encoder = recipe_of(stem).encoder
    assert ENCODERS[stem] == (
        encoder.conv_norm,
        encoder.conv_bias,
        encoder.normalize_waveform,
        encoder.pre_norm,
        (encoder.pos_conv_kernel, encoder.pos_conv_depth),
        encoder.dropout,
        encoder.input_dropout,
        encoder.layerdrop,
        encoder.feature_grad_mult,
    )
    assert encoder.attention_dropout == encoder.dropout
    assert encoder.activation_dropout == 0.0
    layers, width, heads = (24, 1024, 16) if stem.endswith("large") else (12, 768, 12)
    assert encoder.num_heads == (heads,) * layers
    assert encoder.ffn_dim == (4 * width,) * layers
    assert (encoder.embed_dim, encoder.head_dim) == (width, 64)
    assert [conv.channels for conv in encoder.conv_layers] == [512] * 7
    assert (encoder.stride_samples, encoder.num_frames(16_000)) == (320, 49)


@pytest.mark.parametrize("stem", OF_PATCHES)
def test_every_recipe_of_patches_builds_with_the_teacher_it_is_meant_for(stem):
    recipe = recipe_of(stem)
    assert recipe.objective == "dmae"
    assert recipe.needs_teacher == (stem in TEACHER_OF)
    with torch.device("meta"):
        given = [PatchEncoder(recipe_of(TEACHER_OF[stem]).encoder)] if stem in TEACHER_OF else []
        objective = get_objective("dmae").build(PatchEncoder(recipe.encoder), recipe, *given)
    encoder = sum(weight.numel() for weight in objective.encoder.parameters())
    assert encoder == PATCH_PARAMETERS[stem]
    if given:
        assert (objective.projection.in_features, objective.projection.out_features) == (
            recipe.encoder.embed_dim,
            given[0].config.embed_dim,
        )


PATCH_PARAMETERS = {
    "dmae-base": 85_254_144,
    "mae-base": 85_254_144,
    "mae-large": 302_575_616,
    "dmae-tiny": 204_288,
    "mae-tiny": 1_198_336,
}


def test_the_base_encoder_with_a_head_for_527_classes_has_the_parameters_of_audio_mae():
    assert round((PATCH_PARAMETERS["mae-base"] + 527 * (768 + 1)) / 1e6, 2) == 85.66


def test_patches_masks_and_depths_are_the_papers():
    base, teacher, student = (recipe_of(stem) for stem in ("mae-base", "mae-large", "dmae-base"))
    for recipe in (base, teacher, student):
        encoder = recipe.encoder
        assert (encoder.num_mels, encoder.patch_frames, encoder.patch_mels) == (128, 16, 16)
        assert encoder.scale == pytest.approx(2 * 4.5689974)
        # 1,024 frames to a clip: 64 columns of 8 patches
        assert encoder.num_patches(round(recipe.batch.crop_seconds * 16_000)) == 512
        assert recipe.batch.seconds == pytest.approx(512 * recipe.batch.crop_seconds)
        assert (recipe.decoder.dim, recipe.decoder.num_layers) == (512, 8)
    assert (base.mask_ratio, student.mask_ratio) == (0.8, 0.75)
    assert base.normalize_targets
    assert (student.stop(student.encoder), student.stop(teacher.encoder)) == (9, 18)
    assert student.feature_weight == 1.0
    assert base.optimizer.learning_rate == 2e-4 * 512 / 256
    assert student.optimizer.learning_rate == 1.5e-4 * 512 / 256
    assert (base.optimizer.weight_decay, student.optimizer.weight_decay) == (1e-4, 0.05)


def test_tiny_clips_are_96_frames_of_64_mels():
    for stem in TEACHER_OF["dmae-tiny"], "dmae-tiny":
        recipe = recipe_of(stem)
        samples = round(recipe.batch.crop_seconds * 16_000)
        assert recipe.encoder.num_frames(samples) == 96
        assert recipe.encoder.num_patches(samples) == 96
        assert recipe.encoder.num_mels == 64


OF_KEYWORDS = {
    # width, heads, feed-forward width, and parameters with 12 classes of ARM's, whose attention
    # always has an output projection
    "data2vec-kws": (64, 1, 256, 607_308),
    "data2vec-kws-2": (128, 2, 512, 2_394_252),
    "data2vec-kws-3": (192, 3, 768, 5_360_844),
}


@pytest.mark.parametrize("stem", OF_KEYWORDS)
def test_keyword_transformers_are_pretrained_as_in_the_paper(stem):
    recipe = recipe_of(stem)
    encoder, (width, heads, ffn, params) = recipe.encoder, OF_KEYWORDS[stem]
    assert (encoder.embed_dim, encoder.num_heads, encoder.ffn_dim) == (width, heads, ffn)
    assert (encoder.num_layers, encoder.head_dim, encoder.window_frames) == (12, 64, 98)
    assert (encoder.frontend, encoder.pool, encoder.dropout) == ("librosa-mfcc", "mean", 0.1)
    with torch.device("meta"):
        objective = get_objective("data2vec_kws").build(KeywordEncoder(encoder), recipe)
    learned = sum(weight.numel() for weight in objective.encoder.parameters())
    missing = 12 * (64 * 64 + 64) if heads == 1 else 0
    assert learned == params - (12 * width + 12) + width - missing
    assert (recipe.mask.prob, recipe.mask.span, recipe.mask.min_spans) == (0.65, 10, 1)
    assert (recipe.top_layers, recipe.target_of, recipe.normalize_mean) == (8, "layer", True)
    assert (recipe.smooth_l1_beta, recipe.targets) == (0.0, "teacher")
    ema, optimizer, batch = recipe.ema, recipe.optimizer, recipe.batch
    assert (ema.start, ema.end, ema.updates) == (0.999, 0.9999, 1_000)
    assert (optimizer.learning_rate, optimizer.betas, optimizer.eps) == (5e-4, (0.9, 0.98), 1e-6)
    assert (optimizer.schedule, optimizer.warmup_updates) == ("cosine", round(0.3 * recipe.updates))
    assert (batch.seconds, batch.crop_seconds) == (512.0, 1.0)
    assert recipe.updates == 200 * -(-67_874 // 512)


def test_a_tiny_keyword_recipe_has_the_body_that_its_pretraining_makes():
    tuned = load_recipe("keywords-kwt-tiny", KeywordsRecipe, FOLDER)
    assert tuned.keyword_transformer == recipe_of("data2vec-kws-tiny").encoder


def test_few_labels_are_of_speakers_that_the_pretraining_leaves_out():
    tuned = load_recipe("keywords-data2vec-kws", KeywordsRecipe, FOLDER)
    for stem in OF_KEYWORDS:
        assert recipe_of(stem).without_labelled == tuned.labelled
    assert tuned.labelled.share == 0.2
    assert tuned.updates == 140 * -(-16_969 // 512)
    assert tuned.optimizer.warmup_updates == 10 * -(-16_969 // 512)


def test_the_words_of_speech_commands_are_35():
    for name in ("keywords-kwt-35", "keywords-data2vec-kws"):
        labels = load_recipe(name, KeywordsRecipe, FOLDER).labels
        assert len(set(labels)) == 35
        assert list(labels) == sorted(labels)
