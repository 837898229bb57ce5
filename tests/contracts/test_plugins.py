"""What a plug-in's file must offer, asked of every file found."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest

import export.targets
import runtime.backends
import runtime.forms
import train.objectives
from compress.elastic import WHOLE, dimension_names, get_dimension
from compress.spaces import get_space, space_names
from compress.tensor_axes import FIXED, TENSOR_AXES
from compress.verbs.export import Format
from runtime.faults import BundleFault
from runtime.manifest import STREAMING_FORMS
from train.config import OneRoundRecipe, PretrainRecipe
from train.data import corpus, layouts
from train.models.wav2vec2_config import Wav2Vec2Config
from train.objectives import Objective


def plugins(package: ModuleType) -> list[str]:
    """Names of a package's plug-ins, which are those of its files."""
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load(package: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}")


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


AXES = {kind for axes in TENSOR_AXES.values() for kind in axes} - {FIXED} | {"layer"}
"""Everything that an elastic dimension may cut; a layer is an axis of no tensor."""


@pytest.mark.parametrize("name", dimension_names())
@pytest.mark.parametrize("space_name", space_names())
def test_an_elastic_dimension_keeps_all_of_the_supernet_and_ascending_parts_of_it(name, space_name):
    dimension, space = get_dimension(name), get_space(space_name)
    assert dimension.AXES
    assert set(dimension.AXES) <= AXES
    full = space.supernet
    rng = np.random.default_rng(0)
    configs = [space.config(subnet) for subnet in (space.smallest(), space.sample(rng))]
    for axis in dimension.AXES:
        for dense in configs:
            for layer in layers_of(axis, dense):
                kept = dimension.kept(axis, full, dense, layer)
                ends = [end for piece in kept for end in (piece.start or 0, piece.stop)]
                assert kept == WHOLE or ends == sorted(ends)
        for layer in layers_of(axis, full):
            assert dimension.kept(axis, full, full, layer) == WHOLE


def layers_of(axis: str, config: Wav2Vec2Config) -> Iterable[int | None]:
    """Where tensors with this axis are: in each layer of one kind or the other, or in none."""
    if axis in ("conv_channels", "conv_inputs"):
        return range(len(config.conv_layers))
    return range(config.num_layers) if axis in ("attention", "ffn_dim") else (None,)


def test_the_elastic_dimensions_share_the_axes_out_among_them():
    claimed = [axis for name in dimension_names() for axis in get_dimension(name).AXES]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == AXES


@pytest.mark.parametrize("name", plugins(layouts))
def test_a_layout_recognizes_a_folder_and_reads_it(name, tmp_path):
    layout = load(layouts, name)
    assert parameters(layout.recognizes) == parameters(layout.read) == ["root"]
    assert layout.recognizes(tmp_path) is (name == corpus.LAST)
    assert layout.recognizes(tmp_path / "missing") is False


def test_every_layout_is_tried_and_the_one_that_takes_all_comes_last():
    assert sorted(corpus.layout_names()) == plugins(layouts)
    assert corpus.layout_names()[-1] == corpus.LAST


@pytest.mark.parametrize("name", plugins(export.targets))
def test_an_export_target_has_an_ending_and_writes_a_file(name):
    target = load(export.targets, name)
    assert target.SUFFIX.startswith(".")
    assert target.SUFFIX.lower() == target.SUFFIX
    assert parameters(target.write) == ["module", "path", "window_samples", "output", "lengths"]
    assert parameters(target.write_step) == ["module", "path"]
    assert parameters(target.Quantizer) == ["graph", "precision", "calibration", "library"]
    usual = inspect.signature(target.Quantizer).parameters["library"].default
    assert target.QUANTIZERS[0] == usual
    assert len(set(target.QUANTIZERS)) == len(target.QUANTIZERS)
    for function in (target.plain, target.with_logits, target.layers):
        assert parameters(function) == ["graph"]
    assert load(runtime.backends, name).Engine is target.Engine
    assert name in [flag.value for flag in Format]
    assert name in plugins(runtime.backends), "nothing on the device could run what it writes"


@pytest.mark.parametrize("name", plugins(runtime.backends))
def test_a_backend_loads_bytes_and_answers_to_damage_with_one_clear_error(name):
    engine = load(runtime.backends, name).Engine
    assert parameters(engine) == ["model", "threads"]
    assert parameters(engine.run) == ["self", "feeds"]
    with pytest.raises(BundleFault):
        engine(b"no graph")


@pytest.mark.parametrize("name", plugins(runtime.backends))
def test_a_backend_lists_its_engines_the_usual_one_first(name):
    backend = load(runtime.backends, name)
    assert backend.ENGINES[0] is backend.Engine
    assert len(set(backend.ENGINES)) == len(backend.ENGINES)
    for engine in backend.ENGINES:
        assert parameters(engine) == ["model", "threads"]
        assert parameters(engine.run) == ["self", "feeds"]


@pytest.mark.parametrize("name", plugins(runtime.forms))
def test_a_streaming_form_states_its_law_and_is_known_to_the_manifest(name):
    assert name in STREAMING_FORMS
    form = load(runtime.forms, name)
    assert parameters(form.start) == ["model"]
    assert parameters(form.ask) == ["model", "pcm"]
    assert parameters(form.num_answers) == ["shape", "streaming"]
    assert parameters(form.offline) == ["ask", "waveform", "streaming"]
    assert parameters(form.in_stream) == ["num_samples", "streaming"]


def test_every_form_that_a_manifest_may_state_has_its_law():
    assert sorted(STREAMING_FORMS) == plugins(runtime.forms)


@pytest.mark.parametrize("name", plugins(train.objectives))
def test_an_objectives_file_holds_one_objective_that_takes_a_batch_and_draws(name):
    module = load(train.objectives, name)
    (objective,) = {
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Objective) and member.__module__ == module.__name__
    }
    assert parameters(objective.forward) == ["self", "batch", "draws"]
    # the recipe is read by this name, and made into this objective or into rounds of it
    keys = {field.name: field for field in dataclasses.fields(module.Recipe)}
    assert issubclass(module.Recipe, PretrainRecipe)
    assert get_args(keys["objective"].type) == (name,)
    if issubclass(module.Recipe, OneRoundRecipe):
        given = ["teacher"] if "needs_teacher" in vars(module.Recipe) else []  # a frozen one
        assert parameters(module.build) == ["encoder", "recipe", *given]
        assert module.build is objective
    else:
        assert "rounds" in keys


@pytest.mark.parametrize(
    "package", [layouts, export.targets, runtime.backends, runtime.forms, train.objectives]
)
def test_a_plug_in_says_what_it_is(package):
    for name in plugins(package):
        path = Path(load(package, name).__file__)
        assert path.stem == name
        assert (load(package, name).__doc__ or "").strip()
