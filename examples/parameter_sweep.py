"""An embarrassingly parallel sweep: many runs of a random epidemic, a few for every pair of rates, dealt out to the ranks; only results travel.

    python examples/parameter_sweep.py
    mpirun -n 3 python examples/parameter_sweep.py --out build/epidemics
    hpcflow run --mode distributed examples/parameter_sweep.py:ParameterSweep -n 8 -- --runs 200

Every run has a random generator of its own, seeded by its place in the sweep, so the results are the same on any number of ranks. Runs are dealt like
cards, so that slow ones (high infection rates) do not all come to one rank. `examples/sweep.py` does such a thing with a Dataset.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import polars as pl

import hpcflow as hf

PEOPLE = 2000
FIRST_ILL = 10


def options_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infection", type=int, default=8, help="points on the axis of infection rates, 0.1 to 0.8 per day")
    parser.add_argument("--recovery", type=int, default=5, help="points on the axis of recovery rates, 0.05 to 0.4 per day")
    parser.add_argument("--runs", type=int, default=20, help="runs for every pair of rates")
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--out", default=None, help="directory for one Parquet file a rank with every run")
    return parser.parse_args(words)


class ParameterSweep(hf.Program):
    """Gives the table of means, one row for each pair of rates, on rank 0."""

    def execute(self, ctx):
        options = options_of(ctx.arguments)
        mine = points(options).gather_every(ctx.size, ctx.rank)
        with ctx.metrics.timer("epidemics"):
            found = [epidemic(options.seed, *point) for point in mine.iter_rows()]
        runs = mine.with_columns(pl.DataFrame(found, schema={"ill_at_peak": pl.Int64, "ever_ill": pl.Int64, "days": pl.Int64}, orient="row"))
        if options.out is not None:
            ctx.write_parquet(runs, options.out, mode="overwrite")
        gathered = ctx.comm.gather(runs)
        if not ctx.is_root:
            return None
        ctx.logger.info("%d runs on %d ranks", sum(part.height for part in gathered), ctx.size)
        return means(pl.concat(gathered))


def points(options: argparse.Namespace) -> pl.DataFrame:
    """Every run of the sweep: columns number (of the run), infection, recovery (per day)."""
    rates = [
        (infection, recovery)
        for infection in np.linspace(0.1, 0.8, options.infection)
        for recovery in np.linspace(0.05, 0.4, options.recovery)
        for _ in range(options.runs)
    ]
    return pl.DataFrame(rates, schema={"infection": pl.Float64, "recovery": pl.Float64}, orient="row").with_row_index("number")


def epidemic(seed: int, number: int, infection: float, recovery: float) -> tuple[int, int, int]:
    """(most people ill on one day, people ill at some time, days) of one chain-binomial epidemic."""
    random = np.random.default_rng((seed, number))
    healthy, ill, recovered, peak, days = PEOPLE - FIRST_ILL, FIRST_ILL, 0, FIRST_ILL, 0
    while ill:
        infected = random.binomial(healthy, -np.expm1(-infection * ill / PEOPLE))
        cured = random.binomial(ill, -np.expm1(-recovery))
        healthy, ill, recovered = healthy - infected, ill + infected - cured, recovered + cured
        peak, days = max(peak, ill), days + 1
    return peak, recovered, days


def means(runs: pl.DataFrame) -> pl.DataFrame:
    """One row for each pair of rates, in the order of the sweep."""
    measured = pl.col("ill_at_peak", "ever_ill", "days")
    return runs.sort("number").group_by("infection", "recovery", maintain_order=True).agg(pl.len().alias("runs"), measured.mean())


def main() -> None:
    table = ParameterSweep().run()
    if table is not None:
        with pl.Config(tbl_rows=50, float_precision=2):
            print(table)


if __name__ == "__main__":
    main()
