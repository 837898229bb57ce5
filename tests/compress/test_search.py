import contextlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import searching
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from tiny_spaces import every_subnet, tiny_space

from compress import BudgetError
from compress.budget import Budget
from compress.cost.params import params
from compress.feasible import FeasibleSet, count_within
from compress.search import SearchError
from compress.search.generations import MOST_REJECTED
from compress.search.genes import gene_choices, genes_of, subnet_from
from compress.search.study import run_search

SPACE = tiny_space(num_layers=2)
COSTS = {subnet: params(SPACE, subnet) for subnet in every_subnet(SPACE)}
TARGET = sorted(COSTS.values())[len(COSTS) // 2]


def smooth(subnet):
    """A score that prefers heads, then narrow layers: something to climb."""
    return 10.0 - sum(subnet.num_heads) + sum(subnet.ffn_dim) / 50 - subnet.embed_dim / 100


def search(storage, score=smooth, **changes):
    asked = {"num_trials": 10, "population": 4, "seed": 3} | changes
    space = asked.pop("space", SPACE)
    budget = Budget(params=asked.pop("target_params", TARGET))
    return run_search(space, budget=budget, storage=storage, score=score, **asked)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return search(tmp_path_factory.mktemp("whole") / "study.sqlite")


def test_the_winner_fits_and_has_the_lowest_score_of_the_scored(uninterrupted):
    scored = [found for found in uninterrupted.candidates if found.verdict == "scored"]
    best = uninterrupted.best
    assert len(scored) == 10
    assert uninterrupted.score == min(smooth(found.subnet) for found in scored)
    assert uninterrupted.score == smooth(best.subnet)
    assert best.costs["params"] == COSTS[best.subnet] <= TARGET


def test_only_new_subnets_that_fit_are_scored_and_the_rest_say_why(uninterrupted):
    seen = set()
    for number, found in enumerate(uninterrupted.candidates):
        assert found.number == number
        assert found.costs["params"] == COSTS[found.subnet]
        if found.verdict == "scored":
            assert found.subnet not in seen
            assert found.score == smooth(found.subnet)
            seen.add(found.subnet)
        else:
            assert found.score is None
            wanted = "repeated" if found.costs["params"] <= TARGET else "over_budget"
            assert found.verdict == wanted
        assert found.feasible == (found.costs["params"] <= TARGET)


def test_the_first_generation_is_the_largest_that_fits_and_subnets_that_fit(uninterrupted):
    first = uninterrupted.candidates[:4]
    assert first[0].subnet == FeasibleSet(SPACE, Budget(params=TARGET)).largest()
    assert [found.verdict for found in first] == ["scored"] * 4
    assert [found.generation for found in first] == [0] * 4
    last = [found for found in uninterrupted.candidates if found.verdict == "scored"][-1]
    assert last.generation == 2  # four, four and two


def test_generations_descend_from_the_first(tmp_path):
    # Without selection the mean score would stay where the uniform sample has it.
    space = tiny_space(num_layers=3)
    target = params(space, space.largest())
    result = search(
        tmp_path / "s.sqlite", space=space, target_params=target, num_trials=48, population=8
    )
    scores = [found.score for found in result.candidates if found.score is not None]
    every = [smooth(subnet) for subnet in every_subnet(space)]
    assert np.mean(scores[24:]) < np.mean(every) - np.std(every)


def test_a_search_for_the_front_keeps_cheap_candidates_among_the_parents(tmp_path):
    space = tiny_space(num_layers=3)
    target = params(space, space.largest())
    asked = {"space": space, "target_params": target, "num_trials": 96, "population": 8}

    def larger_is_better(subnet):
        return -params(space, subnet) / target

    mean = {}
    for front in (False, True):
        found = search(tmp_path / f"{front}.db", larger_is_better, front=front, **asked).candidates
        late = [c.costs["params"] for c in found if c.score is not None][48:]
        mean[front] = np.mean(late)
    assert mean[True] < 0.9 * mean[False]


def test_several_limits_are_kept_by_all_that_is_scored(tmp_path):
    space = tiny_space(num_layers=2, elastic=True)
    every = [Budget(params=10**9).cost_of(space, subnet) for subnet in every_subnet(space)]
    middle = {name: sorted(c[name] for c in every)[len(every) // 2] for name in every[0]}
    budget = Budget(params=middle["params"], macs=middle["macs"], size_bytes=middle["size_bytes"])
    result = run_search(
        space,
        budget=budget,
        num_trials=24,
        population=6,
        seed=0,
        storage=tmp_path / "s.db",
        score=smooth,
    )
    for found in result.candidates:
        assert found.costs == budget.cost_of(space, found.subnet)
        assert (found.verdict == "over_budget") == (not budget.holds(found.costs))
    assert budget.holds(result.best.costs)
    assert result.num_candidates("scored") == 24


def test_workers_that_come_and_go_end_with_the_same_search(tmp_path, uninterrupted):
    # Another worker scores candidates while this one is at its own, and dies at its third.
    path = tmp_path / "s.db"
    calls = []

    def slow(subnet):
        calls.append(subnet)
        if len(calls) in (1, 4):

            def dying(subnet, scored=[]):  # noqa: B006  one list for all calls
                scored.append(subnet)
                if len(scored) == 3:
                    raise KeyboardInterrupt
                return smooth(subnet)

            with contextlib.suppress(KeyboardInterrupt):
                search(path, dying, resume=True)
        return smooth(subnet)

    assert search(path, slow) == uninterrupted
    assert len(calls) < 10  # the other one did some of the work


def test_workers_share_a_journal_file_too(tmp_path, uninterrupted):
    path = tmp_path / "shared.log"
    with pytest.raises(KeyboardInterrupt):
        search(path, _stopping_after(3))
    again = []
    assert search(path, lambda s: again.append(s) or smooth(s), resume=True) == uninterrupted
    assert len(again) == 7
    path.write_text("no journal\n")
    with pytest.raises(SearchError, match="cannot be read or written"):
        search(path, resume=True)


def _stopping_after(calls):
    left = [calls]

    def score(subnet):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return smooth(subnet)

    return score


def test_when_few_fit_each_is_scored_once_and_the_search_ends(tmp_path):
    target = sorted(COSTS.values())[9]
    result = search(tmp_path / "s.sqlite", target_params=target, num_trials=500, population=3)
    fitting = {subnet for subnet, cost in COSTS.items() if cost <= target}
    scored = [found.subnet for found in result.candidates if found.verdict == "scored"]
    assert len(scored) == count_within(SPACE, Budget(params=target))
    assert set(scored) == fitting
    assert len(result.candidates) <= len(fitting) * (MOST_REJECTED + 1)
    assert result.score == min(map(smooth, fitting))


def test_the_seed_alone_decides(tmp_path, uninterrupted):
    same = search(tmp_path / "same.sqlite")
    other = search(tmp_path / "other.sqlite", seed=4)
    assert same == uninterrupted
    assert other.candidates != uninterrupted.candidates


@pytest.mark.parametrize("scored_before", [0, 3, 4, 6, 9])
def test_a_scorer_that_fails_and_is_resumed_changes_nothing(tmp_path, uninterrupted, scored_before):
    calls = []

    def failing(subnet):
        if len(calls) == scored_before:
            raise KeyboardInterrupt
        calls.append(subnet)
        return smooth(subnet)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "s.sqlite", failing)
    scored_again = []
    resumed = search(
        tmp_path / "s.sqlite", lambda s: scored_again.append(s) or smooth(s), resume=True
    )
    assert resumed == uninterrupted
    assert set(scored_again).isdisjoint(calls)


@settings(max_examples=6, deadline=None)  # the disk decides how long a commit takes
@given(stops=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=2))
def test_stopped_at_any_write_and_resumed_it_ends_the_same(tmp_path_factory, uninterrupted, stops):
    path = tmp_path_factory.mktemp("stopped") / "s.sqlite"
    for stop, after in stops:
        with pytest.MonkeyPatch.context() as patch:
            _stop_at_commit(patch, stop, after=after)
            with contextlib.suppress(KeyboardInterrupt):
                search(path, resume=True)
    assert search(path, resume=True) == uninterrupted


def _stop_at_commit(patch, stop, *, after):
    """Interrupt the `stop`-th transaction of SQLAlchemy, before or after it is committed."""
    commit, left = Session.commit, [stop]

    def stopping(session):
        left[0] -= 1
        if left[0] < 0 and not after:
            raise KeyboardInterrupt
        commit(session)
        if left[0] < 0:
            raise KeyboardInterrupt

    patch.setattr(Session, "commit", stopping)


def test_a_killed_process_leaves_a_study_that_resumes_to_the_same_end(tmp_path, uninterrupted):
    path = tmp_path / "s.sqlite"
    program = (
        "import os, signal, test_search as t\n"
        "calls = []\n"
        "def score(subnet):\n"
        "    calls.append(subnet)\n"
        "    if len(calls) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return t.smooth(subnet)\n"
        f"t.search(t.Path({str(path)!r}), score)\n"
    )
    here = Path(__file__)
    paths = os.pathsep.join([str(here.parent), str(here.parents[2])])
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths}, check=False
    )
    assert killed.returncode < 0
    assert search(path, resume=True) == uninterrupted


