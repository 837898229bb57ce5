"""LightHuBERT's distillation: the target, the loss, the teacher's peace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_distillation import CONFIG, SPACE, TEACHER, randomized

from compress import CompressError
from compress.distill.lighthubert import (
    LightHubert,
    check_teacher,
    distillation_loss,
    lead_samples,
    student_mask,
    teacher_target,
)
from compress.supernet import Supernet
from train.config import MaskConfig
from train.data.batches import Batch
from train.models.wav2vec2 import Wav2Vec2Encoder
from train.models.wav2vec2_config import StreamingConfig
from train.seeding import Draws

MASK = MaskConfig(prob=0.5, span=3)
LENGTHS = [2_000, 1_300, 1_700]


@pytest.fixture
def teacher():
    return randomized(Wav2Vec2Encoder(TEACHER), 1).eval()


@pytest.fixture
def supernet():
    return randomized(Supernet(SPACE, TEACHER.embed_dim), 2).eval()


def make_batch(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = torch.from_numpy(rng.normal(0, 0.1, length))
    return Batch(
        cut_ids=[f"cut{row}" for row in range(len(lengths))],
        waveform=waveform,
        lengths=torch.tensor(lengths),
        num_samples=list(lengths),
        starts=[0] * len(lengths),
        labels=[""] * len(lengths),
        rows=list(range(len(lengths))),
        step=0,
    )


def objective(teacher, supernet, **changes):
    values = {
        "mask": MASK,
        "top_layers": 2,
        "normalize_targets": True,
        "frames": "masked",
        "sampling": "uniform",
    }
    return LightHubert(teacher, supernet, **(values | changes))


def plain_target(teacher, batch, row, *, top_layers, normalize):
    """One utterance alone: the mean over layers of what its feed-forward blocks give."""
    length = batch.num_samples[row]
    with torch.inference_mode():
        outputs = teacher(batch.waveform[row : row + 1, :length]).ffn_outputs
    layers = [output[0].double().numpy() for output in outputs[-top_layers:]]
    if normalize:
        layers = [(layer - layer.mean(0)) / np.sqrt(layer.var(0) + 1e-5) for layer in layers]
    return np.mean(layers, axis=0)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top_layers", [1, 3, 4])
def test_the_target_is_the_mean_of_the_last_feed_forward_outputs(top_layers, normalize, teacher):
    batch = make_batch()
    target = teacher_target(teacher, batch, top_layers=top_layers, normalize=normalize)
    for row, length in enumerate(LENGTHS):
        expected = plain_target(teacher, batch, row, top_layers=top_layers, normalize=normalize)
        frames = CONFIG.num_frames(length)
        assert expected.shape == (frames, 12)
        # float32 against float64, in values of order one
        assert np.allclose(target[row, :frames].numpy(), expected, atol=2e-5), row
    assert not target.requires_grad


def plain_loss(supernet, subnet, batch, mask, target, counted):
    with torch.inference_mode():
        output = supernet(subnet, batch.waveform, batch.lengths, torch.from_numpy(mask)).output
    weight = supernet.head.weight.detach().double().numpy()[:, : subnet.embed_dim]
    errors = np.abs(output.double().numpy() @ weight.T - target.double().numpy())
    return errors[counted].mean()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), frames=st.sampled_from(["masked", "all"]))
def test_the_loss_is_l1_over_the_counted_frames_and_channels(seed, frames):
    teacher = randomized(Wav2Vec2Encoder(TEACHER), 1).eval()
    supernet = randomized(Supernet(SPACE, TEACHER.embed_dim), 2).eval()
    rng = np.random.default_rng(seed)
    batch, subnet = make_batch(seed=seed), SPACE.sample(rng)
    mask = student_mask(batch, supernet, MASK, rng)
    target = teacher_target(teacher, batch, top_layers=2, normalize=True)
    with torch.inference_mode():
        loss = distillation_loss(supernet, subnet, batch, torch.from_numpy(mask), target, frames)
    valid = np.arange(mask.shape[1]) < np.array([[CONFIG.num_frames(n)] for n in LENGTHS])
    assert not (mask & ~valid).any()
    counted = mask if frames == "masked" else valid
    expected = plain_loss(supernet, subnet, batch, mask, target, counted)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("frames", ["masked", "all"])
def test_only_counted_frames_of_the_target_matter(frames, teacher, supernet):
    batch, rng = make_batch(), np.random.default_rng(0)
    mask = torch.from_numpy(student_mask(batch, supernet, MASK, rng))
    target = teacher_target(teacher, batch, top_layers=2, normalize=True)
    padding = teacher.padding_mask(batch.lengths, mask.shape[1])
    assert padding.any()

    def loss(changed):
        with torch.inference_mode():
            return float(distillation_loss(supernet, SPACE.largest(), batch, mask, changed, frames))

    before = loss(target)
    assert loss(target.masked_fill(padding.unsqueeze(-1), 7.0)) == before
    unmasked = target.masked_fill((~mask & ~padding).unsqueeze(-1), 7.0)
    assert (loss(unmasked) == before) is (frames == "masked")
    assert loss(target.masked_fill(mask.unsqueeze(-1), 7.0)) != before


def test_the_teacher_sees_the_whole_utterance_and_the_student_a_masked_one(
    teacher, supernet, monkeypatch
):
    seen = {}
    for name, module in (("teacher", teacher), ("student", supernet)):
        forward = module.forward

        def spy(*args, name=name, forward=forward, **kwargs):
            seen[name] = args
            return forward(*args, **kwargs)

        monkeypatch.setattr(module, "forward", spy)
    batch = make_batch()
    objective(teacher, supernet)(batch, Draws(0, 0))
    assert len(seen["teacher"]) == 2  # waveform and lengths, no mask
    assert seen["teacher"][0] is batch.waveform
    subnet, _, _, mask = seen["student"]
    assert subnet.space == "tiny"
    assert mask.any(1).all()


def test_a_teacher_in_training_mode_is_put_to_rest_before_anyone_asks(teacher, supernet):
    # Lightning leaves modules in the mode they come in, and a new module comes in training mode
    made = objective(teacher.train(), supernet.train())
    assert not any(module.training for module in made.teacher.modules())
    assert made.supernet.training


def test_the_teacher_stays_in_eval_mode_without_gradient_and_never_changes(teacher, supernet):
    made = objective(teacher, supernet).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    learning = [parameter for parameter in made.parameters() if parameter.requires_grad]
    assert len(learning) == len(list(supernet.parameters()))
    # as a Trainer would: every parameter that could move is given to it
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01, weight_decay=0.5)
    for step in range(4):
        assert made.supernet.training
        assert not any(module.training for module in teacher.modules())
        optimizer.zero_grad()
        made(make_batch(seed=step), Draws(step, 0)).total.backward()
        assert all(parameter.grad is None for parameter in teacher.parameters())
        optimizer.step()
        made.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    moved = [not torch.equal(student[name], t) for name, t in supernet.state_dict().items()]
    assert sum(moved) > 0.9 * len(moved)


def test_the_same_teacher_gives_the_same_target_while_the_student_trains(teacher, supernet):
    made, batch = objective(teacher, supernet), make_batch()
    targets = []
    for mode in (True, False, True):
        made.train(mode)  # its dropout and layerdrop stay off
        targets.append(teacher_target(made.teacher, batch, top_layers=2, normalize=True))
    assert torch.equal(targets[0], targets[1])
    assert torch.equal(targets[0], targets[2])


@pytest.mark.parametrize("sampling", ["uniform", None])
def test_a_step_draws_a_subnet_or_takes_the_largest(sampling, teacher, supernet, monkeypatch):
    chosen = []

    def spy(supernet, subnet, *rest):
        chosen.append(subnet)
        return torch.zeros(())

    monkeypatch.setattr("compress.distill.lighthubert.distillation_loss", spy)
    made = objective(teacher, supernet, sampling=sampling)
    for step in range(20):
        made(make_batch([600]), Draws(step, 0))
    if sampling:
        assert len(set(chosen)) > 10
        assert chosen[3] == SPACE.sample(Draws(3, 0).update())
    else:
        assert set(chosen) == {SPACE.largest()}


def test_a_teacher_that_frames_the_audio_otherwise_is_refused(supernet):
    convs = (*CONFIG.conv_layers[:1], replace(CONFIG.conv_layers[1], stride=2))
    with pytest.raises(CompressError, match=r"must frame the audio alike.*\(4, 2\).*\(4, 4\)"):
        check_teacher(Wav2Vec2Encoder(replace(TEACHER, conv_layers=convs)), supernet, 2)


def test_a_teacher_of_whole_utterances_hears_silence_until_its_frames_end_as_a_streams_do():
    sizes = replace(CONFIG, streaming=StreamingConfig(chunk_frames=3, left_frames=4))
    teacher = randomized(Wav2Vec2Encoder(TEACHER), 1).eval()
    student = Supernet(replace(SPACE, supernet=sizes), TEACHER.embed_dim)
    batch = make_batch()
    # stride 40, and a frame is made of 50 samples
    lead = lead_samples(teacher, sizes)
    assert lead == 10
    target = teacher_target(teacher, batch, top_layers=2, normalize=False, lead_samples=lead)
    assert target.shape[1] == sizes.num_frames(LENGTHS[0]) == 50
    led = torch.cat([torch.zeros(1, 10), batch.waveform[2:, : LENGTHS[2]]], 1)
    alone = torch.stack(teacher(led).ffn_outputs[-2:]).mean(0)
    torch.testing.assert_close(target[2:, : alone.shape[1]], alone, rtol=0, atol=1e-5)
    loss = objective(teacher, student)(batch, Draws(0, 0))
    assert loss.total.isfinite()
    streaming = Wav2Vec2Encoder(replace(TEACHER, streaming=sizes.streaming)).eval()
    check_teacher(streaming, student, 2)
    assert lead_samples(streaming, sizes) == lead_samples(teacher, CONFIG) == 0


def test_a_streaming_teacher_of_a_student_of_whole_utterances_is_refused(supernet):
    streaming = Wav2Vec2Encoder(replace(TEACHER, streaming=StreamingConfig()))
    with pytest.raises(CompressError, match="the teacher streams"):
        check_teacher(streaming, supernet, 2)


def test_a_teacher_with_other_channels_fits(supernet):
    convs = tuple(replace(conv, channels=9) for conv in CONFIG.conv_layers)
    check_teacher(Wav2Vec2Encoder(replace(TEACHER, conv_layers=convs)), supernet, 4)


@pytest.mark.parametrize("top_layers", [0, 5])
def test_more_top_layers_than_the_teacher_has_are_refused(top_layers, teacher, supernet):
    with pytest.raises(CompressError, match=rf"lie in \[1, 4\].* got {top_layers}"):
        objective(teacher, supernet, top_layers=top_layers)
