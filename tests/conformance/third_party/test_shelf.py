from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from celeriac_shelf.backend import ShelfBackend
from celeriac_shelf.broker import ShelfBroker

from celeriac.testing.backend_suite import BackendSuite
from celeriac.testing.broker_suite import BrokerSuite


class ShelfProbe:
    """Counts the round trips of one adapter."""

    def __init__(self, adapter: ShelfBroker | ShelfBackend) -> None:
        self._shelf = adapter._shelf

    def count(self) -> int:
        return self._shelf.trips


class _Shelf:
    bad_urls: ClassVar[Sequence[str]] = ("shelf://", "shelf:///relative", "shelf:////proc/nowhere")

    def new_url(self, folder: Path) -> str:
        return f"shelf:///{folder}"

    def cost_probe(self, adapter: ShelfBroker | ShelfBackend) -> ShelfProbe:
        return ShelfProbe(adapter)


class TestShelfBroker(_Shelf, BrokerSuite):
    adapter = ShelfBroker
    backend_adapter = ShelfBackend


class TestShelfBackend(_Shelf, BackendSuite):
    adapter = ShelfBackend
