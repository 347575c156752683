"""Which queue a call goes to: routers are tried in order, the first that answers wins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Any

from celeriac.core.options import require_text
from celeriac.model.errors import ImproperlyConfigured, QueueNotFound

RouterFunction = Callable[..., Any]
"""``route(name, args, kwargs, options, task=None, **kw)``: a queue name, options, or None for "not mine"."""


def queue_name(value: Any, where: str) -> str:
    """The name of a queue given as text or as an object with a `name`. Raises TypeError or ValueError naming `where`."""
    name = value if isinstance(value, str) else getattr(value, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{where}: {value!r} is no queue; give its name")
    require_text(where, name)
    return name


class Router:
    """The routing settings of one app, settled.

    :param routes: `task_routes` with dotted names already resolved: a mapping, a function, or a list of those
    :param queues: `task_queues`
    :param default_queue: where everything else goes
    :param create_missing: False refuses queues that `queues` does not name
    """

    def __init__(self, routes: Any, queues: Any, default_queue: str, create_missing: bool = True) -> None:
        self.default_queue = default_queue
        self.create_missing = create_missing
        self._keys = _queues_by_key(queues)
        self.queues: tuple[str, ...] = tuple(dict.fromkeys(self._keys.values())) or (default_queue,)
        self._routers: list[RouterFunction | _Table] = [_router(item) for item in _as_list(routes)]
        self.is_static = all(isinstance(router, _Table) for router in self._routers)
        """True if routes depend on nothing but the task's name."""

    def route(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task: Any = None,
    ) -> Mapping[str, Any]:
        """The call options that the first answering router gives for this call; empty when none answers."""
        for router in self._routers:
            answer = (
                router.look_up(name)
                if isinstance(router, _Table)
                else router(name, args, kwargs or {}, options or {}, task=task)
            )
            if answer is not None:
                return _as_options(answer, name)
        return {}

    def queue_of(self, options: Mapping[str, Any]) -> str:
        """The queue that settled call options mean. Raises QueueNotFound, TypeError."""
        value = options.get("queue")
        if value is not None:
            name = queue_name(value, "queue")
        elif options.get("routing_key"):
            key = str(options["routing_key"])
            name = self._keys.get(key, key)
        else:
            return self.default_queue
        if not self.create_missing and name not in self.queues:
            raise QueueNotFound(
                f"queue {name!r} is not in task_queues ({', '.join(self.queues)}) and "
                "task_create_missing_queues is False; add it there or choose one of these"
            )
        return name


class _Table:
    """Routes by name: exact names first, then patterns in order."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self._exact: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for name, answer in pairs:
            if isinstance(name, re.Pattern):
                self._patterns.append((name, answer))
            elif "*" in name or "?" in name:
                self._patterns.append((re.compile(translate(name)), answer))
            else:
                self._exact.setdefault(name, answer)

    def look_up(self, name: str) -> Any:
        """The answer for this task name, or None."""
        if name in self._exact:
            return self._exact[name]
        return next((answer for pattern, answer in self._patterns if pattern.match(name)), None)


def _as_list(routes: Any) -> list[Any]:
    if routes is None:
        return []
    return list(routes) if isinstance(routes, (list, tuple)) else [routes]


def _router(item: Any) -> RouterFunction | _Table:
    if isinstance(item, Mapping):
        return _Table(item.items())
    if isinstance(item, (list, tuple)):
        return _Table(item)
    route_for_task = getattr(item, "route_for_task", None)
    if route_for_task is not None:
        return lambda name, args, kwargs, *_, **__: route_for_task(name, args, kwargs)
    if callable(item):
        return item  # type: ignore[no-any-return]
    raise ImproperlyConfigured(f"setting task_routes: {item!r} is no router; give a mapping or a function")


def _as_options(answer: Any, name: str) -> Mapping[str, Any]:
    if isinstance(answer, Mapping):
        return {key: value for key, value in answer.items() if value is not None}
    return {"queue": queue_name(answer, f"task_routes, route of {name}")}


def _queues_by_key(queues: Any) -> dict[str, str]:
    """Routing key to queue name, for every queue of `task_queues`."""
    found: dict[str, str] = {}
    items = queues.items() if isinstance(queues, Mapping) else [(None, queue) for queue in queues or ()]
    for given, value in items:
        name = str(given) if given is not None else queue_name(value, "setting task_queues")
        key = value.get("routing_key") if isinstance(value, Mapping) else getattr(value, "routing_key", None)
        found.setdefault(name, name)
        if key:
            found.setdefault(str(key), name)
    return found
