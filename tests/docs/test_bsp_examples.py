"""The examples that mix dataflow and MPI code, against oracles on one process, on 1, 2, 3 and 7 workers."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import run_session
from tests.program.oracles import load
from tests.thorough import thorough

WORKERS = pytest.mark.parametrize("workers", [3, *map(thorough, (1, 2, 7))])


def plain_k_means(points: np.ndarray, centres: np.ndarray, iterations: int) -> np.ndarray:
    """Lloyd's algorithm as textbooks write it."""
    for _ in range(iterations):
        nearest = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([points[nearest == i].mean(axis=0) if (nearest == i).any() else centre for i, centre in enumerate(centres)])
    return centres


def check_k_means(session: hf.Session, example: ModuleType) -> None:
    """Both variants on clusters, on fewer points than workers, and with a centre that is nearest to nothing."""
    table, centres = example.make_points(3001, 4, 7)
    far = np.vstack([centres, np.full((1, 4), 1e6)])
    for rows, first in ((table, centres), (table, far), (table.head(5), centres[:2])):
        want = plain_k_means(rows.to_numpy(), first, 5)
        points = session.from_polars(rows).cache()
        np.testing.assert_allclose(example.k_means_bsp(points, first, 5), want, rtol=1e-9)
        np.testing.assert_allclose(example.k_means_dataflow(points, first, 5), want, rtol=1e-9)


def check_solver(session: hf.Session, example: ModuleType) -> None:
    """The temperatures against a dense solver, the regions against Polars, and a system that does not converge."""
    pipes, materials, nodes = example.make_network(9)
    n = nodes.height
    matrix = np.diag(nodes["leak"].to_numpy())
    for a, b, g in pipes.join(materials, on="material").select("a", "b", pl.col("conductivity") / pl.col("length")).rows():
        matrix[[a, b], [a, b]] += g
        matrix[[a, b], [b, a]] -= g
    want = np.linalg.solve(matrix, nodes["inflow"].to_numpy())
    data = [session.from_polars(table) for table in (pipes, materials, nodes)]
    solution = example.temperatures(*data, tolerance=1e-12)
    got = solution.collect()
    assert got["node"].to_list() == list(range(n))
    np.testing.assert_allclose(got["temperature"].to_numpy(), want, rtol=1e-6)
    regions = example.by_region(solution, data[2]).collect()
    assert regions["nodes"].sum() == n and regions["mean"].is_sorted(descending=True) and regions["hottest"].max() == pytest.approx(want.max())


@pytest.mark.thorough  # compiling takes seconds; tests/mpi runs it too
@WORKERS
def test_k_means_finds_the_same_centres_as_one_process(workers: int) -> None:
    run_session(lambda session: check_k_means(session, load("k_means")), workers=workers, step_timeout_s=30)


@pytest.mark.thorough
def test_points_that_are_nan_go_to_the_first_centre() -> None:
    xs = np.array([0.0, np.nan, 5.0, np.nan, 6.0])
    found = load("k_means").sums_of_nearest((xs, xs), np.array([[0.0, 0.0], [5.0, 5.0]]))
    assert found[:, 2].tolist() == [3.0, 2.0] and found[1].tolist() == [11.0, 11.0, 2.0]


@WORKERS
def test_the_mixed_solver_finds_the_same_temperatures_as_one_process(workers: int) -> None:
    run_session(lambda session: check_solver(session, load("mixed_solver")), workers=workers, step_timeout_s=30)


def test_a_solver_that_does_not_converge_says_so() -> None:
    example = load("mixed_solver")

    def job(session: hf.Session) -> None:
        tables = [session.from_polars(table) for table in example.make_network(12)]
        with pytest.raises(hf.TaskError, match="no solution after 3 iterations"):
            example.temperatures(*tables, limit=3).count()

    run_session(job, workers=2)


@pytest.mark.thorough
def test_both_programs_run_as_they_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("k_means", ["--points", "500", "--iterations", "2"]), ("mixed_solver", ["--side", "12"])):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        load(name).main()
    shown = capsys.readouterr().out
    assert "500 points on 1 workers" in shown and "dataflow:" in shown and "region" in shown
