"""Config and Partial: a call that is written down now and made later, each of its arguments checked when it is set.

Invariant: whatever is in `arguments` has passed the check of its annotation, by whichever way it came (constructor, attribute, nested attribute,
file, command line); lists and dicts, which can change under us, are checked again before build and save. Every change has an Origin. Setting and
reading call nothing of the target; a default made by a factory (a dataclass's) is made when it is first looked at.

    config = Config(Model, hidden=512)      # for type checkers a Model
    config.hidden = "x"                     # ConfigError: Model.hidden: expected int, got str 'x'
    build(config)                           # Model(hidden=512)

A name that is both a parameter of the target and a method here (`diff`, `clone`) is the parameter; the functions of `hpcflow.launch` do the same
as the methods.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, Self, TypeVar

from hpcflow.errors import ConfigError, near_names
from hpcflow.launch.config.check import check_value, shown, why_unchecked
from hpcflow.launch.config.origin import Change, Origin, here, within
from hpcflow.launch.config.stands import spelled
from hpcflow.launch.config.target import UNSET, Parameter, Signature, path_of, resolve_hints, signature_of

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class UnsetError(ConfigError, AttributeError):
    """A parameter that has neither a value nor a default was read, or a name that is no parameter."""


@dataclasses.dataclass
class State:
    """What a Config knows, apart from its parameters so that their names are free."""

    target: Callable[..., Any] | None  # None: named by a file, and not imported yet
    path: str  # module:name as the file says; "" for a target that was given as an object
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    defaulted: set[str] = dataclasses.field(default_factory=set)  # those of `arguments` that are only the target's default
    raw: set[str] = dataclasses.field(default_factory=set)  # those that came from a file and wait for the target to be checked
    kind_path: str = ""  # a typed subclass that the file names
    changes: list[Change] = dataclasses.field(default_factory=list)


def state_of(config: Any) -> State:
    """The state of a Config or Partial. Raises ConfigError for anything else."""
    if not isinstance(config, Buildable):
        raise ConfigError(f"expected a Config or Partial, got {shown(config)}")
    state: State = object.__getattribute__(config, "__dict__")["__hpcflow__"]
    return state


def target_of(config: Any) -> Callable[..., Any] | None:
    """The function or class; None while it is named by a file and not imported."""
    return state_of(config).target


def name_of(config: Any) -> str:
    """The target's name for messages."""
    state = state_of(config)
    return signature_of(state.target).name if state.target is not None else state.path


def parameters_of(config: Any) -> tuple[Mapping[str, Parameter], Signature]:
    """The parameters that may be set, those of a typed subclass in place of the target's, and the target's signature."""
    target = target_of(config)
    signature = signature_of(target) if target is not None else Signature("", {}, Any, extra=Any)
    kind: Any = type(config)
    narrowed = _fields_of(kind) if type(config) not in (Config, Partial) else {}
    return ({**signature.parameters, **narrowed} if narrowed else signature.parameters), signature


@functools.lru_cache(maxsize=1024)
def _fields_of(kind: Any) -> dict[str, Parameter]:
    """Parameters annotated in the body of a typed subclass."""
    classes = [base for base in reversed(kind.__mro__) if issubclass(base, Buildable) and base not in (Buildable, Config, Partial)]
    own = {name for base in classes for name in inspect.get_annotations(base)}
    hints, unresolved = resolve_hints(kind)
    if unresolved.keys() & own:
        raise ConfigError(
            f"{kind.__name__}: annotations cannot be resolved: {'; '.join(unresolved[name] for name in sorted(unresolved.keys() & own))}"
        )
    target = getattr(kind, "__hpcflow_target__", None)
    behind = signature_of(target).parameters if target is not None else {}
    fields: dict[str, Parameter] = {}
    for name in hints:
        if name in own:
            default = next((base.__dict__[name] for base in reversed(classes) if name in base.__dict__), UNSET)
            plain = behind.get(name, Parameter(name, Any, inspect.Parameter.KEYWORD_ONLY))
            factory = plain.default_factory if default is UNSET else None
            fields[name] = Parameter(name, hints[name], plain.kind, plain.default if default is UNSET else default, factory, plain.help)
    return fields


def annotation_of(config: Any, name: str) -> Any:
    """The annotation of one parameter. Raises ConfigError with near names for what is no parameter."""
    parameters, signature = parameters_of(config)
    if name in parameters:
        return parameters[name].annotation
    if signature.extra is UNSET:
        raise ConfigError(_unknown(config, name, parameters))
    return signature.extra