def test_a_search_killed_ten_times_at_random_moments_ends_with_the_same_winner(tmp_path):
    path, rng = tmp_path / "study.db", np.random.default_rng(5)
    here = Path(__file__)
    paths = os.pathsep.join([str(here.parent), str(here.parents[2])])
    for _ in range(10):
        running = subprocess.Popen(
            [sys.executable, here.parent / "searching.py", path],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        # Scores are counted, not timed: a busy machine is as far as an idle one when it is killed.
        for _ in range(rng.integers(1, 6)):
            assert running.stdout.readline() == b"begun\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(0.0, 0.03))
        running.kill()
        assert running.wait() == -signal.SIGKILL  # it was still at it
        running.stdout.close()
    scored = []
    resumed = searching.search(path, lambda s: scored.append(s) or searching.score(s), resume=True)
    assert 0 < len(scored) < searching.NUM_TRIALS
    assert resumed == searching.search(tmp_path / "whole.db")


def test_resumed_with_more_trials_it_goes_on_as_if_asked_for_them_at_first(tmp_path, uninterrupted):
    news = []
    search(tmp_path / "s.sqlite", num_trials=6)
    longer = search(tmp_path / "s.sqlite", resume=True, on_trial=news.append)
    assert longer == uninterrupted
    scored = [found for found in uninterrupted.candidates if found.verdict == "scored"]
    assert news == scored[6:]


def test_a_study_that_is_there_is_not_continued_unasked(tmp_path):
    path = tmp_path / "s.sqlite"
    search(path, num_trials=2)
    with pytest.raises(SearchError, match=r"--resume .* another --out"):
        search(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_params": TARGET + 1}, rf"budget was .*{TARGET}}}, now .*{TARGET + 1}}}"),
        ({"seed": 8}, "seed was 3, now 8"),
        ({"population": 5}, "population was 4, now 5"),
        ({"space": tiny_space(num_layers=3)}, r"depth was \[1, 2\], now \[1, 2, 3\]"),
        ({"scored_on": "sha256:1"}, "scored_on was '', now 'sha256:1'"),
    ],
)
def test_a_study_is_not_resumed_as_another_search(tmp_path, change, message):
    path = tmp_path / "s.sqlite"
    search(path, num_trials=2)
    with pytest.raises(SearchError, match=message):
        search(path, resume=True, **change)


