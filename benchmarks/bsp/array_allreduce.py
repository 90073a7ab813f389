"""Allreduce on ctx.comm against a bare mpi4py communicator, in turns, in one run; with the two-level variant beside it.

    mpirun -n 2 python benchmarks/bsp/array_allreduce.py

Every pair is one call each, slowest rank; prints one JSON line a size with the medians and their ratios to bare. `same` is another bare
communicator: what the machine's noise alone does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hpcflow as hf


@hf.program
def measure(ctx: Any) -> None:
    options = parse(ctx.arguments)
    MPI, comm = ctx.MPI, ctx.comm  # noqa: N806  as MPI programs write it
    assert type(comm) is MPI.Intracomm
    bare, other = MPI.COMM_WORLD.Dup(), MPI.COMM_WORLD.Dup()
    for size_bytes, calls in ((8, 200), (8 << 20, 1)):
        given, out = np.ones(size_bytes // 8), np.empty(size_bytes // 8)
        ways: dict[str, Callable[[], Any]] = {
            "bare": lambda given=given, out=out: bare.Allreduce(given, out, op=MPI.SUM),
            "ctx": lambda given=given, out=out: comm.Allreduce(given, out, op=MPI.SUM),
            "same": lambda given=given, out=out: other.Allreduce(given, out, op=MPI.SUM),
            "two_level": lambda given=given, out=out: ctx.node_allreduce(given, out=out),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for pair in range(options.pairs + 3):
            order = list(ways.items())
            for name, call in order[pair % 4 :] + order[: pair % 4]:
                bare.Barrier()
                started = time.perf_counter()
                for _ in range(calls):
                    call()
                took = bare.allreduce((time.perf_counter() - started) / calls, op=MPI.MAX)
                if pair >= 3:
                    seconds[name].append(took)
        if ctx.rank == 0:
            medians = {f"{name}_us": round(statistics.median(found) * 1e6, 2) for name, found in seconds.items()}
            ratios = {
                f"{name}_ratio": round(statistics.median(seconds[name]) / statistics.median(seconds["bare"]), 3)
                for name in ("ctx", "same", "two_level")
            }
            print(json.dumps({"size_bytes": size_bytes, "ranks": ctx.size, "pairs": options.pairs, **medians, **ratios}), flush=True)
    bare.Free()
    other.Free()


def parse(arguments: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    measure.run()