def _unknown(config: Any, name: str, parameters: Mapping[str, Parameter]) -> str:
    near = near_names(name, parameters)
    known = f"; it has {', '.join(parameters)}" if parameters else "; it has none"
    return f"{name_of(config)} has no parameter {name!r}{near or known}"


def set_argument(config: Any, name: str, value: Any, *, default: bool = False) -> None:
    """Check a value, store it and record where it came from."""
    state, origin = state_of(config), here()
    annotation = annotation_of(config, name)
    try:
        if state.target is None:
            state.raw.add(name)
        else:
            value = checked(config, name, configured(value), annotation)
            state.raw.discard(name)
    except ConfigError as error:
        raise (error if origin.kind == "code" else ConfigError(f"{error} ({origin})")) from None
    state.changes.append(Change(name, state.arguments.get(name, UNSET), value, origin))
    state.arguments[name] = value
    (state.defaulted.add if default else state.defaulted.discard)(name)


def checked(config: Any, name: str, value: Any, annotation: Any) -> Any:
    """The value as stored under this name; ConfigError when it does not fit. What cannot be checked is let through (see `unchecked`)."""
    if why_unchecked(annotation):
        return value
    return check_value(value, annotation, f"{name_of(config)}.{name}")


def unchecked(config: Any) -> dict[str, str]:
    """Parameters whose annotation cannot be resolved or checked, and why: these take any value."""
    parameters, signature = parameters_of(config)
    reasons = dict(signature.unresolved)
    for name, parameter in parameters.items():
        reason = "" if name in reasons else why_unchecked(parameter.annotation)
        if reason:
            reasons[name] = reason
    return reasons


class UncheckedParameterWarning(UserWarning):
    """An annotation cannot be resolved or checked, so this parameter takes any value."""


_warned: set[int] = set()


def _warn_unchecked(config: Any) -> None:
    key = id(target_of(config))
    if key not in _warned:
        _warned.add(key)
        for name, reason in unchecked(config).items():
            warnings.warn(
                f"{name_of(config)}.{name} takes any value, its annotation cannot be checked: {reason}", UncheckedParameterWarning, stacklevel=4
            )


def get_argument(config: Any, name: str) -> Any:
    """The value or the default of a parameter; a default that can change (a list, a Config) is from now on the Config's own."""
    state = state_of(config)
    if name in state.arguments:
        return state.arguments[name]
    parameters, _ = parameters_of(config)
    if name not in parameters:
        raise UnsetError(_unknown(config, name, parameters))
    parameter = parameters[name]
    if parameter.required:
        raise UnsetError(f"{name_of(config)}.{name} is not set and has no default")
    if parameter.default is UNSET and parameter.default_factory is None:
        return ()  # *args
    with within(Origin("default", name_of(config))):
        value = configured(parameter.make_default())
    if isinstance(value, list | dict | set | Buildable):
        state.arguments[name] = value = _copied(value)
        state.defaulted.add(name)
    return value


def missing_arguments(config: Any) -> str:
    """The parameters without value and default, as `lr (float) and steps (int)`; empty when there are none."""
    parameters, _ = parameters_of(config)
    missing = [parameter for name, parameter in parameters.items() if parameter.required and name not in state_of(config).arguments]
    return " and ".join(f"{parameter.name} ({spelled(parameter.annotation)})" for parameter in missing)


def is_plain_default(config: Any, name: str, value: Any) -> bool:
    """Whether the value is the target's own default, which may be of another type than its annotation says (`x: int = None`)."""
    parameters, _ = parameters_of(config)
    if name not in state_of(config).defaulted or name not in parameters or parameters[name].required:
        return False
    try:
        return bool(configured(parameters[name].make_default()) == value)
    except Exception:  # arrays and the like do not compare to one truth
        return False


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict | set) else value


def effective(config: Any) -> dict[str, Any]:
    """Every parameter that has a value, defaults included, in the target's order."""
    state, (parameters, _) = state_of(config), parameters_of(config)
    values = {name: get_argument(config, name) for name, p in parameters.items() if name in state.arguments or not p.required}
    return values | {name: value for name, value in state.arguments.items() if name not in values}


