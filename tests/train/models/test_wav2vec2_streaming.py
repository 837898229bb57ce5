"""A stream gives what the whole recording gives, and looks ahead as far as it says."""

import dataclasses
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.models.context import ContextOutput
from train.models.frontend_config import RunningNormConfig
from train.models.streaming import initial
from train.models.wav2vec2 import Wav2Vec2Encoder, load_encoder, save_encoder
from train.models.wav2vec2_config import Conv, StreamingConfig, Wav2Vec2Config, why_not_streaming
from train.models.wav2vec2_streaming import context_shapes, contextualize

HOP, CHUNK, LEFT = 320, 3, 4
STACK = {"pos_conv_depth": 2, "pos_conv_weight_norm": False, "pos_conv_kernel": 5}
KINDS = {
    "base": {},
    "pre_norm": {"pre_norm": True, "normalize_waveform": False, "pos_conv_kernel": 1},
    "stack": STACK,
}
EXACT = {"rtol": 0.0, "atol": 1e-12}
"""In float64: what is left is the order in which sums are made."""


@pytest.fixture(scope="module")
def made(make_encoder) -> Callable[..., Wav2Vec2Encoder]:
    def make(chunk: int = CHUNK, left: int = LEFT, **changes) -> Wav2Vec2Encoder:
        streaming = StreamingConfig(chunk_frames=chunk, left_frames=left)
        return make_encoder(streaming=streaming, **changes).double()

    return make


def noise(samples: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, samples, generator=generator, dtype=torch.float64)


