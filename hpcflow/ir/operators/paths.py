"""Which files a source reads: paths, lists, globs and directories become one sorted list, once, on rank 0.

Invariant: files of a directory or glob come in the order of their paths as text, as Polars reads them; names that start with "." or "_" inside a
directory are not data (our sinks keep unfinished files under such names).

    list_files("data/*.parquet").files
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpcflow.errors import ArgumentTypeError, SourceError, near_names

PathsLike = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class FileList:
    """The files of a source, in order."""

    files: tuple[str, ...]
    """Local paths, absolute; or URLs, whose globs are left to Polars."""
    label: str
    """What the user wrote, for messages."""
    directory: str | None
    """The one directory that was given, absolute: Hive partitions are looked for by default."""


def list_files(source: PathsLike, *, glob: bool = True) -> FileList:
    """Expand `source`. SourceError when something is not there or there is nothing to read."""
    items = [source] if isinstance(source, str | os.PathLike) else list(source) if isinstance(source, Iterable) else [source]
    if wrong := [item for item in items if not isinstance(item, str | os.PathLike) or isinstance(os.fspath(item), bytes)]:
        raise ArgumentTypeError(f"a path is a text or a pathlib.Path, not {wrong[0]!r}; give one, a list of them, a glob or a directory")
    given = [os.fspath(item) for item in items]
    if empty := [path for path in given if not path or "\0" in path]:
        raise SourceError(f"no such file or directory: {empty[0]!r}")
    if not given:
        raise SourceError("no files to read: the list of paths is empty")
    label = given[0] if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    files = tuple(path for item in given for path in _expand(item, glob))
    directory = os.path.abspath(_local(given[0])) if len(given) == 1 and not is_remote(given[0]) else None
    return FileList(files, label, directory if directory is not None and os.path.isdir(directory) else None)


def is_remote(path: str) -> bool:
    """Whether `path` is a URL of another scheme than file."""
    return "://" in path and not path.startswith("file://")


def _local(path: str) -> str:
    return unquote(urlsplit(path).path) if path.startswith("file://") else os.path.expanduser(path)


def _expand(item: str, glob: bool) -> list[str]:
    if is_remote(item):
        return [item]
    path = os.path.abspath(_local(item))
    if os.path.isdir(path):
        return _files_under(path)
    if os.path.exists(path):
        return [path]
    if glob and globbing.has_magic(path):
        return _matching(item, path)
    raise SourceError(f"no such file or directory: {item}{_near(path)}")


def _matching(item: str, pattern: str) -> list[str]:
    found = sorted(name for name in globbing.iglob(pattern, recursive=True) if os.path.isfile(name))
    if not found:
        raise SourceError(f"no file matches {item}")
    return found


def _files_under(directory: str) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [os.path.join(folder, name) for name in names if not name.startswith((".", "_"))]
    if not found:
        raise SourceError(f"directory {directory} has no files to read")
    kinds = sorted({Path(name).suffix for name in found})
    if len(kinds) > 1:
        mixed = ", ".join(map(repr, kinds))
        raise SourceError(f"directory {directory} mixes files of the kinds {mixed}; say which with a glob such as {directory}/*{kinds[-1]}")
    return sorted(found)


def _near(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        return near_names(name, os.listdir(folder))
    except OSError:
        return f" (nor is there a directory {folder})" if not os.path.isdir(folder) else ""
