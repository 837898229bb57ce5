"""The study file: an Optuna study in SQLite that only the same search may continue.

A candidate is written once, whole, when it is settled: one transaction instead of one per gene,
and a kill at any moment leaves each candidate there or not. Breeding works on a copy in memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from sqlalchemy.exc import SQLAlchemyError

from . import SearchError

_STUDY_NAME = "search"
_ASKED = "asked"


@contextmanager
def open_study(path: Path, *, asked: Mapping[str, Any], resume: bool) -> Iterator[optuna.Study]:
    """Open or start the study at `path`.

    Args:
        path: the SQLite file.
        asked: what the search was asked, JSON values; a study goes on only with equal ones.
        resume: go on with a study that is there. Where there is none, one is started.

    Raises:
        SearchError: a study is there and `resume` is off, or it was asked otherwise; or the file
            cannot be read or written.
    """
    if path.exists() and not resume:
        raise SearchError(
            f"{path} holds a search already; add --resume to go on with it, or choose another --out"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(
            f"the folder {path.parent} of the study cannot be made: {error.strerror}. "
            f"Choose another --out."
        ) from error
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = None
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{quote(str(path))}")
        study = optuna.create_study(
            storage=storage, study_name=_STUDY_NAME, direction="minimize", load_if_exists=True
        )
        _claim(study, path, dict(asked))
        yield study
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        raise SearchError(
            f"the study {path} cannot be read or written: {str(cause).splitlines()[0]}. "
            f"Check the disk and the file, then go on with --resume, or choose another --out."
        ) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
        optuna.logging.set_verbosity(verbosity)


def _claim(study: optuna.Study, path: Path, asked: dict[str, Any]) -> None:
    before = study.user_attrs.get(_ASKED)
    if before is None:  # new, or killed before its first trial
        study.set_user_attr(_ASKED, asked)
        return
    differing = [name for name in asked if before.get(name) != asked[name]]
    if differing:
        name = differing[0]
        raise SearchError(
            f"{path} was searched with another {' and another '.join(differing)}: {name} was "
            f"{before.get(name)!r}, now {asked[name]!r}. Resume with what it was started with, "
            f"or choose another --out."
        )
