"""A run's page: everything that was logged, nothing of it as HTML, whatever state the run is in."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from train.config import BatchConfig, LogConfig, MaskConfig, OptimizerConfig
from train.curves import curve, nice_ticks, thinned
from train.errors import TrainError
from train.objectives.hubert import Hubert, RoundConfig
from train.objectives.hubert import Recipe as HubertRecipe
from train.pretrain import pretrain
from train.report import write_report

EVIL = "<script>alert('x')</script>&\""


@pytest.fixture
def page_of(html_page):
    def read(run, tmp_path):
        report = write_report(run, tmp_path / "page.html")
        return html_page(tmp_path / "page.html"), report

    return read


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def run(tmp_path):
    """A run of two rounds, the second still going on."""
    folder = tmp_path / "my run"
    recipe = {"objective": "hubert", "seed": 3, "optimizer": {"learning_rate": 0.0005}}
    folder.mkdir()
    record = {"recipe": recipe, "from": {"data": EVIL}, "versions": {"torch": "2.13"}}
    (folder / "config.json").write_text(json.dumps(record | {"commit": "abc123"}))
    for number, updates in ((1, 100), (2, 50), (10, 10)):
        part = folder / f"round{number}"
        steps = range(9, updates, 10)
        lines = [{"step": step, "loss": 5 - step / 50, "masked_accuracy": 0.25} for step in steps]
        write_lines(part / "metrics.jsonl", lines)
        timing = [{"step": step, "seconds": 2.0, "audio_seconds": 100.0} for step in steps]
        write_lines(part / "timing.jsonl", timing)
    (folder / "round1" / "units.json").write_text(json.dumps({"pnmi": 0.258, "frames": 1000}))
    return folder


def test_a_page_tells_what_was_asked_and_measured(run, tmp_path, page_of):
    page, report = page_of(run, tmp_path)
    assert (report.updates, report.skipped) == (160, 0)
    for said in (
        "my run", "hubert", EVIL, "seed 3", "abc123", "torch 2.13", "going on, or stopped",
        '"learning_rate": 0.0005', "pnmi 0.258", "50.0 s of audio a second",
        "round1 100 updates in 0.01 h, 0.3 h of audio", "masked accuracy",
    ):  # fmt: skip
        assert said in page.text, said
    # Last losses of the rounds, side by side, in the order of their numbers.
    assert "round1 round2 round10 loss 3.02 4.02 4.82" in page.text
    # Two metrics and the pace, for each of three rounds.
    assert page.tags.count("svg") == 9
    (run / "model").mkdir()
    assert "state done" in page_of(run, tmp_path)[0].text


def test_damaged_lines_are_left_out_and_told(run, tmp_path, page_of):
    path = run / "round2" / "metrics.jsonl"
    damage = '{"loss": 1}\n{"step": "7", "loss": 1}\n[1]\n\udcff\n{"step": 9, "loss": null}\n{"st'
    path.write_bytes(path.read_bytes() + damage.encode(errors="surrogateescape"))
    page, report = page_of(run, tmp_path)
    assert report.skipped == 6
    assert "6 damaged lines of round2 were left out" in page.text
    assert "round1 round2 round10 loss 3.02 4.02 4.82" in page.text


def test_numbers_that_are_none_do_not_break_a_page(run, tmp_path, page_of):
    lines = [{"step": 9, "loss": math.nan}, {"step": 19, "loss": math.inf}, {"step": 29, "loss": 1}]
    write_lines(run / "round1" / "metrics.jsonl", lines)
    write_lines(run / "round2" / "metrics.jsonl", lines[:1])
    page, _ = page_of(run, tmp_path)
    assert "nothing to draw" in page.text


def test_a_fine_tunings_folder_has_scores_and_one_part(tmp_path, page_of):
    run = tmp_path / "keywords"
    write_lines(run / "metrics.jsonl", [{"step": 0, "loss": 2.0}])
    record = {"recipe": {"task": "keywords"}, "from": {}, "versions": {}, "commit": None}
    (run / "config.json").write_text(json.dumps(record))
    (run / "scores.json").write_text(json.dumps({"labels": ["a"], "test": {"accuracy": 0.75}}))
    page, report = page_of(run, tmp_path)
    assert report.updates == 1
    assert "test accuracy 0.75" in page.text
    assert "not a checkout" in page.text
    assert "trained 1 updates" in page.text


@pytest.mark.parametrize("config", [None, "{", "[]", '{"recipe": [], "from": 3}'])
def test_a_run_whose_config_is_damaged_still_has_a_page(config, run, tmp_path, page_of):
    (run / "config.json").unlink()
    if config is not None:
        (run / "config.json").write_text(config)
    page, _ = page_of(run, tmp_path)
    assert "what unknown" in page.text


def test_a_folder_without_a_run_is_one_clear_error(tmp_path):
    with pytest.raises(TrainError, match="holds no run"):
        write_report(tmp_path, tmp_path / "page.html")
    assert not any(tmp_path.iterdir())


def test_a_pretraining_ends_with_a_page_that_knows_its_units(
    corpus, encoder_config, tmp_path, stopping, page_of, html_page
):
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for path in corpus.iterdir():
        (data / path.name).symlink_to(path)
    phones = [["S", 0.0, 0.2], ["AH", 0.2, 0.15]]
    names = (data / "manifest.csv").read_text().split()[1:]
    write_lines(
        data / "phones.jsonl",
        [{"path": name.split(",")[0], "phones": phones} for name in names],
    )
    recipe = HubertRecipe(
        objective="hubert",
        encoder=encoder_config(),
        rounds=(RoundConfig(units="mfcc", num_clusters=4, updates=4),),
        mask=MaskConfig(prob=0.5, span=3),
        final_dim=8,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_updates=1),
        batch=BatchConfig(seconds=2.0, crop_seconds=0.6, min_seconds=0.3),
        log=LogConfig(log_every=1, checkpoint_every=2),
    )
    with stopping(Hubert, "forward", at=3):
        pretrain(recipe, data, out, resume=False)
    units = json.loads((out / "round1" / "units.json").read_text())
    assert units["num_clusters"] == 4
    assert pytest.approx(units["phone_purity"], abs=0.03) == 200 / 350  # tones know no phones
    assert units["pnmi"] < 0.01
    assert "going on" in page_of(out, tmp_path)[0].text
    pretrain(recipe, data, out, resume=True)
    page = html_page(out / "report.html")
    assert "state done" in page.text
    assert "round1 4 updates in" in page.text
    assert f"frames {units['frames']}" in page.text


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(allow_nan=True, allow_infinity=True, width=32)),
        max_size=30,
    ),
    st.text(st.characters(codec="utf-8", categories=("L", "P", "S")), max_size=20),
)
def test_a_curve_of_anything_is_a_picture_within_its_frame(points, title):
    picture = ElementTree.fromstring(curve(title, sorted(points, key=lambda point: point[0])))
    assert picture.findtext("text") == title
    for line in picture.iter("polyline"):
        for place in line.get("points").split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= 360
            assert 0 <= y <= 190


def test_a_curve_goes_through_its_points():
    text = curve("loss", [(1, 0.0), (2, 1.0), (3, 0.0)])
    places = [tuple(map(float, place.split(","))) for place in polyline(text)]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert (x1 - x0, y0) == (pytest.approx(x2 - x1), y2)
    assert y1 < y0  # up is a smaller y


def polyline(text):
    return re.search(r'<polyline points="([^"]*)"', text)[1].split()


@given(
    st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-9),
    st.floats(0, 1e12).filter(lambda x: x == 0 or x > 1e-9),
)
@example(0.0, 0.3)
def test_ticks_are_few_evenly_spaced_and_enclose_the_values(low, spread):
    ticks = nice_ticks(low, low + spread)
    slack = 1e-6 * max(abs(low), abs(low + spread), 1e-9)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + spread - slack
    assert 3 <= len(ticks) <= 10


def test_a_long_curve_is_thinned_and_keeps_its_spikes():
    points = [(float(step), 1.0) for step in range(100_000)]
    points[54_321] = (54_321.0, 99.0)
    kept = thinned(points)
    assert len(kept) <= 600
    assert (54_321.0, 99.0) in kept
    assert kept == sorted(kept)
