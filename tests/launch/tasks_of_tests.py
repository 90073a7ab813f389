"""Functions that tests submit as tasks."""

from __future__ import annotations

import dataclasses
import enum
import os
import pathlib

from hpcflow.launch import Secret


@dataclasses.dataclass
class Model:
    hidden: int = 4
    layers: tuple[int, ...] = (1, 2)

    def count(self) -> int:
        return len(self.layers)


class Colour(enum.Enum):
    RED = "red"


def train(
    model: Model, lr: float = 0.1, where: pathlib.Path = pathlib.Path("x"), colour: Colour = Colour.RED, tags: set[str] | None = None
) -> dict[str, object]:
    return {"hidden": model.hidden, "layers": list(model.layers), "lr": lr, "where": str(where), "colour": colour.name, "tags": sorted(tags or ())}


def square(x: int) -> int:
    if x == 13:
        raise ValueError("unlucky")
    return x * x


def array(n: int) -> object:
    import numpy as np

    return np.arange(n)


def table(n: int) -> object:
    import polars as pl

    return pl.DataFrame({"n": range(n)})


def nothing_kept() -> object:
    return object()


def with_token(token: str) -> int:
    return len(token)


def attempt() -> str:
    return os.environ["HPCFLOW_ATTEMPT"]


def rank_sum() -> int:
    from mpi4py import MPI

    return MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)


def by_position(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int = 4, **more: int) -> list[object]:
    return [a, b, c, list(rest), d, more]


def with_reference(token: str, reference: Secret | None = None) -> list[object]:
    return [len(token), repr(reference), reference is not None and len(reference.reveal())]
