"""SessionConfig: every option of a session and of the engine, resolved once from four sources.

Later sources win: defaults < TOML file (table `[hpcflow]`) < `HPCFLOW_*` variables < keyword arguments of `Session`. Invariants: nothing is
guessed: an unknown or ill-typed option is refused with near names and with the source it came from; sizes are bytes (`"512MB"` = 512 000 000,
`"1GiB"` = 2**30), durations are seconds.

    config = resolve_config({"workers": 4}, {"HPCFLOW_MEMORY_BUDGET": "2GiB"})
    config.memory_budget                # 2147483648
    config.where("memory_budget")       # "variable HPCFLOW_MEMORY_BUDGET"
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcflow.errors import ConfigError, near_names
from hpcflow.options import Parser, any_object, choice, communicator, duration, optional, paths, positive, size, switch, text, whole

OTHER_VARIABLES: dict[str, str] = {
    "HPCFLOW_CONFIG": "path of the TOML file",
    "HPCFLOW_SIMD": "highest SIMD level the kernels may use",
    "HPCFLOW_SANITIZE": "build the extensions with sanitizers",
    "HPCFLOW_DEBUG": "build the extensions without optimization, with assertions",
    "HPCFLOW_EXPLAIN_ONLY": "print plans and run nothing",
    "HPCFLOW_TEST_LIMIT_S": "hang limit of one multi-rank test",
    "HPCFLOW_JOB_KEY": "set in a tracked job: its key",
    "HPCFLOW_ATTEMPT": "set in a tracked job: number of the attempt",
    "HPCFLOW_ATTEMPT_DIRECTORY": "set in a tracked job: where its records are",
    "HPCFLOW_STOP_FILE": "set in a tracked job: there when the job is to stop",
    "HPCFLOW_CODE": "set in a tracked job with packaged code: its folder",
}
"""`HPCFLOW_*` variables that are no session option, and what they do."""


def _option(default: Any, parse: Parser, doc: str) -> Any:
    return field(default=default, metadata={"parse": parse, "doc": doc})


@dataclass(frozen=True)
class SessionConfig:
    """All options, checked. `None` means: decided when the session starts (from the machine, the MPI world, the data)."""

    workers: int | None = _option(None, optional(whole(1)), "workers; in-process ones unless started under MPI, where it must equal the world's")
    threads: int | None = _option(None, optional(whole(1)), "task threads of one worker; None: 1 (Polars uses the rank's cores)")
    memory_budget: int | None = _option(None, optional(size), "memory budget of one worker, bytes; None: a share of the cgroup's, Slurm's or node's")
    scratch: tuple[str, ...] | None = _option(None, optional(paths), "directories for spilled blocks, node-local ones first; None: TMPDIR or /tmp")
    policy: object = _option("default", any_object("a policy's name or a Policy"), "compiler passes to run: a policy's name or a Policy")
    master: str = _option("dedicated", choice("dedicated", "shared"), "whether rank 0 only coordinates (dedicated) or hosts a worker too (shared)")
    comm: object = _option(None, communicator, "communicator to run on; None: the world's; by keyword argument only")
    launch: object = _option(None, any_object("a launch request"), "how to start ranks of its own; None: use the ranks that are there")
    placement: object = _option(
        "dynamic",
        any_object("a strategy's name or a function"),
        "who runs what: dynamic, round_robin, first_fit, data_locality, or a strategy",
    )
    bind: str = _option("none", choice("auto", "none"), "CPU binding of worker processes; auto: where nobody has bound them and all fit; none: never")
    event_log: str | None = _option(None, optional(text), "file that receives the JSONL event log; None: no file")
    progress: str = _option("auto", choice("auto", "plain", "rich", "off"), "progress on stderr; auto: rich on a terminal, plain lines elsewhere")
    partitions_per_worker: int = _option(4, whole(1), "partitions of a shuffle, per worker")
    target_split_bytes: int = _option(64 << 20, positive(size), "aimed size of one source split")
    target_partition_bytes: int | None = _option(None, optional(positive(size)), "largest partition worked on whole; None: from the budget")
    broadcast_threshold_bytes: int = _option(32 << 20, size, "a join side estimated below this is broadcast; 0 never broadcasts by size")
    chunk_bytes: int = _option(2 << 20, positive(size), "aimed size of one exchange message")
    window_bytes: int = _option(16 << 20, positive(size), "bytes in flight per rank before producers wait")
    shared_memory: int | None = _option(
        None, optional(size), "bytes per rank that other ranks of its node read in place; None: a quarter of the memory budget; 0: none"
    )
    compression: str = _option("auto", choice("auto", "none", "lz4", "zstd"), "compression of exchanged frames; auto: the compiler decides per edge")
    spill_compression: str = _option("lz4", choice("none", "lz4", "zstd"), "compression of spilled blocks")
    task_attempts: int = _option(
        3, whole(1), "how often a task is tried in all when reading or writing fails for a reason that may pass (docs/failures.md); 1: once"
    )
    step_timeout_s: float = _option(600.0, duration, "a step without progress for this long is aborted; 0 never")
    debug_collectives: bool = _option(
        False, switch, "compare every collective of user code on all ranks before it runs: number, name, root, call site"
    )
    collective_timeout_s: float = _option(
        300.0, duration, "with debug_collectives: a rank that has not come to a collective for this long is named, with all stacks; 0 never"
    )
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    def where(self, option: str) -> str:
        """Which source set `option`: `"default"`, `"file hpcflow.toml"`, `"variable HPCFLOW_X"` or `"keyword argument"`."""
        _known(option, "where()")
        return dict(self.sources).get(option, "default")

    def describe(self) -> str:
        """One line an option: name, value and where it came from."""
        return "\n".join(f"{name} = {getattr(self, name)!r}  ({self.where(name)})" for name in OPTIONS)


OPTIONS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(SessionConfig) if f.name != "sources"}
"""Every option's field; `.default`, and `.metadata["doc"]` for one line of help."""

