"""Results inside one process: ``memory://`` or ``memory://name``, beside the broker of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.model.errors import BackendUnavailable
from celeriac.model.facts import BackendFacts
from celeriac.model.ids import random_id
from celeriac.model.message import Record
from celeriac.model.urls import parse_url
from celeriac.stores.memory import named


class MemoryBackend:
    """Backend and Waiter on the memory store of the url's name. Option: ``clock``, for tests."""

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

    def wait(self, ids: Sequence[str], wait_s: float) -> Sequence[Record]:
        """Block until one of `ids` has a record; empty after about `wait_s`."""
        if not self._is_open:
            self._check_open()
        return self._store.results.wait(ids, wait_s)

    def _check_open(self) -> None:
        if not self._is_open:
            raise BackendUnavailable("the memory backend is closed; call open() first")
