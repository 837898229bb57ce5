"""The patch encoder: what it is shown is all it knows, where it is told to stop it stops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.errors import TrainError
from train.models.context import Visible
from train.models.patches import PatchDecoder, PatchEncoder, load_patches, save_patches
from train.models.patches_config import PatchesConfig
from train.models.wav2vec2 import load_encoder

SIZES = {
    "num_mels": 8,
    "patch_frames": 4,
    "patch_mels": 4,
    "embed_dim": 16,
    "num_heads": (2, 2, 2, 2),
    "ffn_dim": (24, 24, 24, 24),
    "head_dim": 8,
    "mean": -3.0,
    "scale": 4.0,
}


def encoder_of(**changes):
    """In eval mode; norms and biases away from ones and zeros."""
    torch.manual_seed(0)
    encoder = PatchEncoder(PatchesConfig(**(SIZES | changes)))
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.3)
            elif "norm" in name:
                weight.uniform_(0.5, 1.5)
    return encoder.eval()


def noise(rows, samples, seed=0):
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@given(samples=st.integers(400, 20_000))
@settings(deadline=None, max_examples=25)
def test_an_utterance_gives_as_many_patches_as_its_config_says(samples):
    encoder = encoder_of()
    assert encoder.config.num_patches(samples) == encoder.patches(noise(1, samples)).shape[1]
    assert encoder.config.num_patches(399) == 0


@torch.no_grad()
def test_a_patch_holds_a_block_of_the_spectrogram_and_those_of_one_time_follow_each_other():
    encoder = encoder_of(num_mels=12, patch_mels=3, patch_frames=5)
    waveform = noise(2, 4_000)
    spectrogram = encoder.log_mel(waveform)
    patches = encoder.patches(waveform)
    for number in range(patches.shape[1]):
        column, place = divmod(number, 4)
        block = spectrogram[:, 5 * column : 5 * column + 5, 3 * place : 3 * place + 3]
        assert torch.equal(patches[:, number], block.flatten(1))
    assert torch.allclose(encoder.normalized(patches) * 4.0 - 3.0, patches, atol=1e-5)


def visible_of(places, filler=None):
    return Visible(torch.tensor(places), None if filler is None else torch.tensor(filler))


@torch.no_grad()
def test_what_is_hidden_is_not_known_to_what_is_shown():
    encoder = encoder_of()
    patches = encoder.patches(noise(2, 8_000))
    visible = visible_of([[1, 4, 7], [0, 2, 5]])
    changed = patches.clone()
    for row, places in enumerate(visible.places.tolist()):
        others = [place for place in range(patches.shape[1]) if place not in places]
        changed[row, others] = torch.nan  # which would spoil all that it touches
    before, after = (encoder.encode(some, visible=visible) for some in (patches, changed))
    for one, other in zip(before.hidden_states, after.hidden_states, strict=True):
        assert one.shape == (2, 4, 16)
        assert torch.equal(one, other)
    assert torch.equal(before.normed, after.normed)
    changed = patches.clone()
    changed[0, 4] += 1.0
    assert not torch.equal(before.normed, encoder.encode(changed, visible=visible).normed)


@torch.no_grad()
def test_shown_all_in_order_it_sees_what_it_sees_unmasked():
    encoder = encoder_of()
    patches = encoder.patches(noise(2, 8_000))
    every = visible_of([list(range(patches.shape[1]))] * 2)
    assert torch.equal(
        encoder.encode(patches, visible=every).normed, encoder.encode(patches).normed
    )


@torch.no_grad()
def test_the_order_in_which_patches_are_shown_is_no_place():
    encoder = encoder_of().double()
    patches = encoder.patches(noise(1, 8_000).double())
    one = encoder.encode(patches, visible=visible_of([[1, 4, 7]])).normed
    other = encoder.encode(patches, visible=visible_of([[7, 1, 4]])).normed
    assert torch.allclose(one[:, [0, 3, 1, 2]], other, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("cls_token", [True, False])
def test_padding_and_what_fills_rows_up_change_nothing(cls_token):
    encoder = encoder_of(cls_token=cls_token).double()
    short, long = noise(1, 5_000), noise(1, 9_000, seed=1)
    batch = torch.zeros(2, 9_000)
    batch[0, :5_000], batch[1] = short[0], long[0]
    both = encoder(batch.double(), torch.tensor([5_000, 9_000]))
    alone = encoder(short.double())
    tokens = alone.normed.shape[1]
    assert torch.allclose(both.normed[:1, :tokens], alone.normed, atol=1e-12)
    assert both.padding_mask[0].tolist() == [False] * tokens + [True] * (
        both.normed.shape[1] - tokens
    )
    ragged = visible_of([[2, 3, 0], [1, 5, 6]], [[False, False, True], [False] * 3])
    seen = encoder(batch.double(), visible=ragged)
    row = encoder(short.double(), visible=visible_of([[2, 3]]))
    assert torch.allclose(seen.normed[:1, : row.normed.shape[1]], row.normed, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_layers_after_the_stop_never_run(stop_after):
    encoder = encoder_of()
    patches = encoder.patches(noise(2, 8_000))
    ran = []
    for number, layer in enumerate(encoder.layers, start=1):
        layer.register_forward_hook(lambda *_call, number=number: ran.append(number))
    encoder.norm.register_forward_hook(lambda *_call: ran.append("norm"))
    stopped = encoder.encode(patches, stop_after=stop_after)
    assert ran == list(range(1, stop_after + 1))
    assert stopped.normed is None
    whole = encoder.encode(patches)
    assert len(stopped.hidden_states) == stop_after + 1
    for one, other in zip(stopped.hidden_states, whole.hidden_states, strict=False):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stop_after", [0, 5])
def test_a_stop_that_is_no_layer_is_refused(stop_after):
    encoder = encoder_of()
    with pytest.raises(ValueError, match=r"stop_after must lie in \[1, 4\]"):
        encoder.encode(torch.zeros(1, 4, 16), stop_after=stop_after)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_put_back_is_the_inverse_of_showing(lengths, seed):
    rng = np.random.default_rng(seed)
    chosen = [sorted(rng.choice(n, int(rng.integers(1, n + 1)), replace=False)) for n in lengths]
    widest = max(map(len, chosen))
    filler = [[False] * len(row) + [True] * (widest - len(row)) for row in chosen]
    places = [[*map(int, row), *[0] * (widest - len(row))] for row in chosen]
    visible = visible_of(places, filler if any(map(any, filler)) else None)
    whole = torch.arange(len(lengths) * max(lengths) * 2.0).view(len(lengths), -1, 2) + 1
    seen = whole.gather(1, visible.places.unsqueeze(-1).expand(-1, -1, 2))
    back = visible.put_back(torch.zeros(len(lengths), max(lengths) + 1, 2), seen)
    for row, kept in enumerate(chosen):
        hidden = [place for place in range(max(lengths)) if place not in kept]
        assert torch.equal(back[row, kept], whole[row, kept])
        assert (back[row, hidden] == 0).all()


class Passing(torch.nn.Module):
    """A layer that does nothing."""

    def forward(self, hidden, _attend):
        return hidden, hidden


@torch.no_grad()
def test_a_decoder_that_does_nothing_gives_tokens_back_where_they_stood():
    config = PatchesConfig(**(SIZES | {"patch_mels": 4, "embed_dim": 16}))
    decoder = PatchDecoder(config, dim=16, num_heads=2, ffn_dim=8, num_layers=2)
    decoder.layers = torch.nn.ModuleList([Passing(), Passing()])
    decoder.embedding = decoder.norm = decoder.proj = torch.nn.Identity()
    tokens = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    places = [[1, 4, 6], [0, 2, 7]]
    made = decoder(tokens, visible_of(places), 8, None) - decoder.positions(8)
    for row, kept in enumerate(places):
        assert torch.allclose(made[row, kept], tokens[row, 1:], atol=1e-6)
        others = [place for place in range(8) if place not in kept]
        gaps = decoder.mask_token.expand(len(others), -1)
        assert torch.allclose(made[row, others], gaps, atol=1e-6)


def test_positions_are_the_sines_and_cosines_of_both_places():
    positions = encoder_of(num_mels=12, patch_mels=4, embed_dim=24).positions(9)
    assert positions.shape == (9, 24)
    for number in range(9):
        column, place = divmod(number, 3)
        expected = []
        for where in (place, column):
            angles = [where / 10_000 ** (index / 6) for index in range(6)]
            expected += [*np.sin(angles), *np.cos(angles)]
        assert positions[number].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_checkpoint_gives_the_encoder_back_and_is_no_other_familys(tmp_path):
    encoder = encoder_of()
    save_patches(tmp_path / "m", encoder.config, encoder.state_dict(), provenance={"seed": 1})
    back = load_patches(tmp_path / "m")
    assert back.config == encoder.config
    assert back.state_dict().keys() == encoder.state_dict().keys()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name
    with pytest.raises(TrainError, match="holds a checkpoint of 'patches', not of 'wav2vec2'"):
        load_encoder(tmp_path / "m")
    state = encoder.state_dict()
    del state["norm.bias"]
    save_patches(tmp_path / "n", encoder.config, state, provenance={})
    with pytest.raises(TrainError, match=r"norm\.bias holds nothing"):
        load_patches(tmp_path / "n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_mels": 3}, "num_mels 8 must be a multiple of patch_mels 3"),
        ({"embed_dim": 18}, "embed_dim must be a multiple of 4, got 18"),
        ({"ffn_dim": (24,)}, "same number of layers"),
        ({"patch_frames": 0}, "must be 1 or more"),
        ({"scale": 0.0}, "scale must be positive"),
    ],
)
def test_impossible_sizes_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        PatchesConfig(**(SIZES | changes))
