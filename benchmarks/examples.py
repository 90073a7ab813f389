"""A program of examples/ as a module, for benchmarks that run what users read."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from benchmarks.peers.systems import ROOT


def example(name: str) -> ModuleType:
    """examples/NAME.py, imported as the module NAME."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
