"""Read manifest.json's text into a `Manifest`: types first, then the dataclasses' own rules."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from .faults import BundleFault, one_line, short
from .manifest import (
    Decision,
    Manifest,
    Phrases,
    State,
    Streaming,
    Tensor,
    check_version,
    digest_of,
)
from .manifest_rules import PHONES, check_task

_KINDS: dict[str, tuple[type, ...]] = {
    "a string": (str,),
    "an integer": (int,),
    "a number": (int, float),
    "a list": (list,),
    "an object": (dict,),
}


def read_manifest(text: str) -> Manifest:
    """Check and read manifest.json's text; `Manifest.from_json` is its public name.

    Raises:
        BundleFault: bad JSON, an unknown major version, a missing or wrong value, a wrong digest.
    """
    raw = read_object(text, "manifest.json", "Export again.")
    # The version comes first: of another major version not even the digest's place is known.
    newer = check_version(take(raw, "schema_version", "a string"))
    digest = take(raw, "digest", "a string")
    if digest != digest_of(raw):
        raise BundleFault(
            "manifest.json was changed after it was sealed: its digest does not fit. Export again."
        )
    return _Reader(newer=newer).manifest(raw)


class _Reader:
    def __init__(self, *, newer: bool) -> None:
        self._newer = newer  # a newer minor version may hold keys that we pass over

    def manifest(self, raw: dict[str, Any]) -> Manifest:
        task = take(raw, "task", "a string")
        check_task(task)  # of another one neither the keys nor what they mean are known
        self._only_known(raw, Manifest, "")
        files = take(raw, "files", "an object")
        for name in files:
            take(files, name, "a string", "files.")
        return Manifest(
            name=take(raw, "name", "a string"),
            labels=_strings(raw, "labels"),
            streaming=self._streaming(take(raw, "streaming", "an object")),
            decision=None if task == PHONES and "decision" not in raw else self._decision(raw),
            phrases=self._phrases(raw) if "phrases" in raw else None,
            files=files,
            task=task,
            sample_rate=take(raw, "sample_rate", "an integer"),
            inputs=self._tensors(raw, "inputs"),
            outputs=self._tensors(raw, "outputs"),
            states=self._states(raw) if "states" in raw else (),
            provenance=take(raw, "provenance", "an object"),
            measured=take(raw, "measured", "an object"),
            schema_version=raw["schema_version"],
            digest=raw["digest"],
        )

    def _streaming(self, raw: dict[str, Any]) -> Streaming:
        self._only_known(raw, Streaming, "streaming.")
        return Streaming(
            form=take(raw, "form", "a string", "streaming."),
            window_samples=take(raw, "window_samples", "an integer", "streaming."),
            hop_samples=take(raw, "hop_samples", "an integer", "streaming."),
        )

    def _decision(self, holder: dict[str, Any], within: str = "") -> Decision:
        raw, where = take(holder, "decision", "an object", within), f"{within}decision."
        self._only_known(raw, Decision, where)
        thresholds = take(raw, "thresholds", "an object", where) if "thresholds" in raw else {}
        for word in thresholds:
            take(thresholds, word, "a number", f"{where}thresholds.")
        return Decision(
            keywords=_strings(raw, "keywords", where),
            threshold=take(raw, "threshold", "a number", where),
            thresholds=thresholds,
            smoothing_windows=take(raw, "smoothing_windows", "an integer", where),
            patience=take(raw, "patience", "an integer", where),
            refractory_samples=take(raw, "refractory_samples", "an integer", where),
        )

    def _phrases(self, manifest: dict[str, Any]) -> Phrases:
        raw = take(manifest, "phrases", "an object")
        self._only_known(raw, Phrases, "phrases.")
        given = take(raw, "pronunciations", "an object", "phrases.")
        pronunciations = {}
        for word in given:
            where = "phrases.pronunciations."
            ways = take(given, word, "a list", where)
            if not all(isinstance(way, list) and _all_strings(way) for way in ways):
                raise BundleFault(
                    f"manifest.json: {short(where + word)} must hold lists of phones, got "
                    f"{short(ways)}"
                )
            pronunciations[word] = tuple(map(tuple, ways))
        decision = self._decision(raw, "phrases.")
        return Phrases(pronunciations=pronunciations, decision=decision)

    def _tensors(self, raw: dict[str, Any], key: str) -> tuple[Tensor, ...]:
        tensors = [
            Tensor(
                name=take(item, "name", "a string", where),
                shape=_shape(item, where, (str, int)),
                dtype=take(item, "dtype", "a string", where),
            )
            for where, item in self._objects(raw, key, Tensor)
        ]
        if not tensors:
            raise BundleFault(f"{key} must name a tensor, got an empty list")
        return tuple(tensors)

    def _states(self, raw: dict[str, Any]) -> tuple[State, ...]:
        return tuple(
            State(
                name=take(item, "name", "a string", where),
                shape=_shape(item, where, (int,)),
                dtype=take(item, "dtype", "a string", where),
                initial=take(item, "initial", "a number", where),
            )
            for where, item in self._objects(raw, "states", State)
        )

    def _objects(
        self, raw: dict[str, Any], key: str, kind: type
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each object of a list, with where its keys are for a message."""
        for index, item in enumerate(take(raw, key, "a list")):
            where = f"{key}[{index}]"
            if not isinstance(item, dict):
                raise BundleFault(f"{where} must be an object, got {short(item)}")
            self._only_known(item, kind, f"{where}.")
            yield f"{where}.", item

    def _only_known(self, raw: Mapping[str, Any], kind: type, where: str) -> None:
        if self._newer:
            return
        known = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
        for key in raw:
            if key not in known:
                near = difflib.get_close_matches(key[:100], known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise BundleFault(f"manifest.json: unknown key {short(where + key)}{hint}")


def read_object(text: str, file_name: str, way_out: str) -> dict[str, Any]:
    """JSON's text as an object, by the letter: no key twice, no NaN, no endless number.

    Raises:
        BundleFault: anything else; the message names the file and ends with the way out.
    """
    try:
        raw = json.loads(
            text,
            object_pairs_hook=_no_twins,
            parse_constant=_no_constants,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise BundleFault(f"{file_name} is not valid JSON: {error}. {way_out}") from error
    if not isinstance(raw, dict):
        raise BundleFault(f"{file_name} must hold an object, got {short(raw)}")
    return raw


def take(
    raw: Mapping[str, Any],
    key: str,
    kind: str,
    where: str = "",
    *,
    file_name: str = "manifest.json",
) -> Any:
    """A value that must be there, of a kind that `_KINDS` names.

    Raises:
        BundleFault: absent or of another kind.
    """
    name = one_line(f"{where}{key}")  # a key may be a keyword, which anybody can make up
    if key not in raw:
        raise BundleFault(f"{file_name}: {name} is missing; it must be {kind}")
    value = raw[key]
    if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
        raise BundleFault(f"{file_name}: {name} must be {kind}, got {short(value)}")
    return value


def _strings(raw: Mapping[str, Any], key: str, where: str = "") -> tuple[str, ...]:
    values = take(raw, key, "a list", where)
    if not _all_strings(values):
        raise BundleFault(f"manifest.json: {where}{key} must hold strings, got {short(values)}")
    return tuple(values)


def _all_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _shape(raw: Mapping[str, Any], where: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    shape = take(raw, "shape", "a list", where)
    if not all(type(size) in kinds for size in shape):
        wanted = "names and sizes" if str in kinds else "sizes"
        raise BundleFault(f"{where}shape must hold {wanted}, got {short(shape)}")
    return tuple(shape)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON allows a key twice and readers differ in which one counts, so neither does here."""
    raw = dict(pairs)
    if len(raw) != len(pairs):
        raise ValueError("an object names a key twice")
    return raw


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value
