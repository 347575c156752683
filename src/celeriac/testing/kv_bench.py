"""What every test of a store of keys and values stands on."""

from __future__ import annotations

from typing import Any, cast

import pytest

from celeriac.model.facts import BackendFacts
from celeriac.model.ports import Backend, Kv, KvAtomic
from celeriac.testing.store_bench import StoreBench


class KvBench(StoreBench):
    """A backend that is a `Kv` too, opened on a fresh store."""

    def setup_method(self) -> None:
        """Open it."""
        super().setup_method()
        self.kv = self.open_kv()

    def open_kv(self, url: str | None = None) -> Kv:
        """Another open object, closed after the test."""
        return cast("Kv", self.open_adapter(self.adapter, url or self.url))

    def make_kv(self, url: str) -> Any:
        """One that is not opened yet: a `Kv` and a `Backend`."""
        return self.adapter(url, self.options_with(30.0))

    @staticmethod
    def close(kv: Kv) -> None:
        """Every `Kv` here is a backend, which is opened and closed."""
        cast("Backend", kv).close()

    @property
    def facts(self) -> BackendFacts:
        """Of the backend that keeps the keys."""
        return cast("Backend", self.kv).facts

    @property
    def atomic(self) -> KvAtomic:
        """The store with its atomic verbs. Skips the test if it has none."""
        if not isinstance(self.kv, KvAtomic):
            pytest.skip(f"{self.adapter.__name__}: has no atomic verbs")
        return self.kv

    def value(self, key: str) -> bytes | None:
        """Of one key."""
        return self.kv.get_many([key])[0]
