"""The Keyword Transformer's sizes, its two places for the norm, and its one window."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from train.data.augment import fit_length
from train.errors import TrainError
from train.models.frontend import FrontEnd
from train.models.frontend_config import preset
from train.models.keyword_transformer import (
    KeywordEncoder,
    KeywordTransformer,
    centred,
    load_body,
    load_keyword_encoder,
    save_keyword_encoder,
)
from train.models.keyword_transformer_config import KeywordTransformerConfig
from train.recipe import check
from train.tasks.keywords import KeywordModel

KWT_1 = {"embed_dim": 64, "num_heads": 1, "ffn_dim": 256}
KWT_2 = {"embed_dim": 128, "num_heads": 2, "ffn_dim": 512}
KWT_3 = {"embed_dim": 192, "num_heads": 3, "ffn_dim": 768}
TORCH_KWT_1 = {"pre_norm": True, "project_single_head": False, "frontend": "librosa-mfcc"}


@pytest.mark.parametrize(
    ("sizes", "num_labels", "counted"),
    [
        (KWT_1, 12, 607_308),  # ARM's checkpoints
        (KWT_2, 12, 2_394_252),
        (KWT_3, 12, 5_360_844),
        (KWT_1 | TORCH_KWT_1, 35, 559_011),  # data2vec-KWS's
    ],
)
def test_parameters_are_the_published(sizes, num_labels, counted):
    with torch.device("meta"):
        classifier = nn.Linear(sizes["embed_dim"], num_labels)
    body = KeywordTransformer(KeywordTransformerConfig(**sizes))
    parameters = [*body.parameters(), *classifier.parameters()]
    assert sum(parameter.numel() for parameter in parameters) == counted


@pytest.fixture(
    params=[(False, "class"), (True, "class"), (False, "mean"), (True, "mean")],
    ids=["post-norm", "pre-norm", "post-norm mean", "pre-norm mean"],
)
def tiny(request):
    """A body in float64 with nothing left at ones and zeros."""
    pre_norm, pool = request.param
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        body = KeywordTransformer(
            KeywordTransformerConfig(
                embed_dim=6,
                num_heads=2,
                head_dim=4,
                ffn_dim=5,
                num_layers=2,
                window_samples=1_600,
                pre_norm=pre_norm,
                pool=pool,
            )
        )
        for parameter in body.parameters():
            nn.init.normal_(parameter, std=0.4)
    return body.double().eval()


def signal(samples, *, batch=2):
    generator = torch.Generator().manual_seed(samples)
    return 0.1 * torch.randn(batch, samples, generator=generator, dtype=torch.float64)


def plainly(body, window):
    """The paper's equations 1 to 7 for one window, head by head."""
    frames = body.frontend(window[None])[0] @ body.patch.weight.T + body.patch.bias
    hidden = torch.cat([body.class_token[0], frames]) + body.positions[0]

    def attend(layer, tokens):
        mixed = []
        for head in range(2):
            rows = slice(4 * head, 4 * head + 4)
            query, key, value = (
                tokens @ getattr(layer.attention, name).weight[rows].T
                for name in ("q_proj", "k_proj", "v_proj")
            )
            mixed.append(torch.softmax(query @ key.T / 2.0, dim=1) @ value)  # √4
        out = layer.attention.out_proj
        return torch.cat(mixed, dim=1) @ out.weight.T + out.bias

    def feed(layer, tokens):
        up, down = layer.ffn.up, layer.ffn.down
        return functional.gelu(tokens @ up.weight.T + up.bias) @ down.weight.T + down.bias

    def norm(layer, tokens):
        centred = tokens - tokens.mean(1, keepdim=True)
        scale = (centred.square().mean(1, keepdim=True) + layer.eps).sqrt()
        return centred / scale * layer.weight + layer.bias

    for layer in body.layers:
        for block, its_norm in ((attend, layer.attention_norm), (feed, layer.ffn_norm)):
            if body.config.pre_norm:
                hidden = hidden + block(layer, norm(its_norm, hidden))
            else:
                hidden = norm(its_norm, hidden + block(layer, hidden))
    hidden = norm(body.norm, hidden) if body.config.pre_norm else hidden
    return hidden.mean(0) if body.config.pool == "mean" else hidden[0]


def test_it_is_the_papers_equations(tiny):
    windows = signal(1_600)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(windows)[1], plainly(tiny, windows[1]))


@pytest.mark.parametrize("samples", [1, 799, 1_601, 3_000])
def test_it_answers_for_the_last_window_with_silence_before_what_is_short(tiny, samples):
    heard = signal(samples)
    window = torch.zeros(2, 1_600, dtype=torch.float64)
    fit = min(samples, 1_600)
    window[:, 1_600 - fit :] = heard[:, samples - fit :]
    with torch.inference_mode():
        torch.testing.assert_close(tiny(heard), tiny(window))


