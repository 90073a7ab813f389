"""Private files that survive crashes: atomic writes, exclusive creation, append-only journals.

Invariant: directories are 0700 and files 0600; text is UTF-8 whatever the locale; a reader sees a whole old file or a whole new one; a line of a
journal is whole or, after a crash in the middle of writing it, left out.

    write_json(path, {"a": 1}); read_json(path); append_line(journal, {"event": "submitted"})
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpcflow.errors import LaunchError


def make_directory(path: Path) -> Path:
    """The directory, made with all above it that are missing, 0700."""
    if not path.is_dir():
        if not path.parent.is_dir():
            make_directory(path.parent)
        with writing(path):
            path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What keeps us from writing there, in one line."""
    try:
        yield
    except OSError as error:
        raise LaunchError(f"{path} cannot be written: {error.strerror}") from error


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """Replace a file's content at once; with `sync` it survives a crash of the machine too (which costs milliseconds)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """The same for text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, sync: bool = False) -> None:
    """`value` as JSON for people and programs, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), sync)


def create_json(path: Path, value: Any) -> bool:
    """Write a new file, synced; False when there is one already (whoever was first has it)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    write_json(draft, value, sync=True)
    try:
        os.link(draft, path)  # fails when there is one, on NFS too, and shows nobody a half-written file
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def read_json(path: Path, *needed: str) -> Any:
    """The content, or None when there is no such file. Raises LaunchError for one that is damaged, or that is no object with the names needed."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LaunchError(f"{path} is damaged ({error}): restore it, or move it away") from error
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error.strerror}") from error
    if needed and (not isinstance(found, dict) or not found.keys() >= {*needed}):
        raise LaunchError(f"{path} is damaged (it has not all of {', '.join(needed)}): restore it, or move it away")
    return found


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line, at once, to a journal that this process alone writes."""
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    with writing(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a journal; a last line that was cut by a crash is left out."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record
