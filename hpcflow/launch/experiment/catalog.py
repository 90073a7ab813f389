"""All experiments of a user: found by id, by any prefix of it, or by title.

Invariant: the files are the truth; `index.sqlite` (see index_place.py for where it lies) only makes listing quick, and is rebuilt from them at will:
one that is damaged is made anew, and without one everything is read. A damaged experiment hides no other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError, LaunchError, near_names
from hpcflow.launch.experiment.index_place import index_file
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.views import experiment_row
from hpcflow.launch.extras import require
from hpcflow.launch.home import home_path, slug


def directories() -> list[Path]:
    """Of all experiments, newest first."""
    base = home_path() / "experiments"
    found = [path.parent for path in base.glob("*/experiment.json")] if base.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def find(text: str) -> Path:
    """The directory of the experiment whose id begins so, or whose title is this (the newest of several).

    Raises ConfigError with near names, and for a text that is one's title and begins another's id.
    """
    by_id, titled = _with_id(text), _titled(text)
    if any(path.name.rpartition("-")[2] == text for path in by_id):
        return _only(by_id, text)
    if by_id and titled and {*by_id} != {*titled}:
        others = ", ".join(path.name for path in by_id[:3])
        raise ConfigError(f"{text!r} is the title of {titled[0].name} and begins the id of {others}: give the whole id")
    return _only(by_id, text) if by_id else find_title(text)


def find_id(text: str) -> Path:
    """The directory of the experiment whose id begins so. Raises ConfigError."""
    return _only(_with_id(text), text)


def find_title(text: str) -> Path:
    """The directory of the newest experiment of this title. Raises ConfigError with near names."""
    found = [*_titled(text), *(path for path in directories() if path.name == text)]
    if found:
        return found[0]
    titles = [title for path in directories() if (title := _title(path)) is not None]
    raise ConfigError(f"no experiment {text!r}{near_names(text, titles)}; `hpcflow launch list` shows them")


def _titled(text: str) -> list[Path]:
    """Those of this title, newest first; their directories' names begin as it sounds."""
    return [path for path in directories() if path.name.rpartition("-")[0] == slug(text) and _title(path) == text]


def _title(path: Path) -> str | None:
    """None: it is damaged, which `list` tells."""
    with suppress(LaunchError, ConfigError):
        return Records(path).spec().title
    return None


def _with_id(text: str) -> list[Path]:
    return [path for path in directories() if path.name.rpartition("-")[2].startswith(text)] if text else []


def _only(found: list[Path], text: str) -> Path:
    if not found:
        raise ConfigError(f"no experiment has an id that begins with {text!r}; `hpcflow launch list` shows them")
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} experiments have an id that begins with {text!r}: {', '.join(path.name for path in found[:5])}; give more of it"
        )
    return found[0]


def rows(tag: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """One row an experiment, newest first; of those with a tag."""
    index = Index()
    try:
        return list(islice((row for row in index.rows() if tag is None or tag in row.get("tags", ())), limit))
    finally:
        index.close()


def runs(*, tag: str | None = None, limit: int | None = None) -> Any:
    """The experiments of this user as a polars.DataFrame, newest first.

    Columns: id, title, created, state, tasks, succeeded, failed, tags, directory, status (exit status; null while it runs).
    """
    polars = require("polars", "launch.runs() as a table (Experiment.catalog() gives plain rows)")
    kinds = {"tasks": polars.Int64, "succeeded": polars.Int64, "failed": polars.Int64, "status": polars.Int64, "tags": polars.List(polars.String)}
    names = ("id", "title", "created", "state", "tasks", "succeeded", "failed", "tags", "directory", "status")
    return polars.DataFrame(
        [{name: row.get(name) for name in names} for row in rows(tag, limit)], schema={n: kinds.get(n, polars.String) for n in names}
    )


class Index:
    """The rows of `list`, kept in SQLite. An entry is used as long as nothing in its experiment has changed."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._path = index_file(home_path()) if home_path().is_dir() else None  # nothing is made by looking
        self._open()
        if self._connection is None:
            self._open()  # a damaged one has been taken away

    def _open(self) -> None:
        if self._path is None:
            return
        try:
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(self._path, timeout=10)
            self._connection.execute("create table if not exists rows (directory text primary key, stamp text, row text)")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Go on without an index; one that is damaged (and not just busy, or on a full disk) is taken away."""
        self.close()
        self._connection = None
        if self._path is not None and isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            for name in (self._path.name, f"{self._path.name}-journal"):
                with suppress(OSError):
                    self._path.with_name(name).unlink()

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row an experiment, newest first; damaged ones are told apart, not left out."""
        for directory in directories():
            stamp = _stamp(directory)
            row = self._known(directory, stamp)
            if row is None:
                try:
                    row = experiment_row(Records(directory))
                except (LaunchError, ConfigError, KeyError) as error:
                    yield {"id": directory.name.rpartition("-")[2], "title": directory.name, "state": "damaged", "reason": str(error)}
                    continue
                self._keep(directory, stamp, row)
            yield row

    def rebuild(self) -> int:
        """Forget everything and read the files; returns how many experiments there are."""
        self._change("delete from rows")
        return sum(1 for _ in self.rows())

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()

    def _known(self, directory: Path, stamp: str) -> dict[str, Any] | None:
        if self._connection is None:
            return None
        try:
            with closing(self._connection.execute("select row from rows where directory = ? and stamp = ?", (str(directory), stamp))) as cursor:
                found = cursor.fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        return None if found is None else json.loads(found[0])

    def _keep(self, directory: Path, stamp: str, row: dict[str, Any]) -> None:
        if row["status"] is not None:  # what still runs changes without a journal line of ours
            self._change("insert or replace into rows values (?, ?, ?)", (str(directory), stamp, json.dumps(row)))

    def _change(self, statement: str, values: tuple[str, ...] = ()) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.execute(statement, values)
        except sqlite3.Error as error:
            self._give_up(error)


def _stamp(directory: Path) -> str:
    """Changes with every journal line."""
    return ",".join(f"{path.name}:{path.stat().st_size}" for path in sorted((directory / "journal").glob("*.jsonl")))
