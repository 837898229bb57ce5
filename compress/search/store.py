"""The scores of a search: an Optuna study that only the same search may continue.

A score is written once, whole, when it is known: a kill at any moment leaves it there or not.
Workers on one machine or many share a study. They also note which candidate they are at, so that
they seldom do the same work twice; nothing else depends on the notes, and nobody waits for a worker
that is gone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from . import SearchError
from .candidates import Candidate

_STUDY_NAME = "search"
_ASKED = "asked"
_CLAIM = "at."
_NUMBER = "number"
_BUSY_S = 60.0
"""SQLite makes others wait while one writes; a loaded disk may take long."""


class Store:
    """Scores and notes of one search."""

    def __init__(self, study: optuna.Study, distributions: Mapping[str, Any]) -> None:
        self._study = study
        self._distributions = dict(distributions)

    def scores(self) -> dict[int, float]:
        """Scores by candidate number; where two workers found one, the same."""
        found: dict[int, float] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.values is not None and _NUMBER in trial.user_attrs:
                found.setdefault(int(trial.user_attrs[_NUMBER]), float(trial.values[0]))
        return found

    def claims(self) -> set[int]:
        """Candidates that some worker has begun, by number."""
        notes = self._study.user_attrs
        return {int(name.removeprefix(_CLAIM)) for name in notes if name.startswith(_CLAIM)}

    def claim(self, number: int, worker: str) -> None:
        """Note that a candidate is being scored."""
        self._study.set_user_attr(f"{_CLAIM}{number}", worker)

    def add(self, candidate: Candidate, genes: Mapping[str, Any], score: float, use: float) -> None:
        """Write a score down."""
        trial = optuna.trial.create_trial(
            params=dict(genes),
            distributions=self._distributions,
            values=[score, use],
            user_attrs={
                _NUMBER: candidate.number,
                "generation": candidate.generation,
                **candidate.costs,
            },
        )
        self._study.add_trial(trial)


@contextmanager
def open_store(
    storage: str, *, asked: Mapping[str, Any], distributions: Mapping[str, Any], resume: bool
) -> Iterator[Store]:
    """Open or start the study at `storage`.

    Args:
        storage: a SQLite file; a .log file, which a shared disk can hold too; or a database's URL.
        asked: what the search was asked, JSON values; a study goes on only with equal ones.
        distributions: every gene's alleles.
        resume: go on with a study that is there. Where there is none, one is started.

    Raises:
        SearchError: a study is there and `resume` is off, or it was asked otherwise; or it cannot
            be read or written.
    """
    path = None if "://" in storage else Path(storage)
    if path is not None:
        _make_room(path, resume=resume)
    opened: BaseStorage | None = None
    try:
        try:
            opened = _storage(storage)
            if path is None and not resume and _exists(opened):
                raise SearchError(_IS_THERE.format(storage))
            study = optuna.create_study(
                storage=opened,
                study_name=_STUDY_NAME,
                directions=["minimize", "minimize"],
                load_if_exists=True,
            )
            _claim_study(study, storage, dict(asked))
        except (ValueError, KeyError, ImportError, OSError) as error:  # what damaged journals give
            raise _unusable(storage, error) from error
        yield Store(study, distributions)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _unusable(storage, error.__cause__ or error) from error
    finally:
        if isinstance(opened, RDBStorage):
            opened.remove_session()
            opened.engine.dispose()


_IS_THERE = "{} holds a search already; add --resume to go on with it, or choose another --out"


def _unusable(storage: str, error: BaseException) -> SearchError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SearchError(
        f"the study {storage} cannot be read or written: {reason}. Check the disk and the file, "
        f"then go on with --resume, or choose another --out."
    )


def _make_room(path: Path, *, resume: bool) -> None:
    if path.exists() and not resume:
        raise SearchError(_IS_THERE.format(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(
            f"the folder {path.parent} of the study cannot be made: {error.strerror}. "
            f"Choose another --out."
        ) from error


def _storage(storage: str) -> BaseStorage:
    if storage.endswith(".log"):
        return JournalStorage(JournalFileBackend(storage))
    try:
        return _database(storage)
    except SQLAlchemyError:  # another worker may have made the same tables at the same moment
        return _database(storage)


def _database(storage: str) -> RDBStorage:
    if "://" in storage:
        return RDBStorage(storage)
    return RDBStorage(
        f"sqlite:///{quote(storage)}", engine_kwargs={"connect_args": {"timeout": _BUSY_S}}
    )


def _exists(storage: BaseStorage) -> bool:
    return any(study.study_name == _STUDY_NAME for study in storage.get_all_studies())


def _claim_study(study: optuna.Study, storage: str, asked: dict[str, Any]) -> None:
    before = study.user_attrs.get(_ASKED)
    if before is None:  # new, or killed before its first score
        study.set_user_attr(_ASKED, asked)
        return
    differing = [name for name in asked if before.get(name) != asked[name]]
    if differing:
        name = differing[0]
        raise SearchError(
            f"{storage} was searched with another {' and another '.join(differing)}: {name} was "
            f"{before.get(name)!r}, now {asked[name]!r}. Resume with what it was started with, "
            f"or choose another --out."
        )
