"""Zips of building blocks: whole or refused in words, and timed."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import runtime.bench
import runtime.blocks
from runtime.bench import Run, block_runs, measure_blocks, time_graph, time_together, write_table
from runtime.blocks import BLOCKS_FILE, Block, BlockSet, read_blocks
from runtime.cli import main
from runtime.faults import BundleFault, RuntimeFault

SHAPE = (1, 12, 4)


def graph(operator: str) -> bytes:
    """One operator over (batch, length, 4)."""
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", 4])
        for name in ("signal", "frame")
    ]
    node = helper.make_node(operator, ["signal"], ["frame"])
    made = helper.make_graph([node], "block", sides[:1], sides[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


GRAPHS = {
    "overhead.onnx": graph("Identity"),
    "input.onnx": graph("Abs"),
    "ffn.4.8.onnx": graph("Exp"),
}


def described(name: str) -> dict[str, Any]:
    digest = hashlib.sha256(GRAPHS[name]).hexdigest()
    return {"file": name, "sha256": digest, "input": "signal", "shape": list(SHAPE)}


def contents(**changes: Any) -> dict[str, Any]:
    values = {
        "schema_version": 1,
        "space": "tiny",
        "definition": "0123456789abcdef",
        "window_samples": 12,
        "overhead": described("overhead.onnx"),
        "blocks": {"input": described("input.onnx"), "ffn.4.8": described("ffn.4.8.onnx")},
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


def write(path: Path, text: str | None = None, **changes: Any) -> Path:
    files = dict(GRAPHS)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(BLOCKS_FILE, json.dumps(contents(**changes)) if text is None else text)
    return path


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    return write(tmp_path / "blocks.zip")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> BlockSet:
    return read_blocks(write(tmp_path_factory.mktemp("blocks") / "blocks.zip"))


def block(**changes: Any) -> dict[str, Any]:
    return {"blocks": {"input": described("input.onnx") | changes}}


def test_a_whole_zip_says_what_was_written(zipped: Path) -> None:
    found = read_blocks(zipped)
    assert found.files == GRAPHS
    assert found.contents.blocks["ffn.4.8"] == Block(**described("ffn.4.8.onnx") | {"shape": SHAPE})
    assert json.loads(found.contents.to_json()) == contents()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version 2 is not readable"),
        ({"schema_version": "1"}, "schema_version must be an integer"),
        ({"space": None}, "space is missing"),
        ({"space": "a\nb"}, "printable"),
        ({"definition": 3}, "definition must be a string"),
        ({"window_samples": 0}, "window_samples must be 1 or more"),
        ({"overhead": None}, "overhead is missing"),
        ({"blocks": []}, "blocks must be an object"),
        ({"blocks": {}}, "blocks is empty"),
        ({"blocks": {"../x": described("input.onnx")}}, "no key"),
        (block(shape=[1, 0]), "shape must hold"),
        (block(shape=[1.5]), "shape must hold"),
        (block(shape=[True]), "shape must hold"),
        (block(shape=[]), "shape must hold"),
        (block(shape=[1 << 20, 1 << 20]), "shape must hold"),
        (block(file="absent.onnx"), "lacks 'absent.onnx'"),
        (block(sha256="0" * 64), "'input.onnx' was changed"),
        ({"blocks": {"input": described("input.onnx")}}, "'ffn.4.8.onnx', which blocks.json does"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleFault, match=message) as fault:
        read_blocks(write(tmp_path / "blocks.zip", **changes))
    assert "blocks.zip: " in str(fault.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "\x00", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 9999]
)
def test_blocks_json_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BundleFault, match=r"blocks\.json"):
        read_blocks(write(tmp_path / "blocks.zip", text))


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b/evil", "..\\evil"])
def test_an_entry_outside_the_zip_is_refused(zipped: Path, name: str) -> None:
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(BundleFault, match="leaves"):
        read_blocks(zipped)
    assert not (zipped.parent / "evil").exists()


def test_a_zip_that_unpacks_to_too_much_is_refused(
    zipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(3 << 20))
    monkeypatch.setattr(runtime.blocks, "MAX_BLOCKS_BYTES", 2 << 20)
    assert zipped.stat().st_size < 2 << 20
    with pytest.raises(BundleFault, match="over 2 MiB unpacked, more than a file of building"):
        read_blocks(zipped)


def test_what_is_no_such_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleFault, match="no such file"):
        read_blocks(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BundleFault, match="no whole zip, and so not a file of building blocks"):
        read_blocks(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(BundleFault, match=r"holds no blocks\.json"):
        read_blocks(tmp_path / "other.zip")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_zip_is_refused_or_whole(
    whole: BlockSet, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("zips") / "blocks.zip")
    damaged = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        found = read_blocks(path)
    except BundleFault:
        return
    assert found == whole


def test_every_block_is_fed_noise_of_its_shape(whole: BlockSet) -> None:
    runs = block_runs(whole)
    assert list(runs) == ["overhead", "input", "ffn.4.8"]
    for run in runs.values():
        assert run.feeds["signal"].shape == SHAPE
        assert run.feeds["signal"].dtype == np.float32
        assert 0.0 < np.abs(run.feeds["signal"]).max() <= 0.1


class Clock:
    """Stands in for engines and time: each graph takes as many ns as its bytes say."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.order: list[str] = []

    def engine_for(self, file_name: str, model: bytes, *, threads: int) -> "Clock.Engine":
        return Clock.Engine(self, model.decode())

    class Engine:
        version = "clock 1.0"

        def __init__(self, clock: "Clock", name: str) -> None:
            self.clock, self.name, self.num_runs = clock, name, 0

        def run(self, feeds: dict[str, np.ndarray]) -> None:
            self.num_runs += 1
            self.clock.order.append(self.name)
            # the first two runs are slow, as a real engine's are; then 10, 20, 30 ...
            self.clock.now_ns += (
                10**9 if self.num_runs <= 2 else int(self.name) * (self.num_runs - 2)
            )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runtime.bench, "engine_for", clock.engine_for)
    monkeypatch.setattr(runtime.bench.time, "perf_counter_ns", lambda: clock.now_ns)
    return clock


