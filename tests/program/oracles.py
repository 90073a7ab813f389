"""The examples of distributed mode, each with a single-process oracle that shares no code of its parallel part."""

from __future__ import annotations

import collections
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEXTS = EXAMPLES.parent / "docs"

SMALL = {
    "heat_stencil": ("--rows", "23", "--columns", "31", "--steps", "400", "--tolerance", "0.05"),
    "matrix_multiplication": ("--size", "37", "--inner", "53", "--panel", "7"),
    "parameter_sweep": ("--infection", "3", "--recovery", "2", "--runs", "3"),
    "logistic_regression": ("--generate", "700", "--batch", "64", "--epochs", "2"),
    "terasort": ("--records", "5000", "--seed", "7"),
    "word_count": (str(TEXTS / "exchange.md"), str(TEXTS / "shuffle.md"), "--top", "200"),
}
PROGRAMS = {
    "heat_stencil": "HeatStencil",
    "matrix_multiplication": "MatrixMultiplication",
    "parameter_sweep": "ParameterSweep",
    "logistic_regression": "LogisticRegression",
    "terasort": "TeraSort",
    "word_count": "WordCount",
}


def load(name: str) -> ModuleType:
    """The module of the example, under its own name, so that its classes travel between ranks."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def program(name: str):
    return getattr(load(name), PROGRAMS[name])()


def check(name: str, result) -> None:
    """`result` of the example on SMALL is what one process computes."""
    {
        "heat_stencil": heat,
        "matrix_multiplication": product,
        "parameter_sweep": epidemics,
        "logistic_regression": regression,
        "terasort": sorted_records,
        "word_count": words,
    }[name](result)


def heat(result) -> None:
    plate, steps = result
    whole = np.zeros((25, 33))
    whole[0] = 100.0
    for taken in range(1, 401):
        before = whole.copy()
        for row in range(1, 24):
            whole[row, 1:-1] = (((before[row - 1, 1:-1] + before[row + 1, 1:-1]) + before[row, :-2]) + before[row, 2:]) * 0.25
        if taken % 50 == 0 and np.abs(whole - before).max() < 0.05:
            break
    assert steps == taken and 50 < taken < 400
    np.testing.assert_array_equal(plate, whole[1:-1, 1:-1])


def product(result) -> None:
    a = np.array([np.random.default_rng((1, row)).random(53) for row in range(37)])
    b = np.array([np.random.default_rng((2, row)).random(37) for row in range(53)])
    np.testing.assert_allclose(result, a @ b, rtol=1e-12)


def epidemics(result) -> None:
    example = load("parameter_sweep")
    rows, number = [], 0
    for infection in np.linspace(0.1, 0.8, 3):
        for recovery in np.linspace(0.05, 0.4, 2):
            found = np.array([example.epidemic(2013, number + run, infection, recovery) for run in range(3)])
            rows.append((infection, recovery, 3, *found.mean(0)))
            number += 3
    assert isinstance(result, pl.DataFrame)
    np.testing.assert_allclose(result.to_numpy(), np.array(rows), rtol=1e-12)


def regression(result) -> None:
    df = load("logistic_regression").generated(700, 7)
    x, late = df.drop("late").to_numpy(), df["late"].to_numpy().astype(float)
    x = np.column_stack([np.ones(700), (x - x.mean(0)) / x.std(0)])
    random, weights, steps, losses = np.random.default_rng(7), np.zeros(9), 0, []
    for _ in range(2):
        order = random.permutation(700)
        for start in range(0, 700, 64):
            batch = order[start : start + 64]
            steps += 1
            probability = 1 / (1 + np.exp(-x[batch] @ weights))
            weights = weights - 0.3 / np.sqrt(steps) * (x[batch].T @ (probability - late[batch])) / len(batch)
        probability = 1 / (1 + np.exp(-x @ weights))
        losses.append(-np.mean(late * np.log(probability) + (1 - late) * np.log(1 - probability)))
    np.testing.assert_allclose(result.weights, weights, rtol=1e-9)
    np.testing.assert_allclose(result.loss, losses, rtol=1e-9)
    assert losses[1] < losses[0] < np.log(2)


def sorted_records(result) -> None:
    example = load("terasort")
    verdict, seconds = result
    assert verdict == f"5000 records in order, checksum {example.checksum(example.records(7, 0, 5000)):016x}"
    assert seconds > 0


def words(result) -> None:
    counts = collections.Counter()
    for name in ("exchange.md", "shuffle.md"):
        counts.update(re.findall(r"[^\W\d_]+", (TEXTS / name).read_text().lower()))
    different, in_all, top = result
    assert (different, in_all) == (len(counts), counts.total())
    assert top.rows() == sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[:200]
