"""The state of a loop on disk: written every few iterations, read back to go on.

    run/manifest.json                       {"iteration": 20, "converged": false, "parts": {"ranks": "iteration-000020/0"}}
    run/iteration-000020/0/*.parquet        one directory a part

Invariant: the manifest names a complete set of files. It is replaced in one step after these are written, and what it no longer names is removed
afterwards; a program that ends in between leaves a directory that reads as before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcflow.api.dataset import Dataset
from hpcflow.errors import ConfigError, SinkError, SourceError

_MANIFEST = "manifest.json"
_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A state that was written."""

    iteration: int
    """Iterations that led to it."""
    converged: bool
    """The loop ended with it."""
    parts: Mapping[str, Path]
    """Part -> directory of Parquet files."""


def write_checkpoint(directory: Path, iteration: int, converged: bool, parts: Mapping[str, Dataset]) -> None:
    """Write the parts, in parallel on the workers, then the manifest. SinkError names what cannot be written."""
    name = f"iteration-{iteration:06d}"
    places = {part: f"{name}/{number}" for number, part in enumerate(parts)}
    for part, dataset in parts.items():
        dataset.write_parquet(directory / places[part], mode="overwrite")
    manifest = {"version": _VERSION, "iteration": iteration, "converged": converged, "parts": places}
    try:
        _replace(directory / _MANIFEST, json.dumps(manifest, indent=2))
    except OSError as error:
        raise SinkError(f"cannot write the checkpoint {directory / _MANIFEST}: {error.strerror or error}") from error
    for old in directory.glob("iteration-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """The checkpoint in `directory`; None: there is none. SourceError when it is damaged."""
    path = directory / _MANIFEST
    try:
        manifest = json.loads(path.read_text())
        if manifest["version"] != _VERSION:
            raise ConfigError(f"the checkpoint {path} has version {manifest['version']}, this hpcflow writes {_VERSION}: start in another directory")
        parts = {part: directory / place for part, place in manifest["parts"].items()}
        return Checkpoint(int(manifest["iteration"]), bool(manifest["converged"]), parts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"the checkpoint {path} cannot be read ({error}): remove {directory} to start from the beginning") from error


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
