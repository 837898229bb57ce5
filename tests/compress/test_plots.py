"""Scatter plots as pictures: well-formed, inside their frame, each point where and what it is."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.counts import short_count
from compress.plots import Scale, Spot, legend, scatter

PARAMS = Scale(name="parameters", text=lambda value: short_count(value, 4))
MARKS = ("candidate", "front", "smallest", "largest", "measured", "winner")
EVIL = "<script>alert('x')</script>&\""


def drawn(text):
    """Marks of a picture: their class, place and hover text."""
    found = []
    for shape in ElementTree.fromstring(text).iter():
        kind = shape.get("class", "")
        if not kind.startswith("mark "):
            continue
        if shape.tag == "circle":
            x, y = float(shape.get("cx")), float(shape.get("cy"))
        else:
            corners = [tuple(map(float, pair.split(","))) for pair in shape.get("points").split()]
            x, y = (sum(axis) / len(corners) for axis in zip(*corners, strict=True))
        found.append((kind.removeprefix("mark "), x, y, shape.findtext("title")))
    return found


NUMBERS = st.floats(0, 1e9).filter(lambda value: value == 0 or value > 1e-6)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from(MARKS)), max_size=12),
    st.none() | NUMBERS,
)
def test_any_plot_is_a_picture_with_every_point_inside_its_frame(points, limit):
    spots = [Spot(x, y, f"{EVIL} {n}", mark) for n, (x, y, mark) in enumerate(points)]
    text = scatter(EVIL, spots, PARAMS, limit=limit)
    assert ElementTree.fromstring(text).findtext("text") == EVIL
    found = drawn(text)
    assert sorted(about for *_, about in found) == sorted(spot.about for spot in spots)
    for _, x, y, _ in found:
        assert 57 <= x <= 461
        assert 21 <= y <= 281


def test_cheap_is_left_low_is_better_is_down_and_the_winner_lies_on_top():
    spots = [Spot(3e5, 0.5, "b", "winner"), Spot(1e5, 0.9, "a"), Spot(2e5, 0.7, "c", "front")]
    text = scatter("t", spots, PARAMS, line=[(1e5, 0.9), (3e5, 0.9)])
    found = {about: (kind, x, y) for kind, x, y, about in drawn(text)}
    assert [found[name][1] for name in "acb"] == sorted(found[name][1] for name in "acb")
    assert [found[name][2] for name in "acb"] == sorted(found[name][2] for name in "acb")
    assert drawn(text)[-1][0] == "winner"
    (line,) = ElementTree.fromstring(text).iter("polyline")
    (x0, y0), (x1, _) = (map(float, pair.split(",")) for pair in line.get("points").split())
    assert (x0, y0) == pytest.approx(found["a"][1:], abs=0.06)
    assert x1 == pytest.approx(found["b"][1], abs=1)  # a star's corners do not average to its heart
    assert "100k" in text
    assert "300k" in text


def test_a_budget_is_a_line_at_its_place_with_a_shade_over_what_exceeds_it():
    spots = [Spot(1e5, 0.9, "cheap"), Spot(4e5, 0.5, "dear")]
    picture = ElementTree.fromstring(scatter("t", spots, PARAMS, limit=3e5))
    (shade,) = picture.iter("rect")
    places = {about: x for _, x, _, about in drawn(ElementTree.tostring(picture))}
    left, width = float(shade.get("x")), float(shade.get("width"))
    assert places["cheap"] < left < places["dear"] <= left + width
    (line,) = (line for line in picture.iter("line") if line.get("class") == "limit")
    assert float(line.get("x1")) == left
    assert "at most 300k" in [text.text for text in picture.iter("text")]


def test_a_budget_at_the_dearest_candidate_still_shows_what_exceeds_it():
    picture = ElementTree.fromstring(scatter("t", [Spot(5e5, 1.0, "a")], PARAMS, limit=5e5))
    (shade,) = picture.iter("rect")
    assert float(shade.get("width")) > 5


def test_a_budget_far_beyond_all_candidates_does_not_squeeze_them():
    spots = [Spot(1e5, 0.9, "a"), Spot(2e5, 0.5, "b")]
    text = scatter("t", spots, PARAMS, limit=1e9)
    (_, left, *_), (_, right, *_) = drawn(text)
    assert right - left > 200
    assert "at most 1G, far to the right" in text
    assert "<rect" not in text


def test_without_points_a_plot_says_so():
    assert "nothing to draw" in scatter("t", [], PARAMS, limit=3.0)


def test_a_legend_shows_the_marks_it_is_given():
    line = ElementTree.fromstring(legend([("winner", "winner & co"), ("front", "front")]).strip())
    assert [shape.get("class") for shape in line.iter() if shape.get("class", "").startswith("m")]
    assert "winner & co" in "".join(line.itertext())