def test_a_second_has_98_frames_of_40_cepstra():
    config = KeywordTransformerConfig()
    assert config.window_frames == 98
    assert KeywordTransformer(config).patch.in_features == 40
    frontend = FrontEnd(preset(config.frontend))
    assert frontend(torch.zeros(1, 16_000)).shape == (1, 98, 40)


def test_it_learns_to_tell_two_tones_apart():
    generator = np.random.default_rng(4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        sizes = {"embed_dim": 8, "head_dim": 8, "ffn_dim": 8, "num_layers": 1}
        body = KeywordTransformer(KeywordTransformerConfig(**sizes, window_samples=1_600))
        model = KeywordModel(body, ("low", "high"))
    time = np.arange(1_600) / 16_000
    wanted = np.arange(16) % 2
    frequency = np.where(wanted, 3_000, 300)[:, None] * generator.uniform(0.9, 1.1, (16, 1))
    tones = torch.from_numpy(np.sin(2 * np.pi * frequency * time).astype(np.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        loss = functional.cross_entropy(model(tones), torch.from_numpy(wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(tones).argmax(1).numpy() == wanted).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layers": 0}, "num_layers must be 1 or more"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"window_samples": 479}, "hold no frame of tensorflow-mfcc; take 480 or more"),
        ({"frontend": "tensorflow-mfc"}, "did you mean 'tensorflow-mfcc'"),
        ({"depth": 3}, "unknown key 'depth'"),
    ],
)
def test_a_size_that_cannot_be_is_refused(values, message):
    with pytest.raises(Exception, match=message):
        check(values, KeywordTransformerConfig, "a recipe")


SMALL = {"embed_dim": 8, "num_heads": 2, "head_dim": 4, "ffn_dim": 8, "num_layers": 2}


def encoder(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return KeywordEncoder(KeywordTransformerConfig(**(SMALL | changes))).eval()


def test_a_mask_embedding_makes_data2vec_kws_559_075_parameters():
    made = KeywordEncoder(KeywordTransformerConfig(**(KWT_1 | TORCH_KWT_1)))
    assert sum(weight.numel() for weight in made.parameters()) + 64 * 35 + 35 == 559_075


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), num_samples=st.integers(1, 40))
def test_a_row_is_centred_as_clips_for_keywords_are(lengths, num_samples):
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = torch.arange(1, length + 1)
    made = centred(waveform, torch.tensor(lengths), num_samples)
    for row, length in enumerate(lengths):
        wanted = fit_length(np.arange(1, length + 1, dtype=np.float32), num_samples)
        np.testing.assert_array_equal(made[row], wanted)
    if len(set(lengths)) == 1:
        assert torch.equal(centred(waveform, None, num_samples), made)


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_checkpoint_becomes_a_body_that_hears_the_same(pool, pre_norm, tmp_path):
    made = encoder(pool=pool, pre_norm=pre_norm)
    save_keyword_encoder(tmp_path / "model", made.config, made.state_dict(), provenance={})
    body = load_body(tmp_path / "model").eval()
    assert body.config == made.config
    waveform = signal(16_000).float()
    with torch.inference_mode():
        tokens = made.transform(made.patch(made.frontend(waveform))).hidden_states[-1]
        torch.testing.assert_close(
            body(waveform), tokens[:, 0] if pool == "class" else tokens.mean(1)
        )
        output = made(waveform)
        torch.testing.assert_close(output.output, tokens[:, 1:])
    assert len(output.hidden_states) == 3
    assert len(output.ffn_outputs) == 2
    assert {*body.state_dict()} == {*made.state_dict()} - {"mask_embedding"}
    again = load_keyword_encoder(tmp_path / "model")
    assert torch.equal(again.mask_embedding, made.mask_embedding)


def test_a_checkpoint_of_another_family_is_no_body(tmp_path):
    made = encoder()
    save_keyword_encoder(tmp_path / "model", made.config, made.state_dict(), provenance={})
    config = tmp_path / "model/config.json"
    config.write_text(config.read_text().replace('"keyword_transformer"', '"patches"'))
    with pytest.raises(TrainError, match="a checkpoint of 'patches', not of 'keyword_transformer'"):
        load_body(tmp_path / "model")


def test_a_hidden_token_is_the_mask_embedding_wherever_it_stands():
    made = encoder(num_layers=1)
    waveform = signal(16_000).float()
    hidden = torch.zeros(2, 98, dtype=torch.bool)
    hidden[0, 3:9] = True
    with torch.inference_mode():
        entered = made(waveform, None, hidden).hidden_states[0] - made.positions[:, 1:]
        frames = made.patch(made.frontend(waveform))
    for row, column in hidden.nonzero():
        torch.testing.assert_close(entered[row, column], made.mask_embedding)
    torch.testing.assert_close(entered[~hidden], frames[~hidden])
