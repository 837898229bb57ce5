"""The front against its definition, point by point."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from compress.pareto import pareto_front, steps

# Few values, so that ties in one coordinate and in both are common.
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def dominates(one, other):
    return one[0] <= other[0] and one[1] <= other[1] and one != other


@given(POINTS)
def test_the_front_is_all_that_nothing_dominates(points):
    expected = {
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points)
    }
    front = pareto_front(points)
    assert set(front) == expected
    assert len(front) == len(expected)
    costs, scores = [points[i][0] for i in front], [points[i][1] for i in front]
    assert costs == sorted(costs)
    assert scores == sorted(scores, reverse=True)


@given(POINTS.filter(bool), st.integers(0, 6))
def test_no_point_lies_under_the_staircase_and_the_front_lies_on_it(points, spare):
    front = [points[index] for index in pareto_front(points)]
    end = max(cost for cost, _ in points) + spare
    corners = steps(front, end)
    assert corners[0] == front[0]
    assert corners[-1] == (end, front[-1][1])
    assert set(front) <= set(corners)
    for (x0, y0), (x1, y1) in pairwise(corners):
        assert (x0 == x1 and y1 <= y0) or (y0 == y1 and x0 <= x1)
    for cost, score in points:
        reached = min(y for x, y in corners if x <= cost)
        assert score >= reached


def test_of_nothing_there_is_no_front_and_no_staircase():
    assert pareto_front([]) == []
    assert steps([], 3.0) == []
