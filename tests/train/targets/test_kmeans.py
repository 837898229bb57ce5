"""Units: the nearest centre, the same from the same seed, kept whole on disk."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import MiniBatchKMeans

from train.data.audio import PackedAudio
from train.data.cuts import recording_cut, sorted_cuts
from train.data.source import Recordings
from train.errors import DataError
from train.models.frontend import Mfcc
from train.objectives.hubert import RoundConfig
from train.targets import kmeans
from train.targets.kmeans import layer_units, mfcc_units
from train.targets.units import IGNORED, Units

LENGTHS = (16_000, 9_000, 12_345)


@pytest.fixture(scope="module")
def audio():
    """Three clips of different lengths, each a tone that jumps in noise."""
    rng = np.random.default_rng(1)
    ends = np.cumsum([0, *LENGTHS])
    time = np.arange(ends[-1])
    signal = 6000 * np.sin(time * (0.05 + 0.2 * (time // 3000 % 3)))
    samples = (signal + rng.normal(0, 500, ends[-1])).astype(np.int16)
    cuts = sorted_cuts(
        recording_cut(f"clip{row}", f"/nowhere/{row}.wav", duration_s=n / 16_000, partition="train")
        for row, n in enumerate(LENGTHS)
    )
    spans = {f"clip{row}": (int(ends[row]), int(ends[row + 1])) for row in range(len(LENGTHS))}
    return cuts, PackedAudio(samples, spans)


@pytest.fixture
def centres(monkeypatch):
    """The centres that k-means found, which units do not keep."""
    found = []

    class Remembering(MiniBatchKMeans):
        def fit(self, frames):
            super().fit(frames)
            found.append(self.cluster_centers_)
            return self

    monkeypatch.setattr(kmeans, "MiniBatchKMeans", Remembering)
    return found


def assert_nearest(labels, frames, centres):
    distances = np.square(frames[:, None].astype(np.float64) - centres[None]).sum(-1)
    taken = distances[np.arange(len(labels)), labels]
    # equal up to float32, where two centres are as near as makes no difference
    assert np.all(taken <= distances.min(1) * (1 + 1e-4) + 1e-4)
    assert np.mean(labels == distances.argmin(1)) > 0.99


def test_an_mfcc_unit_is_the_nearest_centre_of_each_frame(audio, centres):
    cuts, packed = audio
    units = mfcc_units(Recordings(cuts, packed), num_clusters=6, fit_frames=10_000, seed=0)
    assert (units.rate_hz, units.num_clusters) == (100, 6)
    for row, length in enumerate(LENGTHS):
        frames = Mfcc()(torch.from_numpy(packed.waveform(f"clip{row}"))[None])[0].numpy()
        assert len(units.sequences[f"clip{row}"]) == len(frames) == (length - 400) // 160 + 1
        assert_nearest(units.sequences[f"clip{row}"], frames, centres[0])
    assert {int(unit) for row in units.sequences.values() for unit in row} == set(range(6))


@pytest.mark.parametrize("layer", [1, 2])
def test_a_layer_unit_is_the_nearest_centre_of_that_layers_output(
    layer, audio, centres, make_encoder
):
    cuts, packed = audio
    encoder = make_encoder()
    units = layer_units(
        Recordings(cuts, packed),
        encoder.train(),
        layer=layer,
        num_clusters=5,
        fit_frames=10_000,
        seed=0,
    )
    assert units.rate_hz == 50
    encoder.eval()
    for row in range(len(LENGTHS)):
        waveform = torch.from_numpy(packed.waveform(f"clip{row}"))[None]
        with torch.inference_mode():
            frames = encoder(waveform).hidden_states[layer][0].numpy()
        # one by one gives what the padded batch gave: padding never changes a result
        assert_nearest(units.sequences[f"clip{row}"], frames, centres[0])


def test_the_seed_alone_decides_and_fewer_frames_may_be_fitted(audio, centres):
    cuts, packed = audio

    def labels(seed, fit_frames=50):
        made = mfcc_units(
            Recordings(cuts, packed), num_clusters=4, fit_frames=fit_frames, seed=seed
        )
        return np.concatenate([made.sequences[f"clip{row}"] for row in range(len(LENGTHS))])

    first = labels(3)
    assert np.array_equal(first, labels(3))
    labels(4)
    assert np.array_equal(centres[0], centres[1])
    assert not np.array_equal(centres[0], centres[2])


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_that_the_encoder_lacks_is_refused(layer, audio, make_encoder):
    source = Recordings(*audio)
    with pytest.raises(DataError, match=rf"layer must lie in \[1, 2\].* got {layer}"):
        layer_units(
            source,
            make_encoder(),
            layer=layer,
            num_clusters=5,
            fit_frames=9,
            seed=0,
        )


def test_too_few_frames_for_the_clusters_are_refused(audio):
    cuts, packed = audio
    with pytest.raises(DataError, match="227 frames cannot make 228 clusters"):
        mfcc_units(Recordings(cuts, packed), num_clusters=228, fit_frames=1_000, seed=0)


def test_a_round_that_fits_fewer_frames_than_clusters_is_refused():
    with pytest.raises(ValueError, match="fit_frames must be num_clusters or more"):
        RoundConfig(units="mfcc", num_clusters=100, fit_frames=99, updates=1)


sequences = st.dictionaries(
    st.text(max_size=8).filter(lambda name: "\0" not in name),
    st.lists(st.integers(0, 30), max_size=9).map(lambda row: np.array(row, dtype=np.int16)),
    min_size=1,
    max_size=5,
)


@given(sequences=sequences)
def test_units_come_back_as_they_were_saved(tmp_path_factory, sequences):
    path = tmp_path_factory.mktemp("units") / "units.npz"
    Units(sequences, 100, 31).save(path)
    loaded = Units.load(path)
    assert (loaded.rate_hz, loaded.num_clusters) == (100, 31)
    assert loaded.sequences.keys() == sequences.keys()
    for name, row in sequences.items():
        assert loaded.sequences[name].dtype == np.int16
        assert np.array_equal(loaded.sequences[name], row)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "units.npz"
    Units({"a": np.arange(900, dtype=np.int16) % 7}, 50, 7).save(path)
    return path


@pytest.mark.parametrize("kept", [0, 3, 30, 200, 0.5, 0.99])
def test_truncated_units_are_one_clear_error(kept, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(DataError, match=r"units\.npz holds no units .* make them again"):
        Units.load(saved)


@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_changed_byte_changes_nothing_or_is_one_clear_error(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("units") / "units.npz"
    sequence = np.arange(900, dtype=np.int16) % 7
    Units({"a": sequence}, 50, 7).save(path)
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] ^= value
    path.write_bytes(bytes(damaged))
    try:
        loaded = Units.load(path)
    except DataError:
        return
    assert np.array_equal(loaded.sequences["a"], sequence)


@pytest.mark.parametrize("content", ["text", "other arrays", "nothing", "a folder"])
def test_a_file_that_holds_no_units_is_one_clear_error(content, tmp_path):
    path = tmp_path / "units.npz"
    if content == "text":
        path.write_text("no archive")
    elif content == "other arrays":
        np.savez(path, frames=np.arange(3))
    elif content == "a folder":
        path.mkdir()
    with pytest.raises(DataError, match="holds no units"):
        Units.load(path)


def aligned(units, start, frames, stride=320):
    return units.aligned(["a"], [start], frames, stride=stride, rate=16_000)[0].tolist()


def test_an_encoders_frame_takes_every_second_unit_of_100_hz():
    units = Units({"a": np.arange(10, 20, dtype=np.int16)}, 100, 20)
    assert aligned(units, 0, 5) == [10, 12, 14, 16, 18]


def test_an_encoders_frame_takes_its_own_unit_of_50_hz():
    units = Units({"a": np.arange(10, 20, dtype=np.int16)}, 50, 20)
    assert aligned(units, 0, 5) == [10, 11, 12, 13, 14]


def test_a_crop_begins_at_the_unit_nearest_to_its_start():
    units = Units({"a": np.arange(100, dtype=np.int16)}, 100, 100)
    assert aligned(units, 160 * 7, 3) == [7, 9, 11]
    assert aligned(units, 160 * 7 + 79, 3) == [7, 9, 11]
    assert aligned(units, 160 * 7 + 81, 3) == [8, 10, 12]


def test_frames_past_the_last_unit_are_ignored():
    units = Units({"a": np.arange(5, dtype=np.int16)}, 100, 5)
    assert aligned(units, 0, 5) == [0, 2, 4, IGNORED, IGNORED]
    assert aligned(units, 160 * 9, 2) == [IGNORED, IGNORED]


def test_each_row_is_aligned_by_its_own_recording_and_start():
    units = Units({"a": np.zeros(9, dtype=np.int16), "b": np.ones(9, dtype=np.int16)}, 50, 2)
    rows = units.aligned(["b", "a", "b"], [0, 320, 2560], 2, stride=320, rate=16_000)
    assert rows.tolist() == [[1, 1], [0, 0], [1, IGNORED]]
