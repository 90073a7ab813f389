"""The master: one per job, on rank 0. It knows the workers, numbers the exchange steps and runs actions.

Invariant: rows pass through it only for results to the driver and sources that the driver holds. Several actions may run at once, each on its
caller's thread; exchange steps of all of them come from one sequence and are opened on every worker in that order.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hpcflow.bsp.place import Description, RankResources, resources_of
from hpcflow.comm.engine import Engine
from hpcflow.config import SessionConfig
from hpcflow.errors import HpcflowError, LaunchError, WorkerLostError
from hpcflow.events.log import EventLog
from hpcflow.ir.shared_values import Shareable
from hpcflow.native import ArenaPool
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import Bindings
from hpcflow.runtime.action import ActionRun
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.action_state import FarDriver, caches_read
from hpcflow.runtime.binding import shares_of_cpus
from hpcflow.runtime.messages import (
    TO_MASTER,
    TO_WORKER,
    DropBlocks,
    DropShared,
    Heartbeat,
    Hello,
    Several,
    Shutdown,
    UseResources,
    WorkerEvent,
    decode,
    encode,
    own_versions,
)
from hpcflow.runtime.placement import Placement, resolve_placement
from hpcflow.runtime.sent_plans import SentPlans
from hpcflow.runtime.shared import SharedSender
from hpcflow.runtime.task_making import CachedBlocks, StoredBlock, kept_partitionings
from hpcflow.shuffle.exchange import ExchangeService

_steps = itertools.count(1)
_actions = itertools.count(1)
# One sequence for all sessions of a process: what is late for an ended session can never be taken for another's.


class CacheGoneError(HpcflowError):
    """A plan reads a cached dataset that is no longer there."""


class Master:
    """Runs physical plans on the workers that an engine reaches."""

    def __init__(
        self, engine: Engine, exchanges: ExchangeService, pool: ArenaPool, worker_ranks: tuple[int, ...], config: SessionConfig, events: EventLog
    ) -> None:
        self.engine = engine
        self.exchanges = exchanges
        self.pool = pool
        self.worker_ranks = worker_ranks
        self.config = config
        self.events = events
        self.hellos: dict[int, Hello] = {}
        self.resources: dict[int, RankResources] = {}
        """Rank -> what is its own."""
        self.placement: Placement = resolve_placement(config.placement)
        """The session's strategy."""
        self.readers: dict[str, int] = {}
        """Part of a source's files -> number of the worker that read it last."""
        self.caches: dict[str, CachedBlocks] = {}
        """Cached dataset -> where it is."""
        self.plans = SentPlans(self)
        self.open_lock = threading.Lock()
        """Held while a step is numbered and its opening is sent, so that all workers see steps in one order."""
        self._lock = threading.Condition(threading.RLock())
        """Held while actions, caches and who reads them change."""
        self._unread: dict[str, list[CachedBlocks]] = {}
        """Datasets that were unpersisted while an action read them."""
        self._running: dict[int, ActionRun] = {}
        self._arrivals: queue.SimpleQueue[Hello] = queue.SimpleQueue()
        self._replaced: list[tuple[set[int], list[tuple[Any, ...]]]] = []
        """Blocks that a cached dataset no longer has, and the actions that may still read them."""
        self.shared = SharedSender(engine, pool, self._drop_shared)
        self.lost: WorkerLostError | None = None
        """Why no more actions can run."""
        engine.subscribe(TO_MASTER, self._receive)

    def wait_for_workers(self, timeout_s: float) -> None:
        """Collect the Hello of every worker and compare versions. Raises LaunchError or WorkerLostError."""
        deadline = time.monotonic() + timeout_s
        while len(self.hellos) < len(self.worker_ranks):
            try:
                hello = self._arrivals.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                missing = sorted(set(self.worker_ranks) - set(self.hellos))
                raise WorkerLostError(f"no sign of life from ranks {missing} within {timeout_s:.0f} s; is every rank running this program?") from None
            self.hellos[hello.rank] = hello
            theirs, ours = dict(hello.versions), dict(own_versions())
            different = [f"{name} {theirs.get(name)} there, {version} here" for name, version in ours.items() if theirs.get(name) != version]
            if different:
                raise LaunchError(
                    f"rank {hello.rank} on {hello.host} has other versions: {'; '.join(different)}. Install the same environment on every node"
                )
        self._share_resources()

    def _share_resources(self) -> None:
        """Tell every worker which cores and GPUs of its node are its own."""
        places = [hello.place or Description(hello.host, hello.host, (), ()) for hello in (self.hellos[rank] for rank in self.worker_ranks)]
        pids = {rank: self.hellos[rank].pid for rank in self.worker_ranks}
        shares = shares_of_cpus({rank: (place, pids[rank]) for rank, place in zip(self.worker_ranks, places, strict=True)})
        for number, rank in enumerate(self.worker_ranks):
            own = resources_of(places, number, 0)
            self.resources[rank] = replace(own, memory_bytes=self.hellos[rank].memory_bytes)
            share = shares.get(rank) if self.config.bind == "auto" else None
            self.send_to([rank], UseResources(own.cores, own.gpus, share))

    def run(self, plan: PhysicalPlan, name: str, bindings: Bindings | None = None) -> ActionResult:
        """Run `plan` to its end, with the tables and cached datasets of `bindings`.

        Raises what failed first; the session stays usable after task failures.
        """
        return self.prepare(plan, name, bindings).run()

    def prepare(
        self, plan: PhysicalPlan, name: str, bindings: Bindings | None = None, id: int | None = None, far_driver: FarDriver | None = None
    ) -> ActionRun:
        """An action that will run `plan`; it has to be run. The cached datasets that the plan reads are kept for it, whoever unpersists them."""
        if self.lost is not None:
            raise WorkerLostError(f"this session has lost a worker and cannot run more actions: {self.lost}")
        bindings = bindings or Bindings()
        with self._lock:
            if gone := caches_read(plan, bindings) - self.caches.keys():
                raise CacheGoneError(f"{len(gone)} cached datasets that the plan reads were unpersisted meanwhile; compile it again")
            action = ActionRun(self, next(_actions) if id is None else id, plan, name, bindings)
            action.far_driver = far_driver
            self._running[action.id] = action
            self.engine.set_active(True)
        return action

    def ended(self, action: ActionRun) -> None:
        """Every worker has let go of the action, or is lost."""
        with self._lock:
            del self._running[action.id]
            self._drop_replaced(action.id)
            if not self._running:
                self.engine.set_active(False)
            for key in action.caches:
                self._drop_unread(key)
            self._lock.notify_all()

    def settle(self, patience_s: float) -> None:
        """Cancel what runs, and wait until the workers have let go of it; who has not after `patience_s` seconds is lost."""
        deadline = time.monotonic() + patience_s
        with self._lock:
            for action in self._running.values():
                action.cancel("the session was closed")
                action.hurry(patience_s)
            while self._running and time.monotonic() < deadline + 1.0:
                self._lock.wait(0.1)

    @property
    def ranks(self) -> int:
        """Ranks of the world."""
        return self.engine.size

    def next_step(self) -> int:
        """The number of the next exchange step; call with `open_lock` held (see `mail`)."""
        return next(_steps)

    def broadcast(self, message: Any) -> None:
        """Send a message to all workers."""
        self.send_to(self.worker_ranks, message)

    def send_to(self, ranks: Iterable[int], message: Any) -> None:
        """Send one message to several workers, encoded once."""
        payload = encode(message)
        for rank in ranks:
            self.engine.send(rank, TO_WORKER, payload)

    def share(self, values: Iterable[Shareable]) -> None:
        """Send these broadcast values to every process that has workers, unless it has them."""
        of_process = {(hello.host, hello.pid): rank for rank, hello in self.hellos.items()}
        here = socket.gethostname()
        self.shared.send(values, {rank: pid if host == here else 0 for (host, pid), rank in of_process.items()})

    def _drop_shared(self, key: str) -> None:
        if self.lost is None and self.engine.error is None:
            with contextlib.suppress(WorkerLostError):  # the session has ended meanwhile
                self.broadcast(DropShared(key))

    def unpersist(self, key: str) -> None:
        """Free a cached dataset."""
        with self._lock:
            if (held := self.caches.pop(key, None)) is not None:
                self._unread.setdefault(key, []).append(held)
                self._drop_unread(key)

    def keep_cache(self, key: str, held: CachedBlocks) -> None:
        """List a cached dataset. Where two actions have filled it at once, the blocks of the first are freed when nobody reads them any more."""
        with self._lock:
            self.unpersist(key)
            self.caches[key] = held

    def cached(self) -> dict[str, CachedBlocks]:
        """What is cached now."""
        with self._lock:
            return dict(self.caches)

    def _drop_unread(self, key: str) -> None:
        """Free what was unpersisted and no action reads any more."""
        still_read = []
        for held in self._unread.pop(key, ()):
            if any(action.caches.get(key) is held for action in self._running.values()):
                still_read.append(held)
                continue
            for prefix in {block.key[: 3 if block.key[0] == "cache" else 2] for block in held.blocks}:  # of one filling; shares that a step has kept
                self.broadcast(DropBlocks(prefix))
        if still_read:
            self._unread[key] = still_read

    def replace_cache(self, key: str, before: tuple[StoredBlock, ...], after: tuple[StoredBlock, ...], action: int) -> None:
        """The same rows of a cached dataset in other blocks; the old ones are dropped when no action that may read them runs any more. Where the
        dataset has changed meanwhile (unpersisted, or replaced by another action) it is the new ones that are dropped."""
        with self._lock:
            held = self.caches.get(key)
            current = held is not None and held.blocks == before
            if held is not None and current:
                self.caches[key] = CachedBlocks(after, kept_partitionings(after, self.worker_ranks, held.partitionings))
            mine, others = ({b.key for b in blocks} for blocks in ((before, after) if current else (after, before)))
            self._replaced.append((set(self._running) - {action} if current else set(), list(mine - others)))
            self._drop_replaced(action)

    def _drop_replaced(self, ended: int) -> None:
        with self._lock:
            for readers, _ in self._replaced:
                readers.discard(ended)
            free = [keys for readers, keys in self._replaced if not readers]
            self._replaced = [pair for pair in self._replaced if pair[0]]
        if self.lost is None and self.engine.error is None:
            for key in (key for keys in free for key in keys):
                self.broadcast(DropBlocks(key))

    def lose(self, error: WorkerLostError) -> bool:
        """Tell every action that a worker is gone (any thread); returns whether one was running."""
        self.lost = self.lost or error
        running = list(self._running.values())
        for action in running:
            action.inbox.put(error)
        return bool(running)

    def shutdown(self) -> None:
        """Let the workers leave `serve`."""
        self.shared.close()
        if self.engine.error is None:
            self.broadcast(Shutdown())

    def _receive(self, source: int, buffer: Any) -> None:
        message = decode(buffer)
        for one in message.messages if isinstance(message, Several) else (message,):
            self._take(one)

    def _take(self, message: Any) -> None:
        if isinstance(message, Hello):
            self._arrivals.put(message)
        elif isinstance(message, Heartbeat):
            for running in list(self._running.values()):
                running.inbox.put(message)
        elif isinstance(message, WorkerEvent):
            self.events.emit(replace(message.event, rank=message.rank))
        elif (action := self._running.get(message.action)) is not None:
            action.inbox.put(message)
