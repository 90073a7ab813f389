"""The program of every rank that a session has started: workers serve, rank 0 hosts the master and serves the driver.

    mpirun -n 5 python -m hpcflow.runtime.remote.rank_0          # rank 0 reads one line from its standard input: where the driver is

Invariant: the ranks live as long as the connection to the driver. When it ends, what runs is cancelled, what was half written is removed, and all
ranks end within seconds.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cloudpickle
import polars as pl

from hpcflow.comm.watchdog import EXIT_FAILURE, end_process, install_excepthooks, leave_process, write_report
from hpcflow.config import SessionConfig
from hpcflow.errors import LaunchError
from hpcflow.events.log import EventLog
from hpcflow.events.records import Event
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.plan.physical import PhysicalPlan
from hpcflow.plan.reuse import Bindings
from hpcflow.resources import process_namespace
from hpcflow.runtime import endings
from hpcflow.runtime.action import ActionRun
from hpcflow.runtime.action_result import ActionResult
from hpcflow.runtime.action_state import FarDriver
from hpcflow.runtime.cluster import Cluster, Process, serve_process, start_mpi
from hpcflow.runtime.failures import first_line
from hpcflow.runtime.master import Master
from hpcflow.runtime.remote import messages as r
from hpcflow.runtime.remote.channel import Channel, connect, frames_of, table_of
from hpcflow.runtime.remote.errors import pack

GONE_PATIENCE_S = 1.5
"""For workers to let go when the driver has gone; a task that takes longer is ended with its process."""


class _Shared:
    """A broadcast value of the driver, here on its way to the workers."""

    def __init__(self, key: str, value: Any) -> None:
        self.key = key
        self.value = value
        self.released: list[Callable[[str], None]] = []

    def when_released(self, callback: Callable[[str], None]) -> None:
        self.released.append(callback)


class Rank0:
    """Serves one driver. `serve` runs on the main thread and never sends; each action has a thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tables: dict[int, dict[str, pl.Series]] = {}
        self._arriving: dict[int, list[Any]] = {}
        self._plans: OrderedDict[int, PhysicalPlan] = OrderedDict()
        self._shared: dict[str, _Shared] = {}
        self._actions: dict[int, ActionRun] = {}
        self._unpersisted = 0
        self._cluster: Cluster[Master] | None = None
        self._sender = threading.Thread(target=self._send_all, name="hpcflow-to-driver", daemon=True)
        self._sender.start()

    def serve(self) -> None:
        """Until the driver closes the session or goes away."""
        while True:
            try:
                message, frame = self._channel.receive()
            except (EOFError, OSError):
                self._driver_gone()
                return
            if isinstance(message, r.Close):
                return
            self._serve_one(message, frame)

    def close(self) -> None:
        """Let the workers go, in order."""
        if self._cluster is not None:
            self._cluster.close()

    def _serve_one(self, message: Any, frame: Any) -> None:
        if isinstance(message, r.Open):
            self._open(message.config)
        elif isinstance(message, r.TableColumns):
            self._take_columns(message, frame)
        elif isinstance(message, r.SharedValue):
            self._shared[message.key] = _Shared(message.key, message.value)
        elif isinstance(message, r.Forget):
            self._forget(message)
        elif isinstance(message, r.Run):
            self._begin(message)
        elif isinstance(message, r.Cancel):
            action = self._actions.get(message.action)
            self._outbox.put(r.CancelAnswer(message.action, action is not None and action.cancel(message.reason)))
        elif isinstance(message, r.Unpersist):
            self._unpersisted = message.number
            self._master.unpersist(message.key)
        elif isinstance(message, r.Settle):
            threading.Thread(target=self._settle, args=(message.patience_s,), daemon=True).start()

    @property
    def _master(self) -> Master:
        assert self._cluster is not None
        return self._cluster.master

    def _open(self, config: SessionConfig) -> None:
        events = EventLog()
        events.subscribe(self._outbox.put)
        try:
            self._cluster = start_mpi(config, events)
            if self._cluster is None:
                raise LaunchError("MPI sees a world of one rank")
        except BaseException as error:
            self._outbox.put(r.NotOpened(pack(error), first_line(error)))
            return
        master = self._master
        opened = r.Opened(master.ranks, master.worker_ranks, master.hellos, socket.gethostname(), os.getpid(), process_namespace())
        self._outbox.put(opened)

    def _settle(self, patience_s: float) -> None:
        self._master.settle(patience_s)
        self._outbox.put(r.Settled())

    # -- what actions are made of -------------------------------------------------------------------------------------------------------------------

    def _take_columns(self, message: r.TableColumns, frame: Any) -> None:
        frames = self._arriving.setdefault(message.table, [])
        if frame is not None:
            frames.append(frame)
        if message.last:
            table = table_of(self._arriving.pop(message.table), message.schema)
            self._tables.setdefault(message.table, {}).update({series.name: series for series in table.get_columns()})

    def _forget(self, message: r.Forget) -> None:
        for table in message.tables:
            self._tables.pop(table, None)
        for plan in message.plans:
            self._plans.pop(plan, None)
        for key in message.shared:
            if (shared := self._shared.pop(key, None)) is not None:
                for release in shared.released:
                    release(key)

    def _plan(self, message: r.Run) -> PhysicalPlan:
        if message.blob is None:
            return self._plans[message.plan]
        plan: PhysicalPlan = cloudpickle.loads(message.blob)
        if message.keeps_plan:
            self._plans[message.plan] = plan
        return plan

    # -- actions ------------------------------------------------------------------------------------------------------------------------------------

    def _begin(self, message: r.Run) -> None:
        sums: list[bytes] = []
        try:
            plan = self._plan(message)
            tables = {vertex: self._table(table, columns) for vertex, (table, columns) in message.tables.items()}
            far = FarDriver(
                None if message.keeps_plan else message.blob, tuple(self._shared[key] for key in message.shared), sums.append, message.splits
            )
            bindings = Bindings(tables, message.caches, message.keeps_plan)
            action = self._master.prepare(plan, message.name, bindings, message.action, far)
        except BaseException as error:
            self._ended_badly(message.action, error)
            return
        self._actions[message.action] = action
        threading.Thread(target=self._run, args=(action, sums), name="hpcflow-action", daemon=True).start()

    def _table(self, number: int, columns: tuple[str, ...]) -> FromMemory:
        held = self._tables[number]
        return FromMemory.of(pl.DataFrame([held[name] for name in columns]))

    def _run(self, action: ActionRun, sums: list[bytes]) -> None:
        try:
            result = action.run()
            self._send_rows(action.id, result)
        except BaseException as error:
            self._ended_badly(action.id, error)
        else:
            schemas = {vertex: table.schema for vertex, table in result.tables.items()}
            bare = dataclasses.replace(result, tables={})
            self._outbox.put(r.Ended(action.id, self._master.cached(), self._unpersisted, bare, schemas, tuple(sums)))
        finally:
            self._actions.pop(action.id, None)

    def _send_rows(self, action: int, result: ActionResult) -> None:
        for vertex, table in result.tables.items():
            for frame in frames_of(table, self._master.pool):
                self._channel.send(r.Rows(action, vertex), frame)

    def _ended_badly(self, action: int, error: BaseException) -> None:
        lost = None if self._master.lost is None else str(self._master.lost)
        self._outbox.put(r.Ended(action, self._master.cached(), self._unpersisted, error=pack(error), text=first_line(error), lost=lost))

    # -- the connection -----------------------------------------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        """Events and ends of actions, in order; events that are there already go together."""
        waiting: list[Event] = []
        while True:
            message = self._outbox.get()
            if isinstance(message, Event):
                waiting.append(message)
                if not self._outbox.empty():
                    continue
                message = None
            try:
                if waiting:
                    self._channel.send(r.Events(tuple(waiting)))
                    waiting = []
                if message is not None:
                    self._channel.send(message)
            except OSError:
                return  # the driver has gone, and `serve` sees it too
            except pickle.PicklingError as error:
                write_report(f"hpcflow: a message to the driver could not be sent: {error}")

    def _driver_gone(self) -> None:
        write_report("hpcflow: the driver has gone; all ranks end")
        if self._cluster is not None and self._master.lost is None:
            self._master.settle(GONE_PATIENCE_S)
        end_process(EXIT_FAILURE)


def main() -> None:
    """A rank's life."""
    process = Process.get(None)
    if process.engine.rank > 0:
        serve_process(process)
    install_excepthooks()
    endings.ignore_interrupts()
    try:
        channel = connect(sys.stdin.readline())
    except Exception as error:
        write_report(f"hpcflow: rank 0 on {socket.gethostname()} cannot reach the driver that started it: {type(error).__name__}: {error}")
        end_process(EXIT_FAILURE)
    served = Rank0(channel)
    served.serve()
    served.close()
    if process.engine.size == 1:
        leave_process()


if __name__ == "__main__":
    main()
