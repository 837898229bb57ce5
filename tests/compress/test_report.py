"""A search's page: every candidate, the winner's layers, what ruled out the rest, all escaped."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from compress import CompressError
from compress.cost.layers import layer_costs
from compress.cost.macs import macs
from compress.cost.params import params
from compress.report import write_search_report
from compress.search_file import read_search
from compress.spaces import get_space
from compress.subnet import Subnet

SPACE = get_space("otolite-tiny")
BUDGET = 500_000
EVIL = "<script>alert('x')</script>&\"<b>"


def costs_of(subnet, latency=True):
    counted = {"params": params(SPACE, subnet), "macs": macs(SPACE.config(subnet)).total}
    return counted | ({"latency_ns": counted["macs"] // 16} if latency else {})


def candidate(number, subnet, score, verdict="scored", latency=True):
    return {
        "number": number,
        "generation": number // 4,
        "subnet": json.loads(subnet.to_json()),
        "costs": costs_of(subnet, latency),
        "score": score,
        "verdict": verdict,
    }


def search_of(num_subnets=40, *, latency=True, **changes):
    """A search of random subnets with the smallest first; dear ones are over the budget."""
    rng = np.random.default_rng(0)
    subnets = [SPACE.smallest(), SPACE.largest(), *(SPACE.sample(rng) for _ in range(num_subnets))]
    candidates = []
    for number, subnet in enumerate(subnets[:num_subnets]):
        fits = params(SPACE, subnet) <= BUDGET
        score = 0.5 + float(rng.uniform(0, 0.3)) if fits else None
        verdict = "scored" if fits else "over_budget"
        candidates.append(candidate(number, subnet, score, verdict, latency))
    scored = [one for one in candidates if one["score"] is not None]
    best = min(scored, key=lambda one: one["score"], default=None)
    winner = best and {
        "number": best["number"],
        "subnet": best["subnet"],
        "score": best["score"],
        "predicted": best["costs"],
        "measured": None,
        "fine_tuned": None,
    }
    whole = {
        "schema": 1,
        "space": SPACE.name,
        "budgets": {"params": BUDGET, "macs": None, "latency_ns": None, "size_bytes": None},
        "scorer": {"name": "distillation", "num_clips": 128},
        "seed": 7,
        "population": 16,
        "num_trials": 64,
        "feasibility": {
            "subnets": 1_791_153,
            "within": 12_345,
            "smallest": costs_of(SPACE.smallest(), latency=False),
            "largest": costs_of(SPACE.largest(), latency=False),
        },
        "candidates": candidates,
        "winner": winner,
        "provenance": {"supernet": "ab12", "versions": {"torch": "2.13.0"}, "command": "c -x"},
    }
    return whole | changes


@pytest.fixture
def page_of(html_page, tmp_path):
    def read(search):
        page = tmp_path / "page.html"
        report = write_search_report(search, page)
        return html_page(page), page.read_text(encoding="utf-8"), report

    return read


def pictures(text):
    """Plots by their title, each parsed as XML."""
    found = map(ElementTree.fromstring, re.findall(r"<svg viewBox.*?</svg>", text, re.DOTALL))
    return {picture.findtext("text"): picture for picture in found}


def marks(picture):
    """Hover texts by class."""
    found = {}
    for shape in picture.iter():
        kind = shape.get("class", "")
        if kind.startswith("mark "):
            found.setdefault(kind.removeprefix("mark "), []).append(shape.findtext("title"))
    return found


PLOTS = (
    "score against parameters",
    "score against MACs per second of audio",
    "score against latency of the device's window",
    "score by candidate",
)


def test_every_scored_candidate_is_in_every_plot_with_all_that_is_known_of_it(page_of):
    search = search_of()
    _, text, report = page_of(search)
    scored = [one for one in search["candidates"] if one["score"] is not None]
    assert 10 < len(scored) < 40
    assert (report.candidates, report.scored, report.skipped) == (40, len(scored), 0)
    plots = pictures(text)
    assert tuple(plots) == PLOTS
    for picture in plots.values():
        told = [about for abouts in marks(picture).values() for about in abouts]
        assert len(told) == len(scored)
        for one in scored:
            (about,) = (line for line in told if line.startswith(f"no. {one['number']} "))
            heads = " ".join(map(str, one["subnet"]["num_heads"]))
            assert f"score {one['score']:.5g}" in about
            assert f"{one['costs']['latency_ns'] / 1e6:.4g} ms" in about
            assert f"num heads {heads}" in about
            assert f"depth {len(one['subnet']['num_heads'])}" in about


def test_the_winner_the_front_and_the_smallest_are_marked(page_of):
    search = search_of()
    _, text, _ = page_of(search)
    for title, cost in zip(PLOTS[:3], ("params", "macs", "latency_ns"), strict=True):
        found = marks(pictures(text)[title])
        (winner,) = found["winner"]
        assert winner.startswith(f"no. {search['winner']['number']} ")
        (smallest,) = found["smallest"]
        assert smallest.startswith("no. 0 ")
        assert "largest" not in found  # over the budget, so it has no score
        scored = [one for one in search["candidates"] if one["score"] is not None]
        front = {
            one["number"]
            for one in scored
            if not any(
                other["costs"][cost] <= one["costs"][cost] and other["score"] < one["score"]
                for other in scored
            )
        } - {0, search["winner"]["number"]}
        assert {int(about.split()[1]) for about in found.get("front", [])} == front
    assert "at most 500k" in ElementTree.tostring(pictures(text)[PLOTS[0]], encoding="unicode")


def test_the_best_score_so_far_only_falls(page_of):
    search = search_of()
    _, text, _ = page_of(search)
    (line,) = pictures(text)[PLOTS[3]].iter("polyline")
    heights = [float(pair.split(",")[1]) for pair in line.get("points").split()]
    assert heights == sorted(heights)  # a larger y is further down
    assert len(set(heights)) > 1


def test_without_latency_there_is_no_latency_plot(page_of):
    _, text, _ = page_of(search_of(latency=False))
    assert tuple(pictures(text)) == (PLOTS[0], PLOTS[1], PLOTS[3])


def test_the_winners_layers_are_told_with_their_shares(page_of):
    search = search_of()
    page, text, _ = page_of(search)
    winner = Subnet.from_json(json.dumps(search["winner"]["subnet"]))
    parts = layer_costs(SPACE, winner)
    total, products = (sum(getattr(part, key) for part in parts) for key in ("params", "macs"))
    for part in parts:
        shares = (
            f"{part.params:,} {part.params / total:.1%} {part.macs:,} {part.macs / products:.1%}"
        )
        assert shares in page.text
    assert f"all {total:,} {products:,}" in page.text
    assert total == search["winner"]["predicted"]["params"]
    assert text.count('<td class="bar">') == 2 * len(parts)


def test_predicted_and_measured_stand_side_by_side(page_of):
    search = search_of()
    search["winner"] |= {
        "predicted": {"params": 400_000, "macs": 40_000_000, "latency_ns": 2_000_000},
        "measured": {"params": 399_900, "latency_ns": 2_500_000, "size_bytes": 1_620_000},
        "fine_tuned": {"score_before": 0.61, "score_after": 0.42},
    }
    page, text, _ = page_of(search)
    assert "latency of the device's window 2 ms 2.5 ms 1.250" in page.text
    assert "file size 1.62 MB" in page.text
    assert "score before 0.61, score after 0.42" in page.text
    assert marks(pictures(text)[PLOTS[2]])["measured"] == ["winner as exported: 2.5 ms"]
    assert "measured" not in marks(pictures(text)[PLOTS[1]])


def test_the_limit_that_ruled_out_the_most_is_named(page_of):
    dear, fair = SPACE.largest(), SPACE.smallest()
    over = [candidate(number, dear, None, "over_budget") for number in range(3)]
    slow = candidate(3, fair, None, "over_budget")
    slow["costs"]["latency_ns"] = 9_000_000_000
    again = candidate(5, fair, None, "repeated")
    candidates = [*over, slow, candidate(4, fair, 0.5), again]
    budgets = {"params": BUDGET, "latency_ns": 8_000_000_000}
    page, _, _ = page_of(search_of(candidates=candidates, budgets=budgets))
    assert "6 proposed: 4 over budget, 1 scored, 1 repeated." in page.text
    assert "The limit that ruled out the most: parameters." in page.text
    assert "parameters 500k 3" in page.text
    assert "latency of the device's window 8000 ms 1" in page.text


def test_what_was_asked_and_where_it_came_from_is_told(page_of):
    page, _, _ = page_of(search_of())
    for said in (
        "space otolite-tiny", "budget at most 500k params", "scorer distillation, num clips 128",
        "seed 7", "population 16", "subnets within budget 12,345 of 1,791,153",
        "supernet ab12", "versions · torch 2.13.0", "command c -x",
    ):  # fmt: skip
        assert said in page.text, said


def test_hostile_text_is_text_wherever_it_stands(page_of):
    search = search_of(
        space=EVIL,
        scorer={EVIL: EVIL},
        provenance={EVIL: {EVIL: [EVIL, None, "\ud800"]}},
        seed=EVIL,
    )
    search["candidates"][0] |= {"subnet": {"space": EVIL, EVIL: "\x00"}, "verdict": EVIL}
    search["winner"] |= {"subnet": {"space": EVIL}, "fine_tuned": {EVIL: EVIL}}
    page, text, _ = page_of(search)
    assert page.text.count(EVIL) >= 9
    assert not {"script", "b"} & set(page.tags)
    assert len(pictures(text)) == 4  # each still parses as XML
    assert "Its layers cannot be told" in page.text


@pytest.mark.parametrize("num_subnets", [0, 1])
def test_a_search_that_has_just_begun_has_a_page(page_of, num_subnets):
    page, _, report = page_of(search_of(num_subnets))
    assert report.scored == num_subnets
    assert page.text.count("nothing to draw") == (0 if num_subnets else 3)
    assert ("winner none yet" in page.text) is (num_subnets == 0)


def test_candidates_alone_are_enough(page_of):
    page, _, report = page_of({"candidates": [{"number": 3, "score": 1.0}]})
    assert report.scored == 1
    assert "budget none" in page.text
    assert "None was recorded." in page.text


def test_damaged_candidates_are_left_out_and_told(page_of):
    search = search_of(5)
    scored = sum(one["score"] is not None for one in search["candidates"])
    search["candidates"] += [7, None, {"score": 0.1}, {"number": "x"}]
    search["candidates"][0] |= {"score": math.nan, "costs": {"params": 10**400, "macs": "many"}}
    page, _, report = page_of(search)
    assert (report.candidates, report.scored, report.skipped) == (5, scored - 1, 4)
    assert "4 damaged candidates were left out." in page.text


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"schema": 2, "candidates": []}, "schema 2"),
        ({"schema": 1}, "list of candidates"),
        ({"candidates": {}}, "got dict"),
    ],
)
def test_what_is_not_a_search_leaves_an_older_page_alone(search, said, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("older")
    with pytest.raises(CompressError, match=said):
        write_search_report(search, page)
    assert page.read_text() == "older"


@pytest.mark.parametrize("text", ["{", "[]", '{"candidates": [', "\x00"])
def test_a_damaged_file_is_one_clear_error(text, tmp_path):
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(CompressError, match=r"search\.json"):
        read_search(tmp_path)


def test_the_command_reports_both_kinds_of_run(call, tmp_path):
    run = tmp_path / "search"
    run.mkdir()
    (run / "search.json").write_text(json.dumps(search_of(8)))
    code, out, err = call("report", run, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["report"] == str(run / "report.html")
    assert (told["candidates"], told["skipped_candidates"]) == (8, 0)
    assert "Search in otolite-tiny" in (run / "report.html").read_text(encoding="utf-8")

    (run / "search.json").write_text("{")
    code, out, err = call("report", run, "--out", tmp_path / "other.html")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "search.json is damaged" in err
    assert not (tmp_path / "other.html").exists()
