"""Imports what an app names: modules of tasks, routers, time zones."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from datetime import timezone, tzinfo
from typing import Any

from celeriac.core.route import Router
from celeriac.model.errors import ImproperlyConfigured
from celeriac.settings_source import resolve


class Discovery:
    """One request to look for task modules in packages.

    :param packages: names, or a function that returns them when tasks are loaded
    :param related_name: module looked for in each; None: the packages themselves
    """

    def __init__(self, packages: Iterable[str] | Callable[[], Iterable[str]] | None, related_name: str | None) -> None:
        self.packages = packages
        self.related_name = related_name

    def load(self) -> None:
        """Import what is there. A package without such a module is passed over; errors inside modules come through."""
        packages = self.packages() if callable(self.packages) else self.packages
        for package in packages or ():
            _import_related(package, self.related_name)


def _import_related(package: str, related_name: str | None) -> None:
    importlib.import_module(package)
    if related_name is None:
        return
    name = f"{package}.{related_name}"
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # `package` is a plain module
        found = False
    if found:
        importlib.import_module(name)


def resolved_routes(routes: Any) -> Any:
    """`task_routes` with dotted names of routers replaced by what they name. Raises ImproperlyConfigured."""
    if isinstance(routes, str):
        routes = [routes]
    if not isinstance(routes, (list, tuple)):
        return routes
    return [_router(item) if isinstance(item, str) else item for item in routes]


def _router(name: str) -> Any:
    try:
        router = resolve(name)
    except (ImportError, AttributeError) as exc:
        raise ImproperlyConfigured(f"setting task_routes: cannot import router {name!r}: {exc}") from exc
    if isinstance(router, type) and not isinstance(router, Mapping):
        return router()
    return router


def make_router(conf: Mapping[str, Any]) -> Router:
    """Where calls go by these settings. Raises ImproperlyConfigured."""
    return Router(
        resolved_routes(conf["task_routes"]),
        conf["task_queues"],
        conf["task_default_queue"],
        bool(conf["task_create_missing_queues"]),
    )


def zone_of(name: Any, utc: bool) -> tzinfo | None:
    """The zone of that name; without one UTC, or None (the machine's own) when `utc` is False.

    Raises ImproperlyConfigured for a name that no zone has.
    """
    if name is None:
        return timezone.utc if utc else None
    if isinstance(name, tzinfo):
        return name
    if name in {"UTC", "utc"}:
        return timezone.utc
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(str(name))
    except (KeyError, ValueError, OSError) as exc:
        raise ImproperlyConfigured(
            f"setting timezone: {name!r} is no known time zone; write it like Europe/London"
        ) from exc
