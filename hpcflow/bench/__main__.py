"""`mpirun -n 4 python -m hpcflow.bench ring --size 16MiB`: one check on the ranks of this world."""

from __future__ import annotations

import argparse
import importlib

from hpcflow.bench.world import open_world
from hpcflow.options import size

NAMES = ("hello", "ring", "alltoall", "shuffle", "probe")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hpcflow.bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--size", type=size, default=64 << 20, help="bytes that each rank sends, e.g. 64MiB")
    options = parser.parse_args()
    with open_world() as world:
        getattr(importlib.import_module(f"hpcflow.bench.{options.name}"), options.name)(world, options.size)


if __name__ == "__main__":
    main()
