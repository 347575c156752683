"""One store per file and process, and what happens to all of them when the process forks."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress

from celeriac.model.ids import random_id
from celeriac.stores.faults import StoreFault
from celeriac.stores.sqlite import SqliteStore
from celeriac.stores.sqlite_link import Link

_stores: weakref.WeakValueDictionary[str, SqliteStore] = weakref.WeakValueDictionary()
_lock = threading.Lock()
# Links that were closed, with their locks held, for the fork that is under way.
_parked: list[Link] = []


def store_at(path: str, timeout_s: float, *, durable: bool) -> SqliteStore:
    """The store of that file in this process; made if there is none. The strictest wishes of all users count."""
    with _lock:
        store = _stores.get(path)
        if store is None:
            store = _stores[path] = SqliteStore(path, timeout_s, durable)
            # A store that was never closed must not leave its connections to the garbage collector.
            weakref.finalize(store, _close_links, (store.main, store.beat))
        store.be_strict(timeout_s, durable)
        return store


def _close_links(links: tuple[Link, ...]) -> None:
    for link in links:
        with suppress(*StoreFault):
            link.close()


def _before_fork() -> None:
    for store in list(_stores.values()):
        _parked.extend(link for link in (store.main, store.beat) if link.before_fork())


def _after_in_parent() -> None:
    while _parked:
        _parked.pop().after_fork_in_parent()


def _after_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _parked.clear()
    for store in list(_stores.values()):
        store.forget_parent(random_id())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
