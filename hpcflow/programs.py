"""Programs: the front door of distributed mode, beside `session.py`. Every rank runs `execute(ctx)`.

    class Pi(hf.Program):
        def execute(self, ctx):
            inside = sample(seed=ctx.rank)
            return ctx.comm.allreduce(inside)

    Pi().run()                    # mpirun -n 4 python job.py: on the 4 ranks;   python job.py: on one in-process rank
    Pi().run(workers=4)           # without MPI: 4 ranks as threads of this process

    @hf.program                   # the same of a function; its further parameters are arguments of run
    def pi(ctx, samples=1000): ...

    pi.run(samples=10**6)

Invariant: `run` is collective where there are several processes: every rank calls it, and no rank returns from it before `execute` has returned on
all of them. It gives what `execute` returned on rank 0; on the other processes None.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from hpcflow.bsp.context import Context
from hpcflow.config import OPTIONS, load_config
from hpcflow.errors import ConfigError
from hpcflow.events.log import EventLog
from hpcflow.launch.launchers.environment import check_world, detect
from hpcflow.runtime.cluster import mpi_library
from hpcflow.runtime.distributed import Member, ProgramRun, member_over, run_in_process, run_on_mpi, world_member
from hpcflow.runtime.endings import told_by_rank_0

_PROGRAM_OPTIONS = ("arguments", "config")


def _check_parameters(function: Callable[..., Any], name: str, own: int) -> None:
    """Refuses parameters that `run` could not tell from options; the first `own` ones (self, ctx) are not looked at."""
    named = [p.name for p in list(inspect.signature(function).parameters.values())[own:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    taken = [name for name in named if name in OPTIONS or name in _PROGRAM_OPTIONS]
    if taken:
        raise ConfigError(f"program {name}: parameter {taken[0]!r} is named as an option of run is; give it another name")


def _split(function: Callable[..., Any], keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Keywords of `run`: (for `execute`, options, words for ctx.arguments)."""
    parameters = inspect.signature(function).parameters.values()
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    known = {*OPTIONS, *_PROGRAM_OPTIONS}
    own = {name: value for name, value in keywords.items() if name in named or (any_name and name not in known)}
    options = {name: value for name, value in keywords.items() if name not in own and name != "arguments"}
    given = keywords.get("arguments")
    return own, options, tuple(map(str, sys.argv[1:] if given is None else given))


class Program(ABC):
    """A program that every rank runs. Subclass it and give it `execute`; what `__init__` takes is yours.

    Its further parameters are filled from the arguments of `run`; they must not be named as an option is.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "execute" in vars(cls):
            _check_parameters(cls.execute, cls.__qualname__, 2)

    @abstractmethod
    def execute(self, ctx: Context, *arguments: Any, **keywords: Any) -> Any:
        """What this rank does. `ctx` is its `hpcflow.bsp.context.Context`."""

    @property
    def name(self) -> str:
        """For reports and the event log."""
        return type(self).__qualname__

    @property
    def _function(self) -> Callable[..., Any]:
        """What is called with ctx first."""
        return self.execute

    def run(self, *values: Any, **keywords: Any) -> Any:
        """Run `execute(ctx, ...)` on every rank; collective under mpirun and srun.

        Args:
            values: passed to `execute` behind ctx.
            keywords: parameters of `execute` by name; options (`workers`, `comm`, `scratch`, `event_log`, `step_timeout_s`, `debug_collectives`, ...,
                see `hpcflow.config.SessionConfig`); `config`, path of a TOML file; `arguments`, words for `ctx.arguments` (default: `sys.argv[1:]`).

        Returns:
            What `execute` returned on rank 0. On processes of other ranks: None.

        Raises:
            ConfigError, LaunchError: a wrong option or launch.
            BaseException: in-process, the first failure of a rank. Over MPI a failing rank reports and ends its process, and the launcher the others.
        """
        outcome = self._run(values, keywords)
        return outcome[0] if outcome is not None else None

    def run_all(self, *values: Any, **keywords: Any) -> list[Any] | None:
        """As `run`, and gives what `execute` returned on every rank, in rank order (pickled on its way). On processes of other ranks than 0: None."""
        return self._run(values, keywords, every=True)

    def __call__(self, *values: Any, **keywords: Any) -> Any:
        """`run`."""
        return self.run(*values, **keywords)

    def _run(self, values: tuple[Any, ...], keywords: Mapping[str, Any], every: bool = False) -> list[Any] | None:
        hint = detect(os.environ)
        with told_by_rank_0(hint.rank), contextlib.ExitStack() as stack:
            own, options, words = _split(self._function, keywords)
            config = load_config(options)
            if config.launch is not None:
                raise ConfigError("a program does not start ranks itself: leave launch out, and use mpirun, srun or `hpcflow run --mode distributed`")
            member: Member | None = None
            if config.comm is not None:
                member = stack.enter_context(member_over(config.comm))
            elif hint.launched or hint.slurm_step_tasks not in (None, 1):
                member = world_member()
                check_world(hint, member.engine.size, mpi_library())
            if member is not None and config.workers not in (None, member.engine.size):
                raise ConfigError(
                    f"workers={config.workers} was asked for ({config.where('workers')}), and this MPI world has {member.engine.size} ranks: leave "
                    "workers out, or start as many"
                )
            events = EventLog(config.event_log if member is None or member.engine.rank == 0 else None, job=f"{os.getpid():x}-{time.time_ns():x}")
            stack.callback(events.close)
            run = ProgramRun(self.name, lambda ctx: self._function(ctx, *values, **own), words, config)
            prepared = stack.pop_all()
        with prepared:
            if member is not None:
                return run_on_mpi(run, member, events, every)
            results = run_in_process(run, events)
            return results if every else results[:1]


def program(function: Callable[..., Any]) -> FunctionProgram:
    """Make a program of `function(ctx, ...)`: a decorator."""
    return FunctionProgram(function)


class FunctionProgram(Program):
    """A function as a program. Use `@hf.program`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        _check_parameters(function, function.__qualname__, 1)
        self.function = function
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def execute(self, ctx: Context, *arguments: Any, **keywords: Any) -> Any:
        return self.function(ctx, *arguments, **keywords)

    @property
    def name(self) -> str:
        return self.function.__qualname__

    @property
    def _function(self) -> Callable[..., Any]:
        return self.function
