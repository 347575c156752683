"""Concurrency: many threads and processes at one store. Nothing is lost, nothing is held twice, everybody ends."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial

from celeriac.model.errors import OperationalError
from celeriac.model.message import Ack, Claim, Delivery, Release, Settlement
from celeriac.testing.broker_bench import LONG_WAIT_S, PROMPT_S, BrokerBench, ids_of
from celeriac.testing.clients import Call, scale, wait_until

_PUBLISHERS = 3
_TAKERS = 3
_EACH = 120
_BOUND_S = 20.0
"""For all of it together; a loaded machine needs a tenth."""


class _Ledger:
    """Who holds what, and what is done with, as the threads of a test see it."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._held: set[str] = set()
        self._done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.complete = threading.Event()

    def taken(self, deliveries: Sequence[Delivery]) -> None:
        """These were delivered to the caller."""
        with self._lock:
            for name in ids_of(deliveries):
                if name in self._held:
                    self.faults.append(f"{name} is held twice")
                if self._done[name]:
                    self.faults.append(f"{name} was delivered after it was acknowledged")
                self._held.add(name)

    def settling(self, deliveries: Sequence[Delivery]) -> list[Settlement]:
        """The caller is about to settle these: most are acknowledged, some go back once."""
        settlements: list[Settlement] = []
        with self._lock:
            for delivery in deliveries:
                name = delivery.message.id
                self._held.discard(name)
                back = not delivery.redelivered and hash(name) % 5 == 0
                if not back:
                    self._done[name] += 1
                settlements.append(Settlement(delivery.receipt, Release() if back else Ack()))
            if len(self._done) >= self._total:
                self.complete.set()
        return settlements

    def check(self) -> None:
        """Everything was acknowledged exactly once."""
        assert not self.faults, self.faults[:5]
        assert len(self._done) == self._total, f"{self._total - len(self._done)} of {self._total} were lost"
        assert set(self._done.values()) == {1}, "some were acknowledged twice"


class Crowds(BrokerBench):
    """Level three of the suite."""

    def test_many_threads_lose_nothing_and_hold_nothing_twice(self) -> None:
        ledger = _Ledger(_PUBLISHERS * _EACH)
        takers = [Call(lambda: self._consume(ledger)) for _ in range(_TAKERS)]
        publishers = [Call(partial(self._produce, number)) for number in range(_PUBLISHERS)]
        for call in publishers:
            call.result(_BOUND_S * scale())
        ledger.complete.wait(_BOUND_S * scale())
        ledger.complete.set()
        for taker in takers:
            taker.result(PROMPT_S * scale())
        ledger.check()
        self.assert_none(because="everything was acknowledged")

    def _produce(self, prefix: int) -> None:
        for number in range(0, _EACH, 4):
            self.publish(*(f"{prefix}-{number + index}" for index in range(4)))

    def _consume(self, ledger: _Ledger) -> None:
        claim = Claim(("q",), 8)
        deliveries: Sequence[Delivery] = ()
        rounds = 0
        while not ledger.complete.is_set():
            if not deliveries:
                deliveries = self.broker.take(claim.queues, claim.limit, 0.1)
            ledger.taken(deliveries)
            rounds += 1
            settled = self.broker.settle(ledger.settling(deliveries), claim if rounds % 2 else None)
            if settled.stale:
                ledger.faults.append(f"lost while held: {settled.stale}")
            deliveries = settled.deliveries

    def test_many_processes_lose_nothing_and_hold_nothing_twice(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        clients = [self.client() for _ in range(3)]
        for client in clients:
            client.ready().ask("churn", ["q"], 1.0 * scale())
        ids = {f"m{number}" for number in range(_PUBLISHERS * _EACH)}
        for name in sorted(ids):
            self.publish(name)
        done: Counter[str] = Counter()
        for client in clients:
            done.update(name for name, _ in client.answer(_BOUND_S))
        assert set(done) == ids, f"{len(ids - set(done))} of {len(ids)} were lost"
        assert set(done.values()) == {1}, "some were acknowledged twice"
        self.assert_none(because="everything was acknowledged")

    def test_many_publishers_in_threads_and_processes_lose_nothing(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client().ready()
        client.ask("publish_on", "q", "theirs", 3)
        calls = [Call(partial(self._produce, number)) for number in range(_PUBLISHERS)]
        confirmed = [name for _ in range(20) for name in client.confirmed()]
        client.kill()
        for call in calls:
            call.result(_BOUND_S * scale())
        confirmed += [f"{prefix}-{number}" for prefix in range(_PUBLISHERS) for number in range(_EACH)]
        seen: list[str] = []

        def all_there() -> bool:
            got = self.take(limit=500)
            seen.extend(ids_of(got))
            return set(confirmed) <= set(seen)

        wait_until(all_there, _BOUND_S * scale(), "all that was confirmed is delivered")
        assert len(seen) == len(set(seen)), "something was delivered twice"

    def test_closing_under_load_ends_every_call_in_time_with_our_own_errors_only(self) -> None:
        stop = threading.Event()
        confirmed: list[str] = []
        calls = [Call(partial(self._publish_until, stop, number, confirmed)) for number in range(2)]
        calls += [Call(lambda: self._take_until(stop)) for _ in range(2)]
        wait_until(lambda: len(confirmed) > 20, _BOUND_S * scale(), "the load is there")
        self.broker.close()
        stop.set()
        for call in calls:
            call.result(PROMPT_S * scale())
        self.broker.close()
        if self.facts.durability == "none":
            return
        self.broker = self.open_broker()
        there: set[str] = set()

        def nothing_lost() -> bool:
            there.update(ids_of(self.broker.take(["kept"], 500, 0.0)))
            return set(confirmed) <= there

        wait_until(nothing_lost, PROMPT_S * scale(), "all that was confirmed before the close is delivered")

    def _publish_until(self, stop: threading.Event, prefix: int, confirmed: list[str]) -> None:
        number = 0
        while not stop.is_set():
            name = f"{prefix}-{number}"
            try:
                self.publish(name, queue="kept")
                confirmed.append(name)
                self.publish(name, queue="q")
            except OperationalError:
                return
            number += 1

    def _take_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                deliveries = self.broker.take(["q"], 4, LONG_WAIT_S)
                self.broker.settle([Settlement(each.receipt, Ack()) for each in deliveries])
            except OperationalError:
                return
