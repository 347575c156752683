"""Faults: processes that use the store are killed or hang, at the worst moments."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import pytest

from celeriac.model.message import Ack, Delivery, Settlement
from celeriac.model.ports import Nodes
from celeriac.pools.marks import RECORD_BYTES
from celeriac.testing.broker_bench import LONG_LEASE_S, PROMPT_S, SHORT_LEASE_S, BrokerBench, ids_of
from celeriac.testing.clients import Client, scale, wait_until

_RETURN_S = 2.0
"""What a dead holder had is back this long after its lease, at the latest."""
_BATCH = 5
_CONFIRMED_FIRST = 15
_RELAYED = 600


class Deaths(BrokerBench):
    """Level four of the suite."""

    def _claimed_by(self, client: Client, *names: str) -> Sequence[Delivery]:
        self.publish(*names)
        got: list[Delivery] = []
        while len(got) < len(names):
            more = client.call("take", ["q"], len(names) - len(got), PROMPT_S)
            assert more, f"the client got only {ids_of(got)} of {names}"
            got.extend(more)
        return got

    def _returned(self, count: int, bound_s: float) -> list[Delivery]:
        """What has come back to us within the bound."""
        got: list[Delivery] = []

        def all_back() -> bool:
            self.sweep()
            got.extend(self.take())
            return len(got) >= count

        wait_until(all_back, bound_s, f"{count} messages of the dead come back")
        return got

    def test_what_a_killed_process_held_comes_back_after_its_lease_uncounted(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client(SHORT_LEASE_S * scale()).ready()
        held = self._claimed_by(client, "a", "b", "c")
        client.kill()
        back = self._returned(3, SHORT_LEASE_S * scale() + _RETURN_S * scale())
        assert sorted(ids_of(back)) == ["a", "b", "c"]
        attempts = {each.message.id: each.receipt.attempt for each in held}
        for delivery in back:
            assert delivery.receipt.attempt > attempts[delivery.message.id]
            assert delivery.redelivered
            assert delivery.crashes == 0, "holding alone is no crash"
        assert not self.broker.settle([Settlement(each.receipt, Ack()) for each in back]).stale
        self.assert_none(because="everything was acknowledged")

    def test_what_a_killed_connection_held_comes_back_at_once(self) -> None:
        self.needs(self.facts.shared and self.facts.lease == "connection", "has no leases of connections")
        client = self.client(LONG_LEASE_S).ready()
        self._claimed_by(client, "a", "b")
        client.kill()
        assert len(self._returned(2, PROMPT_S * scale())) == 2

    def test_what_a_living_process_renews_stays_with_it(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client(SHORT_LEASE_S * scale()).ready()
        receipts = [each.receipt for each in self._claimed_by(client, "a", "b")]
        for _ in range(12):
            assert not client.call("extend", receipts, SHORT_LEASE_S * scale())
            self.sweep()
            self.assert_none(because="its holder lives and renews")
            self.take(wait_s=SHORT_LEASE_S * scale() / 6)
        assert not client.call("settle", [Settlement(each, Ack()) for each in receipts]).stale

    def test_a_process_that_hung_past_its_lease_learns_that_it_lost_its_claims(self) -> None:
        self.needs(self.facts.shared and self.facts.lease == "timed", "has no leases that end under a living holder")
        client = self.client(SHORT_LEASE_S * scale()).ready()
        (held,) = self._claimed_by(client, "a")
        client.signal(signal.SIGSTOP)
        try:
            (ours,) = self._returned(1, SHORT_LEASE_S * scale() + _RETURN_S * scale())
        finally:
            client.signal(signal.SIGCONT)
        assert client.call("extend", [held.receipt], 30.0) == [held.receipt]
        assert list(client.call("settle", [Settlement(held.receipt, Ack())]).stale) == [held.receipt]
        assert not self.settle(ours.receipt).stale, "the late settlement ended the claim of another"
        # It goes on as a holder like any other.
        (again,) = self._claimed_by(client, "b")
        assert not client.call("settle", [Settlement(again.receipt, Ack())]).stale

    def test_the_death_of_a_known_holder_is_seen_at_once_and_counts_only_what_ran(self) -> None:
        self.needs(isinstance(self.broker, Nodes) and self.facts.shared, "does not know its holders")
        client = self.client(LONG_LEASE_S).ready()
        assert client.call("join", 16 * RECORD_BYTES), "no marks to share"
        held = {each.message.id: each.receipt for each in self._claimed_by(client, "ran", "waited", "waited too")}
        client.call("mark", 2, held["ran"].key)
        self.sweep()
        self.assert_none(because="its holder lives")
        client.kill()
        back = {each.message.id: each.crashes for each in self._returned(3, _RETURN_S * scale())}
        assert back == {"ran": 1 if self.facts.counts_crashes else 0, "waited": 0, "waited too": 0}

    def test_a_holder_that_joined_is_seen_by_itself_too(self) -> None:
        broker = self.broker
        if not isinstance(broker, Nodes):
            pytest.skip(f"{self.facts.name} does not know its holders")
        assert broker.is_joined(), "who has not joined cannot have been displaced"
        self.needs(broker.join(16 * RECORD_BYTES) is not None, "has no marks to share")
        assert broker.is_joined()

    def test_a_mark_that_was_cleared_counts_no_crash(self) -> None:
        self.needs(isinstance(self.broker, Nodes) and self.facts.shared, "does not know its holders")
        client = self.client(LONG_LEASE_S).ready()
        assert client.call("join", 16 * RECORD_BYTES), "no marks to share"
        (held,) = self._claimed_by(client, "a")
        client.call("mark", 0, held.receipt.key)
        client.call("mark", 0, 0)
        client.kill()
        (back,) = self._returned(1, _RETURN_S * scale())
        assert back.crashes == 0

    def test_each_death_of_a_running_holder_counts_one_crash(self) -> None:
        self.needs(isinstance(self.broker, Nodes) and self.facts.shared, "does not know its holders")
        self.needs(self.facts.counts_crashes, "does not count crashes")
        self.publish("a")
        for crashes in range(2):
            client = self.client(LONG_LEASE_S).ready()
            assert client.call("join", 16 * RECORD_BYTES), "no marks to share"
            (held,) = client.call("take", ["q"], 1, _RETURN_S + PROMPT_S)
            assert held.crashes == crashes
            client.call("mark", 0, held.receipt.key)
            client.kill()
            wait_until(self.sweep, _RETURN_S * scale(), "the sweep takes it back")
        assert self.take(wait_s=PROMPT_S * scale())[0].crashes == 2

    def test_the_death_of_a_publisher_loses_nothing_that_was_confirmed(self) -> None:
        self.needs(self.facts.shared and self.facts.durability != "none", "promises to survive no process")
        client = self.client().ready()
        client.ask("publish_on", "q", "m", _BATCH)
        confirmed: list[str] = []
        for _ in range(_CONFIRMED_FIRST):
            confirmed.extend(client.confirmed())
        client.kill()
        confirmed.extend(client.last_words())
        there: list[str] = []

        def all_there() -> bool:
            there.extend(ids_of(self.take(limit=500)))
            return set(confirmed) <= set(there)

        wait_until(all_there, PROMPT_S * scale(), "all that was confirmed is delivered")
        there.extend(ids_of(self.take(limit=500)))
        assert len(there) == len(set(there)), "something was delivered twice"
        if self.facts.batch_is_atomic:
            batches = [name.rsplit("-", 1)[0] for name in there]
            assert {batches.count(batch) for batch in batches} == {_BATCH}, "a batch was stored in part"

    def test_a_death_amid_settlements_leaves_each_done_with_all_that_belongs_to_it_or_not_at_all(self) -> None:
        self.needs(self.facts.shared and self.facts.atomic_commit, "makes no such promise across processes")
        backend = self.open_backend()
        ids = [f"m{number:03}" for number in range(_RELAYED)]
        self.publish(*ids)
        client = self.client(SHORT_LEASE_S * scale()).ready()
        client.ask("relay_on", "q", "next")
        confirmed: list[str] = []
        while len(confirmed) < _RELAYED // 10:
            confirmed.extend(client.confirmed())
        # Not at the instant of a confirmation, but amid the next settlements.
        time.sleep(0.005)
        client.kill()
        confirmed.extend(client.last_words())
        followed = [name.removesuffix("-next") for name in self._all_of("next")]
        recorded = [one for one, found in zip(ids, backend.read(ids), strict=True) if found is not None]
        assert sorted(followed) == recorded, "records and follow-ups do not go together"
        assert set(confirmed) <= set(recorded), "what was confirmed is not there"
        left = self._returned(_RELAYED - len(recorded), (SHORT_LEASE_S + _RETURN_S) * scale())
        assert sorted([*recorded, *ids_of(left)]) == ids, "acks do not go together with records and follow-ups"

    def _all_of(self, queue: str) -> list[str]:
        """The ids of everything that can be taken from a queue."""
        got: list[str] = []
        while more := self.take(queue, limit=500):
            got.extend(ids_of(more))
        return got

    def test_deaths_of_busy_takers_lose_nothing(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        ids = {f"m{number}" for number in range(200)}
        clients = [self.client(SHORT_LEASE_S * scale()).ready() for _ in range(3)]
        self.publish(*sorted(ids))
        for client in clients:
            client.call("take", ["q"], 10, PROMPT_S)
        for client in clients[:2]:
            client.kill()
        clients[2].call("extend", [], SHORT_LEASE_S * scale())
        clients[2].close()
        seen: set[str] = set()

        def all_back() -> bool:
            self.sweep()
            got = self.take(limit=50)
            seen.update(ids_of(got))
            self.broker.settle([Settlement(each.receipt, Ack()) for each in got])
            return seen == ids

        wait_until(all_back, (SHORT_LEASE_S + _RETURN_S) * scale(), "all messages of dead and closed holders come back")
