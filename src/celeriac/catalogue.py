"""Which file speaks to which technology: adapters by URL scheme. The only place that loads adapters."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any

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

_DISABLED = frozenset({"disabled", "disabled://"})


def open_broker_class(url: str, options: Mapping[str, Any]) -> Broker:
    """A new, closed broker for this address.

    Raises BrokerMisconfigured, naming what can be used, when nothing speaks its scheme or its driver is missing.
    """
    path = _find(BROKERS, "celeriac.brokers", url)
    if path is None:
        raise BrokerMisconfigured(_unknown("broker_url", url, BROKERS))
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
    path = aliases.get(scheme) or _find(BACKENDS, "celeriac.backends", url) or (scheme if "." in scheme else None)
    if path is None:
        raise BackendMisconfigured(_unknown("result_backend", url, BACKENDS))
    made: Backend = _load(path, url, BackendMisconfigured)(url, options)
    return made


def can_keep_results(url: str) -> bool:
    """True if the technology behind a broker's address is a result backend, too."""
    return _find(BACKENDS, "celeriac.backends", url) is not None


_importing = threading.RLock()
# A fork in the middle of an import would leave the module locked in the child for ever: it waits until the import is over.
os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release)


def _find(known: Mapping[str, str], group: str, url: str) -> str | None:
    scheme = parse_url(url).scheme
    if scheme in known:
        return known[scheme]
    from importlib.metadata import entry_points

    found = [entry.value for entry in entry_points(group=group) if entry.name == scheme]
    return found[0] if found else None


def _load(path: Any, url: str, error: type[BrokerMisconfigured | BackendMisconfigured]) -> Any:
    if not isinstance(path, str):
        return path
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        with _importing:
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise error(f"cannot load {path} for {mask_url(url)}: {exc}") from exc


def _unknown(field: str, url: str, known: Mapping[str, str]) -> str:
    schemes = ", ".join(f"{scheme}://" for scheme in sorted(known))
    return f"{field}: nothing here speaks {parse_url(url).scheme}:// ({mask_url(url)}); this version has {schemes}"
