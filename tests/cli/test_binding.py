"""Cores of worker ranks: disjoint blocks, the master unbound, nobody bound where they do not fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcflow.cli.binding import worker_cores

FOUR = ((0,), (1,), (2,), (3,))


def test_the_master_stays_unbound_and_workers_get_a_block_each() -> None:
    assert worker_cores(0, 0, 3, 2, FOUR) is None
    assert worker_cores(1, 1, 3, 2, FOUR) == {0, 1}
    assert worker_cores(2, 2, 3, 2, FOUR) == {2, 3}


def test_a_host_without_the_master_binds_all_its_ranks() -> None:
    assert worker_cores(4, 0, 4, 1, FOUR) == {0}
    assert worker_cores(7, 3, 4, 1, FOUR) == {3}


def test_hardware_threads_of_a_core_stay_together() -> None:
    assert worker_cores(1, 1, 2, 1, ((0, 4), (1, 5))) == {0, 4}


def test_nobody_is_bound_when_the_cores_do_not_suffice() -> None:
    assert worker_cores(1, 1, 6, 1, FOUR) is None


def test_without_a_master_every_rank_gets_a_block() -> None:
    assert [worker_cores(rank, rank, 2, 2, FOUR, master=False) for rank in range(2)] == [{0, 1}, {2, 3}]
    assert worker_cores(0, 0, 1, 4, FOUR, master=False) == {0, 1, 2, 3}


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 16))
def test_workers_of_a_host_never_share_a_core(ranks: int, cores_each: int, cores: int) -> None:
    machine = tuple((cpu,) for cpu in range(cores))
    given_out = [worker_cores(rank, rank, ranks, cores_each, machine) for rank in range(ranks)]
    bound = [cpus for cpus in given_out if cpus is not None]
    assert len(bound) in (0, ranks - 1)
    assert sum(map(len, bound)) == len(frozenset().union(*bound))
    assert all(len(cpus) == cores_each for cpus in bound)
