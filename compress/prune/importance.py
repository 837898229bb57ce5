"""What a unit is worth: the norm of its weights, what the outputs lose without it, or a lot."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch_pruning
from numpy.typing import NDArray
from torch import Tensor, nn

from train.data.audio import Waveform
from train.models.wav2vec2 import Wav2Vec2Encoder

from .budget import Scores
from .graph import DependencyGraph
from .parts import Part

_EXPONENTS = {"l1": 1, "l2": 2}


def magnitude(encoder: Wav2Vec2Encoder, parts: Sequence[Part], norm: str) -> Scores:
    """Norm of all weights that go with a unit: those that make it and those that read it.

    Biases and norms are left out; weights of different layers are no measure of each other, so
    the scores are not comparable over parts.

    Args:
        encoder: put in eval mode.
        parts: of its config.
        norm: `l1` or `l2`.
    """
    graph, exponent = DependencyGraph(encoder), _EXPONENTS[norm]
    sums = torch_pruning.importance.GroupMagnitudeImportance(
        p=exponent,
        group_reduction="sum",
        normalizer=None,
        target_types=[nn.Conv1d, nn.Linear],
    )
    return Scores(
        tuple(
            _by_unit(sums(graph.group(part, range(part.num_units))), part) ** (1 / exponent)
            for part in parts
        ),
        comparable=False,
    )


def taylor(
    encoder: Wav2Vec2Encoder, parts: Sequence[Part], clips: Sequence[Waveform], *, seed: int
) -> Scores:
    """How far the hidden states move from what the whole encoder gives, without a unit.

    The distance is the squared change of each hidden state by its squared norm, summed over the
    states. Its gradient at the whole encoder is zero, so the leading term is of second order:
    |J w|^2 for the weights w that read the unit, J the derivative of the states by them. For a
    random direction v with independent unit entries that is the mean of (v' J w)^2, which takes
    one backward pass a clip. The scores estimate one quantity, so they compare over parts.

    Source: squared first-order terms, arXiv:1906.10771, equation 8; random directions instead of
    labels, as in Fisher pruning, arXiv:1801.05787.

    Args:
        encoder: left as it is.
        parts: of its config.
        clips: (samples,) each, in [-1, 1], of a frame or more.
        seed: 0 or more; of the directions.
    """
    weight = encoder.feature_projection.weight
    # A gradient scaled down for training would make the extractor look unimportant.
    config = dataclasses.replace(encoder.config, feature_grad_mult=1.0)
    whole = Wav2Vec2Encoder(config).to(weight)
    whole.load_state_dict(encoder.state_dict(), strict=True)
    graph = DependencyGraph(whole)
    groups = [graph.group(part, range(part.num_units)) for part in parts]
    sums = [np.zeros(part.num_units) for part in parts]
    for number, clip in enumerate(clips):
        whole.zero_grad(set_to_none=True)
        states = whole(torch.from_numpy(clip).to(weight).unsqueeze(0)).hidden_states
        rng = np.random.default_rng([seed, number])
        projections = [
            (state * _direction(state, rng)).sum() / state.detach().norm().clamp_min(1e-12)
            for state in states
        ]
        torch.stack(projections).sum().backward()
        for part, group, total in zip(parts, groups, sums, strict=True):
            total += _by_unit(_first_order(graph, group), part) ** 2
    return Scores(tuple(total / len(clips) for total in sums), comparable=True)


def random(parts: Sequence[Part], *, seed: int) -> Scores:
    """Uniform in [0, 1): every part loses the same share on average."""
    rng = np.random.default_rng(seed)
    return Scores(tuple(rng.random(part.num_units) for part in parts), comparable=False)


@torch.no_grad()
def _first_order(graph: DependencyGraph, group: Any) -> Tensor:
    """Change of what was differentiated, by first order, as each unit's readers forget it.

    The library's own Taylor importance averages over every tensor of a group, makers and norms
    included; forgetting the readers' weights alone is what removing a unit does.
    """
    by_index: dict[int, Tensor] = {}
    for item in group:
        if not graph.takes(item.dep):
            continue
        weight = item.dep.target.module.weight
        product = (weight * weight.grad).transpose(0, 1).flatten(1).sum(1)
        for root, index in zip(item.root_idxs, item.idxs, strict=True):
            by_index[root] = by_index.get(root, 0.0) + product[index]
    return torch.stack([by_index[root] for root in sorted(by_index)])


def _direction(state: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(state.shape))).to(state)


def _by_unit(values: Tensor, part: Part) -> NDArray[np.float64]:
    """One value for each output of the root, summed over those of a unit: (units,)."""
    sums: NDArray[np.float64] = values.double().reshape(part.num_units, -1).sum(1).cpu().numpy()
    return sums
