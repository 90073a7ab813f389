"""autoconvert: a plain function that makes objects becomes one that makes Configs of them.

Invariant: the function's own statements run; the calls in it that would make an object (of a class, or by a Python function) are written down as
Config instead, and those of builtins, methods, exceptions, enums, paths and dates are made. Only the function's own source is read, and nothing but
its calls is changed. (The idea is that of auto_config in the library Fiddle.)

    @autoconvert
    def small() -> Model:
        return Model(hidden=64, optimizer=Optimizer(lr=1e-3))

    small()         # Config(Model, hidden=64, optimizer=Config(Optimizer, lr=0.001))
"""

from __future__ import annotations

import ast
import builtins
import datetime
import decimal
import enum
import functools
import inspect
import pathlib
import textwrap
import types
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from hpcflow.errors import ConfigError
from hpcflow.launch.config.buildable import Buildable, Config, Partial, configured, make, set_argument, state_of

P = ParamSpec("P")
T = TypeVar("T")

_REAL_KINDS: Any = (
    BaseException, enum.Enum, pathlib.PurePath, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, tuple, Buildable,
)  # fmt: skip
_CALL = "__hpcflow_call__"


@overload
def autoconvert(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def autoconvert(*, partial: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def autoconvert(function: Any = None, /, *, partial: bool = False) -> Any:
    """Make a function return a Config (with `partial=True` a Partial) of what it would return.

    Raises:
        ConfigError: the source of the function cannot be read, or, when called, it returns something that no call in it made.
    """
    if function is None:
        return functools.partial(_converted, partial=partial)
    return _converted(function, partial=partial)


def _converted(function: Any, partial: bool) -> Any:
    rewritten = _rewritten(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = configured(rewritten(*args, **kwargs))
        if not isinstance(result, Buildable):
            raise ConfigError(
                f"{function.__qualname__} returned {type(result).__name__}, and autoconvert wants an object made by a call in it, such as Model(...)"
            )
        return _as_partial(result) if partial and not isinstance(result, Partial) else result

    wrapper.__hpcflow_autoconvert__ = True  # type: ignore[attr-defined]
    return wrapper


def _as_partial(config: Any) -> Any:
    result = make(Partial, state_of(config).target)
    for name, value in state_of(config).arguments.items():
        set_argument(result, name, value)
    return result


def _call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What a call in a converted function does."""
    if function is functools.partial:
        wrapped: Any = args[0]
        return make(Partial, functools.partial(wrapped, *args[1:], **kwargs))
    if _is_real(function):
        return function(*args, **kwargs)
    return make(Config, function, *args, **kwargs)


def _is_real(function: Any) -> bool:
    if hasattr(function, "__hpcflow_autoconvert__") or isinstance(function, types.MethodType | types.BuiltinFunctionType | types.MethodWrapperType):
        return True
    if isinstance(function, type):
        return function.__module__ == builtins.__name__ or issubclass(function, _REAL_KINDS)
    return not isinstance(function, types.FunctionType)


class _Calls(ast.NodeTransformer):
    """f(x) -> __hpcflow_call__(f, x), outside of nested functions, which run later."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("super", "locals", "globals"):
            return node
        return ast.copy_location(ast.Call(ast.copy_location(ast.Name(_CALL, ast.Load()), node), [node.func, *node.args], node.keywords), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node


def _rewritten(function: Any) -> Callable[..., Any]:
    if not isinstance(function, types.FunctionType):
        raise ConfigError(f"autoconvert takes a function, not {type(function).__name__} {function!r}")
    try:
        lines, first = inspect.getsourcelines(function)
        definition = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise ConfigError(f"autoconvert reads the source of {function.__qualname__} and cannot: {error}; define it with `def` in a file") from None
    if not isinstance(definition, ast.FunctionDef):
        raise ConfigError(f"autoconvert takes a function defined with `def`, and {function.__qualname__} is not")
    ast.increment_lineno(definition, first - 1)
    calls = _Calls()
    definition.body = [calls.visit(statement) for statement in definition.body]
    definition.decorator_list = []
    definition.args.defaults, definition.args.kw_defaults = (
        [ast.Constant(None)] * len(definition.args.defaults),
        [None if default is None else ast.Constant(None) for default in definition.args.kw_defaults],
    )
    for argument in ast.walk(definition.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    definition.returns = None
    # Its free variables and __hpcflow_call__ are those of a function around it; the real cells are put in below. Nothing of this is executed.
    names = [_CALL, *function.__code__.co_freevars]
    around = ast.FunctionDef("around", ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, []), [definition], [])
    if hasattr(ast, "TypeAlias"):  # 3.12
        around.type_params = []  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    code = _code_named(_code_named(compile(module, function.__code__.co_filename, "exec"), "around"), definition.name)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)) | {_CALL: types.CellType(_call)}
    result = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, tuple(cells[name] for name in code.co_freevars))
    result.__kwdefaults__ = function.__kwdefaults__
    return result


def _code_named(code: types.CodeType, name: str) -> types.CodeType:
    return next(part for part in code.co_consts if isinstance(part, types.CodeType) and part.co_name == name)
