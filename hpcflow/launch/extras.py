"""What may be missing where a command line runs: libraries (`pip install "hpcflow-mpi[launch]"` brings all), characters of the terminal."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

from hpcflow.errors import ConfigError


def require(module: str, purpose: str) -> Any:
    """The module, imported. Raises ConfigError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {module.partition('.')[0]}: pip install 'hpcflow-mpi[launch]' ({error})") from error


def print_anything() -> None:
    """Let this process print any character: one that the terminal's encoding has not is written as its number (a command line's first act)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
