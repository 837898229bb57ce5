"""What a space of keyword models promises, asked of every one that ships."""

import json

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from compress.any_space import find_space, read_subnet
from compress.cost.keyword_bodies import keyword_costs, keyword_parts
from compress.keyword_space_table import KEYWORD_SPACES
from compress.keyword_supernet import KeywordSupernet, materialize
from compress.search.genes import gene_choices, genes_of, subnet_from
from compress.spaces import space_names
from train.seeding import seeded
from train.tasks.bodies import BODIES
from train.tasks.keywords import KeywordModel

LABELS = tuple(f"label {number}" for number in range(12))


@pytest.fixture(params=KEYWORD_SPACES, scope="module")
def space(request):
    return KEYWORD_SPACES[request.param]


@pytest.fixture(scope="module")
def supernet(space):
    """No norm or bias is left at ones and zeros."""
    with seeded(0), torch.no_grad():
        made = KeywordSupernet(space, LABELS).eval()
        for tensor in made.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
        for part in made.modules():
            if isinstance(part, _BatchNorm):
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 1.5)
    return made


def some(space):
    rng = np.random.default_rng(1)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(3))]


def test_its_name_is_its_own_and_its_body_is_known(space):
    assert space.name not in space_names()
    assert find_space(space.name) is space
    assert isinstance(space.full, BODIES[space.body].config)
    every = list(space.every())
    assert len(set(every)) == space.size() == len(every)
    assert every[0] == space.smallest()
    assert every[-1] == space.largest()
    assert space.config(space.largest()) == space.full


def test_a_subnet_is_its_json_and_its_genes(space):
    rng = np.random.default_rng(0)
    for subnet in some(space):
        assert read_subnet(subnet.to_json()) == subnet
        shuffled = dict(sorted(json.loads(subnet.to_json()).items(), reverse=True))
        assert read_subnet(json.dumps(shuffled)) == subnet
        genes = genes_of(space, subnet, rng)
        assert genes.keys() == gene_choices(space).keys()
        assert all(value in gene_choices(space)[name] for name, value in genes.items())
        assert subnet_from(space, genes) == subnet


def test_parameters_and_multiplications_are_those_of_the_model_that_is_built(space):
    for subnet in some(space)[:3]:
        with seeded(0):
            model = KeywordModel(BODIES[space.body].build(space.config(subnet)), LABELS).eval()
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),  # the counter knows no fused attention of processors
            FlopCounterMode(display=False) as counter,
        ):
            model(torch.zeros(1, space.window_samples))
        counted = {
            "params": sum(weight.numel() for weight in model.parameters()),
            "macs": counter.get_total_flops() // 2,
        }
        assert keyword_costs(space, subnet) == counted
        names = [part.name for part in keyword_parts(space, subnet)]
        assert len(names) == len(set(names))


def test_costs_rise_with_every_choice(space):
    smallest = genes_of(space, space.smallest(), np.random.default_rng(0))
    before = keyword_costs(space, space.smallest())
    for choice in space.choices:
        raised = subnet_from(space, smallest | {choice.name: choice.values[1]})
        after = keyword_costs(space, raised)
        assert after["params"] > before["params"], choice.name
        assert after["macs"] > before["macs"], choice.name


def test_the_largest_subnet_is_the_supernet(space, supernet):
    slices = supernet.slices(space.largest())
    stored = dict(supernet.model.named_parameters()) | dict(supernet.model.named_buffers())
    assert slices.keys() == stored.keys()
    for name, tensor in slices.items():
        assert tensor.shape == stored[name].shape
        assert tensor.data_ptr() == stored[name].data_ptr()


def test_a_subnet_is_the_first_part_of_every_larger_one(space, supernet):
    small = genes_of(space, space.smallest(), np.random.default_rng(0))
    for choice in space.choices:
        larger = subnet_from(space, small | {choice.name: choice.values[-1]})
        theirs = supernet.slices(larger)
        for name, tensor in supernet.slices(space.smallest()).items():
            if choice.name.startswith("num_blocks.") and ".blocks." in name:
                continue  # numbered through all stages: see the next test
            part = theirs[name][tuple(slice(0, size) for size in tensor.shape)]
            assert torch.equal(part, tensor), (choice.name, name)


def test_a_subnet_in_place_is_the_model_cut_from_it(space, supernet):
    waveform = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    for subnet in some(space):
        dense = materialize(supernet, subnet)
        assert not dense.training
        assert dense.body.config == space.config(subnet)
        with torch.no_grad():
            assert torch.equal(supernet(subnet, waveform), dense(waveform))


def test_a_gradient_reaches_what_the_subnet_is_made_of_and_nothing_else(space, supernet):
    subnet = space.sample(np.random.default_rng(3))
    supernet.train()
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    try:
        with seeded(0):
            loss = supernet(subnet, 0.1 * torch.randn(3, 16_000)).square().sum()
        loss.backward()
        slices = supernet.slices(subnet)
        reached = {
            name: parameter.grad
            for name, parameter in supernet.model.named_parameters()
            if parameter.grad is not None
        }
        total = sum(int((gradient != 0).sum()) for gradient in reached.values())
        own = sum(slices[name].numel() for name, _ in supernet.wiring(subnet).named_parameters())
        assert 0 < total <= own
        assert total > 0.5 * own  # of a unit that is never active nothing is told
    finally:
        supernet.zero_grad(set_to_none=True)
        supernet.eval()
    # What a batch looked like is no statistic of the stored model.
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in supernet.named_buffers())


def test_stages_of_bc_resnet_keep_their_own_first_blocks():
    space = KEYWORD_SPACES["bc-resnet"]
    with seeded(0):
        supernet = KeywordSupernet(space, LABELS).eval()
    fewer = dict(space.largest().sizes) | {"num_blocks": (1, 2, 3, 1)}
    slices = supernet.slices(space.read(fewer | {"space": "bc-resnet"}))
    stored = dict(supernet.model.named_parameters())
    last = ".over_time.3.weight"
    for number, source in enumerate((0, 2, 3, 4, 5, 6, 8)):
        found, wanted = slices[f"body.blocks.{number}{last}"], stored[f"body.blocks.{source}{last}"]
        assert found.data_ptr() == wanted.data_ptr()


@pytest.mark.parametrize(
    ("embed_dim", "num_heads", "ffn_dim", "published"),
    [(64, 1, 256, 607_308), (128, 2, 512, 2_394_252), (192, 3, 768, 5_360_844)],
)
def test_the_papers_keyword_transformers_are_subnets(embed_dim, num_heads, ffn_dim, published):
    sizes = {"embed_dim": embed_dim, "num_heads": num_heads, "ffn_dim": ffn_dim, "num_layers": 12}
    space = KEYWORD_SPACES["kwt"]
    assert keyword_costs(space, space.read({"space": "kwt", **sizes}))["params"] == published


@pytest.mark.parametrize(("tau", "exact"), [(1.0, 9_232), (1.5, 17_154), (2.0, 27_284)])
def test_the_papers_bc_resnets_are_subnets(tau, exact):
    space = KEYWORD_SPACES["bc-resnet"]
    subnet = space.read({"space": "bc-resnet", "tau": tau, "num_blocks": [2, 2, 4, 4]})
    assert keyword_costs(space, subnet)["params"] == exact