_KEYWORD_ONLY = ("comm",)


def load_config(keywords: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> SessionConfig:
    """`resolve_config` for a process: reads its environment and the file that `config=` or `HPCFLOW_CONFIG` names.

    Raises:
        ConfigError: the file is missing or no TOML, or an option is wrong.
    """
    environ = os.environ if environ is None else environ
    name = keywords.get("config") or environ.get("HPCFLOW_CONFIG")
    if not name:
        return resolve_config(keywords, environ)
    origin = "config=" if keywords.get("config") else "HPCFLOW_CONFIG"
    try:
        file_text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, TypeError) as error:
        message = f"cannot read the configuration file {name!r} ({origin}): {error}; give the path of a TOML file with a table [hpcflow]"
        raise ConfigError(message) from None
    return resolve_config(keywords, environ, file_text, str(name))


def resolve_config(
    keywords: Mapping[str, Any], environ: Mapping[str, str] | None = None, file_text: str | None = None, file_name: str = "hpcflow.toml"
) -> SessionConfig:
    """Merge the sources into one checked configuration. Pure: reads nothing but its arguments.

    Args:
        keywords: keyword arguments of `Session`; those that are None count as not given, `config` is left to `load_config`.
        environ: environment variables; only those named `HPCFLOW_*` are looked at, empty ones count as not set.
        file_text: the TOML file's content; other tables than `[hpcflow]` are not looked at.
        file_name: what to call the file in messages.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    given = {k: v for k, v in keywords.items() if v is not None and k != "config"}
    layers = [(_from_file(file_text, file_name), f"file {file_name}"), (_from_environ(environ or {}), "variable"), (given, "keyword argument")]
    for layer, source in layers:
        for name, value in layer.items():
            origin = f"variable HPCFLOW_{name.upper()}" if source == "variable" else source
            values[name] = _parse(name, value, origin)
            sources[name] = origin
    return SessionConfig(**values, sources=tuple(sorted(sources.items())))


def _parse(name: str, value: Any, origin: str) -> Any:
    option = _known(name, origin)
    if name in _KEYWORD_ONLY and origin != "keyword argument":
        raise ConfigError(f"option {name!r} ({origin}) is an object of the program: give it as keyword argument of Session")
    try:
        return option.metadata["parse"](value)
    except ValueError as error:
        meaning = f"It is: {option.metadata['doc']}; default {option.default!r}"
        raise ConfigError(f"option {name!r} ({origin}): {error}, got {value!r}. {meaning}") from None


def _known(name: str, origin: str) -> dataclasses.Field[Any]:
    if name not in OPTIONS:
        near = near_names(name, OPTIONS) or "."
        raise ConfigError(f"unknown option {name!r} ({origin}){near} Options are: {', '.join(OPTIONS)}")
    return OPTIONS[name]


def _from_file(file_text: str | None, file_name: str) -> dict[str, Any]:
    if file_text is None:
        return {}
    try:
        tables = tomllib.loads(file_text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file {file_name}: {error}") from None
    table = tables.get("hpcflow")
    if not isinstance(table, dict):
        near = near_names("hpcflow", tables) or "."
        raise ConfigError(f"configuration file {file_name} has no table [hpcflow]{near} Put the options below a line [hpcflow]")
    return table


def _from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith("HPCFLOW_") or variable.startswith("HPCFLOW_LAUNCH_") or variable in OTHER_VARIABLES or value == "":
            continue  # HPCFLOW_LAUNCH_* are the launch layer's
        name = variable.removeprefix("HPCFLOW_").lower()
        if name not in OPTIONS:
            valid = [f"HPCFLOW_{option.upper()}" for option in OPTIONS] + list(OTHER_VARIABLES)
            near = near_names(variable, valid) or "."
            raise ConfigError(f"unknown variable {variable}{near} Unset it, or see the options: {', '.join(OPTIONS)}")
        found[name] = value
    return found
