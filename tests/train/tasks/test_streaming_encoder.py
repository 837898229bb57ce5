"""The encoder's body for keywords in a stream."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.errors import TrainError
from train.models.streaming import initial
from train.models.wav2vec2_config import StreamingConfig
from train.tasks.keyword_step import KeywordStep
from train.tasks.keywords import KeywordModel, PooledEncoder, load_keywords, pooled, save_keywords
from train.tasks.streaming_encoder import StreamingPooledEncoder

HOP, CHUNK = 320, 4
EXACT = {"rtol": 0.0, "atol": 1e-12}


@pytest.fixture(scope="module")
def body(make_encoder) -> StreamingPooledEncoder:
    streaming = StreamingConfig(chunk_frames=CHUNK, left_frames=9)
    made = StreamingPooledEncoder(make_encoder(streaming=streaming)).double().eval()
    torch.nn.init.normal_(made.layer_weights, generator=torch.Generator().manual_seed(0))
    return made


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, samples, generator=generator, dtype=torch.float64)


@given(cuts=st.sets(st.integers(1, 15), max_size=5))
@settings(max_examples=10, deadline=None)
def test_pieces_judge_like_the_whole_and_forward_like_its_last_frame(body, cuts) -> None:
    waveform = noise(16 * CHUNK * HOP)  # longer than what is averaged
    places = [0, *(cut * CHUNK * HOP for cut in sorted(cuts)), waveform.shape[1]]
    states = start = initial(body.shapes(), 1, like=waveform)
    vectors = []
    with torch.inference_mode():
        for first, last in pairwise(places):
            vector, states = body.stream(waveform[:, first:last], states)
            vectors.append(vector)
            assert {name: tuple(part.shape[1:]) for name, part in states.items()} == body.shapes()
        whole, _ = body.stream(waveform, start)
        torch.testing.assert_close(torch.cat(vectors, 1), whole, **EXACT)
        torch.testing.assert_close(body(waveform), whole[:, -1], **EXACT)


def test_a_second_of_weighted_layers_is_averaged(body) -> None:
    waveform = noise(16 * CHUNK * HOP)
    assert (body.window_samples, body.hop_samples, body.chunk_frames) == (16_000, HOP, CHUNK)
    with torch.inference_mode():
        hidden = body.encoder(waveform).hidden_states
        shares = body.layer_weights.softmax(0)
        mixed = sum(share * layer for share, layer in zip(shares, hidden, strict=True))
        torch.testing.assert_close(body(waveform), mixed[:, -50:].mean(1), **EXACT)


@given(lengths=st.lists(st.integers(1, 9 * CHUNK * HOP), min_size=2, max_size=3))
@settings(max_examples=10, deadline=None)
def test_recordings_of_any_length_end_with_a_chunk_whatever_padding_follows(body, lengths) -> None:
    rows = [noise(length, seed) for seed, length in enumerate(lengths)]
    waveform = torch.zeros(len(rows), max(lengths), dtype=torch.float64)
    for place, row in zip(waveform, rows, strict=True):
        place[: row.shape[1]] = row
    with torch.inference_mode():
        together = body(waveform, torch.tensor(lengths))
        for found, row in zip(together, rows, strict=True):
            silence = torch.zeros(1, -row.shape[1] % (CHUNK * HOP), dtype=torch.float64)
            streamed = body(torch.cat([silence, row], 1))[0]
            torch.testing.assert_close(found, body(row)[0], **EXACT)
            torch.testing.assert_close(found, streamed, **EXACT)


def test_a_keyword_model_comes_back_streaming(make_encoder, tmp_path) -> None:
    encoder = make_encoder(streaming=StreamingConfig(chunk_frames=2))
    model = KeywordModel(pooled(encoder), ("no", "yes")).eval()
    save_keywords(tmp_path / "model", model)
    loaded = load_keywords(tmp_path / "model").eval()
    assert isinstance(loaded.body, StreamingPooledEncoder)
    waveform = noise(5_000).float()
    with torch.inference_mode():
        assert torch.equal(loaded(waveform), model(waveform))


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_step_answers_as_the_whole_recording_at_each_of_its_chunks(body, chunks) -> None:
    model = KeywordModel(body, ("no", "yes", "up")).double()
    step = KeywordStep(model, chunks * CHUNK)
    waveform = noise(16 * CHUNK * HOP)
    wanted = step.answers(waveform)[0]
    assert wanted.shape == (16 // chunks, 3)
    assert step.chunk_samples == chunks * CHUNK * HOP
    states = [torch.zeros(state.shape, dtype=torch.float64) for state in step.states]
    for piece, answer in zip(waveform.split(step.chunk_samples, 1), wanted, strict=True):
        posteriors, *states = step(piece, *states)
        torch.testing.assert_close(posteriors[0], answer, **EXACT)
    heard = waveform[:, : 5 * step.chunk_samples]
    torch.testing.assert_close(model(heard)[0].softmax(-1), wanted[4], **EXACT)


def test_steps_that_would_answer_otherwise_than_was_trained_are_refused(body, make_encoder) -> None:
    with pytest.raises(TrainError, match=r"multiples of 4 frames, .* got 6"):
        KeywordStep(KeywordModel(body, ("no", "yes")), 6)
    refused = {
        "GroupNorm": make_encoder(conv_norm="group"),
        "normalizes whole utterances": make_encoder(),
        "frames of the whole window are averaged": body.encoder,
    }
    for reason, encoder in refused.items():
        with pytest.raises(TrainError, match=reason):
            KeywordStep(KeywordModel(PooledEncoder(encoder), ("no", "yes")), 4)


def test_whole_utterances_have_their_own_body_of_the_same_weights(body, make_encoder) -> None:
    encoder = make_encoder()
    plain = pooled(encoder)
    assert isinstance(plain, PooledEncoder)
    plain.load_state_dict(body.state_dict(), strict=True)
    with pytest.raises(ValueError, match="whole utterances"):
        StreamingPooledEncoder(encoder)
