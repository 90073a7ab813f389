"""Which instruction sets the kernels can use here, and which they do.

`HPCFLOW_SIMD=scalar|avx2|avx512` lowers the choice; results are the same bits at every level.
"""

from __future__ import annotations

import os

from hpcflow.errors import ConfigError
from hpcflow.native import _kernels

LEVELS = ("scalar", "avx2", "avx512")


def cpu_features() -> dict[str, bool]:
    """Level -> whether this CPU has it."""
    return dict(_kernels.cpu_features())


def simd_level() -> str:
    """The level in use. Raises `ConfigError` when HPCFLOW_SIMD names none."""
    wanted = os.environ.get("HPCFLOW_SIMD")
    if wanted is not None and wanted not in LEVELS:
        raise ConfigError(f"HPCFLOW_SIMD={wanted!r}: the levels are {', '.join(LEVELS)}")
    return str(_kernels.simd_level())
