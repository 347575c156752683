"""Results inside one process: ``memory://`` or ``memory://name``, beside the broker of that name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celeriac.model.errors import BackendUnavailable
from celeriac.model.facts import BackendFacts
from celeriac.model.ids import random_id
from celeriac.model.message import Record
from celeriac.model.urls import parse_url
from celeriac.model.watch import Watch
from celeriac.stores.memory import named


class MemoryBackend:
    """Backend, Waiter and KvAtomic on the memory store of the url's name. Option: ``clock``, for tests."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        name = parse_url(url).host or ""
        self._store = named(name, options.get("clock"))
        self._address = random_id()
        self._is_open = False
        self._facts = BackendFacts(
            name="memory",
            shared=False,
            durability="none",
            expires=True,
            pushes=True,
            store_id=f"memory://{name}",
        )

    @property
    def facts(self) -> BackendFacts:
        """What this backend can do."""
        return self._facts

    @property
    def address(self) -> str:
        """Waiters of this process are woken whatever a message says; any name will do."""
        return self._address

    def open(self) -> None:
        """Ready to use. Idempotent."""
        self._is_open = True

    def close(self) -> None:
        """Refuse callers; records stay with the process. Idempotent."""
        self._is_open = False

    def write(self, records: Sequence[Record]) -> None:
        """Store records; the last of an id wins, but nothing replaces a SUCCESS."""
        self._check_open()
        self._store.results.write(records)

    def read(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """The records of `ids` in that order; None for unknown or expired ones."""
        if not self._is_open:
            self._check_open()
        return self._store.results.read(ids)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete records."""
        self._check_open()
        self._store.results.forget(ids)

    def wait(self, ids: Sequence[str], wait_s: float, final: bool = False) -> Sequence[Record]:
        """Block until one of `ids` has a record (with `final`: its last one); empty after about `wait_s`."""
        if not self._is_open:
            self._check_open()
        return self._store.results.wait(ids, wait_s, final)

    # ---------------------------------------------------------------- KvAtomic

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values in the order of `keys`; None for absent ones."""
        self._check_open()
        return self._store.kv.get_many(keys)

    def set(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Give `key` this value and this lifetime, whatever it had."""
        self._check_open()
        self._store.kv.set(key, value, ttl_s)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Make `keys` absent."""
        self._check_open()
        self._store.kv.delete_many(keys)

    def scan(self, prefix: str) -> Iterator[str]:
        """Each present key that begins with `prefix`."""
        self._check_open()
        return self._store.kv.scan(prefix)

    def add_if_absent(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Set `key` if it is absent; whether it was."""
        self._check_open()
        return self._store.kv.add_if_absent(key, value, ttl_s)

    def incr(self, key: str, by: int, ttl_s: float | None) -> int:
        """Add `by` to the number at `key` and return the sum; the lifetime is that of the first addition."""
        self._check_open()
        return self._store.kv.incr(key, by, ttl_s)

    def compare_and_set(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> bool:
        """Replace exactly `old` (None: absent) by `new` (None: absent); whether that was its value."""
        self._check_open()
        return self._store.kv.compare_and_set(key, old, new, ttl_s)

    def watch(self) -> Watch:
        """A standing wait for many records."""
        if not self._is_open:
            self._check_open()
        return self._store.results.watch()

    def _check_open(self) -> None:
        if not self._is_open:
            raise BackendUnavailable("the memory backend is closed; call open() first")
