"""`compress show` from the command line: a subnet from a folder, a file or as typed."""

import json

import pytest

from compress.cost.macs import macs
from compress.cost.params import params
from compress.spaces import get_space

SPACE = get_space("otolite-tiny")
SUBNET = SPACE.smallest()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "winner.json").write_text(SUBNET.to_json() + "\n")
    return tmp_path


def test_a_subnet_is_read_from_a_run_from_a_file_and_as_typed(call, run):
    answers = [
        call("show", words, "--json") for words in (run, run / "winner.json", SUBNET.to_json())
    ]
    assert answers[0] == answers[1] == answers[2]
    code, out, _ = answers[0]
    assert code == 0
    found = json.loads(out)
    assert (found["space"], found["depth"], found["embed_dim"]) == ("otolite-tiny", 4, 64)
    assert found["params"] == params(SPACE, SUBNET)
    assert found["macs_per_second_of_audio"] == macs(SPACE.config(SUBNET)).total
    assert found["float32_bytes"] == 4 * found["params"]
    rows = found["layers"]
    assert [row["name"] for row in rows[-4:]] == ["layer 1", "layer 2", "layer 3", "layer 4"]
    assert rows[-1]["sizes"] == {"heads": 2, "ffn_dim": 128}
    assert sum(row["params"] for row in rows) == found["params"]
    for cost in ("params", "macs"):
        assert sum(row[f"{cost}_ratio"] for row in rows) == pytest.approx(1, abs=0.001)


def test_people_read_a_table_whose_columns_stand_under_each_other(call, run):
    code, out, _ = call("show", run)
    assert code == 0
    lines = out.splitlines()
    head = next(line for line in lines if "params ratio" in line)
    end = head.index("params") + len("params")
    rows = lines[lines.index(head) + 1 :]
    assert len(rows) == 7 + 3 + SUBNET.depth
    for row in rows:
        number = row[:end].split()[-1]
        assert number.replace(",", "").isdecimal(), row
        assert row[end] == " "
    assert "conv 1" in rows[0]
    assert "heads 2, ffn dim 128" in rows[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere", "nowhere is neither a search's run folder"),
        ('{"spase": "x"}', "did you mean 'space'"),
        ('{"space": "x", "embed_dim": 1, "num_heads": [1], "ffn_dim": [1]}', "unknown space 'x'"),
        ("{", "a subnet must be JSON"),
    ],
)
def test_what_is_no_subnet_is_one_line(call, words, said):
    code, out, err = call("show", words)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_folder_without_a_winner_says_what_to_do(call, tmp_path):
    code, _, err = call("show", tmp_path)
    assert code == 1
    assert "holds no winner.json" in err
    assert "--resume" in err


def test_a_binary_file_is_no_subnet(call, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(256)))
    code, _, err = call("show", path)
    assert code == 1
    assert "a subnet must be JSON" in err
