"""The database behind a test Slurm's accounting: MariaDB in a private directory, reachable by one socket there, and slurmdbd's configuration.

Invariant: nothing listens on a network interface but slurmdbd, on the loopback one; who may enter the directory may use the database (it has no
accounts), and the directory is the user's own.

    bootstrap_database(directory); subprocess.Popen(database_argv(directory))
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

DATABASE_NEEDED = ("mariadbd", "slurmdbd", "sacctmgr", "sacct")
SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")
_COMMON = (
    "--no-defaults", "--user=root", "--skip-grant-tables", "--innodb-use-native-aio=0", "--performance-schema=OFF", "--innodb-buffer-pool-size=32M",
    "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900",
)  # fmt: skip


def bootstrap_database(directory: Path) -> None:
    """Make the system tables in `directory/mariadb`. Raises RuntimeError with what the server said."""
    data = directory / "mariadb"
    data.mkdir(mode=0o700)
    statements = "create database mysql;\nuse mysql;\n" + SYSTEM_TABLES.read_text()
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    argv = ["mariadbd", *_COMMON, "--bootstrap", f"--datadir={data}"]
    made = subprocess.run(argv, input=statements, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PATH": path})
    if made.returncode != 0:
        raise RuntimeError(f"mariadbd could not make its system tables: {made.stderr[-2000:]}")


def database_argv(directory: Path) -> tuple[str, ...]:
    """The server on the data that `bootstrap_database` has made."""
    return (
        "mariadbd", *_COMMON, f"--datadir={directory}/mariadb", "--skip-networking", f"--socket={directory}/mariadb.socket",
        f"--pid-file={directory}/mariadb.pid",
    )  # fmt: skip


def slurmdbd_configuration(directory: Path, port: int, munge_socket: str) -> str:
    """slurmdbd.conf; the server's socket is given by MYSQL_UNIX_PORT."""
    lines = [
        f"DbdHost={socket.gethostname()}", "DbdAddr=127.0.0.1", f"DbdPort={port}", "SlurmUser=root",
        "AuthType=auth/munge", f"AuthInfo=socket={munge_socket}",
        "StorageType=accounting_storage/mysql", "StorageHost=localhost", "StorageUser=slurm", "StoragePass=none", "StorageLoc=slurm",
        f"LogFile={directory}/slurmdbd.log", f"PidFile={directory}/slurmdbd.pid",
    ]  # fmt: skip
    return "\n".join([*lines, ""])
