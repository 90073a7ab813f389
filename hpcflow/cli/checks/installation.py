"""Checks of what is installed: the versions, the compiled kernels, a foreign `hpcflow`. None of them starts MPI."""

from __future__ import annotations

import importlib.metadata
import platform

from hpcflow.cli.checks.result import CheckResult

_NEEDED = ("polars", "pyarrow", "numpy", "cloudpickle")


def check_versions() -> CheckResult:
    """Every rank must have the same versions; this names the ones here."""
    found, missing = [f"Python {platform.python_version()}"], []
    for name in ("hpcflow-mpi", *_NEEDED):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if [name for name in missing if name in _NEEDED]:
        return CheckResult("versions", "fail", f"not installed: {', '.join(missing)}", "pip install 'hpcflow-mpi[mpich]'")
    if missing:
        return CheckResult("versions", "warn", ", ".join(found), "hpcflow runs from a source tree: `pip install -e .` makes it importable everywhere")
    return CheckResult("versions", "ok", ", ".join(found))


def check_foreign() -> CheckResult:
    """The other project of the same import name."""
    from hpcflow.foreign import foreign_version, remedy

    version = foreign_version()
    if version is None:
        return CheckResult("foreign", "ok", "no other distribution named hpcflow is installed")
    return CheckResult("foreign", "fail", f"the foreign distribution hpcflow {version} is installed", remedy(version))


def check_kernels() -> CheckResult:
    """The compiled extension is there, computes what it should, and which instructions it uses."""
    try:
        import numpy as np
        import polars as pl

        from hpcflow.native import cpu_features, hash_rows, simd_level
    except ImportError as error:
        return CheckResult("kernels", "fail", f"the kernels cannot be loaded: {error}", "pip install --force-reinstall hpcflow-mpi")
    hashes = hash_rows(pl.DataFrame({"k": [1, 2, 1]}))
    if hashes.dtype != np.uint64 or hashes[0] != hashes[2] or hashes[0] == hashes[1]:
        return CheckResult("kernels", "fail", "the kernels give wrong hashes", "try HPCFLOW_SIMD=scalar, and report it with `hpcflow doctor --json`")
    level, best = simd_level(), [name for name, there in cpu_features().items() if there]
    return CheckResult("kernels", "ok", f"SIMD level {level} (this processor has: {', '.join(best) or 'none'})")
