"""TeraSort's generator, its check, and its dataflow variant."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

import hpcflow as hf
from tests.program.oracles import load

terasort = load("terasort")


def test_a_record_is_a_function_of_seed_and_position() -> None:
    whole = terasort.records(3, 0, 1000)
    assert whole.shape == (1000, 100) and whole.dtype == np.uint8
    np.testing.assert_array_equal(terasort.records(3, 417, 533), whole[417:533])
    assert (terasort.records(4, 0, 1000)[:, :10] != whole[:, :10]).any(axis=1).all()
    assert len(np.unique(whole[:, :10], axis=0)) == 1000
    assert bytes(whole[0x2AB, 12:44]) == b"000000000000000000000000000002AB"
    means = whole[:, :10].mean(axis=0)
    assert (abs(means - 127.5) < 12).all()


def test_records_come_back_from_a_table() -> None:
    rows = terasort.records(1, 0, 300)
    table = terasort.as_table(rows)
    assert table.schema == terasort.SCHEMA
    np.testing.assert_array_equal(terasort.as_records(table.sample(fraction=1.0, seed=1).sort("value")), rows)
    assert terasort.as_records(table.clear()).shape == (0, 100)


def test_the_check_finds_every_kind_of_damage() -> None:
    table = terasort.generated(1, 0, 900).sort("key")
    parts = [terasort.summarize(table[:400]), terasort.summarize(table[:0]), terasort.summarize(table[400:])]
    assert terasort.validate(parts, 1, 900).startswith("900 records in order, checksum ")
    wrong = {
        "do not ascend": [terasort.summarize(table[:400].reverse()), *parts[1:]],
        "first key of rank 2 is less": [parts[2], parts[1], parts[0]],
        "899 records have come out": [parts[0], terasort.summarize(table[401:])],
        "the checksum of the output": [parts[0], dataclasses.replace(parts[2], checksum=parts[2].checksum ^ 1)],
    }
    for text, damaged in wrong.items():
        with pytest.raises(ValueError, match=text):
            terasort.validate(damaged, 1, 900)
    twice = pl.concat([table[:400], table[399:400], table[401:]]).sort("key")
    with pytest.raises(ValueError, match="the checksum"):
        terasort.validate([terasort.summarize(twice)], 1, 900)


@pytest.mark.parametrize("workers", [1, 2, 3, pytest.param(7, marks=pytest.mark.thorough)])
def test_the_dataflow_variant_sorts(workers: int) -> None:
    with hf.Session(workers=workers, progress="off") as session:
        assert terasort.sort_as_dataflow(session, 5, 4000).startswith("4000 records in order")
