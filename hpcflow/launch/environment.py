"""Where a process stands among the ranks of its job, whoever started it: srun, Open MPI, MPICH or nobody.

    here = launch.env()
    here.rank, here.size, here.local_rank, here.master_address, here.master_port

Invariant: reads the environment only; a value that nobody gave is that of a world of one.
"""

from __future__ import annotations

import os
import re
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from hpcflow.launch.launchers.environment import detect


@dataclass(frozen=True)
class Place:
    """Of this process.

    rank, size: in the job's world; local_rank, local_size: among the ranks of this node; node, nodes: number of this node, and of how many
    master_address, master_port: where rank 0 can be reached by libraries that want MASTER_ADDR and MASTER_PORT
    job_key, attempt: of the tracked job; None outside of one
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    nodes: int
    master_address: str
    master_port: int
    job_key: str | None
    attempt: int | None

    def variables(self) -> dict[str, str]:
        """The names that other frameworks read."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "NODE_RANK": str(self.node),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
        }


def env(environ: Mapping[str, str] | None = None) -> Place:
    """This process's place."""
    environ = os.environ if environ is None else environ
    hint = detect(environ)
    nodes = int(environ.get("SLURM_STEP_NUM_NODES") or environ.get("SLURM_NNODES") or 1)
    local_size = hint.local_size or hint.size
    node = environ.get("SLURM_NODEID")
    key, attempt = environ.get("HPCFLOW_JOB_KEY"), environ.get("HPCFLOW_ATTEMPT")
    hosts = expand_hosts(environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "")
    return Place(
        rank=hint.rank,
        size=hint.size,
        local_rank=hint.local_rank if hint.local_rank is not None else hint.rank % local_size,
        local_size=local_size,
        node=int(node) if node is not None and node.isdigit() else hint.rank // local_size,
        nodes=max(nodes, -(-hint.size // local_size)),
        master_address=environ.get("MASTER_ADDR") or (hosts[0] if hosts else socket.gethostname()),
        master_port=int(environ.get("MASTER_PORT") or 20_000 + _number_of_job(environ) % 20_000),
        job_key=key,
        attempt=int(attempt) if attempt and attempt.isdigit() else None,
    )


def _number_of_job(environ: Mapping[str, str]) -> int:
    """The same in all ranks of a job, another one in another job: tracked tasks side by side on this host do not meet at one port."""
    job = environ.get("SLURM_JOB_ID", "")
    return int(job) if job.isdigit() else zlib.crc32(environ.get("HPCFLOW_JOB_KEY", "").encode())


def expand_hosts(text: str) -> list[str]:
    """Slurm's short form of host names.

    >>> expand_hosts("n[1-3,07],gpu2")
    ['n1', 'n2', 'n3', 'n07', 'gpu2']
    """
    hosts: list[str] = []
    for item in re.findall(r"[^,\[\]]+(?:\[[^\]]*\][^,\[\]]*)?", text):
        match = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", item)
        if match is None:
            hosts.append(item)
            continue
        for part in match[2].split(","):
            first, _, last = part.partition("-")
            width = len(first)
            hosts += [f"{match[1]}{number:0{width}d}{match[3]}" for number in range(int(first), int(last or first) + 1)]
    return hosts
