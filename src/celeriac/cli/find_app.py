"""What ``-A`` means: from a name to the app. Knows nothing of the command line, so that children may use it too.

The order of looking is Celery's: ``module:attribute``; else the last part as an attribute of the module before it,
else the whole as a module; in a module its ``app``, its ``celery``, its sub-module ``celery``, its first app.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any

from celeriac.app import Celeriac
from celeriac.model.errors import ImproperlyConfigured

_NAMES = ("app", "celery")
_MISSING = object()
_LISTED_MAX = 8
"""How many names of a module an error lists: more would hide what it says."""


class AppNotFound(ImproperlyConfigured):
    """There is no app under that name.

    :param message: what was looked for and what is there
    :param hint: what to write instead
    :param details: the traceback, if a module of the user failed
    """

    def __init__(self, message: str, hint: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


@contextmanager
def here_first() -> Iterator[None]:
    """For a while, import from the working directory before anything else."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def find_app(path: str) -> Celeriac:
    """The app that `path` names. Raises AppNotFound; what a module of the user raises is in its details."""
    path = path.strip()
    _check_form(path)
    with here_first():
        if ":" in path:
            module_name, _, attribute = path.partition(":")
            return _named(_load(module_name), attribute)
        found = _attribute_or_module(path)
        return _in_module(found) if isinstance(found, ModuleType) else _checked(found)


def _check_form(path: str) -> None:
    if path.endswith(".py") or os.sep in path:
        module = path.removesuffix(".py").strip("./").replace(os.sep, ".")
        raise AppNotFound("this is the name of a file", f"Write the name of the module: -A {module}")
    if not all(path.partition(":")[0].split(".")):
        raise AppNotFound("this is no name of a module", "Write the module that holds your app: -A proj")


def _attribute_or_module(path: str) -> Any:
    parent, _, last = path.rpartition(".")
    if not parent:
        return _load(path)
    found = getattr(_load(parent), last, _MISSING)
    return _load(path) if found is _MISSING else found


def _load(name: str) -> ModuleType:
    """Import a module; say whether it is missing itself, or failed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not _is_part_of(exc.name, name):
            raise _failed(name, exc) from exc
        raise _missing(exc.name, name) from exc
    except (Exception, SystemExit) as exc:
        raise _failed(name, exc) from exc


def _is_part_of(part: str, name: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _missing(part: str, name: str) -> AppNotFound:
    parent, _, last = part.rpartition(".")
    if not parent:
        return AppNotFound(
            f"there is no module {part!r} in {os.getcwd()} nor elsewhere on Python's path",  # noqa: PTH109
            "Change to the project's directory, or give it with --workdir.",
        )
    module = sys.modules.get(parent)
    what = f"module {parent!r} has no attribute and no sub-module {last!r}"
    if module is None:
        return AppNotFound(f"there is no module {name!r}", "See that the name is right.")
    return AppNotFound(f"{what}; it has {_listing(module)}", _advice(module, parent))


def _failed(name: str, exc: BaseException) -> AppNotFound:
    if isinstance(exc, ModuleNotFoundError):
        why = f"it imports {exc.name!r}, which is not there"
        hint = (
            f"Install {(exc.name or '').partition('.')[0]!r} in this environment ({sys.prefix}), or correct the import."
        )
    else:
        why = f"its import raised {type(exc).__name__}: {exc}"
        hint = "Correct the module; the traceback above shows the line."
    return AppNotFound(f"module {name!r} is there, but {why}", hint, users_traceback(exc))


def users_traceback(exc: BaseException) -> str:
    """The traceback as text, without the frames that led to the user's own first line."""
    return "".join(traceback.format_exception(type(exc), exc, _users_part(exc.__traceback__)))


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of importing at its top: the user's own lines are left."""
    first = tb
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if file not in {__file__, importlib.__file__} and not file.startswith("<frozen importlib"):
            return tb
        tb = tb.tb_next
    return first


def _named(module: ModuleType, attribute: str) -> Celeriac:
    """``module:attribute``; dots in the attribute go on."""
    if not attribute:
        return _in_module(module)
    found: Any = module
    for name in attribute.split("."):
        found = getattr(found, name, _MISSING)
        if found is _MISSING:
            raise AppNotFound(
                f"module {module.__name__!r} has no attribute {attribute!r}; it has {_listing(module)}",
                _advice(module, module.__name__),
            )
    return _in_module(found) if isinstance(found, ModuleType) else _checked(found)


def _checked(found: Any) -> Celeriac:
    if isinstance(found, Celeriac):
        return found
    kind = type(found)
    if kind.__module__.partition(".")[0] == "celery":
        raise AppNotFound(
            "this is an app of the package `celery`",
            "Change its import: from celeriac import Celery",
        )
    hint = "Name the app itself, as in -A proj:app"
    if callable(found):
        hint = "Call it in the module and name the result, as in: app = make_app()"
    raise AppNotFound(f"this is {kind.__module__}.{kind.__qualname__}, no Celeriac app", hint)


def _in_module(module: ModuleType) -> Celeriac:
    for name in _NAMES:
        found = getattr(module, name, None)
        if isinstance(found, Celeriac):
            return found
    if hasattr(module, "__path__"):
        below = _celery_below(module)
        if below is not None:
            return below
    for value in tuple(vars(module).values()):
        # Its true type: a stand-in such as `current_app` claims to be an app, and would make one up.
        if issubclass(type(value), Celeriac):
            assert isinstance(value, Celeriac)
            return value
    for name in _NAMES:
        if type(getattr(module, name, None)).__module__.partition(".")[0] == "celery":
            return _checked(getattr(module, name))
    raise AppNotFound(
        f"module {module.__name__!r} holds no Celeriac app; it has {_listing(module)}",
        f"Write `app = Celeriac({module.__name__!r})` in it, or name the app's module and attribute: -A module:name",
    )


def _celery_below(module: ModuleType) -> Celeriac | None:
    name = f"{module.__name__}.celery"
    try:
        below = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and _is_part_of(exc.name, name):
            return None
        raise _failed(name, exc) from exc
    except (Exception, SystemExit) as exc:
        raise _failed(name, exc) from exc
    return _in_module(below)


def _listing(module: ModuleType) -> str:
    names = sorted(name for name in vars(module) if not name.startswith("_"))
    if not names:
        return "no public names"
    shown = ", ".join(names[:_LISTED_MAX])
    return f"{shown} and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else shown


def _advice(module: ModuleType, name: str) -> str:
    apps = [key for key, value in vars(module).items() if issubclass(type(value), Celeriac)]
    if apps:
        return f"Write -A {name}:{apps[0]}"
    return "See that the name is right: -A module, -A module:attribute or -A package.module"
