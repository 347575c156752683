"""What every test of a broker stands on: a fresh store, a broker opened on it, and short words for its verbs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from celeriac.model.facts import BrokerFacts
from celeriac.model.message import Ack, Delivery, Message, Receipt, Record, Settled, Settlement, Verdict
from celeriac.model.ports import Backend, Broker, BrokerAdmin, Nodes
from celeriac.testing.client_program import Site
from celeriac.testing.clients import Call, Client, adapter_path, scale, wait_until

LONG_LEASE_S = 30.0
"""No lease ends by itself within a test that does not want it to."""
SHORT_LEASE_S = 0.8
NEVER_S = 3600.0
"""A delay that is not over within any test."""
PROMPT_S = 2.0
"""What happens "at once" or "promptly" happens within this, times the scale: far above any adapter's latency, far
below the waits that would be the alternative."""
LONG_WAIT_S = 20.0
"""A wait that only a wake-up ends within the bound of a test."""


class BrokerBench:
    """Set by a subclass: the adapter, and where a fresh store of it is.

    All hooks are plain attributes and methods, and tests take no fixtures, so that a suite can also be run without
    pytest (`celeriac.testing.faults.run_suite`).
    """

    adapter: ClassVar[type[Any]]
    """The class under test, constructed as ``adapter(url, options)``, importable by other processes."""
    backend_adapter: ClassVar[type[Any] | None] = None
    """The backend that shares the store, if there is one."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Further options for the constructor; plain values."""
    larger_goes_first: ClassVar[bool] = True
    """The sense of bare numbers as priorities."""
    bad_urls: ClassVar[Sequence[str]] = ()
    """Addresses that cannot work; ``{folder}`` stands for an empty folder."""

    def new_url(self, folder: Path) -> str:
        """The address of a fresh, empty store; `folder` is the test's own and goes away after it."""
        raise NotImplementedError("say where a fresh store is: override new_url")

    def setup_method(self) -> None:
        """Open a broker on a fresh store."""
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="celeriac-suite-")))
        self.url = self.new_url(self.folder)
        self.broker = self.open_broker()

    def teardown_method(self) -> None:
        """Close everything, the youngest first."""
        self._stack.close()

    # ---------------------------------------------------------------- making

    def make(self, url: str, lease_s: float = LONG_LEASE_S) -> Broker:
        """A broker that is not opened yet."""
        return cast("Broker", self.adapter(url, self._options(lease_s)))

    def open_broker(self, lease_s: float = LONG_LEASE_S, url: str | None = None) -> Broker:
        """An open broker, closed after the test."""
        broker = self.make(url or self.url, lease_s)
        broker.open()
        self._stack.callback(broker.close)
        return broker

    def reopen(self, lease_s: float = LONG_LEASE_S) -> None:
        """Close the broker under test and go on with another object on the same store."""
        self.broker.close()
        self.broker = self.open_broker(lease_s)

    def open_backend(self) -> Backend:
        """The open backend of the same store. Skips the test if the suite has none."""
        if self.backend_adapter is None:
            pytest.skip("the suite names no backend_adapter that shares the store")
        backend = cast("Backend", self.backend_adapter(self.url, self._options(LONG_LEASE_S)))
        backend.open()
        self._stack.callback(backend.close)
        return backend

    def client(self, lease_s: float = LONG_LEASE_S) -> Client:
        """Another process with a broker on the same store, still starting; closed after the test."""
        client = Client(Site(adapter_path(self.adapter), self.url, self._options(lease_s)))
        self._stack.callback(client.close)
        return client

    def _options(self, lease_s: float) -> dict[str, Any]:
        return {"lease_s": lease_s, "connect_timeout_s": 4.0, **self.options}

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

    def needs(self, holds: bool, why: str) -> None:
        """Skip the test, saying why, unless a condition holds."""
        if not holds:
            pytest.skip(f"{self.facts.name}: {why}")

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

        wait_until(enough, PROMPT_S * scale(), f"{count} messages of {queue!r} are delivered (have {ids_of(got)})")
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
