"""Who runs which task: pure functions over counts.

Source tasks are handed out in groups that shrink towards the end (guided self-scheduling, Polychronopoulos and Kuck, 1987): each worker first gets
its share of half of what is left, and more when it runs low. What a slow worker has queued is taken back for one that has run dry. Tasks with a
pinned input go where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def group_size(unassigned: int, workers: int, slots: int) -> int:
    """Tasks in the next group for one worker: its share of half of the rest, at least enough for its slots."""
    return min(unassigned, max(slots, -(-unassigned // (2 * workers))))


def deal(tasks: int, free_slots: Mapping[int, int]) -> list[int]:
    """Worker of each task when there is a free slot for every one of them, each next task going where most are free; nobody's otherwise."""
    free = {worker: slots for worker, slots in free_slots.items() if slots > 0}
    if tasks > sum(free.values()):
        return []
    dealt = []
    for _ in range(tasks):
        worker = max(free, key=lambda w: (free[w], -w))
        free[worker] -= 1
        dealt.append(worker)
    return dealt


def wants_more(queued: int, slots: int) -> bool:
    """Whether a worker with `queued` tasks (running ones included) should get another group."""
    return queued <= slots


def victim(queued: Mapping[int, int], thief: int, slots: int) -> tuple[int, int] | None:
    """(worker, how many) to take queued tasks from for the idle worker `thief`; None when nobody has more than it is running."""
    candidates = [(count - slots, worker) for worker, count in queued.items() if worker != thief and count > slots]
    if not candidates:
        return None
    spare, worker = max(candidates, key=lambda c: (c[0], -c[1]))
    return worker, -(-spare // 2)


def next_action(loads: Mapping[int, tuple[int, float]]) -> int | None:
    """The action whose task a worker runs next, of those that have tasks here: the one with the fewest running tasks, then the one that has been
    served for the least time, then the oldest. `loads`: action -> (running tasks, seconds served)."""
    return min(loads, key=lambda action: (*loads[action], action), default=None)


def partition_owners(partitions: int, workers: int) -> tuple[int, ...]:
    """Worker of each partition: equal runs of adjacent partitions."""
    return tuple(p * workers // partitions for p in range(partitions)) if partitions >= workers else tuple(p % workers for p in range(partitions))


def balanced_owners(sizes: Sequence[int], workers: int) -> tuple[int, ...]:
    """Worker of each partition so that the largest load is small: runs of adjacent partitions, cut by an optimal minimum of the maximum (binary
    search over the load)."""
    if not sizes:
        return ()
    low, high = max(sizes), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        if _runs_needed(sizes, middle) <= workers:
            high = middle
        else:
            low = middle + 1
    owners: list[int] = []
    worker, load = 0, 0
    for i, size in enumerate(sizes):
        must_move = len(sizes) - i <= workers - 1 - worker and load > 0  # leave none of the workers without a partition while there are enough
        if (load + size > low or must_move) and load > 0 and worker < workers - 1:
            worker, load = worker + 1, 0
        load += size
        owners.append(worker)
    return tuple(owners)


def _runs_needed(sizes: Sequence[int], limit: int) -> int:
    runs, load = 1, 0
    for size in sizes:
        if load + size > limit:
            runs, load = runs + 1, 0
        load += size
    return runs


def coalesce(sizes: Sequence[int], owners: Sequence[int], target: int, minimum_tasks_per_owner: int) -> list[tuple[int, int]]:
    """Runs [start, stop) of adjacent partitions of one owner, so that small partitions cost one task, not many.

    Runs are even, not full ones and a rest: an owner's bytes are divided by the number of runs it needs (at `target` bytes each, and not fewer than
    `minimum_tasks_per_owner` unless all its bytes are at most an eighth of `target`). So a run of several partitions may exceed `target` bytes, by up
    to half the owner's largest partition; a partition above that is a run of its own.
    """
    limits: dict[int, float] = {}
    for owner in set(owners):
        own = [size for size, o in zip(sizes, owners, strict=True) if o == owner]
        runs_wanted = max(minimum_tasks_per_owner if sum(own) > target // 8 else 1, -(-sum(own) // target))
        limits[owner] = sum(own) / max(runs_wanted, 1) + max(own) / 2  # even runs, not full ones and a rest
    runs: list[tuple[int, int]] = []
    start, load = 0, 0
    for i, (size, owner) in enumerate(zip(sizes, owners, strict=True)):
        if i > start and (owner != owners[start] or load + size > limits[owner]):
            runs.append((start, i))
            start, load = i, 0
        load += size
    if sizes:
        runs.append((start, len(sizes)))
    return runs
