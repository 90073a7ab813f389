"""Where a rank stands among the others, and what of its node it may use.

Invariant: pure but for `describe_process`; every rank computes the same from the same descriptions. Ranks of one node that may use the same CPUs (or
see the same GPUs) share them evenly; CPUs and GPUs that a launcher or Slurm has given to one rank stay its own.

    >>> two = [Description("n0", "n0", (0, 1, 2, 3), ("0", "1")), Description("n0", "n0", (0, 1, 2, 3), ("0", "1"))]
    >>> place_of(two, 1), resources_of(two, 1, 8 << 30).gpus
    (Place(rank=1, size=2, node=0, nodes=1, host='n0', local_rank=1, local_size=2), ('1',))
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hpcflow.resources import process_namespace, visible_gpus


@dataclass(frozen=True)
class Description:
    """What a rank tells the others about itself.

    node: name of its node (of a Slurm node, where several of them are on one host)
    pid, namespace: of its process, and number of the namespace in which that means something
    """

    node: str
    host: str
    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    pid: int = 0
    namespace: int = 0


@dataclass(frozen=True)
class Place:
    """A rank among all ranks. node: number of its node, in order of the first rank there; local_rank, local_size: among the ranks of its node."""

    rank: int
    size: int
    node: int
    nodes: int
    host: str
    local_rank: int
    local_size: int


@dataclass(frozen=True)
class RankResources:
    """What a rank may use."""

    cpus: tuple[int, ...]
    """Numbers of the CPUs it may run on; other ranks of the node may run there too, unless the launcher has bound them."""
    cores: int
    """Its share of them: threads that it should start, at least 1."""
    memory_bytes: int
    """Its share of the memory that the node, the cgroup or Slurm lets the job have."""
    gpus: tuple[str, ...]
    """Ids as `CUDA_VISIBLE_DEVICES` words them; with more ranks than GPUs several ranks have the same one."""


def describe_process() -> Description:
    """This process, from its environment and affinity."""
    host = socket.gethostname()
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return Description(os.environ.get("SLURMD_NODENAME", host), host, cpus, visible_gpus(os.environ), os.getpid(), process_namespace())


def place_of(ranks: Sequence[Description], rank: int) -> Place:
    """The place of `rank`, from what all ranks have told, in rank order."""
    names = list(dict.fromkeys(one.node for one in ranks))
    near = _near(ranks, rank)
    own = ranks[rank]
    return Place(rank, len(ranks), names.index(own.node), len(names), own.host, near.index(rank), len(near))


def resources_of(ranks: Sequence[Description], rank: int, node_memory_bytes: int, core_limit: int | None = None) -> RankResources:
    """What `rank` may use.

    node_memory_bytes: for all ranks of its node
    core_limit: of a CPU quota, for all ranks that share its CPUs
    """
    own, near = ranks[rank], _near(ranks, rank)
    beside = [other for other in near if ranks[other].cpus == own.cpus]
    usable = len(own.cpus) if core_limit is None else min(len(own.cpus), core_limit)
    watching = [other for other in near if ranks[other].gpus == own.gpus]
    gpus = deal(own.gpus, watching.index(rank), len(watching))
    return RankResources(own.cpus, max(1, usable // len(beside)), node_memory_bytes // len(near), gpus)


def deal(items: tuple[str, ...], place: int, takers: int) -> tuple[str, ...]:
    """The share of taker `place`: neighbouring items, or one item that several takers share where there are fewer items than takers.

    >>> [deal(("a", "b", "c"), place, 2) for place in range(2)], [deal(("a", "b"), place, 4) for place in range(4)]
    ([('a',), ('b', 'c')], [('a',), ('a',), ('b',), ('b',)])
    """
    if 0 < len(items) < takers:
        return (items[place * len(items) // takers],)
    return items[len(items) * place // takers : len(items) * (place + 1) // takers]


def _near(ranks: Sequence[Description], rank: int) -> list[int]:
    return [other for other, one in enumerate(ranks) if one.node == ranks[rank].node]
