"""Libraries that hpcflow works without: asked for on the driver, at the line that needs them.

Invariant: looking one up does not import it. An environment without it is refused before a task starts, with the command that installs it.

    require_extra("numba", "repartition with columns")
"""

from __future__ import annotations

from importlib.util import find_spec

from hpcflow.errors import ConfigError


def require_extra(library: str, what: str) -> None:
    """ConfigError when `library`, which is also the name of the extra, is not installed; `what` names the call that needs it."""
    if find_spec(library) is None:
        raise ConfigError(f"{what} needs {library}, which is not installed here: pip install 'hpcflow-mpi[{library}]' (on every host)")
