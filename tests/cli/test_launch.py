"""`hpcflow launch ...`, with real processes on this host."""

import json
import time

import pytest

from hpcflow.cli.app import main
from hpcflow.errors import ConfigError
from hpcflow.launch.experiment.catalog import Index, find


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.sh").write_text('echo "hello $1 \x1b[31m"\n')
    (tmp_path / "bad.sh").write_text("exit 4\n")
    (tmp_path / "long.sh").write_text("echo started; sleep 300\n")
    return tmp_path


@pytest.fixture
def run(capsys):
    def _run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["launch", *words])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return _run


def test_a_script_is_submitted_listed_shown_and_its_log_printed_without_control_sequences(run):
    status, _out, err = run("submit", "good.sh", "world", "--title", "first one", "--tag", "a", "--tag", "b", "--notes", "for the paper")
    assert status == 0 and "hpcflow: good: succeeded" in err
    id = err.split()[-1]
    assert err.splitlines()[-3:] == [f"hpcflow launch {word} {id}" for word in ("show", "logs", "rerun")]
    assert run("logs", id[:4])[1].strip() == "hello world \ufffd[31m"
    assert run("logs", "first one")[0] == 0
    assert "for the paper" in run("show", id)[1] and "first one" in run("list", "--tag", "b")[1] and "first one" not in run("list", "--tag", "c")[1]
    assert "first one" in run("list")[1] and "succeeded" in run("show", id)[1]
    (row,) = json.loads(run("list", "--json", "--reindex")[1])
    assert (row["id"], row["state"], row["tasks"]) == (id, "succeeded", 1)


def test_exit_statuses_are_those_of_the_tasks(run):
    status, out, _ = run("submit", "bad.sh", "--json")
    id = json.loads(out)["id"]
    assert status == 1
    assert run("status", id)[0] == 1
    (task,) = json.loads(run("status", id, "--json")[1])
    assert (task["code"], task["state"], task["failure"]) == (4, "failed", "program error")
    assert run("rerun", id, "--failed-only")[0] == 1


@pytest.mark.thorough
def test_a_detached_job_is_followed_and_cancelled(run, at_home):
    _status, out, _ = run("submit", "long.sh", "--detach", "--json")
    id = json.loads(out)["id"]
    deadline = time.monotonic() + 20
    while "started" not in run("logs", id)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run("status", id)[0] == 3
    assert run("cancel", id)[0] == 0
    assert run("status", id, "--follow")[0] == 1


def test_wrong_words_end_with_one_line(run):
    for words, said in (
        (("submit", "missing.sh"), "no such script: missing.sh"),
        (("submit", "good.sh", "--executor", "slrum"), "did you mean 'slurm'"),
        (("submit", "good.sh", "--set", "corse=2"), "did you mean 'cores'"),
        (("submit", "good.sh", "--set", "cores=two"), "local.cores: expected"),
        (("submit", "good.sh", "--set", "cores"), "--set cores: give FIELD=VALUE"),
        (("submit", "good.sh", "--set", "setup=[a"), "--set setup=[a: 'setup=[a': ']' is missing"),
        (("submit", "good.sh", "--set", "env=plain"), "env: expected"),
        (("status", "nobody"), "no experiment 'nobody'"),
    ):
        status, _, err = run(*words)
        assert status == 2 and said in err and len(err.strip().splitlines()) == 1, err


def test_a_field_of_an_executor_may_be_a_list_or_a_mapping(run):
    words = ["--executor", "slurm(nodes=1)", "--set", 'setup=["module load gcc", "ulimit -c 0"]', "--set", "env={A: 1, B: 'x, y'}"]
    words += ["--set", "mail_type=END,FAIL", "--set", "exports=HOME", "--set", "dependency={afterok: [12, 13]}", "--set", "exclude=n1,n2"]
    words += ["--set", "templates=[]", "--set", "components=[{nodes: 2, ntasks: 4}]", "--set", "nodes=3"]
    status, out, err = run("submit", "good.sh", "--dryrun", *words)
    assert status == 0, err
    lines = out.splitlines()
    wanted = ["module load gcc", "ulimit -c 0", "export A=1", "export B='x, y'", "#SBATCH --nodes=3", "#SBATCH --mail-type=END,FAIL"]
    wanted += ["#SBATCH --dependency=afterok:12:13", "#SBATCH --exclude=n1,n2", "#SBATCH hetjob", "#SBATCH --nodes=2", "#SBATCH --ntasks=4"]
    assert [line for line in wanted if line not in lines] == []
    assert "export HOME=" in out and "export PATH=" not in out


def test_the_executor_of_the_settings_is_taken_where_none_is_named(run, monkeypatch):
    monkeypatch.setenv("HPCFLOW_LAUNCH_EXECUTOR", "slurm(nodes=2, mem=4G)")
    assert "#SBATCH --nodes=2" in run("submit", "good.sh", "--dryrun")[1]
    out = run("submit", "good.sh", "--dryrun", "--set", "nodes=5")[1]
    assert "#SBATCH --nodes=5" in out and "#SBATCH --mem=4G" in out
    assert "#SBATCH" not in run("submit", "good.sh", "--dryrun", "--executor", "local")[1]


def test_a_wrong_executor_of_the_settings_is_said_with_what_set_it_and_a_program_s_option_where_it_stands(run, monkeypatch):
    assert "Unknown option: --lr; options of the program itself stand behind --; see" in run("submit", "good.sh", "--lr", "3")[2]
    monkeypatch.setenv("HPCFLOW_LAUNCH_EXECUTOR", "slurm(node=2)")
    assert "setting 'executor' (variable HPCFLOW_LAUNCH_EXECUTOR): SlurmExecutor has no parameter 'node'" in run("submit", "good.sh")[2]


def test_dry_run_writes_nothing(run, at_home):
    status, out, _ = run("submit", "good.sh", "a b", "--dry-run", "--executor", "slurm", "--set", "nodes=2", "--set", "time=01:00:00")
    assert status == 0
    assert "#SBATCH --nodes=2" in out and "#SBATCH --time=01:00:00" in out and "good.sh 'a b'" in out
    assert not (at_home / "home").exists()
    assert run("list")[0] == 0 and not (at_home / "home").exists()


def test_a_prefix_has_to_be_unique_and_a_damaged_experiment_is_told(run, at_home):
    run("submit", "good.sh")
    with pytest.raises(ConfigError, match="no experiment"):
        find("zzzz")
    (directory,) = (at_home / "home" / "experiments").iterdir()
    (directory / "experiment.json").write_text("{")
    rows = list(Index().rows())
    assert rows[0]["state"] == "damaged" and "experiment.json is damaged" in rows[0]["reason"]
