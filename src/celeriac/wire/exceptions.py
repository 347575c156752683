"""Exceptions as data: what a result record says of them, and back.

Our own exceptions are written under the names Celery writes, and those names are read back to ours.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from celeriac.model import errors
from celeriac.model.errors import DecodeError, SecurityError, UnpickleableExceptionWrapper
from celeriac.wire.saferepr import saferepr

_OWN_MODULE = "celeriac.exceptions"
_TEXT_CHARS_MAX = 4096
_NAME_CHARS_MAX = 200

_FOREIGN_NAMES: Mapping[type[BaseException], tuple[str, str]] = {
    errors.CeleriacError: ("celery.exceptions", "CeleryError"),
    **{
        cls: ("celery.exceptions", cls.__name__)
        for cls in (
            errors.AlwaysEagerIgnored,
            errors.BackendError,
            errors.Ignore,
            errors.ImproperlyConfigured,
            errors.MaxRetriesExceededError,
            errors.NotRegistered,
            errors.Reject,
            errors.Retry,
            errors.SecurityError,
            errors.TaskError,
            errors.TaskPredicate,
            errors.TaskRevokedError,
            errors.TimeoutError,
            errors.WorkerShutdown,
            errors.WorkerTerminate,
        )
    },
    **{
        cls: ("kombu.exceptions", cls.__name__)
        for cls in (errors.ContentDisallowed, errors.DecodeError, errors.EncodeError, errors.OperationalError)
    },
    **{
        cls: ("billiard.exceptions", cls.__name__)
        for cls in (
            errors.SoftTimeLimitExceeded,
            errors.Terminated,
            errors.TimeLimitExceeded,
            errors.WorkerLostError,
        )
    },
}

_OURS: dict[tuple[str, str], type[BaseException]] = {}
for _value in vars(errors).values():
    if isinstance(_value, type) and issubclass(_value, BaseException) and _value.__module__ == _OWN_MODULE:
        _OURS[_OWN_MODULE, _value.__name__] = _value
        _OURS[errors.__name__, _value.__name__] = _value
_OURS.update({name: cls for cls, name in _FOREIGN_NAMES.items()})
# Celery re-exports these in its own module, and older releases wrote them under that name.
for _value in (errors.SoftTimeLimitExceeded, errors.TimeLimitExceeded, errors.WorkerLostError, errors.Terminated):
    _OURS["celery.exceptions", _value.__name__] = _value
_OURS["celery.exceptions", "OperationalError"] = errors.OperationalError


def name_of(cls: type[BaseException]) -> tuple[str, str]:
    """Module and qualified name under which a class is written."""
    known = _FOREIGN_NAMES.get(cls)
    if known is not None:
        return known
    return str(cls.__module__), cls.__qualname__


def exception_record(exc: BaseException, encodable: Callable[[Any], object]) -> dict[str, Any]:
    """The record of an exception: type, arguments, module. Arguments that `encodable` refuses become text.

    Never raises: an exception whose arguments cannot even be shown is recorded by its name.
    """
    if isinstance(exc, UnpickleableExceptionWrapper):
        return {"exc_type": exc.exc_cls_name, "exc_message": [exc.text], "exc_module": exc.exc_module}
    module, name = name_of(type(exc))
    return {
        "exc_type": name,
        "exc_message": [_encodable_or_text(arg, encodable) for arg in _args_of(exc)],
        "exc_module": module,
    }


def _encodable_or_text(value: Any, encodable: Callable[[Any], object]) -> Any:
    try:
        encodable(value)
    except Exception:  # noqa: BLE001 - hooks are user code
        return saferepr(value, _TEXT_CHARS_MAX)
    return value


def portable(exc: BaseException) -> BaseException:
    """The exception if it survives pickling, else a stand-in that keeps its name and text."""
    try:
        pickle.loads(pickle.dumps(exc))  # our own bytes
    except Exception:  # noqa: BLE001 - reduce hooks and constructors are user code
        args = [saferepr(arg, _TEXT_CHARS_MAX) for arg in _args_of(exc)]
        module, name = name_of(type(exc))
        return UnpickleableExceptionWrapper(module, name, args, text_of(exc))
    return exc


def text_of(exc: BaseException) -> str:
    """Name and arguments, for people. Never raises."""
    return f"{type(exc).__name__}({', '.join(saferepr(arg) for arg in _args_of(exc))})"


def _args_of(exc: BaseException) -> tuple[Any, ...]:
    try:
        return tuple(exc.args)
    except Exception:  # noqa: BLE001 - `args` may be a property of the user
        return ()


def exception_from(record: Any) -> BaseException:
    """The exception that a record tells of.

    If the module is loaded and has an exception class of that name, one of it is made from the arguments;
    nothing is ever imported. If its constructor refuses the arguments (it wants others than it gave to
    ``super().__init__``) it is left out: the exception can be caught by its class and has its text, but not
    the attributes that the constructor would set. Otherwise a new class of that name stands for it.

    Raises SecurityError if the name is that of something else than an exception, DecodeError if the record
    has no type.
    """
    if isinstance(record, BaseException):
        return record
    if isinstance(record, str):
        return Exception(record)
    if not isinstance(record, dict):
        raise DecodeError(f"an exception record is a {type(record).__name__}, not a mapping")
    name, module = record.get("exc_type"), record.get("exc_module")
    if not isinstance(name, str) or not name:
        raise DecodeError("an exception record has no 'exc_type'")
    cls = _class_of(module if isinstance(module, str) else "", name)
    message = record.get("exc_message")
    args = message if isinstance(message, (list, tuple)) else () if message is None else (message,)
    for make in (cls, partial(cls.__new__, cls)):
        try:
            made: Any = make(*args)
            _ = str(made), repr(made)
        except Exception:  # noqa: BLE001, S112 - constructors are user code
            continue
        if isinstance(made, BaseException):
            return made
    return Exception(f"{cls.__name__}({', '.join(saferepr(arg) for arg in args)})")


def _class_of(module: str, name: str) -> type[BaseException]:
    ours = _OURS.get((module, name))
    if ours is not None:
        return ours
    found: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        # Looked up without `getattr`: a module's own hook could import something.
        space = vars(found) if isinstance(found, (ModuleType, type)) else {}
        if part not in space:
            return _stand_in(module, name[:_NAME_CHARS_MAX])
        found = space[part]
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise SecurityError(
        f"refused a result whose exception is {module[:80]!r}.{name[:80]!r}, which is no exception class"
    )


@lru_cache(maxsize=256)
def _stand_in(module: str, name: str) -> type[Exception]:
    """A class of that name, the same each time as long as it is remembered."""
    plain = name.encode("utf-8", "replace").decode("utf-8").replace("\0", "?").rpartition(".")[2] or "Exception"
    return type(plain, (Exception,), {"__module__": module or __name__, "__qualname__": plain})
