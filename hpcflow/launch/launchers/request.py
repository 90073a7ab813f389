"""What to start: one frozen value that every launcher words in its own way.

Invariant: a request knows neither mpirun nor srun, and every field has one meaning in all of them.

    >>> LaunchRequest(("python", "job.py"), ranks=3, env={"A": "1"}).variables()
    {'A': '1', 'POLARS_MAX_THREADS': '1'}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpcflow.errors import LaunchError

Binding = Literal["none", "core"]


@dataclass(frozen=True)
class LaunchRequest:
    """Start `ranks` copies of `program`.

    program: the argument list of one rank, program first; never passed through a shell
    ranks: number of MPI ranks, the master included
    cores_per_rank: cores that one rank's thread pools may use
    env: variables set for the ranks, over those they inherit; POLARS_MAX_THREADS is set to `cores_per_rank` unless it is named here
    hosts: (host name, ranks on it) pairs; empty: this host, or the allocation's hosts
    in_allocation: a batch system holds the hosts, and daemons must be started through it
    available_cores: cores of each named host, or of everything there is (this host, the allocation) without names; None when not known
    bind: "core" ties every rank to cores of its own (master included); "none" leaves that to the ranks or the operating system
    as_root: the user is root (Open MPI wants to be told that this is meant)
    """

    program: tuple[str, ...]
    ranks: int
    cores_per_rank: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[tuple[str, int], ...] = ()
    in_allocation: bool = False
    available_cores: int | None = None
    bind: Binding = "none"
    as_root: bool = False

    def __post_init__(self) -> None:
        if not self.program:
            raise LaunchError("nothing to launch: the program is empty; give a script, e.g. `hpcflow run job.py -n 3`")
        if self.ranks < 1:
            raise LaunchError(f"-n {self.ranks}: the number of MPI ranks must be at least 1 (1 master + N-1 workers)")
        if self.cores_per_rank < 1:
            raise LaunchError(f"{self.cores_per_rank} cores per rank: must be at least 1")
        placed = sum(ranks for _, ranks in self.hosts)
        if self.hosts and placed != self.ranks:
            raise LaunchError(f"the hosts hold {placed} ranks, but {self.ranks} were asked for: make the two numbers equal")
        if self.bind == "core" and self.oversubscribed(self.cores_per_rank):
            raise LaunchError(
                f"{self.ranks} ranks x {self.cores_per_rank} cores do not fit {self.available_cores} cores: bind none, or ask for fewer"
            )

    def oversubscribed(self, cores: int = 1) -> bool:
        """Whether one host gets more ranks x `cores` than it has cores; an unknown core count is taken as enough."""
        if self.available_cores is None:
            return False
        return max((ranks for _, ranks in self.hosts), default=self.ranks) * cores > self.available_cores

    def variables(self) -> dict[str, str]:
        """Every variable to set for the ranks, sorted by name."""
        return dict(sorted({"POLARS_MAX_THREADS": str(self.cores_per_rank), **self.env}.items()))
