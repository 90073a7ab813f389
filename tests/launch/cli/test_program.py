"""Command lines from functions: help, overrides, exports, exit statuses, one-line errors."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcflow.launch import load
from hpcflow.launch.cli import entrypoints, program, start
from hpcflow.launch.experiment.experiment import Experiment
from tests.launch.cli import app


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "launch"))
    monkeypatch.setattr(entrypoints, "_registered", {"train": entrypoints.Entrypoint("train", app.train)})
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        program.main(None, words, program="app")
    assert isinstance(end.value.code, int)
    return end.value.code


def test_the_function_runs_with_what_the_words_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("model=small(size=3)", "model.optimizer.lr=1", "steps=2", "tags=[a,b]", "note=1e3") == 0
    assert capsys.readouterr().out == "training 3 1.0 2 ['a', 'b'] '1e3' False\n"


def test_a_sweep_runs_once_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("model=small", "steps=1,2", "note=a,b") == 0
    assert [line.split()[3:] for line in capsys.readouterr().out.splitlines()] == [
        ["1", "None", f"'{note}'", "False"] if step == 1 else ["2", "None", f"'{note}'", "False"] for step in (1, 2) for note in "ab"
    ]


def test_help_has_every_parameter_type_default_and_factory(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "Usage: app [OPTIONS] [PARAMETER=VALUE ...]" and lines[2] == "Train a model."
    for line in (
        "model Model required what to train, in full",
        "model.hidden int >= 1 64 width of a layer",
        "model.activation one of 'relu', 'gelu' 'relu'",
        "model.optimizer.lr float 0.001 step size",
        "steps int required how long",
        "tags list[str] | None None",
        "small Model size: int = 8 A small one.",
        "--factory quick train steps: int = 1",
        "-y, --yes do not ask before submitting",
    ):
        assert line in lines, text
    assert run("-h", "model=small") == 0


WRONG = [
    (("stps=3",), "train has no parameter 'stps'; did you mean 'steps'"),
    (("steps=x",), "train.steps: expected int, got the text 'x'"),
    (("steps=3",), "train needs model (Model); see --help"),
    ((), "train needs model (Model) and steps (int); see --help"),
    (("--steps", "3"), "there is no option --steps"),
    (("--dryrn",), "there is no option --dryrn; did you mean 'dryrun'"),
    (("-x",), "there is no option -x; see --help"),
    (("--load",), "--load needs FILE"),
    (("--dryrun=1",), "--dryrun takes no value"),
    (("--name", "a", "--name", "b"), "--name was given twice"),
    (("--load", "nothere.yaml"), "cannot be read"),
    (("--factory", "qick"), "there is no factory 'qick'; did you mean 'quick'"),
    (("--factory", "small"), "is to be a Partial of train"),
    (("--factory", "quick", "--executor", "slrm"), "there is no executor 'slrm'; did you mean 'slurm'"),
    (("--factory", "quick", "--executor", "local(corse=2)"), "did you mean 'cores'"),
    (("--factory", "quick", "--executor", "local(cores=x)"), "local.cores: expected int | None, got the text 'x'"),
    (("--factory", "quick", "steps=1,2", "--to-yaml", "a.yaml"), "and the sweep makes 2"),
    (("--factory", "quick", "--to-yaml", "a.json"), "writes a file that ends in .yaml"),
    (("--factory", "quick", "--to-json", "no/where.json"), "cannot be written"),
    (("--factory", "quick", "--set", "poll_s"), "--set takes SETTING=VALUE"),
    (("--factory", "quick", "--set", "polls=3", "--dryrun"), "unknown setting 'polls'"),
    (("model=small(size=0)", "steps=1"), "greater than or equal to 1"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words) or "nothing" for words, _ in WRONG])
def test_a_wrong_command_line_is_one_line_and_status_2(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    assert run(*words) == 2
    output = capsys.readouterr()
    assert output.err.startswith("app: error: ") and says in output.err and output.err.count("\n") == 1
    assert output.out == "" and list(place.iterdir()) == []


@pytest.mark.parametrize("format", ["yaml", "json", "toml"])
def test_an_export_is_loaded_again(format: str, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    file = f"out.{format}"
    assert run("--factory", "quick(steps=7)", "model.hidden=5", f"--to-{format}", file) == 0
    assert load(file, allow=["tests.launch.cli.app"]).model.hidden == 5
    assert [path.name for path in place.iterdir()] == [file]
    assert run("--load", file, "note=x") == 0
    assert run("@" + file, "steps+=1") == 0
    assert capsys.readouterr().out.splitlines() == ["training 5 0.001 7 None 'x' False", "training 5 0.001 8 None '' False"]
    assert run("--load", file, f"--to-{format}", "-") == 0
    assert capsys.readouterr().out == Path(file).read_text()


def test_a_dry_run_and_a_show_start_nothing_and_write_nothing(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> int:
        raise AssertionError("started")

    for name in ("run_here", "submit"):
        monkeypatch.setattr(start, name, never)
    monkeypatch.setattr(subprocess, "Popen", never)
    assert run("--factory", "quick", "--dryrun", "steps=1,2") == 0
    assert capsys.readouterr().out.count("would run train steps=") == 2
    assert run("--factory", "quick", "--show", "steps=4") == 0
    assert "steps = 4   # flag steps=4" in capsys.readouterr().out
    assert list(place.iterdir()) == []


def test_a_failing_run_has_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--factory", "quick", "fail=config") == 1
    assert "app: error: in the run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="bad"):
        program.main(None, ["--factory", "quick", "fail=bad"], program="app")


def test_ctrl_c_has_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(task: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "run_here", interrupted)
    assert run("--factory", "quick") == 130


def test_an_executor_gets_the_tasks_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def submit(tasks: Any, executor: Any, title: str, detach: bool) -> int:
        seen.append(([(words, task.steps) for words, task in tasks], executor.cores if executor.name == "local" else executor.nodes, title, detach))
        return 3

    monkeypatch.setattr(start, "submit", submit)
    assert run("--factory", "quick", "--executor", "local(cores=2)", "steps=1,2", "--name", "a title") == 3
    assert run("--factory", "quick", "--executor", "slurm(nodes=2)", "--yes") == 3
    assert run("--factory", "quick", "--detach") == 3
    assert run("--factory", "quick", "--set", "executor=slurm(nodes=5)") == 3
    assert seen == [
        ([(("steps=1",), 1), (("steps=2",), 2)], 2, "a title", False),
        ([((), 1)], 2, "train", False),
        ([((), 1)], None, "train", True),
        ([((), 1)], 5, "train", False),
    ]


class Terminal:
    """A standard stream that is a terminal and answers."""

    def __init__(self, answer: str) -> None:
        self.answer, self.said = answer, ""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.answer

    def write(self, text: str) -> int:
        self.said += text
        return len(text)

    def flush(self) -> None: ...


def test_on_a_terminal_it_asks_before_it_submits(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(start, "submit", lambda *args: started.append(1) or 0)
    for answer, status, count in (("n\n", 1, 0), ("", 1, 0), ("y\n", 0, 1)):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        monkeypatch.setattr(sys, "stderr", terminal := Terminal(""))
        assert run("--factory", "quick", "--executor", "slurm(nodes=2)") == status and len(started) == count
        assert "submit train (1 task) by SlurmExecutor(" in terminal.said
    assert run("--factory", "quick", "--executor", "slurm(nodes=2)", "-y") == 0 and len(started) == 2


def test_variables_come_between_files_and_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    monkeypatch.setattr(entrypoints, "_registered", {"train": entrypoints.Entrypoint("train", app.train, environment="TRAIN_")})
    (place / "f.yaml").write_text("model: {hidden: 2}\nsteps: 2\nnote: file\n")
    monkeypatch.setenv("TRAIN_STEPS", "3")
    monkeypatch.setenv("TRAIN_NOTE", "variable")
    assert run("--load", "f.yaml", "note=word") == 0
    assert capsys.readouterr().out == "training 2 0.001 3 None 'word' False\n"
    monkeypatch.setenv("TRAIN_STEPS", "x")
    assert run("--load", "f.yaml") == 2 and "variable TRAIN_STEPS: train.steps: expected int" in capsys.readouterr().err


def test_several_entrypoints_are_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kind = enum.Enum("Way", ["UP", "DOWN"])

    @entrypoints.entrypoint(name="count")
    def count(n: int = 1, way: kind = kind.UP) -> None:  # type: ignore[valid-type]
        """Count up."""
        print("counted", n)

    count.__annotations__["way"] = kind

    assert run("count", "n=3") == 0 and run("--help") == 0 and run("count", "--help") == 0
    text = capsys.readouterr().out
    assert "Way (UP, DOWN)" in text and "counted 3" in text and "Count up." in text and "Usage: app count [OPTIONS]" in text
    assert run("cont") == 2 and "there is no command 'cont'; did you mean 'count'" in capsys.readouterr().err
    assert run() == 2
    monkeypatch.setattr(entrypoints, "_registered", {})
    assert run("x=1") == 2 and "has no entrypoint" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_sweep_on_an_executor_is_one_experiment_whose_failures_count(place: Path) -> None:
    words = ["--factory", "quick", "--executor", "local(cores=2)", "fail='',bad", "--yes"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, app.__file__, *words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "hpcflow: train fail='': succeeded" in done.stderr and "hpcflow: train fail=bad: failed" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hpcflow launch rerun ")
    logs = sorted(path.read_text() for path in place.rglob("log.txt"))
    assert len(logs) == 2 and all("training 64 0.001 1 None '' True" in text for text in logs)


def test_settings_of_the_command_line_hold_for_the_process_that_goes_on_with_it(place: Path) -> None:
    home = place / "its own"
    words = ["--factory", "quick", "--set", f"home={home}", "--set", "poll_s=44", "--detach"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, app.__file__, *words], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.splitlines()[0].startswith(f"HPCFLOW_LAUNCH_HOME='{home}' hpcflow launch status ")
    (directory,) = (home / "experiments").iterdir()
    assert Experiment.open(directory).wait(timeout_s=30)
    assert not (place / "launch").exists()


@pytest.mark.thorough
def test_a_program_of_its_own_ends_with_the_status() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def go(*words: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, app.__file__, *words], capture_output=True, text=True, check=False, env=environment)
        return done.returncode, done.stdout + done.stderr

    assert go("model=small", "steps=2") == (0, "training 8 0.001 2 None '' False\n")
    assert go("steps=x") == (2, "app.py: error: 'steps=x': train.steps: expected int, got the text 'x'\n")
    status, text = go("--factory", "quick", "fail=bad")
    assert status == 1 and text.endswith("ValueError: bad\n")
    assert go("--factory", "quick", "--to-yaml", "o.yaml") == (0, "") and go("--load", "o.yaml")[0] == 0
