"""Temperatures in a network of pipes: tables are joined into a sparse matrix, an MPI solver finds the temperatures, tables take them up again.

    python examples/mixed_solver.py                             # in-process workers
    mpirun -n 3 python examples/mixed_solver.py --side 300      # one master and two workers

pipes JOIN materials gives conductances, a group-by assembles the matrix of the linear system, conjugate gradients solve it in one bsp step on all
workers (two Allreduce an iteration), and the solution is joined with the nodes and grouped by region. Every line but the solver is dataflow.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import polars as pl

import hpcflow as hf


def conjugate_gradients(
    ctx: Any, entries: dict[str, np.ndarray], inflows: dict[str, np.ndarray], n: int, tolerance: float, limit: int
) -> dict[str, np.ndarray]:
    """x with A x = b, on every worker at once (Hestenes and Stiefel, 1952); each returns its part of x.

    entries: this worker's entries of A (row, column, value), whichever they are; inflows: its entries of b (node, inflow)
    """

    def everywhere(index: np.ndarray, values: np.ndarray) -> np.ndarray:
        total = np.bincount(index, weights=values, minlength=n).astype(np.float64)  # of no entries it makes integers
        ctx.comm.Allreduce(ctx.MPI.IN_PLACE, total, op=ctx.MPI.SUM)
        return total

    row, column, value = entries["row"], entries["column"], entries["value"]
    x = np.zeros(n)
    residual = everywhere(inflows["node"], inflows["inflow"])
    direction, length = residual.copy(), residual @ residual
    first_length = length
    for iteration in range(limit):
        if length <= tolerance**2 * first_length:
            ctx.metrics.gauge("iterations").set(iteration)
            first, stop = ctx.share(n)
            return {"node": np.arange(first, stop), "temperature": x[first:stop]}
        image = everywhere(row, value * direction[column])
        step = length / (direction @ image)
        x += step * direction
        residual -= step * image
        length, before = residual @ residual, length
        direction = residual + length / before * direction
    raise ArithmeticError(f"no solution after {limit} iterations: the residual has shrunk to {np.sqrt(length / first_length):.1e} of what it was")


def temperatures(pipes: hf.Dataset, materials: hf.Dataset, nodes: hf.Dataset, tolerance: float = 1e-10, limit: int = 10_000) -> hf.Dataset:
    """node, temperature: the balance of what flows through pipes, what leaks out of nodes and what is put into them.

    pipes: a, b, material, length; materials: material, conductivity; nodes: node (0, 1, ...), region, leak, inflow
    """
    conductances = pipes.join(materials, on="material").select("a", "b", g=pl.col("conductivity") / pl.col("length"))
    there = conductances.select(row="a", column="b", value=-pl.col("g"))
    back = conductances.select(row="b", column="a", value=-pl.col("g"))
    own = [conductances.select(row=end, column=end, value=pl.col("g")) for end in ("a", "b")]
    leaks = nodes.select(row="node", column="node", value=pl.col("leak"))
    matrix = hf.concat([there, back, *own, leaks]).group_by("row", "column").agg(pl.col("value").sum())
    return matrix.bsp(
        conjugate_gradients,
        inputs=[nodes.select("node", "inflow")],
        schema={"node": pl.Int64, "temperature": pl.Float64},
        format="numpy",
        arguments={"n": nodes.count(), "tolerance": tolerance, "limit": limit},
    )


def by_region(temperatures_: hf.Dataset, nodes: hf.Dataset) -> hf.Dataset:
    """region, nodes, mean, hottest; the hottest region first."""
    found = nodes.join(temperatures_, on="node").group_by("region")
    return found.agg(pl.len().alias("nodes"), pl.col("temperature").mean().alias("mean"), pl.col("temperature").max().alias("hottest")).sort(
        "mean", descending=True
    )


def make_network(side: int, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """pipes, materials, nodes of a grid of side x side nodes with some long pipes across."""
    random = np.random.default_rng(seed)
    node = np.arange(side * side).reshape(side, side)
    across = random.integers(0, side * side, (2, side))
    across = across[:, across[0] != across[1]]
    a = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel(), across[0]])
    b = np.concatenate([node[:, 1:].ravel(), node[1:].ravel(), across[1]])
    names = np.array(["copper", "steel", "plastic"])
    pipes = pl.DataFrame({"a": a, "b": b, "material": names[random.integers(0, 3, len(a))], "length": random.uniform(0.5, 2.0, len(a))})
    materials = pl.DataFrame({"material": names, "conductivity": [400.0, 50.0, 0.2]})
    inflow = np.where(random.random(side * side) < 0.02, random.uniform(10, 1000, side * side), 0.0)
    regions = [f"region {r}" for r in random.integers(0, 6, side * side)]
    nodes = pl.DataFrame({"node": node.ravel(), "region": regions, "leak": random.uniform(0.01, 0.1, side * side), "inflow": inflow})
    return pipes, materials, nodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60, help="the network has side x side nodes")
    side = parser.parse_args().side
    with hf.Session() as s:
        pipes, materials, nodes = (s.from_polars(table) for table in make_network(side))
        solution = temperatures(pipes, materials, nodes).cache()
        print(by_region(solution, nodes).collect())
        print(solution.top_k(3, by="temperature").collect())


if __name__ == "__main__":
    main()
