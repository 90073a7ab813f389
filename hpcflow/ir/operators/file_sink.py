"""Sinks that write one file a task into a directory.

    parent/.target.<run>.tmp/part-00003.0.tmp   --commit-->   parent/target/part-00003.parquet

Invariant: what is in the target is complete and of one run, also when the job is killed. Files are written in a directory beside it (within it where
nothing can be moved from there). With mode "overwrite" the old files are moved aside, the new ones renamed, and only then the old ones removed; a
rename that fails puts everything back. What a killed run left beside the target is removed by the next one that succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO, ClassVar, Literal, Self

import polars as pl

from hpcflow.errors import SinkError
from hpcflow.ir.operators.paths import is_remote
from hpcflow.ir.operators.sink import Sink, SinkPart

Mode = Literal["error", "overwrite", "ignore"]
_MODES = ("error", "overwrite", "ignore")
_ASIDE = "old."
_OURS = re.compile(r"part-\d{5,}\.\w+(\.\w+)?$")


@dataclass(frozen=True, eq=False)
class FileSink(Sink):
    """One file a task; a format says how a frame becomes bytes."""

    suffix: ClassVar[str]
    """Of the files, with its dot."""

    directory: str
    """Absolute."""
    schema: pl.Schema
    mode: Mode = "error"
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of Polars' writer."""
    durable: bool = False
    """Each file is flushed to the disk (fsync) before the commit."""
    staging: str = ""
    """Where files are until the commit: a directory of this run, absolute."""
    is_skipped: bool = False

    @classmethod
    def _to(cls, path: str | os.PathLike[str], schema: pl.Schema, mode: str, durable: bool, options: dict[str, Any]) -> Self:
        """Check the target, the options and the dtypes before anything runs; SinkError says what is in the way."""
        if mode not in _MODES:
            raise SinkError(f"mode {mode!r} is not one of {', '.join(map(repr, _MODES))}")
        if not schema:
            raise SinkError(f"{cls.name}: a table without columns has only a height, which no file keeps; add a column with with_row_index()")
        if not os.fspath(path) or "\0" in os.fspath(path):
            raise SinkError(f"{os.fspath(path)!r} is no path of a directory")
        if is_remote(os.fspath(path)):
            raise SinkError(f"{cls.name} writes to a directory that all ranks share, not to {os.fspath(path)}")
        directory = os.path.abspath(os.path.expanduser(os.fspath(path)))
        skipped = _check_target(directory, mode)
        staging = "" if skipped else os.path.join(_staging_folder(directory), f".{_label(directory)}.{uuid.uuid4().hex[:12]}.tmp")
        sink = cls(directory, schema, mode, options, durable, staging, skipped)  # type: ignore[arg-type]
        try:
            sink.write_frame(pl.DataFrame(schema=schema).clear(1), BytesIO())  # of nulls: Polars writes some types only as long as there are no rows
        except Exception as error:
            raise SinkError(f"{cls.name} cannot write these columns or options: {error}") from error
        return sink

    @abstractmethod
    def write_frame(self, df: pl.DataFrame, file: BinaryIO) -> None:
        """The whole content of one file."""

    def write(self, df: pl.DataFrame, task_index: int, attempt: int) -> SinkPart:
        if self.is_skipped or df.height == 0:
            return SinkPart(task_index, attempt, 0, 0, None, None)
        temporary = os.path.join(self.staging, f"part-{task_index:05}.{attempt}.tmp")
        size = self._write_file(df, temporary)
        return SinkPart(task_index, attempt, df.height, size, temporary, self._final(task_index))

    @property
    def may_write_again(self) -> bool:
        return True

    def commit(self, parts: Sequence[SinkPart]) -> None:
        if self.is_skipped:
            return
        moves = [(part.temporary, part.final) for part in parts if part.temporary is not None and part.final is not None]
        done: list[tuple[str, str]] = []
        created = not os.path.isdir(self.directory)
        try:
            if not moves:  # no rows at all: one empty file keeps the schema
                empty = os.path.join(self.staging, "part-00000.0.tmp")
                self._write_file(pl.DataFrame(schema=self.schema), empty)
                moves = [(empty, self._final(0))]
            _check_visible(moves)
            os.makedirs(self.directory, exist_ok=True)
            old = [os.path.join(self.directory, name) for name in sorted(os.listdir(self.directory)) if _OURS.match(name)]
            if old and self.mode == "error":
                raise SinkError(f"{self.directory} was empty when the action began, and now holds {os.path.basename(old[0])!r}; nothing was written")
            aside = [(name, os.path.join(self.staging, f"{_ASIDE}{os.path.basename(name)}")) for name in old]
            for source, target in [*aside, *moves]:
                os.rename(source, target)
                done.append((source, target))
        except BaseException as error:
            for source, target in reversed(done):
                os.rename(target, source)
            self.abort(parts)
            if created:
                with contextlib.suppress(OSError):  # not there, or somebody else's files are in it
                    os.rmdir(self.directory)
            if isinstance(error, OSError):
                raise _worded(error, self.directory) from error
            raise
        shutil.rmtree(self.staging, ignore_errors=True)
        self._remove_leftovers()

    def abort(self, parts: Sequence[SinkPart]) -> None:
        if self.staging:
            shutil.rmtree(self.staging, ignore_errors=True)

    def describe(self) -> str:
        return f"{self.directory}/part-*{self.suffix}, mode {self.mode}"

    def _final(self, task_index: int) -> str:
        return os.path.join(self.directory, f"part-{task_index:05}{self.suffix}")

    def _write_file(self, df: pl.DataFrame, path: str) -> int:
        """Write one whole file; returns its size. Nothing stays when it fails."""
        final = os.path.join(self.directory, os.path.basename(path).split(".")[0] + self.suffix)
        try:
            os.makedirs(self.staging, exist_ok=True)
            with open(path, "wb") as file:
                self.write_frame(df, file)
                file.flush()
                if self.durable:
                    os.fsync(file.fileno())
                return file.tell()
        except BaseException as error:
            _remove(path)
            if isinstance(error, OSError):
                raise _worded(error, final) from error
            if isinstance(error, pl.exceptions.PolarsError):
                raise SinkError(f"cannot write {final}: {error}") from error
            raise

    def _remove_leftovers(self) -> None:
        """What runs that were killed have left of this target; old files that one has moved aside only where they were to be replaced."""
        folder, ours = os.path.split(self.staging)
        leftover = re.compile(re.escape(ours[: -len("123456789abc.tmp")]) + r"[0-9a-f]{12}\.tmp$")
        with contextlib.suppress(OSError):
            for name in filter(leftover.match, os.listdir(folder)):
                path = os.path.join(folder, name)
                if self.mode == "overwrite" or not any(one.startswith(_ASIDE) for one in os.listdir(path)):
                    shutil.rmtree(path, ignore_errors=True)


