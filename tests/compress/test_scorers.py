"""What scorers share is what each subnet would compute alone, and a score is what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from tiny_distillation import CONFIG, TEACHER, randomized
from tiny_distillation import SPACE as FIXED

from compress import CompressError
from compress.distill.lighthubert import distillation_loss, student_mask, teacher_target
from compress.search import SearchError
from compress.search.scorers import Setting, Targets, build_scorer, scorer_names
from compress.search.shared import SharedFeatures
from compress.supernet import Supernet
from train.config import MaskConfig
from train.data.audio import PackedAudio
from train.data.batches import FixedBatches
from train.data.cuts import recording_cut, sorted_cuts
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import StreamingConfig

ELASTIC = replace(FIXED, conv_channels=((3, 6), (2, 4, 6)))
TARGETS = Targets(
    mask=MaskConfig(prob=0.5, span=3), top_layers=3, normalize_targets=True, frames="masked"
)
LABELS = ("no", "yes")


@pytest.fixture
def teacher():
    return randomized(Wav2Vec2Encoder(TEACHER), 1).eval()


@pytest.fixture(params=[FIXED, ELASTIC], ids=["fixed", "elastic"])
def supernet(request):
    return randomized(Supernet(request.param, TEACHER.embed_dim), 2).eval()


@pytest.fixture(scope="module")
def recordings():
    """20 valid clips, more than one batch of a scorer, and 40 to train a probe: two tones."""
    rng = np.random.default_rng(3)
    lengths = [int(length) for length in rng.integers(600, 2_400, 60)]
    ends = np.cumsum([0, *lengths])
    cuts = sorted_cuts(
        recording_cut(
            f"{row:02d}",
            f"/{row}.wav",
            duration_s=n / 16_000,
            partition="valid" if row < 20 else "train",
            label=LABELS[row % 2],
        )
        for row, n in enumerate(lengths)
    )
    samples = rng.integers(-3_000, 3_000, ends[-1])
    for row, length in enumerate(lengths):
        tone = 4_000 * np.sin(2 * np.pi * (300, 900)[row % 2] / 16_000 * np.arange(length))
        samples[ends[row] : ends[row + 1]] += tone.astype(np.int64)
    spans = {f"{row:02d}": (int(ends[row]), int(ends[row + 1])) for row in range(60)}
    return cuts, PackedAudio(samples.astype(np.int16), spans)


def setting(supernet, recordings, **changes):
    cuts, packed = recordings
    values = {"teacher": None, "targets": TARGETS, "num_clips": 20, "min_seconds": 0.0, "seed": 4}
    return Setting(supernet=supernet, cuts=cuts, packed=packed, **(values | changes))


def valid(recordings):
    cuts, packed = recordings
    part = cuts.filter(lambda cut: int(cut.id) < 20).to_eager()
    return list(FixedBatches(part, packed, batch_size=16))


@settings(max_examples=30, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=6),
    most=st.sampled_from([0, 20_000, 10**9]),
    hides=st.booleans(),
    pre_norm=st.booleans(),
    streaming=st.none() | st.just(StreamingConfig(chunk_frames=3, left_frames=5)),
)
def test_shared_features_are_those_of_each_subnet_alone_bit_for_bit(
    recordings, seeds, most, hides, pre_norm, streaming
):
    space = replace(ELASTIC, supernet=replace(CONFIG, pre_norm=pre_norm, streaming=streaming))
    supernet = randomized(Supernet(space, 12), 2).eval()
    batches, rng = valid(recordings), np.random.default_rng(0)
    masks = [
        torch.from_numpy(student_mask(batch, supernet, TARGETS.mask, rng)) for batch in batches
    ]
    shared = SharedFeatures(supernet, batches, masks if hides else None, most_bytes=most)
    for seed in seeds:
        subnet = ELASTIC.sample(np.random.default_rng(seed))
        for batch, mask, together in zip(batches, masks, shared.encode(subnet), strict=True):
            shown = mask if hides else None
            with torch.no_grad():
                alone = supernet(subnet, batch.waveform, batch.lengths, shown)
            assert torch.equal(together.output, alone.output)
            assert torch.equal(together.padding_mask, alone.padding_mask)
    assert shared._bytes == sum(signal.nbytes for signal in shared._kept.values()) <= most


def test_a_beginning_that_was_run_before_is_not_run_again(recordings):
    supernet = randomized(Supernet(ELASTIC, 12), 2).eval()
    shared = SharedFeatures(supernet, valid(recordings)[:1])
    largest, runs = ELASTIC.largest(), []
    wiring = supernet.wiring(largest, supernet.slices(largest))
    stages = {f"conv{n}": block for n, block in enumerate(wiring.feature_extractor)}
    stages |= {"start": wiring.pos_conv, **{f"layer{n}": m for n, m in enumerate(wiring.layers)}}
    handles = [
        module.register_forward_hook(lambda *_args, name=name: runs.append(name))
        for name, module in stages.items()
    ]
    layers = ["layer0", "layer1", "layer2"]
    for change, wanted in (
        ({}, ["conv0", "conv1", "start", *layers]),
        ({"conv_channels": (6, 4)}, ["conv1", "start", *layers]),
        ({"num_heads": (2, 1, 2)}, layers[1:]),
        ({"num_heads": (2, 1, 2), "ffn_dim": (32, 32, 16)}, layers[2:]),
        ({"embed_dim": 8, "ffn_dim": (16, 16, 16)}, ["start", *layers]),
        ({"conv_channels": (3, 6)}, ["conv0", "conv1", "start", *layers]),
        ({}, layers[2:]),  # nobody else can have the last one's end in common
    ):
        list(shared.encode(replace(largest, **change)))
        assert runs == wanted
        runs.clear()
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("frames", ["masked", "all"])
def test_the_distillation_score_is_the_mean_loss_per_clip(frames, teacher, supernet, recordings):
    targets = replace(TARGETS, frames=frames)
    score = build_scorer(
        "distillation", setting(supernet, recordings, teacher=teacher, targets=targets)
    )
    subnet = supernet.space.sample(np.random.default_rng(8))
    rng = np.random.default_rng(4)
    total = 0.0
    for batch in valid(recordings):
        mask = torch.from_numpy(student_mask(batch, supernet, TARGETS.mask, rng))
        target = teacher_target(teacher, batch, top_layers=3, normalize=True)
        with torch.no_grad():
            loss = distillation_loss(supernet, subnet, batch, mask, target, frames)
        total += len(batch.cut_ids) * float(loss)
    assert score(subnet) == total / 20


def test_without_a_teacher_the_largest_subnet_stands_in_for_it(supernet, recordings):
    score = build_scorer("distillation", setting(supernet, recordings))
    space = supernet.space
    subnet = space.smallest()
    rng = np.random.default_rng(4)
    total = 0.0
    for batch in valid(recordings):
        mask = torch.from_numpy(student_mask(batch, supernet, TARGETS.mask, rng))
        with torch.no_grad():
            output = supernet(space.largest(), batch.waveform, batch.lengths).output
            target = supernet.predict(output)
            loss = distillation_loss(supernet, subnet, batch, mask, target, "masked")
        total += len(batch.cut_ids) * float(loss)
    assert score(subnet) == total / 20


def test_the_probe_score_is_the_cross_entropy_of_a_frozen_probe(supernet, recordings):
    cuts, packed = recordings
    score = build_scorer("probe", setting(supernet, recordings))
    subnet = supernet.space.sample(np.random.default_rng(5))
    rows = {}
    for part in ("train", "valid"):
        chosen = [cut.id for cut in cuts if (int(cut.id) < 20) == (part == "valid")]
        features = []
        for cut_id in chosen:
            waveform = torch.from_numpy(packed.waveform(cut_id))[None].float()
            with torch.no_grad():
                hidden = supernet(subnet, waveform).output[0].numpy()
            features.append(np.concatenate([hidden.mean(0), hidden.std(0)]))
        rows[part] = np.stack(features), [LABELS[int(cut_id) % 2] for cut_id in chosen]
    scaler = StandardScaler().fit(rows["train"][0])
    model = LogisticRegression(C=0.1, max_iter=500)
    model.fit(scaler.transform(rows["train"][0]), rows["train"][1])
    told = model.predict_proba(scaler.transform(rows["valid"][0]))
    # Padded batches round otherwise than clips alone, and the order of the clips is another.
    assert score(subnet) == pytest.approx(log_loss(rows["valid"][1], told), abs=2e-3)


def test_a_probe_without_labels_says_what_else_can_be_done(supernet, recordings):
    cuts, packed = recordings
    one_label = cuts.filter(lambda cut: int(cut.id) % 2 == 0).to_eager()
    with pytest.raises(SearchError, match=r"two labels or more .*--scorer distillation"):
        build_scorer("probe", setting(supernet, (one_label, packed)))


@pytest.mark.parametrize("name", scorer_names())
def test_a_subnet_scores_the_same_whatever_was_scored_before(name, teacher, supernet, recordings):
    space = supernet.space
    asked = setting(supernet.train(), recordings, teacher=teacher.train())
    score = build_scorer(name, asked)
    subnets = [space.smallest(), space.largest(), space.sample(np.random.default_rng(1))]
    first = [score(subnet) for subnet in subnets]
    assert [score(subnet) for subnet in reversed(subnets)] == first[::-1]
    assert [build_scorer(name, asked)(subnet) for subnet in subnets] == first
    assert len(set(first)) == 3
    few = replace(asked, num_clips=12)
    other = replace(few, seed=5)
    assert build_scorer(name, few)(subnets[0]) != build_scorer(name, other)(subnets[0])


def test_the_scorer_refuses_a_teacher_that_does_not_fit(supernet, recordings):
    shallow = Wav2Vec2Encoder(replace(TEACHER, num_heads=(3,) * 2, ffn_dim=(20,) * 2))
    with pytest.raises(CompressError, match="top_layers"):
        build_scorer("distillation", setting(supernet, recordings, teacher=shallow))


def test_an_unknown_scorer_gets_the_nearest_name(supernet, recordings):
    with pytest.raises(SearchError, match="did you mean 'distillation'"):
        build_scorer("destillation", setting(supernet, recordings))
