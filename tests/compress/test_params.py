from tiny_spaces import every_subnet, tiny_space

from compress.cost.params import fixed_params, layer_params, params
from compress.spaces import get_space


def test_a_count_is_its_fixed_part_and_its_layers():
    space = tiny_space()
    for subnet in every_subnet(space):
        layers = zip(subnet.num_heads, subnet.ffn_dim, strict=True)
        assert params(space, subnet) == fixed_params(space, subnet.embed_dim) + sum(
            layer_params(subnet.embed_dim, heads, ffn, 2) for heads, ffn in layers
        )


def test_the_fixed_part_is_the_papers_formula_for_its_sizes():
    space = get_space("lighthubert-small")
    for embed_dim in space.embed_dim:
        formula = 4_206_592 + 768 + 1_024 + 513 * embed_dim
        formula += 8 * embed_dim**2 + embed_dim + 2 * embed_dim
        assert fixed_params(space, embed_dim) == formula


def test_group_norm_counts_one_norm_and_biases_count_when_there_are_any():
    layer, group = tiny_space(conv_norm="layer"), tiny_space(conv_norm="group")
    assert fixed_params(layer, 4) - fixed_params(group, 4) == 2 * 5
    biased = tiny_space(conv_norm="layer", conv_bias=True)
    assert fixed_params(biased, 4) - fixed_params(layer, 4) == 3 + 5
