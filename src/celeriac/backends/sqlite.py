"""Results in a SQLite file, beside the broker of that file: ``sqlite:///results.db``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celeriac.model.errors import BackendMisconfigured, BackendUnavailable
from celeriac.model.facts import BackendFacts
from celeriac.model.message import Record
from celeriac.model.watch import Watch
from celeriac.stores import sqlite_kv, sqlite_results
from celeriac.stores.kv_rules import check_entry, check_key, check_swap, check_ttl
from celeriac.stores.sqlite_files import path_of
from celeriac.stores.sqlite_shared import store_at

DEFAULT_TIMEOUT_S = 4.0
_DURABILITIES = ("process", "power")


class SqliteBackend:
    """Backend, Waiter and KvAtomic on one SQLite file. Options: ``connect_timeout_s``, ``durability``."""

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

    def wait(self, ids: Sequence[str], wait_s: float, final: bool = False) -> Sequence[Record]:
        """Block until one of `ids` has a record (with `final`: its last one); empty after about `wait_s`."""
        if not self._is_open:
            self._check_open()
        return self._store.mailbox.wait(self._store.oid, ids, wait_s, final)

    # ---------------------------------------------------------------- KvAtomic

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values in the order of `keys`; None for absent ones."""
        self._check_open()
        return self._store.main.read(sqlite_kv.get_many, keys) if keys else []

    def set(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Give `key` this value and this lifetime, whatever it had."""
        self._check_open()
        check_entry(key, value, ttl_s)
        self._store.main.write(sqlite_kv.put, key, value, ttl_s)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Make `keys` absent."""
        self._check_open()
        if keys:
            self._store.main.write(sqlite_kv.delete_many, keys)

    def scan(self, prefix: str) -> Iterator[str]:
        """Each present key that begins with `prefix`, in order, read in pieces."""
        last: str | None = None
        while True:
            self._check_open()
            keys = self._store.main.read(sqlite_kv.scan_after, prefix, last)
            yield from keys
            if len(keys) < sqlite_kv.SCAN_MAX:
                return
            last = keys[-1]

    def add_if_absent(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Set `key` if it is absent; whether it was."""
        self._check_open()
        check_entry(key, value, ttl_s)
        return self._store.main.write(sqlite_kv.compare_and_set, key, None, value, ttl_s)

    def incr(self, key: str, by: int, ttl_s: float | None) -> int:
        """Add `by` to the number at `key` and return the sum; the lifetime is that of the first addition."""
        self._check_open()
        check_key(key)
        check_ttl(key, ttl_s)
        return self._store.main.write(sqlite_kv.incr, key, by, ttl_s)

    def compare_and_set(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> bool:
        """Replace exactly `old` (None: absent) by `new` (None: absent); whether that was its value."""
        self._check_open()
        check_swap(key, new, ttl_s)
        return self._store.main.write(sqlite_kv.compare_and_set, key, old, new, ttl_s)

    def watch(self) -> Watch:
        """A standing wait for many records."""
        if not self._is_open:
            self._check_open()
        return self._store.mailbox.watch(self._store.oid)
