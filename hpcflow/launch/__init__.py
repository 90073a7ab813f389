"""Configures, starts and tracks any program, on a laptop and on Slurm.

    from hpcflow import launch

    task = launch.Partial(train, model=launch.Config(Model, hidden=512), lr=3e-4)
    task.lr = "fast"            # ConfigError: train.lr: expected float, got str 'fast'

Invariant: importing it imports nothing of ours or of others (PEP 562): a name is looked up in its module when first used. It imports events, errors
and resources and nothing else of ours, and works without MPI and compiled extensions.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; the one of typing would import typing
if TYPE_CHECKING:
    from hpcflow.launch import cli as cli
    from hpcflow.launch.config.allow import allow as allow
    from hpcflow.launch.config.autoconvert import autoconvert as autoconvert
    from hpcflow.launch.config.buildable import Config as Config
    from hpcflow.launch.config.buildable import Partial as Partial
    from hpcflow.launch.config.buildable import UncheckedParameterWarning as UncheckedParameterWarning
    from hpcflow.launch.config.building import build as build
    from hpcflow.launch.config.building import check as check
    from hpcflow.launch.config.diff import diff as diff
    from hpcflow.launch.config.document import content_hash as content_hash
    from hpcflow.launch.config.document import targets_of as targets_of
    from hpcflow.launch.config.files import EditedFileWarning as EditedFileWarning
    from hpcflow.launch.config.files import dumps as dumps
    from hpcflow.launch.config.files import load as load
    from hpcflow.launch.config.files import loads as loads
    from hpcflow.launch.config.files import save as save
    from hpcflow.launch.config.overrides import override as override
    from hpcflow.launch.config.overrides import override_from_environment as override_from_environment
    from hpcflow.launch.config.overrides import sweep as sweep
    from hpcflow.launch.config.overrides import update as update
    from hpcflow.launch.config.script import Script as Script
    from hpcflow.launch.config.secret import Secret as Secret
    from hpcflow.launch.config.tree import broadcast as broadcast
    from hpcflow.launch.config.tree import clone as clone
    from hpcflow.launch.config.tree import history as history
    from hpcflow.launch.config.tree import walk as walk
    from hpcflow.launch.config.tree import where_set as where_set
    from hpcflow.launch.config.visualize import visualize as visualize
    from hpcflow.launch.environment import env as env
    from hpcflow.launch.executors.local import LocalExecutor as LocalExecutor
    from hpcflow.launch.executors.slurm import SlurmExecutor as SlurmExecutor
    from hpcflow.launch.executors.slurm_fields import SlurmFields as SlurmFields
    from hpcflow.launch.experiment.catalog import runs as runs
    from hpcflow.launch.experiment.experiment import Experiment as Experiment
    from hpcflow.launch.group import Step as Step
    from hpcflow.launch.one_task import map as map
    from hpcflow.launch.one_task import run as run
    from hpcflow.launch.packagers.git_archive import GitArchivePackager as GitArchivePackager
    from hpcflow.launch.packagers.hybrid import HybridPackager as HybridPackager
    from hpcflow.launch.packagers.pattern import PatternPackager as PatternPackager
    from hpcflow.launch.stop import STOP_CODE as STOP_CODE
    from hpcflow.launch.stop import on_stop as on_stop
    from hpcflow.launch.stop import should_stop as should_stop

_HOME = {
    "cli": "hpcflow.launch",  # the module itself
    "allow": "hpcflow.launch.config.allow",
    "autoconvert": "hpcflow.launch.config.autoconvert",
    "Config": "hpcflow.launch.config.buildable",
    "Partial": "hpcflow.launch.config.buildable",
    "UncheckedParameterWarning": "hpcflow.launch.config.buildable",
    "build": "hpcflow.launch.config.building",
    "check": "hpcflow.launch.config.building",
    "diff": "hpcflow.launch.config.diff",
    "content_hash": "hpcflow.launch.config.document",
    "targets_of": "hpcflow.launch.config.document",
    "EditedFileWarning": "hpcflow.launch.config.files",
    "dumps": "hpcflow.launch.config.files",
    "load": "hpcflow.launch.config.files",
    "loads": "hpcflow.launch.config.files",
    "save": "hpcflow.launch.config.files",
    "override": "hpcflow.launch.config.overrides",
    "override_from_environment": "hpcflow.launch.config.overrides",
    "sweep": "hpcflow.launch.config.overrides",
    "update": "hpcflow.launch.config.overrides",
    "Script": "hpcflow.launch.config.script",
    "Secret": "hpcflow.launch.config.secret",
    "broadcast": "hpcflow.launch.config.tree",
    "clone": "hpcflow.launch.config.tree",
    "history": "hpcflow.launch.config.tree",
    "walk": "hpcflow.launch.config.tree",
    "where_set": "hpcflow.launch.config.tree",
    "visualize": "hpcflow.launch.config.visualize",
    "LocalExecutor": "hpcflow.launch.executors.local",
    "SlurmExecutor": "hpcflow.launch.executors.slurm",
    "SlurmFields": "hpcflow.launch.executors.slurm_fields",
    "env": "hpcflow.launch.environment",
    "runs": "hpcflow.launch.experiment.catalog",
    "Experiment": "hpcflow.launch.experiment.experiment",
    "Step": "hpcflow.launch.group",
    "map": "hpcflow.launch.one_task",
    "run": "hpcflow.launch.one_task",
    "GitArchivePackager": "hpcflow.launch.packagers.git_archive",
    "HybridPackager": "hpcflow.launch.packagers.hybrid",
    "PatternPackager": "hpcflow.launch.packagers.pattern",
    "STOP_CODE": "hpcflow.launch.stop",
    "on_stop": "hpcflow.launch.stop",
    "should_stop": "hpcflow.launch.stop",
}

__all__ = [*_HOME]  # noqa: PLE0604 (the names of _HOME are strings)

if not TYPE_CHECKING:  # so that type checkers refuse unknown names

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'hpcflow.launch' has no attribute {name!r}; it exports {', '.join(_HOME)}")
        import importlib
        import sys

        if sys.platform == "win32":
            raise ImportError("hpcflow.launch submits from Linux and macOS; on Windows run it within WSL (`wsl --install` in a terminal of Windows)")
        value = importlib.import_module("hpcflow.launch.cli") if name == "cli" else getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
