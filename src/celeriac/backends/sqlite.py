"""Results in a SQLite file, beside the broker of that file: ``sqlite:///results.db``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.model.errors import BackendMisconfigured, BackendUnavailable
from celeriac.model.facts import BackendFacts
from celeriac.model.message import Record
from celeriac.stores import sqlite_results
from celeriac.stores.sqlite_files import path_of
from celeriac.stores.sqlite_shared import store_at

DEFAULT_TIMEOUT_S = 4.0
_DURABILITIES = ("process", "power")


class SqliteBackend:
    """Backend and Waiter on one SQLite file. Options: ``connect_timeout_s``, ``durability``."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        path = path_of(url)
        durability = options.get("durability", "process")
        if durability not in _DURABILITIES:
            raise BackendMisconfigured(f"durability={durability!r} is unknown; use one of {_DURABILITIES}")
        self._store = store_at(
            path, float(options.get("connect_timeout_s", DEFAULT_TIMEOUT_S)), durable=durability == "power"
        )
        self._is_open = False
        self._facts = BackendFacts(
            name="sqlite",
            shared=True,
            durability=durability,
            expires=True,
            pushes=True,
            store_id=f"sqlite://{path}",
        )

    @property
    def facts(self) -> BackendFacts:
        """What this backend can do."""
        return self._facts

    @property
    def address(self) -> str:
        """Where results reach this process at once; another one in a forked child."""
        return self._store.oid

    def open(self) -> None:
        """Check the place, create or migrate the file. Idempotent."""
        self._store.open(id(self))
        self._is_open = True

    def close(self) -> None:
        """Close files and sockets. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._store.close(id(self))

    def _check_open(self) -> None:
        if not self._is_open:
            raise BackendUnavailable("the SQLite backend is closed; call open() first")

    def write(self, records: Sequence[Record]) -> None:
        """Store records in one transaction; the last of an id wins, but nothing replaces a SUCCESS."""
        self._check_open()
        self._store.write_records(records)

    def read(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """The records of `ids` in that order; None for unknown or expired ones."""
        if not self._is_open:
            self._check_open()
        return self._store.read_records(ids)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete records; unknown ids are ignored."""
        self._check_open()
        self._store.main.write(lambda conn: sqlite_results.forget_records(conn, ids))

    def wait(self, ids: Sequence[str], wait_s: float) -> Sequence[Record]:
        """Block until one of `ids` has a record; empty after about `wait_s`."""
        if not self._is_open:
            self._check_open()
        return self._store.mailbox.wait(self._store.oid, ids, wait_s)
