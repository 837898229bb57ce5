from tiny_spaces import every_subnet, tiny_space

from compress.cost.params import layer, params, rest
from compress.spaces import get_space


def fixed(space, embed_dim):
    """All but the layers of a subnet of this width and the stored extractor."""
    return rest(space.supernet, space.sized(embed_dim, ()))


def test_a_count_is_its_fixed_part_and_its_layers():
    space = tiny_space()
    for subnet in every_subnet(space):
        dense = space.config(subnet)
        layers = zip(subnet.num_heads, subnet.ffn_dim, strict=True)
        assert params(space, subnet) == rest(space.supernet, dense) + sum(
            layer(dense, heads, ffn) for heads, ffn in layers
        )


def test_the_fixed_part_is_the_papers_formula_for_its_sizes():
    space = get_space("lighthubert-small")
    for embed_dim in space.embed_dim:
        formula = 4_206_592 + 768 + 1_024 + 513 * embed_dim
        formula += 8 * embed_dim**2 + embed_dim + 2 * embed_dim
        assert fixed(space, embed_dim) == formula


def test_group_norm_counts_one_norm_and_biases_count_when_there_are_any():
    plain, group = tiny_space(conv_norm="layer"), tiny_space(conv_norm="group")
    assert fixed(plain, 4) - fixed(group, 4) == 2 * 5
    biased = tiny_space(conv_norm="layer", conv_bias=True)
    assert fixed(biased, 4) - fixed(plain, 4) == 3 + 5
