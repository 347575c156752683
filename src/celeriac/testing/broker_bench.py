"""What every test of a broker stands on: a fresh store, a broker opened on it, and short words for its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest

from celeriac.model.facts import BrokerFacts
from celeriac.model.message import Ack, Delivery, Message, Receipt, Record, Settled, Settlement, Verdict
from celeriac.model.ports import Backend, Broker, BrokerAdmin, Nodes
from celeriac.testing.clients import Call, scale, wait_until
from celeriac.testing.store_bench import LONG_LEASE_S, LONG_WAIT_S, NEVER_S, PROMPT_S, StoreBench

__all__ = ["LONG_LEASE_S", "LONG_WAIT_S", "NEVER_S", "PROMPT_S", "SHORT_LEASE_S", "BrokerBench", "ids_of", "record"]

SHORT_LEASE_S = 0.8
_SHOWN = 20


class BrokerBench(StoreBench):
    """A broker opened on a fresh store."""

    backend_adapter: ClassVar[type[Any] | None] = None
    """The backend that shares the store, if there is one."""
    larger_goes_first: ClassVar[bool] = True
    """The sense of bare numbers as priorities."""

    def setup_method(self) -> None:
        """Open a broker on a fresh store."""
        super().setup_method()
        self.broker = self.open_broker()

    # ---------------------------------------------------------------- making

    def make(self, url: str, lease_s: float = LONG_LEASE_S) -> Broker:
        """A broker that is not opened yet."""
        return cast("Broker", self.adapter(url, self.options_with(lease_s)))

    def open_broker(self, lease_s: float = LONG_LEASE_S, url: str | None = None) -> Broker:
        """An open broker, closed after the test."""
        return cast("Broker", self.open_adapter(self.adapter, url or self.url, lease_s))

    def reopen(self, lease_s: float = LONG_LEASE_S) -> None:
        """Close the broker under test and go on with another object on the same store."""
        self.broker.close()
        self.broker = self.open_broker(lease_s)

    def open_backend(self) -> Backend:
        """The open backend of the same store. Skips the test if the suite has none."""
        if self.backend_adapter is None:
            pytest.skip("the suite names no backend_adapter that shares the store")
        return cast("Backend", self.open_adapter(self.backend_adapter, self.url))

    # ---------------------------------------------------------------- what the broker has

    @property
    def facts(self) -> BrokerFacts:
        """Of the broker under test."""
        return self.broker.facts

    @property
    def admin(self) -> BrokerAdmin:
        """The broker as tools see it. Skips the test if it has no such verbs."""
        if not isinstance(self.broker, BrokerAdmin):
            pytest.skip(f"{self.facts.name} has no admin verbs")
        return self.broker

    # ---------------------------------------------------------------- doing

    def message(self, id: str, queue: str = "q", **fields: Any) -> Message:  # noqa: A002 - the field's own name
        """A message of that id."""
        return Message(id, fields.pop("task", "t"), queue, fields.pop("headers", b"{}"), b"[]", **fields)

    def publish(self, *ids: str, queue: str = "q", **fields: Any) -> None:
        """Publish one message for each id, in one batch."""
        self.broker.publish([self.message(id, queue, **fields) for id in ids])  # noqa: A001 - see above

    def take(self, queue: str = "q", limit: int = 100, wait_s: float = 0.0) -> Sequence[Delivery]:
        """One take."""
        return self.broker.take([queue], limit, wait_s)

    def take_all(self, count: int, queue: str = "q", limit: int = 100) -> list[Delivery]:
        """Take until `count` deliveries are here; AssertionError if they do not come promptly."""
        got: list[Delivery] = []

        def enough() -> bool:
            got.extend(self.broker.take([queue], min(limit, count - len(got)), 0.05))
            return len(got) >= count

        wait_until(
            enough,
            PROMPT_S * scale(),
            lambda: f"{count} messages of {queue!r} are delivered; {len(got)} came: {ids_of(got)[:_SHOWN]}",
        )
        return got

    def take_one(self, queue: str = "q") -> Delivery:
        """Take one that must be there."""
        return self.take_all(1, queue)[0]

    def settle(self, receipt: Receipt | None, verdict: Verdict | None = None, **carried: Any) -> Settled:
        """Settle one delivery, by default with an ack."""
        return self.broker.settle([Settlement(receipt, verdict or Ack(), **carried)])

    def assert_none(self, queue: str = "q", because: str = "nothing should be deliverable") -> None:
        """Nothing can be taken now."""
        got = self.broker.take([queue], 100, 0.02)
        assert not got, f"{because}, yet {ids_of(got)} came"

    def order(self, count: int, queue: str = "q") -> list[str]:
        """Take and acknowledge one by one; the ids in order of delivery."""
        ids: list[str] = []
        for _ in range(count):
            delivery = self.take_all(1, queue, limit=1)[0]
            self.settle(delivery.receipt)
            ids.append(delivery.message.id)
        return ids

    def sweep(self) -> int:
        """Have the store take back what the dead held, where that is a verb; where it is not, takes do it."""
        return self.broker.sweep() if isinstance(self.broker, Nodes) else 0

    def blocked_take(self, queue: str = "q", broker: Broker | None = None) -> Call[Sequence[Delivery]]:
        """A take of one message under way on another thread, which only a wake-up ends in time."""
        taker = broker or self.broker
        call: Call[Sequence[Delivery]] = Call(lambda: taker.take([queue], 1, LONG_WAIT_S * scale()))
        # Nothing tells when a thread has begun to wait; most often this is enough, and if not the test still holds.
        call.settle_in()
        return call

    def assert_woken(self, call: Call[Sequence[Delivery]], *ids: str) -> None:
        """The blocked take returns promptly, with these."""
        got = call.result(PROMPT_S * scale())
        assert ids_of(got) == list(ids), f"the taker that waited got {ids_of(got)}, not {list(ids)}"


def ids_of(deliveries: Sequence[Delivery]) -> list[str]:
    """The task ids, in order."""
    return [delivery.message.id for delivery in deliveries]


def record(id: str, state: str = "SUCCESS", **fields: Any) -> Record:  # noqa: A002 - the field's own name
    """A result record of that id."""
    return Record(id, state, fields.pop("payload", b'{"result":1}'), **fields)
