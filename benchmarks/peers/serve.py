"""The loop of every runner: a system stays up and does one workload each time it is told to. Standard library only: it runs in foreign environments.

    parent -> runner   run join                               runner -> parent   @ {"seconds": 1.2, "rows": 10000000}
    parent -> runner   check                                  runner -> parent   @ {"sums": {"k": 4.2, "v": 5.0}}

Invariant: what is timed is `Workload.run` alone, from file to result kept and its count known; sums and freeing come after. Lines without the mark
are a system's own chatter.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MARK = "@ "
GROUP_BY = {"group_by_100_strings": "k100", "group_by_100k_strings": "k100k", "group_by_100k_ints": "i100k"}
"""Workload -> key column of groups.parquet; the result has columns key, s (sum of v), m (mean of v), n (rows)."""
SUMS = {
    **dict.fromkeys(GROUP_BY, ("s", "m", "n")),
    "join": ("k", "v", "w"),
    "sort": ("v",),
    "repartition": ("k", "v"),
}
"""Workload -> columns whose sums are compared between systems. `sort` adds `first` and `last`: the key of its first and of its last row."""


@dataclass(frozen=True)
class Workload:
    """run: from file to the kept result and its number of rows; sums: of the kept result, by column; free: let go of it."""

    run: Callable[[], tuple[Any, int]]
    sums: Callable[[Any], Mapping[str, float]]
    free: Callable[[Any], object] = lambda kept: None


def from_stdin() -> Iterable[str]:
    """What the parent says, a line at a time."""
    return iter(sys.stdin.readline, "")


def to_stdout(answer: dict[str, Any]) -> None:
    """One marked line to the parent."""
    print(MARK + json.dumps(answer), flush=True)


def serve(
    versions: str, workloads: Mapping[str, Workload], lines: Iterable[str] | None = None, say: Callable[[dict[str, Any]], None] = to_stdout
) -> None:
    """Answer until the parent closes the pipe or says quit. A workload that raises is an answer too: {"error": ...}."""
    say({"versions": versions, "workloads": list(workloads)})
    kept: Any = None
    current: Workload | None = None
    for line in from_stdin() if lines is None else lines:
        words = line.split()
        if not words or words[0] == "quit":
            break
        try:
            if words[0] == "run":
                current = workloads[words[1]]
                start = time.perf_counter()
                kept, rows = current.run()
                say({"seconds": time.perf_counter() - start, "rows": rows})
            elif current is not None:
                sums = {name: float(value) for name, value in current.sums(kept).items()}
                current.free(kept)
                kept = None
                say({"sums": sums})
        except Exception as error:
            traceback.print_exc()
            kept = None
            say({"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})
