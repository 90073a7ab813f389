"""A real Slurm of a few virtual nodes on this machine, from Debian's packages `slurm-wlm` and `munge`, for tests.

Everything lives in one private directory and on free ports of the loopback interface: no system daemon, no cgroups. It has to be started by root
(slurmd starts steps as the submitting user). With `accounting=True` there are slurmdbd and MariaDB too (packages `slurmdbd`, `mariadb-server-core`),
memory is watched, and a job that takes more than it asked for is killed; without, nothing is kept of jobs that squeue has forgotten.
Invariant: `stop` ends every process that `start` made and the steps those have made; nothing else is touched.

    with SlurmCluster(tmp_path, nodes=2) as slurm:
        subprocess.run(["srun", "-N2", "hostname"], env=slurm.environment, check=True)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from hpcflow.testing.slurm_database import DATABASE_NEEDED, bootstrap_database, database_argv, slurmdbd_configuration

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
START_TIMEOUT_S = 60.0
_SBIN = "/usr/sbin:/sbin"
_NODE = "TEST_SLURM_NODE"
"""In the environment of a node's daemon and of its steps."""


def missing_programs(accounting: bool = False) -> list[str]:
    """Programs that are not installed: `apt-get install slurm-wlm munge` brings them, and for accounting `slurmdbd mariadb-server-core`."""
    path = os.environ.get("PATH", "") + ":" + _SBIN
    return [name for name in (*NEEDED, *(DATABASE_NEEDED if accounting else ())) if shutil.which(name, path=path) is None]


