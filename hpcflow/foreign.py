"""Whether the foreign distribution `hpcflow` is installed beside this one.

Plain `hpcflow` on PyPI is another project; this one is `hpcflow-mpi`. Both import as `hpcflow`, so pip lets their files land in one folder,
where either breaks the other. Invariant: with the foreign one beside us, opening a Session ends in one line that says how to mend it.

    >>> "hpcflow-mpi" in remedy("0.3.0")
    True
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path


def foreign_version() -> str | None:
    """Version of the installed distribution named exactly `hpcflow`, None when there is none."""
    try:
        return importlib.metadata.version("hpcflow")
    except importlib.metadata.PackageNotFoundError:
        return "?" if (Path(__file__).parent / "__pyinstaller" / "hook-hpcflow.py").exists() else None


def remedy(version: str) -> str:
    return (
        f"the distribution hpcflow {version} is another project and shares the folder hpcflow with hpcflow-mpi: "
        "run `pip uninstall -y hpcflow hpcflow-mpi && pip install hpcflow-mpi`"
    )


def refuse_foreign() -> None:
    """Raises ImportError, in one line, when the foreign distribution is installed."""
    version = foreign_version()
    if version is not None:
        raise ImportError(remedy(version))
