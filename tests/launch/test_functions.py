"""Python functions as tasks: by import path, from the driver script, by value; results and metadata."""

import json
import math
import os
import pathlib
import subprocess
import sys

import polars as pl
import pytest

from hpcflow import launch
from hpcflow.errors import ConfigError, LaunchError
from tests.launch import tasks_of_tests as tasks

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arguments_of_all_kinds_arrive_as_they_were_set():
    task = launch.Partial(
        tasks.train,
        launch.Config(tasks.Model, hidden=7, layers=(3, 4)),
        lr=1e-3,
        where=pathlib.Path("/a b"),
        colour=tasks.Colour.RED,
        tags={"b", "a"},
    )
    assert launch.run(task).result() == {"hidden": 7, "layers": [3, 4], "lr": 1e-3, "where": "/a b", "colour": "RED", "tags": ["a", "b"]}


def test_arguments_are_passed_by_position_where_they_have_to_be(at_home):
    calls = [
        launch.Partial(tasks.by_position, 1),
        launch.Partial(tasks.by_position, 1, d=5, e=6),
        launch.Partial(tasks.by_position, 1, 7, 8, 9, 10, d=11, z=12),
        launch.Partial(tasks.by_position, 1, c=8),
        launch.Partial(math.sqrt, 9.0),
    ]
    exp = launch.Experiment("positions")
    for number, call in enumerate(calls):
        exp.add(call, name=str(number))
    exp.run(quiet=True)
    assert [exp.result(str(number)) for number in range(len(calls))] == [call() for call in calls]


def test_a_task_has_all_its_arguments_when_it_is_added():
    with pytest.raises(ConfigError, match=r"train needs model \(Model\): a task is called with what its Partial holds"):
        launch.Experiment("missing").add(launch.Partial(tasks.train))
    with pytest.raises(ConfigError, match="max does not tell its parameters: give them by name"):
        launch.Partial(max, 1, 2)


@pytest.mark.thorough
def test_results_are_json_arrays_and_tables_and_nothing_else_is_kept():
    with launch.Experiment("results", executor=launch.LocalExecutor(cores=2)) as exp:
        array, table, odd = (exp.add(launch.Partial(f, *a)) for f, a in ((tasks.array, (3,)), (tasks.table, (2,)), (tasks.nothing_kept, ())))
        exp.run()
    assert array.result().tolist() == [0, 1, 2]
    assert table.result().equals(pl.DataFrame({"n": [0, 1]}))
    with pytest.raises(LaunchError, match="kept no result"):
        odd.result()
    assert "returned object, which is no JSON" in exp.logs(odd.name)


@pytest.mark.thorough
def test_map_gives_results_in_order_and_names_what_failed():
    assert launch.map(tasks.square, [3, 1, 2], executor=launch.LocalExecutor(cores=2)) == [9, 1, 4]
    with pytest.raises(LaunchError, match=r"(?s)1 of 2 tasks have not succeeded \(1\).*ValueError: unlucky"):
        launch.map(tasks.square, [2, 13], executor=launch.LocalExecutor(cores=2))


@pytest.mark.thorough
def test_a_secret_is_revealed_in_the_job_and_written_nowhere(at_home):
    (at_home / "token").write_text("abcdefgh\n")
    (at_home / "token").chmod(0o600)
    task = launch.run(launch.Partial(tasks.with_token, launch.Secret.file(str(at_home / "token"))))
    assert task.result() == 8
    assert not [path for path in (at_home / "home").rglob("*") if path.is_file() and b"abcdefgh" in path.read_bytes()]


def test_a_secret_does_not_travel_by_value(at_home, monkeypatch):
    monkeypatch.setenv("TOKEN", "abcdefgh")
    with pytest.raises(ConfigError, match="is a Secret, and by_value=True would write its value"):
        launch.run(launch.Partial(tasks.with_token, launch.Secret.variable("TOKEN")), by_value=True)


def test_lambdas_are_refused_unless_they_travel_by_value(at_home):
    def here() -> int:
        return 1

    for function, says in ((lambda: 1, "is a lambda"), (here, "is defined inside a function")):
        with pytest.raises(ConfigError, match=f"{says} .* or say by_value=True"):
            launch.run(launch.Partial(function))
        with pytest.raises(ConfigError, match=r"is no task: say launch.Partial\(.*, or by_value=True"):
            launch.run(function)
    with pytest.raises(ConfigError, match=r"Model.count is a method of one Model, which no file can name; .* or say by_value=True"):
        launch.run(launch.Partial(tasks.Model(hidden=3).count))
    task = launch.run(lambda: 6 * 7, by_value=True)
    assert task.result() == 42
    (pickled,) = task.experiment.directory.rglob("function.pkl")
    assert pickled.stat().st_mode & 0o077 == 0


def test_a_parameter_annotated_secret_gets_the_reference_in_the_job_too(at_home):
    (at_home / "token").write_text("abcdefgh\n")
    (at_home / "token").chmod(0o600)
    secret = launch.Secret.file(str(at_home / "token"))
    call = launch.Partial(tasks.with_reference, secret, secret)
    assert launch.run(call).result() == call() == [8, repr(secret), 8]
    assert not [path for path in (at_home / "home").rglob("*") if path.is_file() and b"abcdefgh" in path.read_bytes()]