class SlurmCluster:
    """A controller and `nodes` node daemons named n1, n2, ...

    Args:
        directory: an empty one, short enough for socket paths (below 80 characters).
        nodes: number of virtual nodes.
        cpus: CPUs each node says to have.
        memory_mb: memory each node says to have, MiB.
        accounting: slurmdbd, a database, and jobs killed for their memory.
        extra: further lines of slurm.conf.
        node_extra: further words of each node's line, e.g. "Feature=fast Gres=nvme:4".
    """

    def __init__(
        self, directory: Path, nodes: int = 2, cpus: int = 2, memory_mb: int = 4000, accounting: bool = False, extra: str = "", node_extra: str = ""
    ) -> None:
        self.directory = directory
        self.nodes = nodes
        self.cpus = cpus
        self.memory_mb = memory_mb
        self.accounting = accounting
        self.extra = extra
        self.node_extra = node_extra
        self._back_in_queue: dict[str, float] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        """By the name of the daemon or of its node, in the order of their start."""

    @property
    def environment(self) -> dict[str, str]:
        """What a submitting process needs; variables of any Slurm step around this process are left out."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_", "PMI_", "PMIX_"))}
        return own | {"SLURM_CONF": str(self.directory / "slurm.conf"), "PATH": own.get("PATH", "") + ":" + _SBIN}

    def start(self) -> Self:
        """Start all daemons and wait until every node is idle. Raises RuntimeError with the logs when they do not come up."""
        if missing := missing_programs(self.accounting):
            raise RuntimeError(f"{', '.join(missing)}: not installed; apt-get install slurm-wlm munge slurmdbd mariadb-server-core")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        for name in ("state", "munge", *(f"spool-n{i}" for i in range(1, self.nodes + 1))):
            (self.directory / name).mkdir(mode=0o700)
        (self.directory / "slurm.conf").write_text(self._configuration())
        key = self.directory / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        try:
            self._spawn(
                "munged", "munged", "--foreground", "--force", f"--socket={self._munge_socket}", f"--key-file={key}", "--num-threads=4",
                f"--pid-file={self.directory}/munge/pid", f"--log-file={self.directory}/munge/log", f"--seed-file={self.directory}/munge/seed",
            )  # fmt: skip
            self._wait(self._munge_socket.exists, "munged")
            if self.accounting:
                self._start_accounting()
            self._spawn("slurmctld", "slurmctld", "-D", "-f", str(self.directory / "slurm.conf"))
            for i in range(1, self.nodes + 1):
                self.start_node(f"n{i}")
            self._wait(self._all_idle, "the nodes")
        except BaseException:
            self.stop()
            raise
        return self

    def start_node(self, name: str) -> None:
        """Start the daemon of a node, which then reports itself and is used again."""
        self._spawn(name, "slurmd", "-D", "-N", name, "-f", str(self.directory / "slurm.conf"), variables={_NODE: name})

    def lose_node(self, name: str) -> None:
        """What a power cut does to a node: its daemon and all that runs there end at once, and the controller is told what it would find out."""
        for process in (self._processes[name].pid, *self._steps(name)):
            for pid in reversed([process, *_descendants(process)]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._processes.pop(name).wait()
        self._run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=power")

    def bring_back(self, name: str) -> None:
        """A lost node comes back, and takes jobs again."""
        self.start_node(name)
        self._run("scontrol", "update", f"NodeName={name}", "State=RESUME")
        self._wait(lambda: self._run("sinfo", "--noheader", f"--nodes={name}", "--format=%T").split()[:1] in (["idle"], ["mixed"]), name)

    def hurry(self, id: str = "") -> None:
        """Let a job (or all) that was put back into the queue start now: Slurm would let it wait for two minutes. Not before a second has passed,
        since the end of its first run could be taken for that of its second."""
        words = ("squeue", "--noheader", "--states=PENDING", "--format=%A %T %r", *((f"--jobs={id}",) if id else ()))
        for line in self._run(*words).splitlines():
            job, state, reason = [*line.split(), "", "", ""][:3]
            if state != "PENDING" or reason != "BeginTime":
                self._back_in_queue.pop(job, None)
            elif time.monotonic() - self._back_in_queue.setdefault(job, time.monotonic()) > 1.0:
                self._run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def stop(self) -> None:
        """Cancel all jobs, end the daemons and the steps they left."""
        if "n1" in self._processes:
            with contextlib.suppress(subprocess.SubprocessError, OSError, RuntimeError):
                subprocess.run(["scancel", "--signal=KILL", "--user=root"], env=self.environment, timeout=10, capture_output=True, check=False)
                self._wait(lambda: not self._run("squeue", "--noheader").strip(), "the end of all jobs", timeout_s=5)
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        for pid in self._steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- parts ---------------------------------------------------------------------------------------------------------------------------------------

    @property
    def _munge_socket(self) -> Path:
        return self.directory / "munge" / "socket"

    def _configuration(self) -> str:
        host = socket.gethostname()
        ports = free_ports(self.nodes + 2)
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self._munge_socket}",
            "CredType=cred/munge",
            f"StateSaveLocation={self.directory}/state",
            f"SlurmdSpoolDir={self.directory}/spool-%n",
            f"SlurmctldPidFile={self.directory}/slurmctld.pid",
            f"SlurmdPidFile={self.directory}/slurmd-%n.pid",
            f"SlurmctldLogFile={self.directory}/slurmctld.log",
            f"SlurmdLogFile={self.directory}/slurmd-%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2",
            "MpiDefault=none",
            "ReturnToService=2",
            "SlurmdTimeout=20",
            "KillWait=5",
            "InactiveLimit=0",
            "SwitchType=switch/none",
            "SlurmdParameters=config_overrides",  # as many CPUs and as much memory as the nodes say, not as this host has
            "JobCompType=jobcomp/none",
        ]
        if self.accounting:
            (self.directory / "slurmdbd.conf").write_text(slurmdbd_configuration(self.directory, ports[-1], str(self._munge_socket)))
            (self.directory / "slurmdbd.conf").chmod(0o600)
            lines += ["AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageHost=127.0.0.1", f"AccountingStoragePort={ports[-1]}"]
            lines += [f"AccountingStoragePass={self._munge_socket}"]  # the alternative munge, as slurmdbd wants to be told of it
            lines += ["JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=task=1", "JobAcctGatherParams=OverMemoryKill"]
            lines += ["MinJobAge=2"]  # forgotten by squeue at the next minute, so that accounting alone knows
        else:
            lines += ["AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none", "MinJobAge=300"]
        for i in range(1, self.nodes + 1):
            lines.append(
                f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[i]} CPUs={self.cpus} RealMemory={self.memory_mb} "
                f"Weight={1 + self.nodes - i} {self.node_extra} State=UNKNOWN"  # jobs that may choose begin with the last node
            )
        lines.append(f"PartitionName=main Nodes=n[1-{self.nodes}] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO DefMemPerCPU=500")
        return "\n".join([*lines, self.extra, ""])

    def _start_accounting(self) -> None:
        bootstrap_database(self.directory)
        self._spawn("mariadbd", *database_argv(self.directory))
        socket_path = self.directory / "mariadb.socket"
        self._wait(socket_path.exists, "mariadbd")
        self._spawn("slurmdbd", "slurmdbd", "-D", variables={"MYSQL_UNIX_PORT": str(socket_path)})
        self._wait(
            lambda: "test" in self._run("sacctmgr", "--immediate", "add", "cluster", "test") + self._run("sacctmgr", "--noheader", "list", "cluster"),
            "slurmdbd",
        )

    def _spawn(self, name: str, *command: str, variables: Mapping[str, str] | None = None) -> None:
        environment = {**self.environment, **(variables or {})}
        with open(self.directory / f"{name}.out", "ab") as out:
            self._processes[name] = subprocess.Popen(  # in a session of its own: who interrupts the tests leaves `stop` its daemons, to end the jobs
                command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )

    def _run(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20, check=False).stdout

    def _all_idle(self) -> bool:
        told = set(self._run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines())  # a line for each partition of a node
        return told == {f"n{i} idle" for i in range(1, self.nodes + 1)}

    def _wait(self, condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = [p for p in self._processes.values() if p.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come up{f': {ended[0].args!r} ended' if ended else ''}\n{self._logs()}")
            time.sleep(0.1)

    def _logs(self) -> str:
        shown = []
        for path in sorted([*self.directory.glob("*.log"), *self.directory.glob("*.out"), *self.directory.glob("munge/log")]):
            shown.append(f"-- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(shown)

    def _steps(self, node: str = "") -> list[int]:
        """Processes named slurmstepd that were started with this cluster's configuration, on one node or on all."""
        wanted = (f"SLURM_CONF={self.directory}/slurm.conf".encode(), f"{_NODE}={node}".encode())
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    if (entry / "comm").read_text().startswith("slurmstepd") and wanted[0] in environment and (not node or wanted[1] in environment):
                        found.append(int(entry.name))
        return found


def _descendants(pid: int) -> list[int]:
    """Children, grandchildren, ..., each after its parent."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on; all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
