"""Which candidates are worth their cost: nothing else is both no dearer and no worse."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that no other one dominates; less is better in both coordinates.

    A point is dominated by one that is no more in either coordinate and less in one, so equal
    points stay together.

    Args:
        points: (cost, score) pairs of finite numbers.

    Returns:
        positions in `points`, cost ascending and score descending.
    """
    order = sorted(range(len(points)), key=lambda index: points[index])
    front: list[int] = []
    for index in order:
        if (
            not front
            or points[index][1] < points[front[-1]][1]
            or points[index] == points[front[-1]]
        ):
            front.append(index)
    return front


def steps(points: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """The staircase through `points`: each score holds until the next cost, the last until `end`.

    Args:
        points: (cost, score) pairs, cost ascending.
        end: where the last step ends, at the last cost or beyond.
    """
    corners: list[tuple[float, float]] = []
    for cost, score in points:
        if corners:
            corners.append((cost, corners[-1][1]))
        corners.append((cost, score))
    return [*corners, (end, corners[-1][1])] if corners else []
