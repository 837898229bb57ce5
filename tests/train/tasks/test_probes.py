"""Frozen probes find what is linear in features, and nothing where nothing is."""

import numpy as np
import pytest
import torch

from train.data.audio import PackedAudio
from train.data.corpus import read_corpus
from train.models.patches import PatchEncoder
from train.models.patches_config import PatchesConfig
from train.seeding import seeded
from train.tasks.probes import (
    PhoneProbe,
    PhoneProbeConfig,
    encoder_states,
    log_mel,
    patch_states,
    probe_keywords,
    probe_phones,
)

LABELS = ("_silence_", "no", "yes")


@pytest.fixture(scope="module")
def audio(corpus):
    cuts = read_corpus(corpus)
    return cuts, PackedAudio.of(cuts, progress=False)


def loudness(waveform, _lengths):
    """One layer that says nothing and one that says how loud each 20 ms are: a tone, or hiss."""
    frames = waveform[:, : waveform.shape[1] // 320 * 320].unflatten(1, (-1, 320))
    loud = frames.square().mean(-1, keepdim=True).log1p()
    return torch.stack([torch.zeros_like(loud), loud])


def test_log_mel_tells_tones_apart(audio):
    cuts, packed = audio
    assert probe_keywords(log_mel(), cuts, packed, LABELS).accuracy == 1.0


def test_the_layer_that_knows_is_chosen(audio):
    cuts, packed = audio
    score = probe_keywords(loudness, cuts, packed, ("_silence_", "no"))
    assert (score.accuracy, score.layer) == (1.0, 1)


def test_features_that_say_nothing_are_no_better_than_chance(audio):
    cuts, packed = audio

    def nothing(waveform, _lengths):
        return torch.zeros(1, len(waveform), 5, 2)

    assert probe_keywords(nothing, cuts, packed, LABELS).accuracy <= 0.5


def test_log_mel_comes_at_the_rate_of_an_encoder(make_encoder, make_batch):
    batch = make_batch([16_000])
    encoder = make_encoder()
    states = encoder_states(encoder)(batch.waveform, batch.lengths)
    assert states.shape == (encoder.config.num_layers + 1, 1, 49, encoder.config.embed_dim)
    assert log_mel(40)(batch.waveform, batch.lengths).shape == (1, 1, 49, 80)


def test_the_phone_probe_mixes_layers_that_were_brought_to_one_scale():
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(3.0, 7.0, (6, 3, 4))).float()
    mean, scale = torch.full((3, 4), 3.0), torch.full((3, 4), 7.0)
    probe = PhoneProbe(mean, scale, num_phones=5)
    with torch.no_grad():
        probe.layer_weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
        weights = probe.layer_weights.softmax(0)[:, None]
        expected = probe.classifier((((states - mean) / scale) * weights).sum(1))
        assert torch.allclose(probe(states), expected, atol=1e-5)


def halves(cuts):
    """Phone `a` in the first half of every cut, `b` in the rest but the last tenth."""
    return {
        cut.id: [("a", 0.0, cut.duration / 2), ("b", cut.duration / 2, 0.4 * cut.duration)]
        for cut in cuts
    }


def test_a_phone_that_the_features_tell_is_told(audio):
    cuts, packed = audio

    def place(waveform, lengths):
        """How far each frame lies in its own row."""
        frames = (
            torch.arange(waveform.shape[1] // 320)[None, :, None] * 320 / lengths[:, None, None]
        )
        return torch.stack([torch.zeros_like(frames), frames])

    assert probe_phones(place, cuts, packed, halves(cuts)) >= 0.95


def test_phones_that_nothing_tells_are_guessed(audio):
    cuts, packed = audio

    def nothing(waveform, _lengths):
        return torch.zeros(1, len(waveform), waveform.shape[1] // 320, 2)

    accuracy = probe_phones(nothing, cuts, packed, halves(cuts), PhoneProbeConfig(epochs=1))
    assert 0.4 <= accuracy <= 0.6


def test_recordings_without_an_alignment_are_left_out(audio):
    cuts, packed = audio
    known = {cut_id: phones for cut_id, phones in halves(cuts).items() if int(cut_id[:2]) % 4 == 2}
    heard = []

    def place(waveform, lengths):
        heard.append(len(waveform))
        return torch.zeros(1, len(waveform), waveform.shape[1] // 320, 2)

    probe_phones(place, cuts, packed, known, PhoneProbeConfig(epochs=1))
    assert sum(heard) == sum(cut.id in known and cut.partition in ("train", "test") for cut in cuts)


@torch.no_grad()
def test_patches_of_one_time_are_averaged_or_stand_side_by_side_at_50_hz(make_batch):
    config = PatchesConfig(
        num_mels=8,
        patch_frames=4,
        patch_mels=2,
        embed_dim=8,
        num_heads=(2, 2),
        ffn_dim=(8, 8),
        head_dim=4,
    )
    encoder = PatchEncoder(config)
    batch = make_batch([16_000, 16_000])
    apart = patch_states(encoder, apart=True)(batch.waveform, batch.lengths)
    mean = patch_states(encoder)(batch.waveform, batch.lengths)
    assert mean.shape == (3, 2, 48, 8)  # 24 columns of 40 ms
    assert apart.shape == (3, 2, 48, 32)
    assert torch.equal(mean[:, :, 0], mean[:, :, 1])
    assert torch.allclose(apart.unflatten(-1, (4, 8)).mean(-2), mean, atol=1e-6)
    output = encoder(batch.waveform)
    assert torch.allclose(apart[-1, :, 2, 8:16], output.normed[:, 1 + 4 + 1], atol=1e-5)
    assert torch.allclose(apart[0, :, 2, 8:16], output.hidden_states[0][:, 1 + 4 + 1], atol=1e-5)


def test_patches_of_10_ms_do_not_come_at_50_hz():
    config = PatchesConfig(num_mels=8, patch_frames=1, patch_mels=8, num_heads=(1,), ffn_dim=(4,))
    with pytest.raises(ValueError, match="a multiple of 20 ms, got 10 ms"):
        patch_states(PatchEncoder(config))


def test_a_probe_tells_tones_apart_by_their_patches(audio):
    cuts, packed = audio
    config = PatchesConfig(
        num_mels=16,
        patch_frames=8,
        patch_mels=4,
        embed_dim=16,
        num_heads=(2,),
        ffn_dim=(8,),
        head_dim=4,
    )
    with seeded(0):
        extract = patch_states(PatchEncoder(config), apart=True)
    assert probe_keywords(extract, cuts, packed, LABELS).accuracy == 1.0
