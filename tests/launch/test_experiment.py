"""Experiments on this host, with real processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hpcflow.errors import ConfigError, LaunchError
from hpcflow.launch.config.buildable import Partial
from hpcflow.launch.config.script import Script
from hpcflow.launch.config.secret import Secret
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.executors.slurm import SlurmExecutor
from hpcflow.launch.executors.slurm_fields import SlurmFields
from hpcflow.launch.experiment.decide import TaskState
from hpcflow.launch.experiment.experiment import Experiment
from hpcflow.launch.experiment.records import Records
from hpcflow.launch.experiment.views import experiment_row, printable, status_rows
from hpcflow.launch.group import Step
from hpcflow.launch.one_task import run as launch_run


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sh(text, **fields):
    return Script(inline=text, **fields)


def states(experiment):
    return {name: state.value for name, state in experiment.status().items()}


def test_tasks_run_in_the_order_of_their_needs_and_ends_decide_what_follows(at_home):
    with Experiment("Größe / 1", executor=LocalExecutor(cores=4)) as exp:
        first = exp.add(sh("echo one >>order"), name="first")
        bad = exp.add(sh("exit 3"), name="bad", required=False)
        exp.add(sh("echo two >>order"), name="second", dependencies=[first])
        exp.add(sh("echo never"), name="never", dependencies=[first, bad], required=False)
        exp.add(sh("echo cleaned >>order"), name="clean", dependencies=[bad], condition="any_failed")
        exp.run()
    assert states(exp) == {"first": "succeeded", "bad": "failed", "second": "succeeded", "never": "skipped", "clean": "succeeded"}
    assert exp.exit_status() == 0
    lines = (at_home / "order").read_text().split()
    assert lines.index("one") < lines.index("two")
    rows = {row["task"]: row for row in status_rows(exp._written().view())}
    assert (rows["bad"]["code"], rows["bad"]["failure"]) == (3, "program error")
    assert rows["never"]["reason"].startswith("all_succeeded cannot come true: first ") and rows["never"]["reason"].endswith("bad failed")


def test_a_failing_task_is_tried_again_and_only_the_last_attempt_counts(at_home):
    exp = Experiment("again")
    exp.add(sh("n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; test $n -ge 2"), name="third time", retries=3, backoff_s=0.01)
    assert exp.run().exit_status() == 0
    assert (at_home / "n").read_text().strip() == "3"
    attempts = exp._written().view().attempts["third time"]
    assert [attempt.status.state.value for attempt in attempts] == ["failed", "failed", "succeeded"]


def test_a_pause_by_kind_of_failure_is_kept_while_the_task_runs_again(at_home):
    exp = Experiment("paused")
    exp.add(sh("test -e seen || { touch seen; exit 1; }"), name="t", retries={"program error": 1}, backoff_s={"program error": 0.2, "timeout": 900})
    assert exp.run().exit_status() == 0
    assert exp._written().spec().task("t").backoff_s == {"program error": 0.2, "timeout": 900.0}


def test_variables_of_a_launcher_around_reach_no_task_unless_they_are_named(at_home, monkeypatch):
    around = ("SLURM_JOB_ID", "SBATCH_ACCOUNT", "SRUN_DEBUG", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "HYDI_CONTROL_FD", "MPI_LOCALRANKID")
    for name in (*around, "SLURM_CONF", "OMPI_ALLOW_RUN_AS_ROOT", "OTHER"):
        monkeypatch.setenv(name, "7")
    exp = Experiment("inside", executor=LocalExecutor(env={"PMI_RANK": "mine"}))
    exp.add(Script(inline="env | sort", env={"SLURM_JOB_ID": "named"}), name="t")
    assert exp.run().exit_status() == 0
    seen = dict(line.partition("=")[::2] for line in exp.logs("t").splitlines())
    assert {name: seen[name] for name in around if name in seen} == {"PMI_RANK": "mine", "SLURM_JOB_ID": "named"}
    assert [seen[name] for name in ("SLURM_CONF", "OMPI_ALLOW_RUN_AS_ROOT", "OTHER")] == ["7"] * 3


@pytest.mark.thorough
def test_no_more_tasks_run_at_once_than_there_are_cores(at_home):
    exp = Experiment("budget", executor=LocalExecutor(cores=2))
    for i in range(6):
        exp.add(sh(f"touch run-{i}; ls run-* | wc -l >>seen; sleep 0.1; rm run-{i}"))
    assert exp.run().exit_status() == 0
    assert max(int(n) for n in (at_home / "seen").read_text().split()) <= 2


def test_tasks_ask_for_memory_and_gpus_of_the_executors_budget(at_home):
    exp = Experiment("needs", executor=LocalExecutor(cores=4, memory_mb=100, gpus=("4", "6")))
    for i in range(2):
        exp.add(sh(f'echo "$CUDA_VISIBLE_DEVICES" >>gpus; touch run-{i}; ls run-* | wc -l >>seen; sleep 0.2; rm run-{i}'), memory_mb=60, gpus=2)
    assert exp.run().exit_status() == 0
    assert (at_home / "gpus").read_text().split() == ["4,6", "4,6"]
    assert (at_home / "seen").read_text().split() == ["1", "1"]
    with pytest.raises(ConfigError, match="wants 3 GPUs"):
        big = Experiment("big", executor=LocalExecutor(gpus=("0",)))
        big.add(sh("true"), gpus=3)
        big.dryrun()


def test_everything_is_private_and_no_secret_is_written_anywhere(at_home, monkeypatch):
    (at_home / "token").write_text("very-secret-value\n")
    (at_home / "token").chmod(0o600)
    exp = Experiment("secrets")
    exp.add(Script(inline='test "$TOKEN" = "$(cat token)"', env={"TOKEN": Secret.file(str(at_home / "token"))}), name="uses it")
    assert exp.run().exit_status() == 0
    for path in (at_home / "home").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.is_dir() or b"very-secret-value" not in path.read_bytes(), path


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_group_member_s_secret_is_seen_by_no_other_member(at_home, mode):
    for name in ("token", "other"):
        (at_home / name).write_text(f"value of {name}\n")
        (at_home / name).chmod(0o600)
    exp = Experiment("members", executor=LocalExecutor(cores=3))
    given = [Script(inline="echo ${T-none}", env={"T": Secret.file(str(at_home / name))}) for name in ("token", "other")]
    exp.add([Script(inline="echo ${T-none}"), *given], name="t", mode=mode)
    assert exp.run().exit_status() == 0
    assert [exp.logs("t", command=i) for i in range(3)] == ["none\n", "value of token\n", "value of other\n"]


def test_a_detached_experiment_ends_without_us_and_can_be_cancelled_with_what_depends_on_it(at_home):
    exp = Experiment("detached", executor=LocalExecutor(cores=4))
    long = exp.add(sh("echo started; sleep 300"), name="long")
    exp.add(sh("true"), name="after", dependencies=[long])
    exp.add(sh("true"), name="other")
    exp.run(detach=True)
    assert exp.wait(["other"], 20)["other"] is TaskState.SUCCEEDED
    deadline = time.monotonic() + 20
    while "started" not in exp.logs("long"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    exp.cancel(["long"])
    exp.wait(timeout_s=20)
    assert states(exp) == {"long": "cancelled", "after": "cancelled", "other": "succeeded"}
    assert exp.exit_status() == 1
    assert Experiment.open(exp.directory).status() == exp.status()


@pytest.mark.thorough
def test_a_task_is_cancelled_from_another_thread_of_the_driver(at_home):
    exp = Experiment("threads")
    exp.add(sh("echo started; sleep 300"), name="long")

    def cancel():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (exp.directory.exists() and "started" in exp.logs("long")):
            time.sleep(0.05)
        exp.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    exp.run()
    thread.join()
    assert states(exp) == {"long": "cancelled"}


def test_a_driver_ends_what_was_cancelled_before_its_job_was_known(at_home):
    exp = Experiment("early cancel")
    exp.add(sh("sleep 300"), name="long")
    exp.run(detach=True)
    Records(exp.directory).note("cancel", tasks=["long"])  # as cancel() does, which finds no job yet
    exp.wait(timeout_s=20)
    assert states(exp) == {"long": "cancelled"}


def test_two_do_not_drive_one_experiment(at_home):
    exp = Experiment("one driver")
    exp.add(sh("sleep 300"), name="long")
    exp.run(detach=True)
    deadline = time.monotonic() + 20
    while not (exp.directory / "lease.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(LaunchError, match="drives this experiment"):
        Experiment.open(exp.directory).resume()
    exp.cancel()
    exp.wait(timeout_s=20)


@pytest.mark.thorough
def test_a_driver_that_is_killed_is_replaced_and_no_task_is_lost_or_doubled(at_home):
    program = """
