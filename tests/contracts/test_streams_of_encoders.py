"""Encoders of the HuBERT family, in every form, on every engine here: see stream_laws."""

import pytest
from stream_laws import (  # noqa: F401
    ENCODERS,
    Case,
    cases,
    test_a_window_hears_nothing_before_it,
    test_an_answer_hears_its_last_sample_and_none_after,
    test_an_onnx_graph_of_windows_takes_any_batch_and_length,
    test_any_blocks_give_what_the_trained_form_answers,
    test_every_graph_runs_and_its_answers_are_worth_comparing,
)


@pytest.fixture(scope="module", params=cases(ENCODERS), ids="-".join)
def case(request, tmp_path_factory):
    family, form = request.param
    return Case(family, form, tmp_path_factory.mktemp("bundle") / "tiny.bundle")