def configured(value: Any) -> Any:
    """Ready-made instances of plain dataclasses, in lists and dicts too, as Configs of them: their fields are checked when they are set."""
    kind = type(value)
    if kind in (list, tuple):
        return kind(configured(part) for part in value)
    if kind is dict:
        return {key: configured(part) for key, part in value.items()}
    if not dataclasses.is_dataclass(kind) or not _is_plain(kind):
        return value
    if set(vars(value) if hasattr(value, "__dict__") else ()) - {field.name for field in dataclasses.fields(kind)}:
        return value
    config = object.__new__(Config)
    config.__dict__["__hpcflow__"] = State(kind, "")
    for field in dataclasses.fields(kind):
        if hasattr(value, field.name):
            set_argument(config, field.name, getattr(value, field.name))
    return config


def _is_plain(kind: type) -> bool:
    parameters: Any = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.init or hasattr(kind, "__post_init__") or kind.__module__.startswith("hpcflow.launch."):
        return False
    own = kind.__dict__.get("__init__")
    generated = own is not None and getattr(own, "__qualname__", "").endswith("__init__") and "__dataclass_fields__" in kind.__dict__
    return generated and all(field.init for field in dataclasses.fields(kind)) and "InitVar" not in str(vars(kind).get("__annotations__", ""))