import sys
from hpcflow.launch.config.buildable import Partial
from hpcflow.launch.config.script import Script
from hpcflow.launch.executors.local import LocalExecutor
from hpcflow.launch.experiment.experiment import Experiment
exp = Experiment("killed", executor=LocalExecutor(cores=3))
for i in range(12):
    exp.add(Script(inline=f"echo {i} >>ran; sleep 0.05"), name=f"t{i}")
print(exp.directory, flush=True)
exp.run()
"""
    for delay in (0.0, 0.05, 0.15, 0.3):
        (at_home / "ran").unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=at_home)
        directory = child.stdout.readline().strip()
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        if not os.path.exists(f"{directory}/experiment.json"):
            continue  # killed before anything was asked for
        from pathlib import Path

        exp = Experiment.open(Path(directory))
        assert exp.resume() == 0
        assert sorted(int(i) for i in (at_home / "ran").read_text().split()) == list(range(12))


def test_rerun_takes_all_tasks_or_those_that_failed(at_home):
    exp = Experiment("rerun")
    good = exp.add(sh("echo good >>ran"), name="good")
    exp.add(sh("echo bad >>ran; test -e fixed"), name="bad", dependencies=[good])
    assert exp.run().exit_status() == 1
    (at_home / "fixed").touch()
    assert exp.rerun(failed_only=True).run().exit_status() == 0
    assert (at_home / "ran").read_text().split() == ["good", "bad", "bad"]


def test_a_dry_run_shows_the_scripts_and_changes_nothing(at_home):
    exp = Experiment("dry")
    exp.add(sh("echo 'it is'"), name="shown")
    text = exp.dryrun()
    assert "# task shown on local" in text and "/bin/sh -c 'echo '\"'\"'it is'\"'\"''" in text
    assert not exp.directory.exists()


@pytest.mark.thorough
def test_groups_run_in_one_job_and_a_retry_repeats_what_is_unfinished(at_home):
    exp = Experiment("group")
    exp.add([sh("echo a >>ran"), sh("echo b >>ran; test -e ok || { touch ok; exit 1; }")], name="both", retries=1, backoff_s=0.01)
    assert exp.run().exit_status() == 0
    assert (at_home / "ran").read_text().split() == ["a", "b", "b"]


def test_words_of_a_script_stay_as_they_are_whatever_they_look_like(at_home):
    (at_home / "words.sh").write_text('printf "%s|" "$@"\n')
    exp = Experiment("words")
    exp.add(sh("for task in a b; do echo ${task}; done; code=3 attempt=4; echo ${code} ${attempt} {task}"), name="inline")
    exp.add(Script("words.sh", args=["{task}", "words.sh", "${code}", "a b"]), name="file")
    assert exp.run(quiet=True).exit_status() == 0
    assert exp.logs("inline") == "a\nb\n3 4 {task}\n" and exp.logs("file") == "{task}|words.sh|${code}|a b|"


def test_the_first_failure_in_time_is_that_of_a_parallel_group_whose_other_commands_were_ended_for_it(at_home):
    exp = Experiment("first", executor=LocalExecutor(cores=4))
    fails = "until [ -e a ] && [ -e b ]; do sleep 0.02; done; exit 3"
    exp.add([sh("touch a; exec sleep 300"), sh(fails), sh("trap 'exit 9' TERM; touch b; sleep 300 & wait")], name="g", mode="parallel")
    assert exp.run(quiet=True).exit_status() == 1
    assert exp._written().view().attempts["g"][0].status.code == 3
    assert [c.code for c in exp.commands("g")] == [143, 3, 9]


def test_each_command_of_a_group_has_a_state_a_log_and_a_cancel(at_home, capsys):
    from hpcflow.cli.launch import app

    exp = Experiment("commands", executor=LocalExecutor(cores=4))
    group = [Script(path) for path in ("good.sh", "bad.sh", "long.sh")]
    for path, text in (("good.sh", "echo fine"), ("bad.sh", "echo worse; exit 4"), ("long.sh", "echo began; exec sleep 300")):
        (at_home / path).write_text(f"#!/bin/sh\n{text}\n")
        (at_home / path).chmod(0o755)
    exp.add(group, name="three", mode="parallel", on_failure="continue", retries=1, backoff_s=0.01)
    exp.run(detach=True)
    deadline = time.monotonic() + 20
    while "began" not in exp.logs("three", command="long") or [c.state for c in exp.commands("three")] != ["succeeded", "failed", "running"]:
        assert time.monotonic() < deadline, exp.commands("three")
        time.sleep(0.05)
    assert app(["cancel", exp.id, "three", "--command", "long", "--json"]) == 0
    assert [c["name"] for c in json.loads(capsys.readouterr().out)[0]["commands"]] == ["good", "bad", "long"]
    exp.wait(timeout_s=20)
    assert [(c.state, c.code) for c in exp.commands("three")] == [("succeeded", 0), ("failed", 4), ("cancelled", 143)]
    attempts = exp._written().view().attempts["three"]
    assert [a.status.code for a in attempts] == [4, 4]  # the second attempt has run the failed one alone
    assert exp.logs("three", command=1) == "worse\n" and exp.logs("three", attempt=1, command="good") == "fine\n"
    with pytest.raises(ConfigError, match="no command 'lnog'; did you mean 'long'"):
        exp.cancel_command("three", "lnog")
    assert app(["status", exp.id]) == 1
    assert "  2 long  cancelled" in capsys.readouterr().out.replace("    ", "  ").replace("   ", "  ")
    assert app(["logs", exp.id, "--command", "bad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] == "worse\n"


def test_a_script_has_metadata_from_the_shell_alone_with_commit_and_patch_and_no_secret(at_home, monkeypatch):
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *words], check=True)
    for name in ("code.py", ".env"):
        (at_home / name).write_text("first\n")
    subprocess.run(["git", "add", "-f", "code.py", ".env"], check=True)
    (at_home / "home").mkdir(mode=0o700)
    monkeypatch.setenv("ODD", 'two\nlines \\ "quoted"\té')
    monkeypatch.setenv("URL", "https://me:hidden-word@host/")
    monkeypatch.setenv("API_TOKEN", "hidden-word")
    monkeypatch.setenv("PLAIN_NAME", "hidden-word")
    exp = Experiment("facts")
    exp.add(Script(inline="true", env={"GIVEN": Secret.variable("PLAIN_NAME")}), name="shell")
    exp.add(Script(path=str(at_home / "code.py")), name="python", required=False)
    exp.run()
    shell, python = (exp.directory / f"tasks/{name}/attempts/1" for name in ("0000-shell", "0001-python"))
    text = (shell / "metadata.json").read_text()
    facts = json.loads(text)
    assert facts["environment"]["ODD"] == 'two\nlines \\ "quoted"\té' and facts["environment"]["GIVEN"] == "(hidden)" and "hidden-word" not in text
    assert len(facts["git"]["commit"]) == 40 and facts["git"]["changed"] is True and facts["attempt"] == 1 and facts["memory_mb"] > 0
    patch = (exp.directory / "dirty.patch").read_text()
    assert "+first" in patch and "code.py" in patch and ".env" not in patch
    assert not (shell / "packages.txt").exists() and any(line.startswith("polars==") for line in (python / "packages.txt").read_text().splitlines())


def test_experiments_are_found_by_id_and_title_and_listed_as_a_table(at_home):
    from hpcflow import launch

    for title in ("first", "second"):
        exp = Experiment(title, tags=[title])
        exp.add(sh("true"), name="t")
        exp.run()
    assert Experiment.from_id(exp.id[:6]).id == Experiment.from_title("second").id == exp.id
    assert [row["title"] for row in Experiment.catalog()] == ["second", "first"]
    table = launch.runs(tag="first")
    assert table.select("title", "state", "status", "tags").rows() == [("first", "succeeded", 0, ["first"])]
    with pytest.raises(ConfigError, match="did you mean 'second'"):
        Experiment.from_title("secnod")
    with pytest.raises(ConfigError, match="no experiment has an id"):
        Experiment.from_id("zz")


def test_logs_are_printed_while_tasks_run(at_home, capfd):
    exp = Experiment("tail", executor=LocalExecutor(cores=2))
    exp.add(sh("printf 'one\\n\\033[31mtwo'"), name="a")
    exp.run(tail_logs=True, quiet=True)
    assert capfd.readouterr().err.splitlines() == ["a | one", "a | \ufffd[31mtwo"]


def test_run_prints_the_next_three_commands_unless_it_is_to_be_quiet(at_home, capfd):
    for detach, words in ((False, ("show", "logs", "rerun")), (True, ("status", "logs", "cancel"))):
        exp = Experiment("next")
        exp.add(sh("true"))
        exp.run(detach=detach)
        exp.wait(timeout_s=30)
        assert capfd.readouterr() == ("", "".join(f"hpcflow launch {word} {exp.id}\n" for word in words))
    launch_run(sh("true"))
    assert capfd.readouterr() == ("", "")


WRONG_ARGUMENTS = [
    ({"memory_mb": "x"}, r"add\(memory_mb='x'\): expected a whole number from 1"),
    ({"memory_mb": -1}, "expected a whole number from 1"),
    ({"gpus": "a"}, "expected a whole number from 0"),
    ({"gpus": 2}, "wants 2 GPUs, and this executor has 0"),
    ({"cpus_per_task": 5000}, "wants 1 x 5000 cores, and this executor has"),
    ({"executor": LocalExecutor(memory_mb=10), "memory_mb": 20}, "wants 20 MB, and this executor has 10"),
    ({"required": "no"}, r"add\(required=...\): expected bool, got str 'no'"),
    ({"name": 3}, r"add\(name=...\): expected str . None, got int 3"),
    ({"name": ""}, "is empty: leave it out"),
    ({"mode": "paralell"}, "did you mean 'parallel'"),
    ({"on_failure": "stopp"}, "did you mean 'stop'"),
    ({"executor": "local"}, r"add\(executor=...\): expected Executor"),
    ({"dependencies": "a"}, "expected a list of tasks"),
    ({"dependencies": ["a"]}, "'a' is no task: give what add"),
    ({"condition": "any_failed"}, "without dependencies never comes true"),
]
WRONG_EXPERIMENTS = [
    ({"title": 3}, r"Experiment\(title=...\): expected str, got int 3"),
    ({"title": " "}, "is empty"),
    ({"executor": "slurm"}, r"Experiment\(executor=...\): expected Executor"),
    ({"packager": "git"}, r"Experiment\(packager=...\): expected Packager"),
    ({"tags": "x"}, r"give a list: \['x'\]"),
    ({"notes": 3}, "expected str, got int"),
]


@pytest.mark.parametrize(
    ("lines", "code"), [([". /nope/activate"], 2), (["exit 3"], 3), (["exit 0"], 70), (["set -e", "false", "true"], 1), (["if true"], 2)], ids=str
)
def test_lines_of_setup_that_end_the_shell_are_an_end_with_a_reason(at_home, lines, code):
    exp = Experiment("setup", executor=LocalExecutor(setup=lines))
    exp.add(sh("touch ran"), name="t")
    exp.run(quiet=True)
    (attempt,) = exp._written().view().attempts["t"]
    assert (attempt.status.state.value, attempt.status.code, attempt.status.failure.value) == ("failed", code, "program error")
    assert f"(setup, environment) ended this job with status {0 if code == 70 else code}" in exp.logs("t") and not (at_home / "ran").exists()


def test_setup_may_read_variables_that_are_not_set_and_its_options_end_with_it(at_home):
    exp = Experiment("setup", executor=LocalExecutor(setup=["echo [$NOT_SET]", "set -e"]))
    exp.add([sh("exit 3"), sh("echo second")], name="t", on_failure="continue")
    exp.run(quiet=True)
    assert exp.logs("t") == "[]\nsecond\n" and [row.code for row in exp.commands("t")] == [3, 0]


def test_a_folder_may_be_the_home_or_relative_and_one_of_templates_has_to_be_there(at_home, monkeypatch):
    monkeypatch.setenv("HOME", str(at_home))
    (at_home / "sub").mkdir()
    for workdir, wanted in (
        ("~", at_home),
        ("sub", at_home / "sub"),
        ("~/sub", at_home / "sub"),
        (str(at_home / "sub"), at_home / "sub"),
        (None, at_home),
    ):
        exp = Experiment("where", executor=LocalExecutor(workdir=workdir))
        exp.add(sh("pwd"), name="t")
        exp.run(quiet=True)
        assert exp.logs("t") == f"{wanted}\n"
    with pytest.raises(ConfigError, match="templates: '/nope' is no folder here"):
        templated = Experiment("t", executor=SlurmExecutor(templates=["/nope"]))
        templated.add(sh("true"))
        templated.dryrun()


def test_what_cannot_be_rendered_is_refused_before_anything_is_submitted(at_home):
    exp = Experiment("refused", executor=SlurmExecutor(cpu_bind="cores"))
    exp.add(sh("true"), name="fine")
    exp.add(sh("true"), name="wrong", launcher="mpirun", condition="all_finished")
    with pytest.raises(ConfigError, match="is an option of srun, and this task's ranks start by mpirun"):
        exp.run(detach=True)
    assert not exp.directory.exists()


def test_wrong_use_is_told_at_once(at_home, monkeypatch):
    exp, other = Experiment("a"), Experiment("b")
    task = other.add(sh("true"))
    with pytest.raises(ConfigError, match="another experiment"):
        exp.add(sh("true"), dependencies=[task])
    with pytest.raises(ConfigError, match="did you mean 'memory_mb'"):
        exp.add(sh("true"), memory_m=3)
    with pytest.raises(ConfigError, match="no failure class 'time out'; did you mean 'timeout'"):
        exp.add(sh("true"), retries={"time out": 1})
    with pytest.raises(
        ConfigError, match=r"no condition 'all_done'; did you mean .*; there are all_succeeded, any_succeeded, all_finished, any_failed"
    ):
        exp.add(sh("true"), condition="all_done")
    with pytest.raises(ConfigError, match="no condition 3; there are"):
        exp.add(sh("true"), condition=3)
    for wrong, says in WRONG_ARGUMENTS:
        with pytest.raises(ConfigError, match=says):
            exp.add(sh("true"), **wrong)
    for wrong, says in WRONG_EXPERIMENTS:
        with pytest.raises(ConfigError, match=says):
            Experiment(**{"title": "t", **wrong})
    mixed = Experiment("mixed")
    first, _, _ = mixed.add(sh("true"), name="a"), mixed.add(sh("true"), name="b"), mixed.add(sh("true"), name="c")
    mixed._tasks[2] = dataclasses.replace(mixed._tasks[2], needs=(first.name,))
    with pytest.raises(ConfigError, match="'c' says what it depends on: add 'b' to its dependencies, or leave sequential out"):
        mixed.run(sequential=True)
    assert not mixed.directory.exists()
    exp.add(sh("true"), name="x")
    with pytest.raises(ConfigError, match="a task 'x' already"):
        exp.add(sh("true"), name="x")
    monkeypatch.setenv("HPCFLOW_JOB_KEY", "k")
    with pytest.raises(LaunchError, match="inside a task"):
        exp.run()


def test_a_list_row_sums_up_an_experiment(at_home):
    exp = Experiment("title \x1b[31mred", tags=["t"])
    exp.add(sh("true"))
    exp.run()
    row = experiment_row(exp._written())
    assert (row["state"], row["succeeded"], row["status"], row["tags"]) == ("succeeded", 1, 0, ["t"])
    assert printable(row["title"]) == "title \ufffd[31mred"
    assert json.dumps(row)


def test_ranks_that_a_task_does_not_have_are_refused_and_a_group_is_of_scripts(at_home):
    exp = Experiment("ranks", executor=SlurmExecutor(nodes=2, ntasks_per_node=2))
    exp.add(sh("true"), name="one")
    exp.add([sh("true"), Step(sh("true"), launcher="srun", ntasks=3)], name="group")
    exp.add(sh("true"), name="world", launcher="srun", components=[SlurmFields(ntasks=4)])
    with pytest.raises(ConfigError, match=r"a group is made of Scripts and Steps, and len is a function's call"):
        exp.add([sh("true"), Partial(len, [1])])
    records = Records.create(exp.directory, exp.spec())
    opened = Experiment.open(records.directory)
    assert opened.logs("group", rank=2) == "" == opened.logs("world", rank=7)
    wrong = (("one", 0, "no launcher starts it"), ("group", 3, "it has 3, from 0"), ("world", 8, "it has 8, from 0"), ("world", -1, "it has 8"))
    for task, rank, says in wrong:
        with pytest.raises(ConfigError, match=f"task '{task}' has no MPI rank {rank}: {says}"):
            opened.logs(task, rank=rank)


def test_an_interrupted_run_says_how_to_go_on_and_can_be_gone_on_with(at_home, capfd):
    def interrupt(*change):
        raise KeyboardInterrupt

    exp = Experiment("interrupted")
    exp.add(sh("echo ran >>ran"), name="t")
    with pytest.raises(KeyboardInterrupt):
        exp.run(listener=interrupt)
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith("hpcflow: interrupted") and f"hpcflow launch resume {exp.id}" in told
    assert exp.resume() == 0 and (at_home / "ran").read_text() == "ran\n"