def test_graphs_take_turns_after_warming_up(clock: Clock) -> None:
    told: list[int] = []
    runs = {name: Run(name.encode(), {}) for name in ("10", "300")}
    timings = time_together(runs, rounds=11, tell=told.append)
    assert clock.order == ["10"] * 2 + ["300"] * 2 + ["10", "300"] * 11
    assert {key: (time.median_ns, time.p90_ns) for key, time in timings.items()} == {
        "10": (60, 100),
        "300": (1800, 3000),
    }
    assert told == list(range(1, 12))
    assert time_graph(b"7", {}, rounds=1).median_ns == 7


def test_a_table_holds_every_block_and_what_a_graph_costs(whole: BlockSet, tmp_path: Path) -> None:
    table = measure_blocks(whole, rounds=3)
    assert set(table["blocks"]) == {"input", "ffn.4.8"}
    assert all(0 < time["median_ns"] <= time["p90_ns"] for time in table["blocks"].values())
    assert table["overhead_ns"] > 0
    assert table["engine"].startswith("onnxruntime ")
    kept = {
        key: table[key] for key in ("space", "definition", "window_samples", "threads", "rounds")
    }
    assert kept == {
        "space": "tiny",
        "definition": "0123456789abcdef",
        "window_samples": 12,
        "threads": 1,
        "rounds": 3,
    }
    write_table(table, tmp_path / "deep" / "table.json")
    assert json.loads((tmp_path / "deep" / "table.json").read_text()) == table


def test_faults_name_the_block(whole: BlockSet) -> None:
    noise = {"signal": np.zeros(SHAPE, dtype=np.float32)}
    for run in (Run(b"no graph", noise), Run(graph("Abs"), {}), Run(graph("Abs"), noise, "a.xyz")):
        with pytest.raises(BundleFault, match=r"^ffn\.4\.8: "):
            time_together({"ffn.4.8": run}, rounds=1)
    with pytest.raises(RuntimeFault, match="rounds must be 1 or more, got 0"):
        time_together({}, rounds=0)


def test_a_table_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RuntimeFault, match="cannot be written"):
        write_table({}, tmp_path / "file" / "table.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("as_json", [True, False])
def test_bench_writes_the_table(
    zipped: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out = zipped.parent / "table.json"
    words = ["bench", "--blocks", str(zipped), "--out", str(out), "--rounds", "2"]
    assert main([*words, *(["--json"] if as_json else [])]) == 0
    printed, told = capsys.readouterr()
    assert told.splitlines()[0] == "timing 2 blocks of space tiny, 2 rounds, threads 1"
    assert json.loads(out.read_text())["rounds"] == 2
    if as_json:
        assert json.loads(printed)["blocks"] == 2
    else:
        assert [line.split()[0] for line in printed.splitlines()][:3] == [
            "table",
            "blocks",
            "machine",
        ]


@pytest.mark.parametrize("unrest", [1.0, 3.0])
def test_bench_says_when_the_machine_was_busy(
    zipped: Path, unrest: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(blocks: BlockSet, **_: Any) -> dict[str, Any]:
        table = measure_blocks(blocks, rounds=1)
        for time in table["blocks"].values():
            time["p90_ns"] = round(unrest * time["median_ns"])
        return table

    monkeypatch.setattr(runtime.cli, "measure_blocks", measured)
    assert main(["bench", "--blocks", str(zipped), "--out", str(zipped.parent / "t.json")]) == 0
    assert ("warning: " in capsys.readouterr().err) is (unrest > 2)


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--rounds", "x"], ["--threads", "9999"]])
def test_a_wrong_count_is_a_wrong_call(zipped: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--blocks", str(zipped), "--out", "t.json", *words])
    assert ended.value.code == 2


def test_bench_answers_to_damage_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--blocks", str(tmp_path / "no.zip"), "--out", str(tmp_path / "t")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "compress blocks SPACE" in error
    assert len(error.splitlines()) == 1
