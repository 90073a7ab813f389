"""Libraries that the launch layer loads when it needs them: `pip install "hpcflow-mpi[launch]"` brings all."""

from __future__ import annotations

import importlib
from typing import Any

from hpcflow.errors import ConfigError


def require(module: str, purpose: str) -> Any:
    """The module, imported. Raises ConfigError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {module.partition('.')[0]}: pip install 'hpcflow-mpi[launch]' ({error})") from error
