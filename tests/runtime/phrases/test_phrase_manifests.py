"""Phrases in manifest.json, on disk, and on the device's command line."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_phones import FRAME, RATE, Heard, phone_model, posteriors_of, waveform_of

from runtime.bundle import GOLDEN_FILE, MANIFEST_FILE, Decision, Manifest, seal
from runtime.cli import main
from runtime.digest import sha256
from runtime.faults import BundleFault
from runtime.manifest import Phrases, digest_of
from runtime.rewrite import write_phrases
from runtime.stream import Model

ASKED = {"a b": ["A B", "A A B"], "c": ["C"]}
RAW: dict[str, Any] = json.loads(seal(phone_model(ASKED).manifest).to_json())


def _read(raw: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(raw | {"digest": digest_of(raw)}))


def _changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return raw


def test_phrases_are_read_back_as_written() -> None:
    assert RAW["phrases"]["pronunciations"] == {
        "a b": [["A", "B"], ["A", "A", "B"]],
        "c": [["C"]],
    }
    assert "decision" not in RAW  # an older runtime would refuse one of phones
    manifest = seal(phone_model(ASKED).manifest)
    assert _read(RAW) == manifest
    assert (manifest.score_labels, manifest.frame_samples) == (("a b", "c"), FRAME)
    assert manifest.keyword_decision is manifest.phrases.decision


def test_a_bundle_without_phrases_is_written_as_before() -> None:
    raw = json.loads(seal(phone_model().manifest).to_json())
    assert raw.keys() == RAW.keys() - {"phrases"}
    assert _read(raw | {"schema_version": "1.2"}).phrases is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("phrases",), None, "phrases must be an object"),
        (("phrases",), {}, "phrases.pronunciations is missing"),
        (("phrases", "ways"), {}, "unknown key 'phrases.ways'"),
        (("phrases", "pronunciations"), [], "phrases.pronunciations must be an object"),
        (("phrases", "pronunciations"), {}, "hold 1 to 10,000 names, got 0"),
        (("phrases", "pronunciations", "c"), ["C"], "'phrases.pronunciations.c' must hold lists"),
        (("phrases", "pronunciations", "c"), [[1]], "must hold lists of phones"),
        (("phrases", "pronunciations", "c"), "C", "phrases.pronunciations.c must be a list"),
        (("phrases", "pronunciations", "c"), [["Q"]], "'c' has a phone 'Q'"),
        (("phrases", "pronunciations", "d"), [["C"]], "must be those that have pronunciations"),
        (("phrases", "decision"), None, "phrases.decision must be an object"),
        (("phrases", "decision", "keywords"), ["c"], "must be those that have pronunciations"),
        (("phrases", "decision", "threshold"), 2, r"\(0, 1\], got 2"),
        (("phrases", "decision", "thresholds"), {"c": "1"}, "phrases.decision.thresholds.c must"),
        (("phrases", "decision", "patience"), 9, "must overlap"),
        (("phrases", "decision", "smooth"), 9, "unknown key 'phrases.decision.smooth'"),
    ],
)
def test_a_broken_rule_of_phrases_is_named(path: tuple[Any, ...], value: Any, words: str) -> None:
    with pytest.raises(BundleFault, match=words):
        _read(_changed(path, value))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_phrases_of_any_kind_are_read_or_refused_in_words(read_or_refused, data) -> None:
    places = [(), ("pronunciations",), ("pronunciations", "c"), ("decision",)]
    leaves = st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(["C", 10**400, True])
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    )
    raw = _changed(("phrases", *data.draw(st.sampled_from(places))), data.draw(values))
    read = read_or_refused(lambda: _read(raw))
    assert read is None or read.score_labels


def test_phrases_are_of_phones_alone(make_manifest) -> None:
    phrases = phone_model(ASKED).manifest.phrases
    with pytest.raises(BundleFault, match="phrases are for a phone model"):
        make_manifest({"model.onnx": "a" * 64, GOLDEN_FILE: "b" * 64}, phrases=phrases)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle on disk whose graph nobody runs."""
    files = {"model.fake": b"no graph", GOLDEN_FILE: b"no pair"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    digests = {name: sha256(data).hexdigest() for name, data in files.items()}
    manifest = seal(dataclasses.replace(phone_model().manifest, files=digests))
    (tmp_path / MANIFEST_FILE).write_text(manifest.to_json())
    return tmp_path


def test_phrases_are_written_into_a_bundle(folder: Path) -> None:
    phrases = Phrases(
        pronunciations={"a b": (("A", "B"),)},
        decision=Decision(keywords=("a b",), threshold=0.5, thresholds={"a b": 0.25}),
    )
    written = write_phrases(folder, phrases, measured={"calibration": {"hours": 1.0}})
    assert written.phrases == phrases
    assert written.measured == {"calibration": {"hours": 1.0}}
    before = (folder / MANIFEST_FILE).read_bytes()
    assert Manifest.from_json(before.decode()) == written
    with pytest.raises(BundleFault, match="'a b' has a phone 'Q'"):
        write_phrases(folder, dataclasses.replace(phrases, pronunciations={"a b": (("Q",),)}))
    assert (folder / MANIFEST_FILE).read_bytes() == before


@pytest.fixture
def recording(folder: Path, wav_bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of "A B"; and every bundle's graph hears it."""
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text())
    monkeypatch.setattr("runtime.cli.load", lambda *_, **__: Model(manifest, Heard(manifest)))
    path = shutil.copy(folder / "model.fake", folder / "heard.wav")
    Path(path).write_bytes(wav_bytes(waveform_of(posteriors_of("- A - B - -")), RATE, bits=32))
    return Path(path)


def test_the_device_listens_for_phones_on_its_command_line(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["listen", "heard", "--wav", str(recording), "--json", "--keyword", "a b=C"]
    assert main([*words, "--keyword", " a  b = a b", "--keyword", "c=C"]) == 0
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    event = json.loads(line)
    assert (event["label"], event["start_s"], event["end_s"]) == (
        "a b", pytest.approx(FRAME / RATE), pytest.approx(4 * FRAME / RATE),
    )  # fmt: skip
    assert "for a b, c at threshold 0.5" in told.err


def test_a_keyword_that_cannot_be_is_one_line(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["listen", "heard", "--wav", str(recording), "--keyword"]
    for keyword in ("", "a b", "a b=", "= A B"):
        with pytest.raises(SystemExit) as ended:
            main([*words, keyword])
        assert ended.value.code == 2
        assert "a keyword is its text and its phones" in capsys.readouterr().err.splitlines()[-1]
    for keyword, told in (("a b=A Q", "has a phone 'Q'"), (f"a={'A ' * 2000}", "got 2000")):
        assert main([*words, keyword]) == 1
        err = capsys.readouterr().err
        assert told in err
        assert err.count("\n") == 1


def test_a_long_list_of_keywords_is_cut_short(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [word for number in range(30) for word in ("--keyword", f"word {number}=A C")]
    assert main(["listen", "heard", "--wav", str(recording), *many]) == 0
    assert "word 19 and 10 more at threshold 0.5" in capsys.readouterr().err
