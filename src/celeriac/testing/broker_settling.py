"""Examples of the contract of a broker: verdicts, attempts, leases, and what is committed with a verdict."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time

import pytest

from celeriac.model.errors import BrokerRejected
from celeriac.model.message import Ack, Bury, Claim, Delivery, Receipt, Release, Settlement, Verdict
from celeriac.model.ports import BrokerAdmin
from celeriac.testing.broker_bench import NEVER_S, PROMPT_S, SHORT_LEASE_S, BrokerBench, ids_of, record
from celeriac.testing.clients import let_pass, scale, wait_until


class Settling(BrokerBench):
    """Every delivery ends once; who comes late changes nothing."""

    def test_an_acknowledged_message_is_gone_and_its_settlement_is_not_stale(self) -> None:
        self.publish("a")
        assert not self.settle(self.take_one().receipt).stale
        self.assert_none(because="the message was acknowledged")

    def test_a_batch_of_settlements_concludes_each_by_its_own_verdict(self) -> None:
        self.publish("ack", "release", "bury")
        by_id = {delivery.message.id: delivery.receipt for delivery in self.take_all(3)}
        verdicts: dict[str, Verdict] = {"ack": Ack(), "release": Release(), "bury": Bury("why")}
        settled = self.broker.settle([Settlement(by_id[name], verdict) for name, verdict in verdicts.items()])
        assert not settled.stale
        assert ids_of(self.take_all(1)) == ["release"]
        self.assert_none(because="one was acknowledged and one buried")

    def test_a_released_message_is_delivered_again_with_a_larger_attempt(self) -> None:
        self.publish("a")
        attempts = [(first := self.take_one()).receipt.attempt]
        assert not first.redelivered
        receipt = first.receipt
        for _ in range(3):
            self.settle(receipt, Release())
            again = self.take_one()
            assert again.redelivered
            receipt = again.receipt
            attempts.append(receipt.attempt)
        assert attempts == sorted(set(attempts)), f"attempts do not grow: {attempts}"

    def test_a_release_with_a_delay_is_delivered_when_it_is_over_and_not_before(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        released_at = time.monotonic()
        self.settle(receipt, Release(after_s=0.3))
        got = self.take(wait_s=0.3 + PROMPT_S * scale())
        assert ids_of(got) == ["a"]
        assert time.monotonic() - released_at >= 0.29, "it came back early"

    def test_a_release_for_an_hour_is_not_delivered_now(self) -> None:
        self.publish("a")
        self.settle(self.take_one().receipt, Release(after_s=NEVER_S))
        self.assert_none(because="it was released for an hour")

    def test_crashes_are_counted_by_releases_that_say_so_and_by_no_others(self) -> None:
        self.publish("a")
        counts: list[int] = []
        for crashed in (True, False, True):
            self.settle(self.take_one().receipt, Release(crashed=crashed))
            held = self.take_one()
            counts.append(held.crashes)
            self.settle(held.receipt, Release())
        assert counts == ([1, 1, 2] if self.facts.counts_crashes else [0, 0, 0])

    def test_a_buried_message_is_not_delivered(self) -> None:
        self.publish("a")
        self.settle(self.take_one().receipt, Bury("no use"))
        self.assert_none(because="the message is a dead letter")

    # ---------------------------------------------------------------- fencing

    def test_settling_twice_is_stale_the_second_time(self) -> None:
        for verdict in (Ack(), Release(after_s=NEVER_S), Bury("why")):
            self.publish("a")
            receipt = self.take_one().receipt
            assert not self.settle(receipt, verdict).stale
            assert list(self.settle(receipt, Ack()).stale) == [receipt], f"after {verdict}"

    def test_a_late_settlement_of_an_old_attempt_is_reported_and_changes_nothing(self) -> None:
        for verdict in (Ack(), Release(), Bury("why"), Release(crashed=True)):
            self.publish("a")
            old = self.take_one().receipt
            self.settle(old, Release())
            new = self.take_one()
            assert list(self.settle(old, verdict).stale) == [old], f"a late {verdict} was not reported"
            self.assert_none(because=f"a late {verdict} must not free what another delivery holds")
            assert not self.settle(new.receipt).stale, f"a late {verdict} ended the newer delivery"
            self.assert_none(because=f"it was acknowledged after a late {verdict}")

    def test_a_late_settlement_before_the_next_delivery_is_stale_too(self) -> None:
        self.publish("a")
        old = self.take_one().receipt
        self.settle(old, Release())
        assert list(self.settle(old).stale) == [old]
        assert self.take_one().message.id == "a"

    def test_a_receipt_that_never_was_is_stale(self) -> None:
        self.publish("a")
        real = self.take_one().receipt
        never = Receipt(real.key, real.attempt + 1)
        assert list(self.settle(never).stale) == [never]
        assert not self.settle(real).stale

    def test_a_receipt_twice_in_one_batch_counts_once(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        settled = self.broker.settle([Settlement(receipt, Ack()), Settlement(receipt, Release())])
        assert list(settled.stale) == [receipt]
        self.assert_none(because="it was acknowledged first")

    def test_a_stale_settlement_in_a_batch_leaves_the_others_alone(self) -> None:
        self.publish("a", "b", "c")
        a, b, c = (delivery.receipt for delivery in self.take_all(3))
        self.settle(b)
        batch = [Settlement(each, Ack()) for each in (a, b, c)]
        assert list(self.broker.settle(batch).stale) == [b]
        assert sorted(self.broker.settle(batch).stale) == sorted([a, b, c]), "the others were not settled"
        self.assert_none(because="all were acknowledged")

    # ---------------------------------------------------------------- leases

    def test_extend_names_what_is_no_longer_held_and_nothing_else(self) -> None:
        self.publish("held", "acked", "released", "again")
        by_id = {delivery.message.id: delivery.receipt for delivery in self.take_all(4)}
        self.settle(by_id["acked"])
        self.settle(by_id["again"], Release())
        newer = self.take_one().receipt
        self.settle(by_id["released"], Release(after_s=NEVER_S))
        lost = self.broker.extend([*by_id.values(), newer], 30.0)
        assert sorted(lost) == sorted(by_id[name] for name in ("acked", "released", "again"))

    def test_a_claim_that_is_extended_outlives_its_first_lease(self) -> None:
        self.reopen(SHORT_LEASE_S * scale())
        self.publish("a")
        receipt = self.take_one().receipt
        end = time.monotonic() + 2 * SHORT_LEASE_S * scale()
        while time.monotonic() < end:
            assert not self.broker.extend([receipt], SHORT_LEASE_S * scale())
            self.sweep()
            self.assert_none(because="its holder renews the lease")
            let_pass(SHORT_LEASE_S * scale() / 8)
        assert not self.settle(receipt).stale

    def test_renewing_holds_for_everything_and_ends_when_it_ends(self) -> None:
        self.needs(self.facts.lease == "timed", "has no leases that end under a living holder")
        self.reopen(SHORT_LEASE_S * scale())
        self.publish("a", "b")
        a, b = (delivery.receipt for delivery in self.take_all(2))
        end = time.monotonic() + 1.5 * SHORT_LEASE_S * scale()
        while time.monotonic() < end:
            # Whatever is asked about, the lease is that of all that is held.
            assert not self.broker.extend([], SHORT_LEASE_S * scale())
            self.sweep()
            self.assert_none(because="its holder renews the lease")
            let_pass(SHORT_LEASE_S * scale() / 8)
        assert not self.broker.extend([a, b], SHORT_LEASE_S * scale() / 2)
        let_pass(SHORT_LEASE_S * scale() / 2)
        back = wait_until(self._swept_take, 2.0 * scale(), "a claim whose renewal is over is delivered again")
        assert set(ids_of(back)) <= {"a", "b"}

    def test_closing_keeps_what_is_held_until_its_lease_ends(self) -> None:
        self.needs(self.facts.lease == "timed", "has leases that end with their connection")
        other = self.open_broker(SHORT_LEASE_S * scale())
        self.publish("a")
        began = time.monotonic()
        while not (held := other.take(["q"], 1, 0.05)):
            assert time.monotonic() - began < PROMPT_S * scale(), "nothing came"
        other.close()
        self.sweep()
        got = self.take()
        assert not got or time.monotonic() - began >= SHORT_LEASE_S * scale(), "closing gave the claim back"
        (again,) = got or wait_until(self._swept_take, (SHORT_LEASE_S + 2.0) * scale(), "the claim comes back")
        assert again.receipt.attempt > held[0].receipt.attempt

    def test_a_claim_comes_back_uncounted_after_its_lease_or_is_held_for_good(self) -> None:
        # Timed leases end if nobody renews them; those of a connection do not while it lives.
        self.reopen(SHORT_LEASE_S * scale())
        self.publish("a", "b")
        began = time.monotonic()
        old = {delivery.message.id: delivery.receipt for delivery in self.take_all(2)}
        let_pass(SHORT_LEASE_S * scale() / 2)
        self.sweep()
        self.assert_none(because="half of the lease is not over")
        # Nothing is called meanwhile: a store may see any call as a sign of life.
        let_pass(max(0.0, began + SHORT_LEASE_S * scale() + 0.1 - time.monotonic()))
        if self.facts.lease == "connection":
            self.assert_none(because="the connection that holds it lives")
            assert not self.broker.settle([Settlement(each, Ack()) for each in old.values()]).stale
            return
        back = wait_until(self._swept_take, 2.0 * scale(), "an unrenewed claim is delivered again")
        back += self.take_all(2 - len(back))
        assert all(delivery.crashes == 0 for delivery in back), "a lost lease alone is no crash"
        for delivery in back:
            assert delivery.receipt.attempt > old[delivery.message.id].attempt
        assert sorted(self.broker.extend([*old.values()], 30.0)) == sorted(old.values())
        assert sorted(self.broker.settle([Settlement(each, Ack()) for each in old.values()]).stale) == sorted(
            old.values()
        )

    def _swept_take(self) -> list[Delivery]:
        self.sweep()
        return list(self.take())

    # ---------------------------------------------------------------- what is committed with a verdict

    def test_follow_ups_are_published_with_the_verdict_or_refused(self) -> None:
        self.publish("first")
        receipt = self.take_one().receipt
        follow_ups = (self.message("next"), self.message("aside", "other", priority="high"))
        if not self.facts.atomic_commit:
            with pytest.raises(BrokerRejected):
                self.settle(receipt, follow_ups=follow_ups)
            assert not self.settle(receipt).stale, "a refused settlement must leave the claim"
            self.assert_none(because="the follow-ups were refused")
            return
        assert not self.settle(receipt, follow_ups=follow_ups).stale
        assert ids_of(self.take_all(1)) == ["next"]
        assert ids_of(self.take_all(1, "other")) == ["aside"]

    def test_records_are_written_with_the_verdict_or_refused(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        if not self.facts.atomic_commit:
            with pytest.raises(BrokerRejected):
                self.settle(receipt, records=(record("a"),))
            assert not self.settle(receipt).stale, "a refused settlement must leave the claim"
            return
        backend = self.open_backend()
        assert backend.facts.store_id == self.facts.store_id, "the backend does not share the store"
        assert not self.settle(receipt, records=(record("a"), record("b", "FAILURE"))).stale
        assert [each and each.state for each in backend.read(["a", "b"])] == ["SUCCESS", "FAILURE"]

    def test_a_follow_up_with_the_id_of_the_message_it_replaces_is_kept(self) -> None:
        self.needs(self.facts.atomic_commit, "takes no follow-ups")
        self.publish("same")
        self.settle(self.take_one().receipt, follow_ups=(self.message("same", priority="high"),))
        again = self.take_one()
        assert again.message.id == "same"
        assert not again.redelivered

    def test_a_follow_up_with_a_time_waits_for_it(self) -> None:
        self.needs(self.facts.atomic_commit and self.facts.delays, "takes no delayed follow-ups")
        self.publish("a")
        self.settle(self.take_one().receipt, follow_ups=(self.message("far", eta_at=time.time() + NEVER_S),))
        self.assert_none(because="the follow-up is due in an hour")

    def test_a_stale_settlement_writes_no_record_and_publishes_no_follow_up(self) -> None:
        self.needs(self.facts.atomic_commit, "takes neither records nor follow-ups")
        backend = self.open_backend()
        self.publish("a")
        old = self.take_one().receipt
        self.settle(old, Release())
        new = self.take_one().receipt
        settled = self.settle(old, records=(record("a"),), follow_ups=(self.message("next"),))
        assert list(settled.stale) == [old]
        assert list(backend.read(["a"])) == [None]
        self.assert_none(because="the settlement with the follow-up was stale")
        assert not self.settle(new).stale

    def test_without_a_receipt_records_and_follow_ups_are_committed_all_the_same(self) -> None:
        self.needs(self.facts.atomic_commit, "takes neither records nor follow-ups")
        backend = self.open_backend()
        settled = self.settle(None, records=(record("a"),), follow_ups=(self.message("next"),))
        assert not settled.stale
        assert [each and each.state for each in backend.read(["a"])] == ["SUCCESS"]
        assert self.take_one().message.id == "next"

    def test_a_success_is_final_for_records_that_come_with_verdicts_too(self) -> None:
        self.needs(self.facts.atomic_commit, "takes no records")
        backend = self.open_backend()
        backend.write([record("a", payload=b"first")])
        self.settle(None, records=(record("a", "FAILURE", payload=b"later"),))
        kept = backend.read(["a"])[0]
        assert kept is not None
        assert (kept.state, kept.payload) == ("SUCCESS", b"first")

    def test_a_rejected_follow_up_undoes_the_whole_batch(self) -> None:
        self.needs(self.facts.atomic_commit, "takes no follow-ups")
        backend = self.open_backend()
        self.publish("a", "b")
        a, b = (delivery.receipt for delivery in self.take_all(2))
        batch = [
            Settlement(a, Ack(), (record("a"),), (self.message("good"),)),
            Settlement(b, Ack(), (), (self.message("bad", priority=99),)),
        ]
        with pytest.raises(BrokerRejected, match="priority"):
            self.broker.settle(batch)
        assert list(backend.read(["a"])) == [None]
        self.assert_none(because="the batch was rejected as a whole")
        assert not self.broker.settle([Settlement(a, Ack()), Settlement(b, Ack())]).stale

    # ---------------------------------------------------------------- claiming in the same step

    def test_then_take_claims_in_the_same_step_or_is_ignored(self) -> None:
        self.publish("a", "b", "c", "d")
        first = self.take_all(1, limit=1)[0]
        settled = self.broker.settle([Settlement(first.receipt, Ack())], Claim(("q",), 2))
        if not self.facts.claims_in_settle:
            assert not settled.deliveries, "the facts deny claims in settle"
            assert len(self.take_all(3)) == 3
            return
        assert len(settled.deliveries) == 2
        assert not self.broker.extend([each.receipt for each in settled.deliveries], 30.0)
        rest = self.take_all(1)
        assert sorted(ids_of([first, *settled.deliveries, *rest])) == ["a", "b", "c", "d"]

    def test_then_take_sees_what_the_same_settlement_released_and_published(self) -> None:
        self.needs(self.facts.claims_in_settle, "does not claim in settle")
        self.publish("a")
        receipt = self.take_one().receipt
        settled = self.broker.settle([Settlement(receipt, Release())], Claim(("q",), 5))
        assert ids_of(settled.deliveries) == ["a"]
        assert settled.deliveries[0].receipt.attempt > receipt.attempt
        if self.facts.atomic_commit:
            last = Settlement(settled.deliveries[0].receipt, Ack(), (), (self.message("next"),))
            assert ids_of(self.broker.settle([last], Claim(("q",), 5)).deliveries) == ["next"]

    def test_then_take_returns_at_once_when_there_is_nothing(self) -> None:
        began = time.monotonic()
        assert not self.broker.settle([], Claim(("q",), 5)).deliveries
        assert time.monotonic() - began < PROMPT_S * scale()

    def test_then_take_honours_priority_delays_and_pauses(self) -> None:
        self.needs(self.facts.claims_in_settle, "does not claim in settle")
        self.needs(self.facts.priorities >= 3, "has fewer than three levels of priority")
        if isinstance(self.broker, BrokerAdmin):
            self.publish("shut", queue="shut")
            self.broker.pause("shut", True)
        self.publish("low", priority="low")
        self.publish("far", eta_at=time.time() + NEVER_S)
        self.publish("high", priority="high")
        got = self.broker.settle([], Claim(("shut", "q"), 10)).deliveries
        assert ids_of(got) == ["high", "low"] if self.facts.delays else ids_of(got)[0] == "high"
