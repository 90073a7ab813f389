"""Where a process stands, whoever started it."""

import pytest

from hpcflow.launch.environment import env, expand_hosts
from hpcflow.launch.stop import on_stop, should_stop


def test_alone_it_is_a_world_of_one():
    here = env({})
    assert (here.rank, here.size, here.local_rank, here.nodes, here.job_key) == (0, 1, 0, 1, None)


def test_mpirun_and_srun_say_the_same_in_their_own_words():
    mpich = env({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"})
    assert (mpich.rank, mpich.size, mpich.local_rank, mpich.node, mpich.nodes) == (3, 4, 1, 1, 2)
    slurm = env(
        {
            "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
            "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "12",
        }
    )  # fmt: skip
    assert (slurm.rank, slurm.size, slurm.local_rank, slurm.local_size, slurm.node, slurm.nodes) == (2, 4, 0, 2, 1, 2)
    assert (slurm.master_address, slurm.master_port) == ("gpu07", 20_012)
    assert slurm.variables()["MASTER_ADDR"] == "gpu07"
    ports = [env({"HPCFLOW_JOB_KEY": key, "PMI_RANK": rank, "PMI_SIZE": "2"}).master_port for key in ("a-1", "b-1") for rank in ("0", "1")]
    assert ports[0] == ports[1] != ports[2] == ports[3]  # tasks side by side on one host


@pytest.mark.parametrize(
    ("text", "hosts"), [("", []), ("a", ["a"]), ("a,b[1-2],c", ["a", "b1", "b2", "c"]), ("n[08-10,12]x", ["n08x", "n09x", "n10x", "n12x"])]
)
def test_host_lists_are_expanded(text, hosts):
    assert expand_hosts(text) == hosts


def test_a_job_is_told_to_stop_by_a_file(tmp_path, monkeypatch):
    assert not should_stop()
    monkeypatch.setenv("HPCFLOW_STOP_FILE", str(tmp_path / "stop"))
    assert not should_stop()
    import threading

    called = threading.Event()
    on_stop(called.set)
    assert not called.is_set()
    (tmp_path / "stop").touch()
    assert should_stop() and called.wait(5)
