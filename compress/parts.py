"""What each part of a subnet costs, of either kind."""

from .any_space import AnySubnet, find_space
from .cost.layers import LayerCost, layer_costs
from .keyword_spaces import KeywordSpace, KeywordSubnet
from .spaces import Space


def parts_of(subnet: AnySubnet) -> tuple[LayerCost, ...]:
    """Parts in audio's order that add up to the whole; a keyword model is counted with the labels
    of its space, whatever a supernet has.

    Raises:
        CompressError: there is no such space, or the subnet is not of it.
    """
    space = find_space(subnet.space)
    if isinstance(space, KeywordSpace):
        from .cost.keyword_bodies import keyword_parts

        assert isinstance(subnet, KeywordSubnet), "a name is of one kind"
        return keyword_parts(space, subnet)
    assert isinstance(space, Space), "there are two kinds"
    assert not isinstance(subnet, KeywordSubnet), "a name is of one kind"
    return layer_costs(space, subnet)
