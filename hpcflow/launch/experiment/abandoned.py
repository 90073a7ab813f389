"""Whether tasks wait for a driver that is not there: it was killed, or never began.

Invariant: reads files and looks at processes of this host, and drives nothing. Jobs that a scheduler or this host still runs are not waited for in
vain; what has to be submitted, tried again or decided is, when nobody drives.

    why_nobody_goes_on(records, records.view())     # None, or "process 4711 on login1 drove this experiment and has ended; ... `resume 3f9c`"
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from hpcflow.launch.executors.base import JobState
from hpcflow.launch.experiment.decide import TaskState
from hpcflow.launch.experiment.lease import Holder, last_holder
from hpcflow.launch.experiment.records import Records, View

GRACE_S = 30.0
"""How long a driver may take to begin, after a submission or after another one gave the lease back."""


def why_nobody_goes_on(records: Records, view: View, names: Sequence[str] | None = None) -> str | None:
    """One line for people when one of these tasks (default all) will not go on by itself; None when all will, or are decided."""
    stuck = [name for name in waiting_for_a_driver(view) if names is None or name in names]
    if not stuck:
        return None
    holder = last_holder(records.directory)
    if holder is not None and holder.drives:
        return None
    since = (records.directory / ("experiment.json" if holder is None else "lease.json")).stat().st_mtime
    if (holder is None or holder.released) and time.time() - since < GRACE_S:
        return None
    states = view.states()
    if all(states[name] is TaskState.UNKNOWN for name in stuck):
        return f"task {stuck[0]} is unknown: {view.attempts[stuck[0]][-1].status.reason}"
    some = ", ".join(stuck[:3]) + (", ..." if len(stuck) > 3 else "")
    waits = f"task {some} waits for it" if len(stuck) == 1 else f"{len(stuck)} tasks wait for it ({some})"
    return f"{_who(records, holder)}; {waits}: `hpcflow launch resume {view.spec.id}` goes on with it"


def waiting_for_a_driver(view: View) -> list[str]:
    """Tasks that have to be submitted, tried again or decided; those that another host runs and nobody here can ask about."""
    states = view.states()
    announced = {name for name, handle in view.handles.items() if handle is None and view.attempts[name][-1].status.state is JobState.PENDING}
    return [name for name, state in states.items() if state in (TaskState.WAITING, TaskState.UNKNOWN) or (name in announced and not state.final)]


def _who(records: Records, holder: Holder | None) -> str:
    stopped = [record["message"] for record in records.events() if record["event"] == "driver stopped"]
    if stopped:
        return f"the driver of this experiment has stopped ({stopped[-1]})"
    if holder is None:
        return f"no driver has begun within {GRACE_S:.0f} s ({records.directory}/driver.log may say why)"
    if holder.released:
        return f"process {holder.pid} on {holder.host} has stopped driving this experiment"
    return f"process {holder.pid} on {holder.host} drove this experiment and has ended"
