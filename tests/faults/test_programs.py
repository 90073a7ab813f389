"""How programs end under mpirun: exceptions, exit statuses, sessions left open, wrong launches, stuck functions. With the MPI of this Python."""

from __future__ import annotations

import pytest

from tests.faults.harness import launch

pytestmark = pytest.mark.faults


ORDINARY = {
    "with": "with hf.Session() as s: print(s.range(10).count())",
    "left open": "s = hf.Session(); print(s.range(10).count())",
    "shared": "s = hf.Session(master='shared'); print(s.from_dict({'a': range(10)}).repartition(4).collect().height)",
    "two": "for i in range(2):\n    with hf.Session() as s: print(s.range(10 - i).count())",
    "MPI first": "from mpi4py import MPI\nwith hf.Session() as s: print(s.range(10).count())",
    "no action": "s = hf.Session()\nprint(10)",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_end_has_status_0(tmp_path, name):
    ended = launch(ORDINARY[name], ranks=2, folder=tmp_path)
    assert (ended.status, ended.stderr) == (0, ""), ended
    assert "10\n" in ended.stdout and not ended.left, ended


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run", "alone"])
def test_an_uncaught_exception_is_its_traceback_and_status_1(tmp_path, through):
    ended = launch("s = hf.Session()\ns.range(10).count()\nraise ValueError('mine')", ranks=2, through=through, folder=tmp_path)
    assert ended.status == 1 and not ended.left, ended
    assert ended.stderr.count("ValueError: mine") == 1 and "could not close" not in ended.stderr
    assert ended.seconds < 15


@pytest.mark.parametrize("through", ["mpirun", "hpcflow run", "alone"])
def test_sys_exit_keeps_its_status(tmp_path, through):
    ended = launch("with hf.Session() as s:\n    s.range(10).count()\n    sys.exit(3)", ranks=2, through=through, folder=tmp_path)
    assert ended.status == 3 and "Traceback" not in ended.stderr, ended


def test_a_failing_function_is_one_error_and_the_session_goes_on(tmp_path):
    ended = launch(
        """
        class MineError(Exception):
            pass

        def fails(df):
            raise MineError("from the function")

        with hf.Session() as s:
            bad = s.range(100).map_batches(fails, schema={"value": pl.Int64})
            try:
                bad.collect()
            except hf.TaskError as error:
                assert isinstance(error.__cause__, MineError) and error.rank in (1, 2) and "map_batches" in error.operator, error
            assert s.range(100).group_by(pl.col("value") % 3).agg(pl.len()).count() == 3
            try:
                bad.repartition(5).write_parquet("out")
            except hf.TaskError:
                assert not os.path.exists("out")
            lock = __import__("threading").Lock()
            try:
                s.range(10).map_batches(lambda df: lock and df, schema={"value": pl.Int64}).collect()
            except hf.UnpicklableError as error:
                assert "map_batches" in str(error)
            print("rows", s.range(100).count(), flush=True)
            bad.collect()
        """,
        folder=tmp_path,
    )
    assert ended.status == 1 and "rows 100" in ended.stdout, ended
    assert ended.stderr.count("hpcflow.errors.TaskError: MineError: from the function") == 1, ended.stderr
    assert "in fails" in ended.stderr and "operator map_batches" in ended.stderr


def test_files_that_vanish_or_are_damaged_are_source_errors(tmp_path):
    ended = launch(
        f"""
        folder = {str(tmp_path)!r}
        with hf.Session() as s:
            for i in range(4):
                pl.DataFrame({{"a": range(1000)}}).write_parquet(f"{{folder}}/{{i}}.parquet")
            data = s.read_parquet(f"{{folder}}/*.parquet")
            os.unlink(f"{{folder}}/2.parquet")
            try:
                data.select(pl.col("a").sum()).collect()
            except hf.SourceError as error:
                print("found", "2.parquet" in str(error), "rank" in "".join(error.__notes__))
            print("rows", s.range(100).count())
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "found True True" in ended.stdout and "rows 100" in ended.stdout, ended


def test_a_stuck_function_ends_in_a_timeout_that_names_it(tmp_path):
    ended = launch(
        """
        def hangs(df):
            if 0 in df["value"]:
                time.sleep(100)
            return df

        with hf.Session(step_timeout_s=1) as s:
            s.range(100).map_batches(hangs, schema={"value": pl.Int64}).collect()
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left, ended
    assert "StepTimeoutError: task 0 of stage 0 (range > map_batches) made no progress for 1 s on rank" in ended.stderr
    assert "in hangs" in ended.stderr
    assert ended.seconds < 20


def test_a_shuffle_of_100_mb_works_in_8_mb(tmp_path):
    ended = launch(
        f"""
        with hf.Session(memory_budget="8MB", scratch={str(tmp_path / "scratch")!r}) as s:
            n = 4_500_000
            data = s.range(n).with_columns(x=pl.col("value") * 3, y=pl.col("value") * 7)
            got = data.repartition(16, by="value").select(pl.col("x").sum(), pl.len()).collect()
            assert got.row(0) == (3 * n * (n - 1) // 2, n)
            print("right", os.listdir({str(tmp_path / "scratch")!r}))
        """,
        folder=tmp_path,
    )
    assert ended.status == 0 and "right []" in ended.stdout, ended


def test_options_that_do_not_fit_the_world_are_told_once(tmp_path):
    cases = {
        "workers=7": "this MPI world of 3 ranks has 2",
        "wrokers=1": "did you mean 'workers'",
    }
    for options, words in cases.items():
        ended = launch(f"with hf.Session({options}) as s: pass", folder=tmp_path)
        assert ended.status == 1 and not ended.left, ended
        # Rank 0 gives the traceback, the others a line; a launcher may end rank 0 for another rank's status before it has.
        assert words in ended.stderr and ended.stderr.count("Traceback") <= 1, ended.stderr


def test_mpi_below_multiple_is_one_error(tmp_path):
    ended = launch("import mpi4py\nmpi4py.rc.thread_level = 'funneled'\nfrom mpi4py import MPI\nhf.Session()", ranks=2, folder=tmp_path)
    assert ended.status == 1 and ended.stderr.count("Traceback") == 1, ended
    assert "LaunchError: MPI was initialized without MPI_THREAD_MULTIPLE" in ended.stderr


def test_a_rank_that_never_opens_a_session_does_not_hold_the_others(tmp_path):
    ended = launch(
        """
        import hpcflow.runtime.cluster as cluster
        cluster.OPEN_TIMEOUT_S = 2
        if "1" in (os.environ.get("PMI_RANK"), os.environ.get("OMPI_COMM_WORLD_RANK")):
            time.sleep(60)
        hf.Session()
        """,
        folder=tmp_path,
    )
    assert ended.status not in (0, -999) and not ended.left, ended
    assert "every_rank_starts_a_session" in ended.stderr and ended.seconds < 25


@pytest.mark.parametrize("task", ["0", "1"])
def test_a_world_of_one_in_a_step_of_several_tasks_is_refused(tmp_path, task):
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": task}
    ended = launch("print(hf.Session().workers)", through="alone", environ=slurm, folder=tmp_path)
    assert ended.status == 1 and "this Slurm step has 3 tasks" in ended.stderr and "srun --mpi=" in ended.stderr, ended
    assert ended.stderr.count("Traceback") == (task == "0")


def test_explain_only_prints_the_plan_and_ends_with_status_0(tmp_path):
    ended = launch("with hf.Session() as s: print('rows', s.range(10).count())", ranks=2, environ={"HPCFLOW_EXPLAIN_ONLY": "1"}, folder=tmp_path)
    assert ended.status == 0 and "action 1: count" in ended.stdout and "rows 0" in ended.stdout and "Traceback" not in ended.stderr, ended