def test_a_target_that_nothing_fits_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(BudgetError, match="the least is 273 parameters"):
        search(tmp_path / "new" / "s.sqlite", target_params=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_names_the_subnet(tmp_path, value):
    with pytest.raises(SearchError, match=f'finite, got {value} for .*"embed_dim"'):
        search(tmp_path / "s.sqlite", lambda subnet: value)


def test_a_file_that_is_no_study_is_one_clear_error(tmp_path):
    path = tmp_path / "s.sqlite"
    path.write_text("no database, but a text that is long enough to be read as one" * 20)
    with pytest.raises(SearchError, match="file is not a database"):
        search(path, resume=True)


def test_a_scorers_own_error_passes_through(tmp_path):
    def broken(subnet):
        raise OSError("no audio")

    with pytest.raises(OSError, match="no audio"):
        search(tmp_path / "s.sqlite", broken)


@pytest.mark.parametrize("change", [{"num_trials": 0}, {"population": 1}, {"seed": -1}])
def test_a_number_outside_its_range_is_named(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        search(tmp_path / "s.sqlite", **change)


def test_a_folder_with_any_name_can_hold_the_study(tmp_path):
    path = tmp_path / "50%20 of #1? é" / "s.sqlite"
    search(path, num_trials=1)
    assert path.is_file()


def test_optuna_is_quiet_and_keeps_its_own_verbosity(tmp_path, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    search(tmp_path / "s.sqlite", num_trials=6)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


@given(rank=st.integers(0, 503), seed=st.integers(0, 99), elastic=st.booleans())
def test_genes_make_the_subnet_that_they_were_read_from(rank, seed, elastic):
    space = tiny_space(num_layers=2 if elastic else 3, elastic=elastic)
    subnet = FeasibleSet(space, Budget(params=10**9)).at(rank)
    genes = genes_of(space, subnet, np.random.default_rng(seed))
    assert subnet_from(space, genes) == subnet
    assert all(genes[name] in alleles for name, alleles in gene_choices(space).items())
    assert genes.keys() == gene_choices(space).keys()


def test_planning_imports_neither_torch_nor_optuna():
    program = (
        "import sys, compress.slicing, compress.feasible, compress.search.study\n"
        "sys.exit(bool({'torch', 'optuna', 'lightning'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert ran.returncode == 0