class Buildable:
    """What Config and Partial have in common."""

    def __init__(self, target: Any, /, *args: Any, **kwargs: Any) -> None:
        self.__dict__["__hpcflow__"] = State(*_unfolded(target))
        if isinstance(target, functools.partial):
            args, kwargs = (*target.args, *args), {**target.keywords, **kwargs}
        _warn_unchecked(self)
        for name, value in _bound(self, args, kwargs).items():
            set_argument(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            holder = object.__getattribute__(self, "__dict__")
            if "__hpcflow__" in holder and (name in holder["__hpcflow__"].arguments or name in parameters_of(self)[0]):
                return get_argument(self, name)
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "__hpcflow__" not in object.__getattribute__(self, "__dict__"):
            raise AttributeError(name)
        return get_argument(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        set_argument(self, name, value)

    def __delattr__(self, name: str) -> None:
        reset(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *parameters_of(self)[0]})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Buildable) or type(other) is not type(self):
            return NotImplemented
        from hpcflow.launch.config.diff import diff

        return not diff(self, other)

    __hash__ = None  # type: ignore[assignment]

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        parts = [
            *([name_of(self)] if type(self) in (Config, Partial) else []),
            *(f"{name}={value!r}" for name, value in state_of(self).arguments.items() if name not in state_of(self).defaulted),
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    def validate(self) -> None:
        """For typed subclasses: raise ValueError when values do not go together. Called when it is made, and before build and save."""

    def build(self) -> Any:
        """See `hpcflow.launch.build`."""
        from hpcflow.launch.config.building import build

        return build(self)

    def check(self) -> None:
        """See `hpcflow.launch.check`."""
        from hpcflow.launch.config.building import check

        check(self)

    def clone(self, **changes: Any) -> Self:
        """See `hpcflow.launch.clone`."""
        from hpcflow.launch.config.tree import clone

        return clone(self, **changes)

    def walk(self, **functions: Callable[[Any], Any]) -> None:
        """See `hpcflow.launch.walk`."""
        from hpcflow.launch.config.tree import walk

        walk(self, **functions)

    def broadcast(self, **values: Any) -> None:
        """See `hpcflow.launch.broadcast`."""
        from hpcflow.launch.config.tree import broadcast

        broadcast(self, **values)

    def diff(self, other: Any) -> Any:
        """See `hpcflow.launch.diff`."""
        from hpcflow.launch.config.diff import diff

        return diff(self, other)

    def visualize(self, **options: Any) -> str:
        """See `hpcflow.launch.visualize`."""
        from hpcflow.launch.config.visualize import visualize

        return visualize(self, **options)

    def history(self) -> list[Change]:
        """See `hpcflow.launch.history`."""
        from hpcflow.launch.config.tree import history

        return history(self)


def spelled_target(config: Any) -> str:
    """The target as a file names it, or its repr where it has no path."""
    state = state_of(config)
    if state.target is None:
        return state.path
    try:
        return path_of(state.target)
    except ConfigError:
        return repr(state.target)


def reset(config: Any, name: str) -> None:
    """Take a value back: the default counts again."""
    state = state_of(config)
    annotation_of(config, name)
    if name in state.arguments:
        state.changes.append(Change(name, state.arguments.pop(name), UNSET, here()))
        state.defaulted.discard(name)
        state.raw.discard(name)


def _unfolded(target: Any) -> tuple[Any, str]:
    if isinstance(target, functools.partial):
        target = target.func
    if isinstance(target, Buildable):
        raise ConfigError(f"{target!r} is already a {type(target).__name__}; use clone() for a copy with other values")
    signature_of(target)  # raises for what cannot be called
    return target, ""


def _bound(config: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Positional arguments by name; a rest that goes to *args under its name, as a tuple."""
    parameters, signature = parameters_of(config)
    bound: dict[str, Any] = {}
    positional = [p for p in parameters.values() if p.kind in (p.kind.POSITIONAL_ONLY, p.kind.POSITIONAL_OR_KEYWORD)]
    for parameter, value in zip(positional, args, strict=False):
        bound[parameter.name] = value
    rest = args[len(positional) :]
    if rest:
        variadic = next((p.name for p in parameters.values() if p.kind is p.kind.VAR_POSITIONAL), None)
        if variadic is None:
            if not parameters and signature.extra is Any:
                raise ConfigError(f"{signature.name} does not tell its parameters: give them by name, or take a function of your own that calls it")
            raise ConfigError(f"{signature.name} takes {len(positional)} positional arguments, {len(args)} were given")
        bound[variadic] = rest
    for name, value in kwargs.items():
        if name in bound:
            raise ConfigError(f"{signature.name}.{name} was given twice, by position and by name")
        bound[name] = value
    return bound


@typing.dataclass_transform(kw_only_default=True)
class Config(Buildable, Generic[T_co]):
    """A call of `target` that is made by `build`. Type checkers see the call itself: they check the arguments, and take it for the result.

    A typed subclass names its target and narrows parameters:

        class SmallModel(Config[Model]):
            hidden: Annotated[int, Le(512)] = 128

            def validate(self) -> None:
                if self.hidden % 8:
                    raise ValueError("hidden is a multiple of 8")
    """

    if typing.TYPE_CHECKING:

        def __new__(cls, target: Callable[P, T_co], /, *args: P.args, **kwargs: P.kwargs) -> T_co: ...  # type: ignore[misc]
    else:

        def __init__(self, *args, **kwargs):
            kind = type(self)
            if kind is not Config:
                args = (kind.__hpcflow_target__, *args)
            elif not args:
                raise ConfigError("Config takes a function or class first: Config(Model, hidden=512)")
            super().__init__(*args, **kwargs)
            if kind is not Config:
                from hpcflow.launch.config.building import run_validate

                run_validate(self)

    def __init_subclass__(cls, *, target: Callable[..., Any] | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = target or next((a for base in cls.__dict__.get("__orig_bases__", ()) for a in typing.get_args(base) if isinstance(a, type)), None)
        given = given or getattr(cls, "__hpcflow_target__", None)
        if given is None:
            raise ConfigError(
                f"{cls.__name__} names no target: class {cls.__name__}(Config[Model]), or class {cls.__name__}(Config, target=function)"
            )
        type.__setattr__(cls, "__hpcflow_target__", staticmethod(given))
        signature = signature_of(given)
        for name in inspect.get_annotations(cls):
            if name not in signature.parameters and signature.extra is UNSET:
                raise ConfigError(f"{cls.__name__}: {signature.name} has no parameter {name!r}{near_names(name, signature.parameters)}")


class Partial(Buildable, Generic[T_co]):
    """A function with some or all of its arguments, called later; built, a `functools.partial`. The task of a job is a Partial.

    Type checkers check the arguments as those of a call. For a Partial that leaves required ones open, write
    `Partial.of(functools.partial(f, x=1))`, which they check as far as it goes.
    """

    def __init__(self, target: Callable[P, T_co], /, *args: P.args, **kwargs: P.kwargs) -> None:
        super().__init__(target, *args, **kwargs)

    @classmethod
    def of(cls, partial: functools.partial[T_co]) -> Partial[T_co]:
        """The Partial of a `functools.partial`, whose arguments type checkers know."""
        config: Partial[T_co] = make(cls, partial)
        return config

    def __call__(self, *args: Any, **kwargs: Any) -> T_co:
        """Build it and call the result."""
        from hpcflow.launch.config.building import build

        result: T_co = build(self)(*args, **kwargs)
        return result


def make(kind: type, target: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`kind(target, ...)` for code of ours, which knows neither target nor keywords when it is type-checked."""
    maker: Any = kind
    return maker(target, *args, **kwargs)
