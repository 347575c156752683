"""The facts a broker declares, proven in both directions: what is claimed holds, what is denied is not there.

Those of fencing, commits, crashes and cancellations are proven beside the examples that use them. Two denials prove
nothing: a broker that does not promise order may still keep it, and one that promises to survive nothing may.
"""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time

import pytest

from celeriac.model.errors import BrokerRejected
from celeriac.model.message import Bury, Receipt, Release
from celeriac.model.ports import BrokerAdmin
from celeriac.testing.broker_bench import LONG_WAIT_S, NEVER_S, PROMPT_S, BrokerBench, ids_of
from celeriac.testing.clients import scale

_NUMBERS = 10


class Claims(BrokerBench):
    """Each fact of `BrokerFacts`."""

    def test_the_store_id_is_that_of_the_store(self) -> None:
        assert self.facts.store_id
        assert self.make(self.url).facts.store_id == self.facts.store_id
        assert self.make(self.fresh_url()).facts.store_id != self.facts.store_id

    def test_two_fresh_stores_share_nothing(self) -> None:
        other = self.open_broker(url=self.fresh_url())
        self.publish("a")
        assert not other.take(["q"], 10, 0.02)

    def test_other_processes_reach_the_same_queues_if_and_only_if_the_broker_is_shared(self) -> None:
        client = self.client().ready()
        client.call("publish", [self.message("theirs", "to-us")])
        self.publish("ours", queue="to-them")
        if not self.facts.shared:
            self.assert_none("to-us", because="the facts deny that processes share the store")
            assert not client.call("take", ["to-them"], 1, 0.0)
            return
        assert ids_of(self.take_all(1, "to-us")) == ["theirs"]
        got = client.call("take", ["to-them"], 1, PROMPT_S)
        assert ids_of(got) == ["ours"]
        assert list(self.settle(got[0].receipt).stale) == [got[0].receipt], "another process holds it"
        assert not client.call("extend", [got[0].receipt], 30.0)

    def test_a_waiting_taker_is_woken_by_another_process(self) -> None:
        self.needs(self.facts.shared, "is not shared")
        client = self.client().ready()
        call = self.blocked_take()
        client.call("publish", [self.message("a")])
        self.assert_woken(call, "a")
        client.ask("take", ["q"], 1, LONG_WAIT_S)
        self.publish("b")
        assert ids_of(client.answer(PROMPT_S)) == ["b"]

    def test_what_a_dead_process_had_published_survives_it_if_the_broker_is_durable(self) -> None:
        self.needs(self.facts.durability != "none", "promises to survive nothing")
        self.broker.close()
        client = self.client().ready()
        client.call("publish", [self.message("a"), self.message("far", eta_at=time.time() + NEVER_S)])
        client.kill()
        self.broker = self.open_broker()
        assert ids_of(self.take_all(1)) == ["a"]
        if isinstance(self.broker, BrokerAdmin):
            assert self.broker.peek("q", 10)[0].message.id == "far"

    def test_everything_is_there_after_closing_and_opening_if_the_broker_is_durable(self) -> None:
        self.needs(self.facts.durability != "none", "promises to survive nothing")
        admin = self.admin
        self.publish("dead")
        self.settle(self.take_one().receipt, Bury("why"))
        self.publish("first", "cancelled")
        self.publish("far", eta_at=time.time() + NEVER_S)
        self.publish("shut", queue="shut")
        admin.pause("shut", True)
        admin.cancel(["cancelled"])
        before = admin.depth()
        self.reopen()
        assert self.admin.depth() == before
        assert [each.message.id for each in self.admin.dead(None, 10)] == ["dead"]
        assert [(each.message.id, each.cancelled) for each in self.take_all(2)] == [
            ("first", False),
            ("cancelled", self.facts.cancels),
        ]
        self.assert_none("shut", because="the pause is kept in the store")

    def test_attempts_go_on_growing_after_closing_and_opening(self) -> None:
        self.needs(self.facts.durability != "none", "promises to survive nothing")
        self.publish("a")
        old = self.take_one().receipt
        self.settle(old, Release())
        self.reopen()
        new = self.take_one().receipt
        assert new.attempt > old.attempt
        assert list(self.settle(old).stale) == [old]

    def test_as_many_levels_of_priority_are_kept_apart_as_declared(self) -> None:
        self.needs(self.facts.ordered, "cannot be counted without an order of publishing")
        apart = sum(self._apart(number) for number in range(_NUMBERS - 1))
        assert apart + 1 == self.facts.priorities

    def _apart(self, number: int) -> bool:
        """Whether `number` and the next one are kept apart, whichever is published first."""
        first, last = (number + 1, number) if self.larger_goes_first else (number, number + 1)
        self.publish("last", priority=last)
        self.publish("first", priority=first)
        if self.order(2) == ["last", "first"]:
            return False
        self.publish("first", priority=first)
        self.publish("last", priority=last)
        assert self.order(2) == ["first", "last"], f"{first} does not go before {last}"
        return True

    def test_a_broker_that_does_not_keep_delays_delivers_with_the_time_at_once(self) -> None:
        self.needs(not self.facts.delays, "keeps delays itself")
        due_at = time.time() + NEVER_S
        self.publish("far", eta_at=due_at)
        assert self.take_one().message.eta_at == due_at

    def test_a_batch_with_a_bad_message_is_rejected_and_stored_not_at_all_if_batches_are_atomic(self) -> None:
        with pytest.raises(BrokerRejected):
            self.broker.publish([self.message("good"), self.message("bad", priority=99), self.message("good too")])
        if self.facts.batch_is_atomic:
            self.assert_none(because="the batch was rejected")

    def test_who_claims_atomic_commits_names_a_backend_to_prove_it(self) -> None:
        if not self.facts.atomic_commit:
            self.needs(False, "does not claim atomic commits")
        assert self.backend_adapter is not None, "set backend_adapter: atomic_commit is proven with it"
        assert self.open_backend().facts.store_id == self.facts.store_id

    def test_receipts_of_different_messages_have_different_keys(self) -> None:
        self.publish(*(f"m{number}" for number in range(50)))
        receipts: list[Receipt] = [delivery.receipt for delivery in self.take_all(50)]
        assert len({receipt.key for receipt in receipts}) == 50

    def test_a_taker_that_is_one_of_many_objects_of_a_process_sees_each_message_once(self) -> None:
        others = [self.open_broker() for _ in range(3)]
        self.publish(*(f"m{number}" for number in range(40)))
        got: list[str] = []
        deadline = time.monotonic() + PROMPT_S * scale()
        while len(got) < 40 and time.monotonic() < deadline:
            for broker in (self.broker, *others):
                got.extend(ids_of(broker.take(["q"], 3, 0.0)))
        assert len(got) == len(set(got)) == 40
