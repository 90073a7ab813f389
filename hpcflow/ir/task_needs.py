"""What one task asks of its worker: `with_property(resources={"cores": 2, "memory": "1GB", "gpus": 1})`.

Invariant: immutable and hashable; what is not asked for is 0.

    >>> task_needs({"cores": 2, "memory": "1GB"})
    TaskNeeds(cores=2, memory_bytes=1000000000, gpus=0)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcflow.errors import near_names
from hpcflow.options import size, whole

_PARTS = {"cores": whole(0), "memory": size, "gpus": whole(0)}


@dataclass(frozen=True)
class TaskNeeds:
    """Resources that a task has for itself while it runs."""

    cores: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    def with_at_least(self, other: TaskNeeds) -> TaskNeeds:
        """What satisfies both."""
        return TaskNeeds(max(self.cores, other.cores), max(self.memory_bytes, other.memory_bytes), max(self.gpus, other.gpus))

    def __str__(self) -> str:
        parts = {"cores": self.cores, "bytes of memory": f"{self.memory_bytes:,}" if self.memory_bytes else 0, "GPUs": self.gpus}
        return ", ".join(f"{amount} {name}" for name, amount in parts.items() if amount) or "nothing"


def task_needs(value: Any) -> TaskNeeds:
    """From a TaskNeeds or a dict; ValueError names what is wrong."""
    if isinstance(value, TaskNeeds):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("expected a dict with cores, memory and gpus")
    for name in value:
        if name not in _PARTS:
            raise ValueError(f"there is no resource {name!r}{near_names(str(name), _PARTS) or ', only'} {', '.join(_PARTS)}")
    parts = {}
    for name, given in value.items():
        try:
            parts["memory_bytes" if name == "memory" else name] = _PARTS[name](given)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return TaskNeeds(**parts)
