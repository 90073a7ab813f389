"""Which targets a configuration file may name, and how a name becomes the object: from an allow-list, imported when it is built.

Invariant: a file grants itself nothing. A name resolves only if the user's or the site's settings, or code by `allow` or `load(..., allow=)`, list
its module (or a module above it) or itself; and the object found must say of itself, by `__module__` and `__qualname__`, that it is the one named. So
`mypkg.train:os.system` is refused though `mypkg.train` imports os. Nothing is imported before build or check.

    allow("mylib", "otherlib.models:Net")
"""

from __future__ import annotations

import builtins
import enum
import importlib
import re
import sys
from collections.abc import Iterable
from typing import Any

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import Buildable, State, annotation_of, configured, state_of
from hpcflow.launch.config.target import path_of

_SPELLING = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_ALWAYS = frozenset(f"builtins:{kind.__name__}" for kind in (bool, bytes, complex, dict, float, frozenset, int, list, range, set, slice, str, tuple))
_allowed: set[str] = set()


def allow(*targets: str) -> None:
    """Let configuration files of this process name these targets: `"mylib"` all of a module and the modules in it, `"mylib:Model"` one."""
    _allowed.update(_spelled(target) for target in targets)


def _spelled(target: str) -> str:
    if not isinstance(target, str) or not _SPELLING.fullmatch(target):
        raise ConfigError(f"{target!r} is neither a module (mylib.models) nor a target (mylib.models:Net)")
    return target


def require_allowed(path: str, extra: Iterable[str] = ()) -> None:
    """Raise ConfigError when neither settings nor code allow this target."""
    from hpcflow.launch.settings import settings

    module, separator, _ = path.partition(":")
    if not separator or not _SPELLING.fullmatch(path):
        raise ConfigError(f"{path!r} is no target; write module:name, such as mylib.models:Net")
    if path in _ALWAYS:
        return
    for entry in {*_allowed, *(_spelled(target) for target in extra), *(_spelled(target) for target in settings().allow)}:
        if entry == path or (":" not in entry and (module == entry or module.startswith(entry + "."))):
            return
    wanted = path if module.partition(".")[0] in sys.stdlib_module_names else module  # of Python's own modules never all
    raise ConfigError(
        f"the target {path} is not allowed: a file cannot name what it runs unless you allow it. "
        f'In code: launch.allow("{wanted}"); in your settings (~/.config/hpcflow/launch.toml): allow = ["{wanted}"]'
    )


def resolve(path: str) -> Any:
    """Import an allowed target. Raises ConfigError when it is not there or is another object's."""
    module_name, _, name = path.partition(":")
    if path in _ALWAYS:
        return getattr(builtins, name)
    module = sys.modules.get(module_name)
    if module is None:
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ConfigError(f"the target {path} cannot be imported: {error}") from error
    found: Any = module
    for step in name.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise ConfigError(f"the target {path} is not there: {found!r} has no {step!r}") from None
    own = _own_path(found)
    if own != path:
        raise ConfigError(f"the target {path} is refused: the object found there is {own}; a file must name it so")
    return found


def _own_path(found: Any) -> str:
    if isinstance(found, enum.Enum):
        return f"{path_of(type(found))}.{found.name}"
    return path_of(found) if hasattr(found, "__qualname__") else f"a {type(found).__name__}"


def is_imported(path: str) -> bool:
    """Whether the target's module has been imported, so that to look at it runs nothing."""
    module, _, name = path.partition(":")
    return path in _ALWAYS or name.partition(".")[0] in vars(sys.modules.get(module, object))


def resolve_node(config: Any) -> None:
    """Import the target of a Config that came from a file, and check the arguments that were waiting for it."""
    from hpcflow.launch.config.convert import from_file
    from hpcflow.launch.config.origin import within

    state = state_of(config)
    if state.target is not None:
        return
    target = resolve(state.path)
    if state.kind_path:
        kind = resolve(state.kind_path)
        if not (isinstance(kind, type) and issubclass(kind, Buildable)) or getattr(kind, "__hpcflow_target__", None) is not target:
            raise ConfigError(f"{state.kind_path} is no Config of {state.path}")
        object.__setattr__(config, "__class__", kind)
    state.target = target
    for name in [name for name in state.arguments if name in state.raw]:
        origin = next((change.origin for change in reversed(state.changes) if change.path == name), None)
        try:
            with within(origin):
                _settle(config, state, name, from_file)
        except ConfigError as error:
            state.target = None
            raise ConfigError(f"{error} ({origin})" if origin is not None and str(origin) not in str(error) else str(error)) from None
    state.raw.clear()


def _settle(config: Any, state: State, name: str, convert: Any) -> None:
    from hpcflow.launch.config.buildable import checked, is_plain_default

    annotation = annotation_of(config, name)
    value = _resolved_refs(state.arguments[name])
    value = configured(convert(value, annotation))
    try:
        value = checked(config, name, value, annotation)
    except ConfigError:
        if not is_plain_default(config, name, value):
            raise
    state.arguments[name] = value


def _resolved_refs(value: Any) -> Any:
    from hpcflow.launch.config.document import Ref

    if isinstance(value, Ref):
        return resolve(value.path)
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_resolved_refs(part) for part in value)
    return {_resolved_refs(key): _resolved_refs(part) for key, part in value.items()} if type(value) is dict else value
