"""Methods that are others in short give what Polars gives."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import hpcflow as hf
from hpcflow.testing.session import run_session
from tests.thorough import thorough

WORKERS = pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), 3])
ROWS = pl.DataFrame(
    {
        "i": [1, None, 3, 7, 7, -2],
        "f": [1.0, float("nan"), None, 2.5, -0.0, 4.0],
        "s": ["a", "b", None, "a", "b", "c"],
        "b": [True, None, False, True, True, False],
        "d": [dt.date(2020, 1, 1), None, dt.date(2020, 1, 3), dt.date(1999, 1, 1), dt.date(2020, 1, 1), None],
        "m": pl.Series(["1.50", "2.25", None, "7.00", "1.00", "3.10"]).cast(pl.Decimal(10, 2)),
        "c": pl.Series(["x", "y", None, "x", "x", "y"], dtype=pl.Categorical),
    }
)
WHOLE = {
    **{name: (lambda rows, name=name: getattr(rows, name)()) for name in ("sum", "mean", "min", "max", "median", "std", "var", "null_count")},
    "std of all": lambda rows: rows.std(ddof=0),
}
ROW_BY_ROW = {
    "drop_nans": lambda rows: rows.drop_nans(),
    "drop_nans of one": lambda rows: rows.drop_nans("f"),
    "drop_nans of two": lambda rows: rows.drop_nans(["i", "f"]),
    "remove": lambda rows: rows.remove(pl.col("i") > 2),
    "remove where all hold": lambda rows: rows.remove(pl.col("i") > 2, pl.col("b")),
    "remove by values": lambda rows: rows.remove(s="a", i=7),
    "remove by the whole": lambda rows: rows.remove(pl.col("i") >= pl.col("i").max()),
    "remove by a truth": lambda rows: rows.remove(True),
    "gather_every": lambda rows: rows.gather_every(2),
    "gather_every from": lambda rows: rows.gather_every(3, 1),
}
UNPIVOTS = {
    "two": lambda rows: rows.unpivot(["i", "f"], index="s"),
    "all": lambda rows: rows.drop("c", "m").unpivot(),
    "but": lambda rows: rows.select("s", "d", "i", "b").unpivot(index=["s", "d"], variable_name="name", value_name="number"),
    "selected": lambda rows: rows.unpivot(pl.selectors.numeric(), index=pl.selectors.boolean()),
}


def cut(session: hf.Session, rows: pl.DataFrame) -> hf.Dataset:
    """In three tables, so that every worker has some."""
    return hf.concat([session.from_polars(rows.slice(start, 2)) for start in range(0, 6, 2)])


@WORKERS
@pytest.mark.parametrize("rows", [pytest.param(ROWS, id="rows"), thorough(ROWS.clear(), id="none")])
def test_they_give_what_polars_gives(workers: int, rows: pl.DataFrame) -> None:
    def job(session: hf.Session) -> None:
        dataset = cut(session, rows)
        for name, short in {**WHOLE, **ROW_BY_ROW, **UNPIVOTS}.items():
            want = short(rows) if name in UNPIVOTS else short(rows.lazy()).collect()
            got = short(dataset).collect()
            try:
                assert_frame_equal(got, want, rel_tol=1e-12)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}\n{got}\n{want}") from None

    run_session(job, workers=workers)


@WORKERS
def test_having_leaves_groups_out(workers: int) -> None:
    conditions = (
        lambda groups: groups.having(pl.len() > 1).agg(pl.col("i").sum()),
        lambda groups: groups.having(pl.col("i").max() > 2, pl.col("b").any()).agg(pl.col("f").min(), n=pl.len()),
        lambda groups: groups.having(pl.len() > 1).having(pl.col("i").sum() > 7).len(),
        lambda groups: groups.having(pl.col("i").min() > 100).agg(pl.col("f").sort().first()),
        lambda groups: groups.having(pl.col("d").n_unique() == 2).agg(pl.col("d").first()),
    )

    def job(session: hf.Session) -> None:
        dataset = cut(session, ROWS)
        for condition in conditions:
            got = condition(dataset.group_by("s", maintain_order=True)).collect()
            assert_frame_equal(got, condition(ROWS.lazy().group_by("s", maintain_order=True)).collect())

    run_session(job, workers=workers)


@WORKERS
def test_having_leaves_groups_out_whose_rows_are_asked_for(workers: int) -> None:
    def job(session: hf.Session) -> None:
        dataset = cut(session, ROWS)
        for keys in (["s"], [pl.col("s").str.to_uppercase(), "b"]):
            for rows in (lambda groups: groups.head(1), lambda groups: groups.tail(1)):
                got, want = (rows(one.group_by(keys).having(pl.len() > 1, pl.col("i").sum() > 7)) for one in (dataset, ROWS.lazy()))
                assert_frame_equal(got.collect(), want.collect(), check_row_order=False)
        many = dataset.group_by("s").having(pl.len() > 1)
        counted = many.map_groups(lambda group: group.select("s", n=pl.len()).head(1), schema={"s": pl.String, "n": pl.UInt32})
        assert counted.sort("s").collect().rows() == [("a", 2), ("b", 2)]

    run_session(job, workers=workers)


def test_wrong_arguments_are_said() -> None:
    def job(session: hf.Session) -> None:
        dataset = session.from_polars(ROWS)
        with pytest.raises(hf.SchemaError, match="nope"):
            dataset.unpivot("nope")
        with pytest.raises(hf.SchemaError, match="nope"):
            dataset.group_by("s").having(pl.col("nope") > 1).len()
        with pytest.raises(hf.SchemaError, match="is_n"):
            dataset.drop_nans("s")
        with pytest.raises(hf.ConfigError, match="gather_every"):
            dataset.gather_every(0)

    run_session(job, workers=1)
