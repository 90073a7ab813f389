"""The driver's end: what a session takes for its master, where that is on rank 0 of ranks it has started.

Invariant: messages are sent in the order in which the session's threads decide (under one lock), so that an action that was prepared reads the cached
datasets which were there then; tables, plans and broadcast values cross the connection once.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hpcflow.config import SessionConfig
from hpcflow.errors import WorkerLostError
from hpcflow.events.log import EventLog
from hpcflow.ir.operators.from_memory import FromMemory, Held
from hpcflow.ir.operators.source import Source, Split
from hpcflow.ir.shared_values import Shareable, noting
from hpcflow.native import ArenaPool
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import KEPT_PLANS, Bindings
from hpcflow.runtime.action_end import take_sums
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.action_state import caches_read, make_splits
from hpcflow.runtime.master import CacheGoneError
from hpcflow.runtime.messages import Hello
from hpcflow.runtime.plan_bytes import dump_plan
from hpcflow.runtime.remote import messages as r
from hpcflow.runtime.remote.channel import Channel, frames_of, table_of
from hpcflow.runtime.remote.errors import unpack
from hpcflow.runtime.task_making import CachedBlocks

ANSWER_TIMEOUT_S = 10.0
_numbers = itertools.count(1)


class RemoteAction:
    """One action on rank 0; made by `RemoteMaster.prepare`."""

    def __init__(self, master: RemoteMaster, id: int) -> None:
        self.id = id
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._master = master
        self.answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._over = False

    def run(self) -> ActionResult:
        """Wait for its end. Ctrl-C cancels it there and returns at once."""
        frames: dict[int, list[Any]] = {}
        try:
            while True:
                try:
                    message, frame = self.inbox.get(timeout=0.5)
                except queue.Empty:
                    continue
                if isinstance(message, r.Rows):
                    frames.setdefault(message.vertex, []).append(frame)
                elif isinstance(message, WorkerLostError):
                    raise message
                elif isinstance(message, r.Ended):
                    return self._result(message, frames)
        except (KeyboardInterrupt, SystemExit):
            self._master.send_quietly(r.Cancel(self.id, "interrupted"))
            raise
        finally:
            self._over = True
            self._master.ended(self)

    def cancel(self, reason: str) -> bool:
        """Ask rank 0; False when it is too late there."""
        if self._over or not self._master.send_quietly(r.Cancel(self.id, reason)):
            return False
        with contextlib.suppress(queue.Empty):
            return self.answers.get(timeout=ANSWER_TIMEOUT_S)
        return False

    def _result(self, message: r.Ended, frames: dict[int, list[Any]]) -> ActionResult:
        if message.result is None or message.schemas is None:
            assert message.error is not None
            raise unpack(message.error, message.text)
        for sums in message.sums:
            take_sums(sums)
        return replace(message.result, tables={vertex: table_of(frames.get(vertex, []), schema) for vertex, schema in message.schemas.items()})


class RemoteMaster:
    """See the module. Made by `ranks.start_ranks`."""

    def __init__(self, channel: Channel, opened: r.Opened, config: SessionConfig, events: EventLog, how_it_ended: Callable[[], str]) -> None:
        self.config = config
        self.events = events
        self.ranks = opened.ranks
        self.worker_ranks = opened.worker_ranks
        self.hellos: Mapping[int, Hello] = opened.hellos
        self.lost: WorkerLostError | None = None
        self._channel = channel
        self._how_it_ended = how_it_ended
        self._pool = ArenaPool()
        self._lock = threading.RLock()
        self._actions: dict[int, RemoteAction] = {}
        self._caches: Mapping[str, CachedBlocks] = {}
        self._unpersisted: dict[str, int] = {}
        self._tables: weakref.WeakKeyDictionary[Held, tuple[int, set[str]]] = weakref.WeakKeyDictionary()
        self._plans: OrderedDict[int, tuple[PhysicalPlan, int]] = OrderedDict()
        self._shared: set[str] = set()
        self._gone_tables: deque[int] = deque()  # filled by finalizers, which may run anywhere: told with the next action
        self._gone_shared: deque[str] = deque()
        self._settled = threading.Event()
        self._closing = False
        threading.Thread(target=self._read, name="hpcflow-from-rank-0", daemon=True).start()

    def prepare(self, plan: PhysicalPlan, name: str, bindings: Bindings | None = None) -> RemoteAction:
        """Send the action and what it needs; its rows come to `run`."""
        bindings = bindings or Bindings()
        tables = bindings.tables or {v.id: v.operator for v in plan.dag.vertices.values() if isinstance(v.operator, FromMemory)}
        with noting() as shared:
            blob = dump_plan(plan)
        splits = self._splits(plan)
        with self._lock:
            if self.lost is not None:
                raise WorkerLostError(str(self.lost))
            if caches_read(plan, bindings) - self._caches.keys():
                raise CacheGoneError("cached datasets that the plan reads were unpersisted meanwhile; compile it again")
            number = next(_numbers)
            action = self._actions[number] = RemoteAction(self, number)
            try:
                self._forget()
                held = {vertex: self._send_table(table) for vertex, table in tables.items()}
                self._send_shared(shared)
                plan_number, known = self._plan_number(plan) if bindings.keeps_plan else (0, False)
                caches, keeps = dict(bindings.caches), bindings.keeps_plan
                self._channel.send(r.Run(number, name, plan_number, None if known else blob, held, splits, caches, keeps, tuple(shared)))
            except OSError as error:
                self._actions.pop(number, None)
                raise WorkerLostError(f"the ranks of this session have ended: {self._how_it_ended()}") from error
        return action

    def ended(self, action: RemoteAction) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._actions.pop(action.id, None)

    def cached(self) -> Mapping[str, CachedBlocks]:
        """What is cached now."""
        return self._caches

    def unpersist(self, key: str) -> None:
        """Free a cached dataset once no action reads it."""
        with self._lock:
            if key in self._caches:
                self._caches = {other: blocks for other, blocks in self._caches.items() if other != key}
                self._unpersisted[key] = next(_numbers)
                self.send_quietly(r.Unpersist(key, self._unpersisted[key]))

    def settle(self, patience_s: float) -> None:
        """Cancel what runs and wait until the workers have let go."""
        self._closing = True
        if self.lost is None and self.send_quietly(r.Settle(patience_s)):
            self._settled.wait(patience_s + 2.0)

    def send_quietly(self, message: Any) -> bool:
        """False when the ranks have gone: the thread that reads says so."""
        try:
            self._channel.send(message)
        except OSError:
            return False
        return True

    def _splits(self, plan: PhysicalPlan) -> dict[int, tuple[Split, ...]]:
        """Made here, where the sources have looked at their files."""
        vertices = [v for v in plan.dag.vertices.values() if isinstance(v.operator, Source) and not isinstance(v.operator, FromMemory)]
        workers, target_bytes = len(self.worker_ranks), self.config.target_split_bytes
        return {v.id: make_splits(v.operator, v.properties, workers, target_bytes) for v in vertices if isinstance(v.operator, Source)}

    # -- what crosses once --------------------------------------------------------------------------------------------------------------------------

    def _send_table(self, table: FromMemory) -> tuple[int, tuple[str, ...]]:
        frame = table.frame
        assert frame is not None
        known = self._tables.get(table.held)
        if known is None:
            known = self._tables[table.held] = (next(_numbers), set())
            weakref.finalize(table.held, self._gone_tables.append, known[0])
        number, there = known
        missing = [name for name in frame.columns if name not in there]
        if missing:
            part = frame.select(missing)
            for packed in frames_of(part, self._pool):
                self._channel.send(r.TableColumns(number, part.schema, False), packed)
            self._channel.send(r.TableColumns(number, part.schema, True))
            there.update(missing)
        return number, tuple(frame.columns)

    def _send_shared(self, shared: Mapping[str, Shareable]) -> None:
        for key, value in shared.items():
            if key not in self._shared:
                self._channel.send(r.SharedValue(key, value.value))
                self._shared.add(key)
                value.when_released(self._shared_released)

    def _shared_released(self, key: str) -> None:
        self._gone_shared.append(key)

    def _plan_number(self, plan: PhysicalPlan) -> tuple[int, bool]:
        """(number of the plan, whether rank 0 has it)."""
        found = self._plans.get(id(plan))
        if found is not None:
            self._plans.move_to_end(id(plan))
            return found[1], True
        number = next(_numbers)
        self._plans[id(plan)] = (plan, number)
        if len(self._plans) > KEPT_PLANS:
            _, (_, oldest) = self._plans.popitem(last=False)
            self._channel.send(r.Forget(plans=(oldest,)))
        return number, False

    def _forget(self) -> None:
        tables = tuple(self._gone_tables.popleft() for _ in range(len(self._gone_tables)))
        shared = tuple(self._gone_shared.popleft() for _ in range(len(self._gone_shared)))
        if tables or shared:
            self._shared.difference_update(shared)
            self._channel.send(r.Forget(tables, (), shared))

    # -- what comes back ----------------------------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while True:
            try:
                message, frame = self._channel.receive()
            except (EOFError, OSError):
                self._settled.set()
                if not self._closing:
                    self.lose(f"the ranks of this session have ended: {self._how_it_ended()}")
                return
            if isinstance(message, r.Events):
                for event in message.events:
                    self.events.emit(event)
            elif isinstance(message, r.Settled):
                self._settled.set()
            else:
                self._deliver(message, frame)

    def _deliver(self, message: Any, frame: Any) -> None:
        if isinstance(message, r.Ended):
            with self._lock:
                gone = {key for key, number in self._unpersisted.items() if number > message.unpersisted}
                self._caches = {key: blocks for key, blocks in message.caches.items() if key not in gone}
                self._unpersisted = {key: number for key, number in self._unpersisted.items() if key in gone}
            if message.lost is not None:
                self.lost = self.lost or WorkerLostError(message.lost)
        with self._lock:
            action = self._actions.get(message.action)
        if action is None:
            return
        if isinstance(message, r.CancelAnswer):
            action.answers.put(message.granted)
        else:
            action.inbox.put((message, frame))

    def lose(self, why: str) -> None:
        """Tell every action; the session starts new ranks for the next."""
        with self._lock:
            self.lost = self.lost or WorkerLostError(why)
            actions = list(self._actions.values())
        for action in actions:
            action.inbox.put((WorkerLostError(why), None))
