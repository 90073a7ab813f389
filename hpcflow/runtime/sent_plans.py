"""Plans that the workers hold, so that an action which runs on one of them again sends its hash alone.

Invariant: a plan is on its way to every worker before any action names it by its hash, and a worker forgets a plan when it is told to and not before.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from hpcflow.plan.physical import PhysicalPlan
from hpcflow.runtime.messages import ForgetPlan, KeepPlan
from hpcflow.runtime.plan_bytes import dump_plan

if TYPE_CHECKING:
    from hpcflow.runtime.master import Master

HELD_PLANS = 64
"""Plans that each worker holds, those used last."""


class SentPlans:
    """What has been sent to the workers of a session. Thread-safe."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._held: OrderedDict[int, tuple[PhysicalPlan, str]] = OrderedDict()
        self._lock = threading.Lock()

    def hash_of(self, plan: PhysicalPlan) -> str:
        """SHA-256 of a plan that the workers hold; it is sent to them at its first use."""
        with self._lock:
            held = self._held.get(id(plan))
            if held is None:
                blob = dump_plan(plan)
                held = self._held[id(plan)] = (plan, hashlib.sha256(blob).hexdigest())
                self._master.broadcast(KeepPlan(held[1], blob))
                if len(self._held) > HELD_PLANS:
                    _, (_, oldest) = self._held.popitem(last=False)
                    self._master.broadcast(ForgetPlan(oldest))
            self._held.move_to_end(id(plan))
            return held[1]
