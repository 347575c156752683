"""What every test of a result backend stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from celeriac.model.facts import BackendFacts
from celeriac.model.message import Record
from celeriac.model.ports import Backend, Waiter
from celeriac.testing.clients import Call, scale
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S, StoreBench


class BackendBench(StoreBench):
    """A backend opened on a fresh store."""

    def setup_method(self) -> None:
        """Open a backend on a fresh store."""
        super().setup_method()
        self.backend = self.open_backend()

    def make(self, url: str) -> Backend:
        """A backend that is not opened yet."""
        return cast("Backend", self.adapter(url, self.options_with(30.0)))

    def open_backend(self, url: str | None = None) -> Backend:
        """An open backend, closed after the test."""
        return cast("Backend", self.open_adapter(self.adapter, url or self.url))

    @property
    def facts(self) -> BackendFacts:
        """Of the backend under test."""
        return self.backend.facts

    @property
    def waiter(self) -> Waiter:
        """The backend as one that can wait. Skips the test if it cannot."""
        if not isinstance(self.backend, Waiter):
            pytest.skip(f"{self.facts.name} cannot wait")
        return self.backend

    def write(self, id: str, state: str = "SUCCESS", payload: bytes = b"1", **fields: Any) -> None:  # noqa: A002 - the field's own name
        """Write one record."""
        self.backend.write([Record(id, state, payload, **fields)])

    def states(self, *ids: str) -> list[str | None]:
        """The states of these records, None where there is none."""
        return [each.state if each is not None else None for each in self.backend.read(ids)]

    def payload(self, id: str) -> bytes | None:  # noqa: A002 - the field's own name
        """The payload of one record."""
        found = self.backend.read([id])[0]
        return None if found is None else found.payload

    def blocked_wait(self, *ids: str, backend: Waiter | None = None) -> Call[Sequence[Record]]:
        """A wait under way on another thread, which only a wake-up ends in time."""
        waiter = backend or self.waiter
        call: Call[Sequence[Record]] = Call(lambda: waiter.wait(ids, LONG_WAIT_S * scale()))
        call.settle_in()
        return call

    def assert_woken(self, call: Call[Sequence[Record]], *ids: str) -> None:
        """The blocked wait returns promptly, with these."""
        got = sorted(each.id for each in call.result(PROMPT_S * scale()))
        assert got == sorted(ids), f"the waiter got {got}, not {sorted(ids)}"
