"""Bytes that a forward pass leaves behind for its backward pass, in closed form."""

FLOAT, HALF = 4, 2
"""Bytes of a number in float32, and in bfloat16."""


def layer_bytes(dim: int, attention: int, ffn: int, half: int, *, masks: bool) -> int:
    """What one frame leaves behind in one transformer layer.

    Inputs of attention, of feed-forward and of the two norms, and the feed-forward output that
    targets are made of; queries, keys, values and what attention gives, twice: as it lies and as
    the next product wants it; both sides of the GELU. Norms work in float32.

    Args:
        dim: width of the residual stream.
        attention: heads times their width.
        ffn: hidden width of the feed-forward block.
        half: bytes of a number that products take, `HALF` or `FLOAT`.
        masks: whether there is dropout, which keeps a byte a number.
    """
    kept = (3 * FLOAT + 2 * half) * dim + 5 * half * attention + 2 * half * ffn
    return kept + 2 * dim * masks
