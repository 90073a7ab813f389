"""What a task's function returned, read back without executing anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpcflow.launch.extras import require


def read_result(directory: Path) -> tuple[Any] | None:
    """The result of an attempt in a tuple of one (None may be a result); None when nothing was kept."""
    for name in ("result.json", "result.npy", "result.arrow"):
        path = directory / name
        if path.exists():
            return (_READERS[path.suffix](path),)
    return None


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _npy(path: Path) -> Any:
    return require("numpy", "reading a NumPy result").load(path, allow_pickle=False)


def _arrow(path: Path) -> Any:
    return require("polars", "reading an Arrow result").read_ipc(path)


_READERS = {".json": _json, ".npy": _npy, ".arrow": _arrow}
