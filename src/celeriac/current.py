"""The app that is meant where none is named, and the tasks that every app shares.

`current_app` and `current_task` stand for whatever is current at the moment they are used.
"""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celeriac.model.context import get_current_run, get_worker_run

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.task import Task

_here: ContextVar[Celeriac | None] = ContextVar("celeriac_app", default=None)
_default: Celeriac | None = None
_make_default: Callable[[], Celeriac] | None = None
_apps: weakref.WeakSet[Celeriac] = weakref.WeakSet()
_shared: list[Callable[[Celeriac], object]] = []


def offer_default(make: Callable[[], Celeriac]) -> None:
    """`make` makes the app that is used when a program has made none."""
    global _make_default
    _make_default = make


def get_current_app() -> Celeriac:
    """The current app: of this context, else the last one made current in this process, else a new default one."""
    global _default
    app = _here.get() or _default
    if app is None:
        assert _make_default is not None
        app = _default = _make_default()
    return app


def has_current_app() -> bool:
    """True if a program has made an app current."""
    return (_here.get() or _default) is not None


def set_current(app: Celeriac) -> None:
    """`app` is current in this context, and in every other that has none of its own."""
    global _default
    _here.set(app)
    _default = app


def set_default(app: Celeriac) -> None:
    """`app` is current wherever nothing else is."""
    global _default
    _default = app


def unset(app: Celeriac) -> None:
    """`app` is no longer current anywhere here."""
    global _default
    if _here.get() is app:
        _here.set(None)
    if _default is app:
        _default = None


def join(app: Celeriac) -> None:
    """A new app: it gets every shared task, those of later too."""
    _apps.add(app)
    for make in tuple(_shared):
        make(app)


def share(make: Callable[[Celeriac], object]) -> None:
    """Make a task in every app there is and will be."""
    _shared.append(make)
    for app in list(_apps):
        make(app)


def get_current_task() -> Task[Any, Any] | None:
    """The innermost task that is running here, be it called as a plain function; None outside of tasks."""
    run = get_current_run()
    return None if run is None else _as_task(run.task)


def get_current_worker_task() -> Task[Any, Any] | None:
    """The task that the worker began; None outside of tasks."""
    run = get_worker_run()
    return None if run is None else _as_task(run.task)


def _as_task(task: Any) -> Task[Any, Any]:
    found: Task[Any, Any] = task
    return found


class Proxy:
    """Stands for the object that `find` returns at the moment of use."""

    __slots__ = ("__weakref__", "_find")

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> Any:
        return object.__getattribute__(self, "_find")()

    @property
    def __class__(self) -> type:
        """That of the object: `isinstance` sees through."""
        return type(self._get_current_object())

    @__class__.setter
    def __class__(self, cls: type) -> None:
        raise AttributeError("the class of a stand-in cannot be set")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __dir__(self) -> list[str]:
        return dir(self._get_current_object())


def _proxy(find: Callable[[], Any]) -> Any:
    return Proxy(find)


current_app: Celeriac = _proxy(get_current_app)
current_task: Task[Any, Any] = _proxy(get_current_task)


def task_named(name: str) -> Task[Any, Any]:
    """The current app's task of that name; how a pickled task is found again."""
    return get_current_app().tasks[name]
