"""What a check found: a status, a finding in one line, and how to mend it.

>>> CheckResult("scratch", "warn", "/tmp is memory", "set TMPDIR to a disk").lines()
['warn  scratch        /tmp is memory', '                     -> set TMPDIR to a disk']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckResult:
    """name: of the check; status: "fail" stops jobs, "warn" makes them slow or fragile; remedy: what to do, empty when all is well."""

    name: str
    status: Status
    finding: str
    remedy: str = ""

    def lines(self) -> list[str]:
        first = f"{self.status:<4}  {self.name:<13}  {self.finding}"
        return [first, f"{'':<21}-> {self.remedy}"] if self.remedy else [first]
