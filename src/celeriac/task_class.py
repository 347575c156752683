"""Makes the class of a task out of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from celeriac.core.options import TASK_OPTIONS, check_name
from celeriac.task import Task

_WITHOUT_EFFECT = frozenset({"app", "filter", "lazy", "shared"})
"""Options of Celery's decorator that say how it works inside."""


def check_task_options(names: Iterable[str]) -> None:
    """Raise UnknownOption for a name that must be a typo of a task option."""
    for name in names:
        check_name(name, TASK_OPTIONS, "task option")


def task_class(
    function: Callable[..., Any], name: str, base: type[Task[Any, Any]], bind: bool, options: Mapping[str, Any]
) -> type[Task[Any, Any]]:
    """A subclass of `base` whose body is `function`; with `bind` it is a method. `options` become attributes."""
    short_name = getattr(function, "__name__", "task")
    attributes = {
        "name": name,
        "run": function if bind else staticmethod(function),
        "__wrapped__": staticmethod(function),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": getattr(function, "__qualname__", short_name),
        "abstract": False,
        **{option: value for option, value in options.items() if option not in _WITHOUT_EFFECT},
    }
    return type(short_name, (base,), attributes)