@pytest.mark.parametrize("words", [["-"], ["-c", "exec(open(0).read())"]])
def test_a_function_of_a_prompt_is_refused_with_what_to_say(at_home, words):
    program = "from hpcflow import launch\ndef f(): return 1\nlaunch.run(launch.Partial(f))\n"
    done = subprocess.run([sys.executable, *words], input=program, capture_output=True, text=True, check=False, timeout=60, env=os.environ)
    assert "is defined in a notebook or at a prompt, which a job cannot import" in done.stderr and "by_value=True" in done.stderr
    assert not (at_home / "home").exists()


@pytest.mark.thorough
def test_a_pickle_that_was_changed_is_not_loaded(at_home):
    exp = launch.Experiment("changed")
    exp.add(lambda: 1, by_value=True, name="f")
    exp._files[exp._tasks[0].directory]["function.pkl"] += b"x"
    exp.run()
    assert exp.exit_status() == 1 and "its hash differs" in exp.logs("f")


@pytest.mark.thorough
def test_a_function_of_the_driver_script_is_imported_under_another_name(at_home):
    (at_home / "job.py").write_text(
        "from hpcflow import launch\n"
        "def double(x: int) -> str:\n    return f'{__name__} {2 * x}'\n"
        "if __name__ == '__main__':\n    print(launch.run(launch.Partial(double, 4)).result())\n"
    )
    ended = subprocess.run([sys.executable, "job.py"], capture_output=True, text=True, check=False, timeout=60, env=os.environ)
    assert ended.stdout.strip() == "hpcflow_main 8", ended.stderr


@pytest.mark.thorough
def test_metadata_tells_what_it_ran_on_without_secrets(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hidden-value")
    task = launch.run(launch.Partial(tasks.attempt))
    assert task.result() == "1"
    (file,) = task.experiment.directory.rglob("metadata.json")
    facts = json.loads(file.read_text())
    kept = launch.load(task.experiment.directory / "tasks/0000-attempt/config.yaml", allow=["tests.launch.tasks_of_tests"])
    assert launch.content_hash(kept) == launch.content_hash(launch.Partial(tasks.attempt))
    assert facts["python"] == sys.version and any(name.startswith("polars==") for name in facts["packages"])
    assert facts["environment"]["MY_TOKEN"] == "(hidden)" and "hidden-value" not in file.read_text()


@pytest.mark.thorough
def test_rerun_calls_the_function_again():
    task = launch.run(launch.Partial(tasks.square, 5))
    again = task.experiment.rerun().run()
    assert again.result(task.name) == 25


@pytest.mark.thorough
def test_ranks_of_one_function_see_one_world(at_home):
    executor = launch.LocalExecutor(launcher="mpi", ntasks=2)
    task = launch.run(launch.Partial(tasks.rank_sum), executor)
    assert task.result() == 3, task.experiment.logs(task.name)


DRIVER = """
import sys
sys.path.append({late!r})
from hpcflow import launch
from helper import g
from late_helper import h
if __name__ == "__main__":
    for packager in (None, launch.PatternPackager()):
        exp = launch.Experiment("path", packager=packager)
        for function in (g, h):
            exp.add(launch.Partial(function), name=function.__name__)
        exp.run(quiet=True)
        print(exp.result("g"), exp.result("h"))
"""


def test_a_job_finds_modules_where_the_driver_found_them_and_packaged_ones_in_the_package(at_home):
    """Beside the script, which is not the working directory, and where the program has put a folder on its path."""
    for folder, name, function in (("scripts", "helper", "g"), ("more", "late_helper", "h")):
        (at_home / folder).mkdir()
        (at_home / folder / f"{name}.py").write_text(f"def {function}() -> str:\n    return __file__\n")
    (at_home / "scripts" / "drive.py").write_text(DRIVER.format(late=str(at_home / "more")))
    done = subprocess.run([sys.executable, "scripts/drive.py"], capture_output=True, text=True, check=False, timeout=60, env=os.environ)
    (files,) = (at_home / "home" / "code").glob("*/files")
    wanted = [f"{root}/scripts/helper.py {root}/more/late_helper.py" for root in (at_home, files)]
    assert done.stdout.splitlines() == wanted, done.stderr


PLAIN = """
from hpcflow import launch
def add(s: str) -> str:
    return s + "\u00e9"
if __name__ == "__main__":
    exp = launch.Experiment("t\u00eftle \u65e5", packager=launch.PatternPackager())
    exp.add(launch.Partial(add, "\u00f6"), name="n\u00e4me")
    exp.run(quiet=True)
    print(ascii(launch.Experiment.from_title("t\u00eftle \u65e5").result("n\u00e4me")))
"""


def test_a_locale_without_unicode_changes_no_text(at_home):
    """Files are UTF-8; what a terminal cannot show is written as its number."""
    (at_home / "plain.py").write_text(PLAIN, "utf-8")
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "plain.py"], capture_output=True, text=True, check=False, timeout=60, env=plain)
    assert done.stdout == r"'\xf6\xe9'" + "\n", done.stderr
    shown = subprocess.run(
        [sys.executable, "-c", "from hpcflow.cli import main; main()", "launch", "list"], capture_output=True, text=True, check=False, env=plain
    )
    assert r"t\xeftle \u65e5" in shown.stdout and "succeeded" in shown.stdout, shown.stderr