def _staging_folder(directory: str) -> str:
    """Where files can be moved from into `directory`: beside it (or beside the first folder above it that is to be made), else within it."""
    folder = os.path.dirname(directory)
    if not os.path.isdir(directory):
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        return folder
    trial = f".{_label(directory)}.{uuid.uuid4().hex[:12]}.trial"
    beside, within = os.path.join(folder, trial), os.path.join(directory, trial)
    try:
        os.mkdir(beside)
        os.rename(beside, within)
        os.rmdir(within)
    except OSError:  # no permission, another file system
        for left in (beside, within):
            with contextlib.suppress(OSError):
                os.rmdir(left)
        return directory
    return folder


def _label(directory: str) -> str:
    """Tells a target from others in its folder; short enough for a file's name."""
    name = os.fsencode(os.path.basename(directory))
    return os.fsdecode(name) if 0 < len(name) < 200 else f"{zlib.crc32(name):08x}"


def _check_target(directory: str, mode: str) -> bool:
    """Whether there is nothing to do; SinkError when the directory may not be written."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise SinkError(f"{directory} is a file; give a directory, which will hold one file a task")
    try:
        there = sorted(name for name in os.listdir(directory) if not name.startswith((".", "_")))
    except FileNotFoundError:
        there = []
    except OSError as error:
        raise _worded(error, directory) from error
    if there and mode == "ignore":
        return True
    if there and mode == "error":
        raise SinkError(f"{directory} already holds {there[0]!r}; choose another directory, or mode='overwrite' or 'ignore'")
    foreign = [name for name in there if not _OURS.match(name)]
    if foreign:
        raise SinkError(f"mode='overwrite' replaces only files named part-*, and {directory} holds {foreign[0]!r}; choose another directory")
    _check_writable(directory)
    return False


def _check_writable(directory: str) -> None:
    """SinkError when the nearest existing folder cannot be written to."""
    folder = directory
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise SinkError(f"cannot make {directory}: {folder} is no directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SinkError(f"cannot write to {directory}: no permission in {folder}")


def _check_visible(moves: Sequence[tuple[str, str]]) -> None:
    for temporary, _ in moves:
        if not os.path.exists(temporary):
            folder = os.path.dirname(temporary)
            raise SinkError(f"a worker wrote {temporary}, but the driver does not see it: is {folder} on a file system that all nodes share?")


def _worded(error: OSError, path: str) -> SinkError:
    advice = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "no permission",
        errno.EPERM: "no permission",
        errno.EROFS: "the file system is read-only",
    }
    return SinkError(f"cannot write {path}: {advice.get(error.errno or 0) or error.strerror or error}")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # never made, or gone already
        pass
