"""Which file speaks to which technology: adapters by URL scheme. The only place that loads adapters."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from celeriac.model.errors import BackendMisconfigured, BrokerMisconfigured
from celeriac.model.ports import Backend, Broker
from celeriac.model.urls import mask_url, parse_url

BROKERS: Mapping[str, str] = {
    "memory": "celeriac.brokers.memory:MemoryBroker",
    "sqlite": "celeriac.brokers.sqlite:SqliteBroker",
}
"""URL scheme to class of the brokers that come with this package."""

BACKENDS: Mapping[str, str] = {
    "memory": "celeriac.backends.memory:MemoryBackend",
    "sqlite": "celeriac.backends.sqlite:SqliteBackend",
}
"""URL scheme to class of the result backends that come with this package."""

EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(("redis", "rediss", "sentinel", "valkey"), "redis"),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), "amqp"),
    **dict.fromkeys(("postgresql", "mysql", "mariadb", "db+postgresql", "db+mysql", "sqla"), "sqlalchemy"),
    "sqs": "sqs",
    "mongodb": "mongodb",
}
"""URL scheme to the extra of this distribution that has its driver, for releases that provide it."""

BROKER_GROUP = "celeriac.brokers"
BACKEND_GROUP = "celeriac.backends"
"""Groups of entry points by which other distributions add theirs: ``scheme = module:class``."""

_DISABLED = frozenset({"disabled", "disabled://"})


def open_broker_class(url: str, options: Mapping[str, Any]) -> Broker:
    """A new, closed broker for this address.

    Raises BrokerMisconfigured, naming what can be used, when nothing speaks its scheme or its driver is missing.
    """
    path = _find(BROKERS, BROKER_GROUP, url, BrokerMisconfigured)
    if path is None:
        raise BrokerMisconfigured(_unknown("broker_url", url, BROKERS, BROKER_GROUP))
    broker: Broker = _load(path, url, BrokerMisconfigured)(url, options)
    return broker


def open_backend_class(url: Any, options: Mapping[str, Any], aliases: Mapping[str, Any]) -> Backend | None:
    """A new, closed backend for an address, an alias, a dotted class path or a class; None when disabled.

    Raises BackendMisconfigured like `open_broker_class`.
    """
    if url in _DISABLED:
        return None
    if not isinstance(url, str):
        backend: Backend = url(f"{url.__module__}.{url.__qualname__}", options)
        return backend
    scheme = parse_url(url).scheme if "://" in url or "." not in url else url
    path = (
        aliases.get(scheme)
        or _find(BACKENDS, BACKEND_GROUP, url, BackendMisconfigured)
        or (scheme if "." in scheme else None)
    )
    if path is None:
        raise BackendMisconfigured(_unknown("result_backend", url, BACKENDS, BACKEND_GROUP))
    made: Backend = _load(path, url, BackendMisconfigured)(url, options)
    return made


def can_keep_results(url: str) -> bool:
    """True if the technology behind a broker's address is a result backend, too."""
    return _find(BACKENDS, BACKEND_GROUP, url, BackendMisconfigured) is not None


_importing = threading.RLock()
# A fork in the middle of an import would leave the module locked in the child for ever: it waits until the import is over.
os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


_Misconfigured = type[BrokerMisconfigured] | type[BackendMisconfigured]


class _Declared(NamedTuple):
    """An adapter of another distribution, by its entry point."""

    scheme: str
    path: str
    whose: str
    """The distribution and its version."""


def _declared(group: str) -> list[_Declared]:
    """What other distributions declare. The look goes through all that is installed, so it is for unknown schemes only."""
    from importlib.metadata import entry_points

    return [
        _Declared(one.name, one.value, f"{one.dist.name} {one.dist.version}" if one.dist else "an unknown distribution")
        for one in entry_points(group=group)
    ]


def _find(known: Mapping[str, str], group: str, url: str, error: _Misconfigured) -> str | _Declared | None:
    """Where the class for an address is. Ours cannot be replaced; of others there must be one."""
    scheme = parse_url(url).scheme
    if scheme in known:
        return known[scheme]
    found = [each for each in _declared(group) if each.scheme == scheme]
    if len({each.path for each in found}) > 1:
        several = " and ".join(sorted(f"{each.whose} ({each.path})" for each in found))
        raise error(f"{scheme}:// is declared by several installed distributions, {several}: uninstall all but one")
    return found[0] if found else None


def _load(place: Any, url: str, error: _Misconfigured) -> Any:
    """The class at a path, of a declared adapter, or given as such. Raises `error`, naming what to install or mend."""
    path, whose = (place.path, f" of {place.whose}") if isinstance(place, _Declared) else (place, "")
    if not isinstance(path, str):
        return path
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        with _importing:
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        advice = _install(url.partition("://")[0]) if isinstance(exc, ImportError) and not whose else ""
        raise error(f"cannot load {path}{whose} for {mask_url(url)}: {exc}{advice and '; ' + advice}") from exc


def _unknown(field: str, url: str, known: Mapping[str, str], group: str) -> str:
    scheme = parse_url(url).scheme
    there = [f"{name}://" for name in sorted(known)] + [f"{each.scheme}:// ({each.whose})" for each in _declared(group)]
    advice = _install(scheme) or f"another distribution may add it (entry point {group})"
    return f"{field}: nothing installed speaks {scheme}:// ({mask_url(url)}); there is {', '.join(there)}; {advice}"


def _install(scheme: str) -> str:
    """What to install for a scheme, if this release has an extra for it."""
    from importlib.metadata import PackageNotFoundError, metadata

    extra = EXTRAS.get(scheme)
    try:
        provided = metadata("celeriac").get_all("Provides-Extra") or []
    except PackageNotFoundError:  # run from a checkout
        provided = []
    return f"pip install 'celeriac[{extra}]'" if extra in provided else ""