def stream(encoder: Wav2Vec2Encoder, waveform: Tensor, cuts: list[int]) -> list[ContextOutput]:
    states = initial(encoder.shapes(), len(waveform), like=waveform)
    outputs = []
    for start, end in zip([0, *cuts], [*cuts, waveform.shape[1]], strict=True):
        output, states = encoder.stream(waveform[:, start:end], states)
        outputs.append(output)
        assert {name: tuple(state.shape[1:]) for name, state in states.items()} == encoder.shapes()
    return outputs


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_pieces_give_every_hidden_state_of_the_whole(kind, made, data: st.DataObject) -> None:
    chunk = data.draw(st.integers(1, 4))
    chunks = data.draw(st.integers(1, 6))
    encoder = made(chunk, data.draw(st.integers(1, 9)), **KINDS[kind])
    waveform = noise(chunks * chunk * HOP, batch=2, seed=data.draw(st.integers(0, 99)))
    places = st.integers(1, max(chunks - 1, 1)).map(lambda place: place * chunk * HOP)
    cuts = sorted(data.draw(st.sets(places, max_size=4))) if chunks > 1 else []
    with torch.inference_mode():
        whole = encoder(waveform)
        pieces = stream(encoder, waveform, cuts)
    assert whole.output.shape[1] == chunks * chunk == encoder.config.num_frames(waveform.shape[1])
    for layer, hidden in enumerate(whole.hidden_states):
        joined = torch.cat([piece.hidden_states[layer] for piece in pieces], dim=1)
        torch.testing.assert_close(joined, hidden, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_frame_hears_its_chunk_to_the_end_and_no_sample_more(kind, chunk, made) -> None:
    encoder = made(chunk, **KINDS[kind])
    waveform = noise(5 * chunk * HOP)
    first, end = 2 * chunk, 3 * chunk * HOP  # the third chunk
    with torch.inference_mode():
        before = encoder(waveform).output[0]
        for sample, heard in ((end, 3 * chunk), (end - 1, first)):
            other = waveform.clone()
            other[0, sample] += 0.5
            changed = (encoder(other).output[0] - before).abs().amax(1)
            assert not changed[:heard].any()  # not by rounding either
            assert changed[heard] > 1e-9


def test_attention_sees_left_frames_before_the_chunk_and_none_before_those(made) -> None:
    encoder = made(num_heads=(2,), ffn_dim=(24,), pos_conv_kernel=1)
    projected = noise(8 * CHUNK * 16).view(1, 8 * CHUNK, 16)
    last = slice(7 * CHUNK, 8 * CHUNK)
    with torch.inference_mode():
        before = encoder.contextualize(projected, None).hidden_states[-1][0, last]
        for frame, heard in ((7 * CHUNK - LEFT, True), (7 * CHUNK - LEFT - 1, False)):
            other = projected.clone()
            other[0, frame] += 1.0
            after = encoder.contextualize(other, None).hidden_states[-1][0, last]
            assert torch.equal(after, before) is not heard
            assert ((after - before).abs().amax(1) > 1e-9).all().item() is heard


@pytest.mark.parametrize("kind", KINDS)
def test_one_chunk_as_long_as_the_utterance_is_the_encoder_of_whole_utterances(
    kind, made, make_encoder
) -> None:
    streaming, whole = made(12, **KINDS[kind]), make_encoder(**KINDS[kind]).double()
    whole.load_state_dict(streaming.state_dict(), strict=True)
    projected = noise(2 * 12 * 16).view(2, 12, 16)
    padding = torch.arange(12) >= torch.tensor([[12], [7]])
    with torch.inference_mode():
        for mask in (None, padding):
            ours = streaming.contextualize(projected, mask).hidden_states[-1]
            theirs = whole.contextualize(projected, mask).hidden_states[-1]
            shown = slice(None) if mask is None else ~mask
            torch.testing.assert_close(ours[shown], theirs[shown], **EXACT)


def test_frames_end_where_their_samples_end(made, make_encoder) -> None:
    streaming = made(normalize_waveform=False)
    whole = make_encoder(normalize_waveform=False).double()
    waveform = noise(9 * HOP + 7)
    with torch.inference_mode():
        ours = streaming.project(waveform).conv_features
        # frame 1 of a stream ends at sample 640 and begins 400 before
        theirs = whole.project(waveform[:, 2 * HOP - 400 :]).conv_features
    assert ours.shape[1] == streaming.config.num_frames(waveform.shape[1]) == 9
    torch.testing.assert_close(ours[:, 1:], theirs, **EXACT)


@given(lengths=st.lists(st.integers(HOP, 9 * HOP), min_size=2, max_size=3), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_padding_changes_nothing(made, lengths: list[int], seed: int) -> None:
    for kind in ("base", "stack"):
        encoder = made(**KINDS[kind])
        rows = [noise(length, seed=seed + row) for row, length in enumerate(lengths)]
        waveform = torch.zeros(len(rows), max(lengths), dtype=torch.float64)
        for row, alone in enumerate(rows):
            waveform[row, : lengths[row]] = alone
        with torch.inference_mode():
            together = encoder(waveform, torch.tensor(lengths))
            for row, alone in enumerate(rows):
                expected = encoder(alone).output[0]
                assert (~together.padding_mask[row]).sum() == len(expected)
                found = together.output[row, : len(expected)]
                torch.testing.assert_close(found, expected, **EXACT)


def test_what_is_hidden_is_not_seen(made) -> None:
    encoder = made()
    local = encoder.project(noise(7 * HOP))
    hidden = torch.zeros(1, 7, dtype=torch.bool)
    hidden[0, 2:5] = True
    other = local.projected.masked_fill(hidden.unsqueeze(-1), 9.0)
    with torch.inference_mode():
        output = encoder.encode(local, hidden).output
        assert torch.equal(
            encoder.encode(dataclasses.replace(local, projected=other), hidden).output, output
        )
        assert not torch.equal(encoder.encode(local).output, output)


def test_a_stream_starts_from_the_norms_prior(made) -> None:
    prior = RunningNormConfig(prior_rms=0.3, memory_samples=9_000)
    streaming = StreamingConfig(chunk_frames=1, running_norm=prior)
    encoder = made()
    other = Wav2Vec2Encoder(dataclasses.replace(encoder.config, streaming=streaming)).double()
    other.load_state_dict(encoder.state_dict(), strict=True)
    assert other.running_norm is not None
    waveform = noise(3 * HOP)
    normalized, _ = other.running_norm(waveform)
    plain = Wav2Vec2Encoder(dataclasses.replace(other.config, normalize_waveform=False)).double()
    plain.load_state_dict(encoder.state_dict(), strict=True)
    with torch.inference_mode():
        ours = other.project(waveform).conv_features
        torch.testing.assert_close(ours, plain.project(normalized).conv_features, **EXACT)
        assert not torch.allclose(ours, encoder.project(waveform).conv_features)


def test_training_drops_layers_and_reaches_every_weight(make_encoder) -> None:
    encoder = make_encoder(streaming=StreamingConfig(chunk_frames=2, left_frames=3)).train()
    encoder.layer_draws = torch.Generator().manual_seed(0)
    ran = [len(encoder(noise(5 * HOP).float()).ffn_outputs) for _ in range(20)]
    assert min(ran) < 2 == max(ran)
    frame_mask = torch.tensor([[True, False, False, True, False]])
    encoder.eval()(noise(5 * HOP).float(), frame_mask=frame_mask).output.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        # a bias of keys shifts all scores of a query alike
        assert parameter.grad.abs().sum() > 0 or name.endswith("k_proj.bias"), name


def test_a_piece_that_cuts_a_chunk_is_refused(made, make_encoder) -> None:
    encoder = made()
    states = initial(encoder.shapes(), 1, like=noise(1))
    for samples in (0, HOP, CHUNK * HOP + 1):
        with pytest.raises(ValueError, match=rf"whole chunks of 960 samples, got {samples}"):
            encoder.stream(noise(samples), states)
    with pytest.raises(ValueError, match=r"whole utterances.*StreamingConfig"):
        make_encoder().shapes()


def test_positions_cost_no_look_ahead_beyond_the_chunk_in_a_stream_of_projected_frames(
    made,
) -> None:
    encoder = made(pos_conv_kernel=16)
    projected = noise(4 * CHUNK * 16).view(1, 4 * CHUNK, 16)
    states = initial(context_shapes(encoder), 1, like=projected)
    with torch.inference_mode():
        whole, _ = contextualize(encoder, projected, states)
        first, _ = contextualize(encoder, projected[:, :CHUNK], states)
    torch.testing.assert_close(whole.hidden_states[0][:, :CHUNK], first.hidden_states[0], **EXACT)


def test_a_checkpoint_keeps_how_it_streams(made, tmp_path) -> None:
    encoder = made().float()
    save_encoder(tmp_path / "model", encoder.config, encoder.state_dict(), provenance={})
    assert load_encoder(tmp_path / "model").config == encoder.config


SIZES = {"conv_norm": "layer", "embed_dim": 16, "num_heads": (2,), "ffn_dim": (8,)}
REASONS = {
    "group norm": ({}, "GroupNorm.*conv_norm = 'layer'"),
    "utterance": ({**SIZES, "normalize_waveform": True}, "normalizes whole utterances"),
    "positions": (SIZES, "position convolution looks 63 frames ahead"),
    "stack": ({**SIZES, **STACK}, "position convolution looks 4 frames ahead"),
    "attention": ({**SIZES, "pos_conv_kernel": 1}, "attention sees the whole utterance"),
    "alibi": ({**SIZES, "alibi": True}, "alibi"),
    "kernel": ({**SIZES, "conv_layers": (Conv(channels=4, kernel=2, stride=3),)}, "kernel=2"),
}


@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_stream_says_why(case) -> None:
    values, reason = REASONS[case]
    said = why_not_streaming(Wav2Vec2Config(**values))
    assert said is not None
    assert re.search(reason, said)
    if case in ("group norm", "alibi", "kernel"):  # streaming would not help
        with pytest.raises(ValueError, match=reason):
            Wav2Vec2Config(**values, streaming=StreamingConfig())
    else:
        assert why_not_streaming(Wav2Vec2Config(**values, streaming=StreamingConfig())) is None


@pytest.mark.parametrize("values", [{"chunk_frames": 0}, {"left_frames": 0}])
def test_chunks_and_pasts_of_nothing_are_refused(values) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        StreamingConfig(**values)


def test_an_encoder_of_a_small_s_size_streams_on_paper() -> None:
    sizes = Wav2Vec2Config(
        conv_norm="layer",
        normalize_waveform=True,
        embed_dim=384,
        num_heads=(6,) * 12,
        ffn_dim=(1536,) * 12,
        streaming=StreamingConfig(chunk_frames=4, left_frames=64),
    )
    with torch.device("meta"):
        encoder = Wav2Vec2Encoder(sizes).eval()
        waveform = torch.zeros(1, 2 * 4 * HOP)
        output, states = encoder.stream(waveform, initial(encoder.shapes(), 1, like=waveform))
        plain = Wav2Vec2Encoder(dataclasses.replace(sizes, streaming=None))
    assert output.hidden_states[-1].shape == (1, 8, 384)
    assert {name: tensor.shape for name, tensor in plain.state_dict().items()} == {
        name: tensor.shape for name, tensor in encoder.state_dict().items()
    }
    carried = sum(state[0].numel() for state in states.values())
    # keys and values, seen, positions, kernels, norm
    assert carried == 2 * 12 * 64 * 384 + 64 + 64 * 384 + (5 + 4 * 512) + 3
