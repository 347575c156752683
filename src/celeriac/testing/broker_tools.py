"""Examples of the contract of a broker: what tools do to queues (`BrokerAdmin`)."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time

from celeriac.model.message import Bury, Depth, Release, Settlement, Verdict, WaitingState
from celeriac.testing.broker_bench import NEVER_S, PROMPT_S, BrokerBench, ids_of, record
from celeriac.testing.clients import let_pass, scale


class Tools(BrokerBench):
    """Counts tell the truth, dead letters are kept, pauses and cancellations are state of the store."""

    def bury(self, *ids: str, queue: str = "q", verdict: Verdict | None = None) -> None:
        """Publish and bury, one after another."""
        for one in ids:
            self.publish(one, queue=queue, task=f"task-of-{one}")
            self.settle(self.take_one(queue).receipt, verdict or Bury(f"why {one}"))

    def depth_of(self, queue: str) -> Depth:
        """The counts of one queue; zeros if the broker does not know it."""
        found = self.admin.depth([queue])
        assert len(found) <= 1
        return found[0] if found else Depth(queue)

    # ---------------------------------------------------------------- depth and peek

    def test_depth_counts_messages_by_what_they_wait_for(self) -> None:
        self.bury("dead1", "dead2")
        self.bury("parked", verdict=Bury("unknown task", parked=True))
        self.publish("held")
        self.take_one()
        self.publish("r1", "r2", "r3")
        delayed = ("d1", "d2") if self.facts.delays else ()
        self.publish(*delayed, eta_at=time.time() + NEVER_S)
        assert self.depth_of("q") == Depth("q", ready=3, delayed=len(delayed), claimed=1, dead=2, parked=1)

    def test_depth_follows_every_verdict(self) -> None:
        self.publish("ack", "release", "later", "bury")
        by_id = {delivery.message.id: delivery.receipt for delivery in self.take_all(4)}
        assert self.depth_of("q") == Depth("q", claimed=4)
        verdicts: dict[str, Verdict] = {"release": Release(), "later": Release(after_s=NEVER_S), "bury": Bury("why")}
        self.settle(by_id["ack"])
        self.broker.settle([Settlement(by_id[name], verdict) for name, verdict in verdicts.items()])
        assert self.depth_of("q") == Depth("q", ready=1, delayed=1, dead=1)

    def test_depth_of_all_queues_is_sorted_by_name_and_depth_of_some_names_only_those(self) -> None:
        for queue in ("b", "c", "a"):
            self.publish("x", queue=queue)
        assert [each.queue for each in self.admin.depth()] == ["a", "b", "c"]
        assert [each.queue for each in self.admin.depth(["c", "a"])] == ["a", "c"]

    def test_depth_of_a_queue_that_never_was_shows_nothing_in_it(self) -> None:
        assert self.depth_of("never") == Depth("never")

    def test_peek_shows_what_comes_next_and_claims_nothing(self) -> None:
        self.publish("held")
        held = self.take_one()
        self.publish("a", "b")
        if self.facts.delays:
            self.publish("late", eta_at=time.time() + 2 * NEVER_S)
            self.publish("soon", eta_at=time.time() + NEVER_S)
        seen = self.admin.peek("q", 100)
        names = [(each.message.id, each.state) for each in seen]
        delayed = [("soon", "delayed"), ("late", "delayed")] if self.facts.delays else []
        if self.facts.ordered:
            assert names == [("a", "ready"), ("b", "ready"), *delayed, ("held", "claimed")]
        else:
            assert sorted(names) == sorted([("a", "ready"), ("b", "ready"), *delayed, ("held", "claimed")])
        assert [each.attempt for each in seen if each.state == "claimed"] == [held.receipt.attempt]
        assert all(each.due_at is not None for each in seen if each.state == "delayed")
        assert sorted(ids_of(self.take_all(2))) == ["a", "b"]
        assert not self.settle(held.receipt).stale

    def test_peek_shows_those_of_one_state_alone_when_told_which(self) -> None:
        self.publish("held")
        self.take_one()
        self.publish("a", "b")
        if self.facts.delays:
            self.publish("soon", eta_at=time.time() + NEVER_S)

        def names(state: WaitingState, limit: int = 100) -> list[str]:
            return sorted(each.message.id for each in self.admin.peek("q", limit, state))

        assert names("ready") == ["a", "b"]
        assert names("delayed", 1) == (["soon"] if self.facts.delays else [])
        assert names("claimed", 1) == ["held"]

    def test_peek_gives_no_more_than_its_limit_in_the_order_of_delivery(self) -> None:
        self.needs(self.facts.priorities >= 3 and self.facts.ordered, "keeps no order of priorities")
        self.publish("n1", "n2", "n3")
        self.publish("h", priority="high")
        assert [each.message.id for each in self.admin.peek("q", 3)] == ["h", "n1", "n2"]
        assert not self.admin.peek("never", 3)

    # ---------------------------------------------------------------- purge

    def test_purge_deletes_what_waits_and_leaves_what_is_held_and_dead(self) -> None:
        self.bury("dead")
        self.publish("held", "other")
        held = {delivery.message.id: delivery.receipt for delivery in self.take_all(2)}
        self.settle(held["other"])
        self.publish("a", "b")
        waiting = 2
        if self.facts.delays:
            self.publish("far", eta_at=time.time() + NEVER_S)
            waiting += 1
        self.publish("elsewhere", queue="other")
        assert self.admin.purge("q") == waiting
        assert self.depth_of("q") == Depth("q", claimed=1, dead=1)
        self.assert_none(because="the queue was purged")
        assert not self.settle(held["held"], Release()).stale
        assert ids_of(self.take_all(1)) == ["held"]
        assert ids_of(self.take_all(1, "other")) == ["elsewhere"]
        assert self.admin.purge("never") == 0

    # ---------------------------------------------------------------- dead letters

    def test_dead_letters_keep_message_reason_time_and_crashes(self) -> None:
        self.publish("a", headers=b'{"h":1}')
        self.settle(self.take_one().receipt, Release(crashed=True))
        before = time.time()
        self.settle(self.take_one().receipt, Bury("the reäson"))
        (letter,) = self.admin.dead("q", 10)
        assert (letter.message.id, letter.message.headers, letter.message.queue) == ("a", b'{"h":1}', "q")
        assert letter.reason == "the reäson"
        assert letter.crashes == (1 if self.facts.counts_crashes else 0)
        assert not letter.parked
        assert before - 1 <= letter.buried_at <= time.time() + 1

    def test_dead_letters_are_listed_newest_first_by_queue_and_up_to_the_limit(self) -> None:
        self.bury("a", "b", "c")
        self.bury("other", queue="other")
        assert [each.message.id for each in self.admin.dead("q", 10)] == ["c", "b", "a"]
        assert [each.message.id for each in self.admin.dead("q", 2)] == ["c", "b"]
        assert [each.message.id for each in self.admin.dead(None, 10)] == ["other", "c", "b", "a"]
        assert not self.admin.dead("never", 10)

    def test_parked_letters_are_listed_as_parked(self) -> None:
        self.bury("a", verdict=Bury("unknown", parked=True))
        assert [(each.message.id, each.parked) for each in self.admin.dead("q", 10)] == [("a", True)]

    def test_a_revived_letter_is_delivered_again_with_its_crashes_forgotten(self) -> None:
        self.publish("a", priority="low")
        self.settle(self.take_one().receipt, Release(crashed=True))
        self.settle(self.take_one().receipt, Bury("why"))
        assert self.admin.revive(["a", "unknown"]) == 1
        again = self.take_one()
        assert (again.message.id, again.message.priority, again.crashes) == ("a", "low", 0)
        assert not self.admin.dead(None, 10)
        assert self.admin.revive(["a"]) == 0, "it is dead no more"

    def test_a_receipt_from_before_the_burial_is_stale_after_the_revival(self) -> None:
        self.publish("a")
        old = self.take_one().receipt
        self.settle(old, Bury("why"))
        self.admin.revive(["a"])
        new = self.take_one().receipt
        assert list(self.settle(old).stale) == [old]
        assert not self.settle(new).stale

    def test_only_the_named_letters_are_revived(self) -> None:
        self.bury("a", "b", "c")
        assert self.admin.revive(["b"]) == 1
        assert ids_of(self.take_all(1)) == ["b"]
        assert [each.message.id for each in self.admin.dead("q", 10)] == ["c", "a"]

    def test_parked_letters_are_revived_by_the_name_of_their_task_and_failed_ones_are_not(self) -> None:
        self.bury("a", "b", "again", verdict=Bury("unknown", parked=True))
        self.publish("failed", task="task-of-a")
        self.settle(self.take_one().receipt, Bury("it failed"))
        assert self.admin.revive(parked_tasks=["task-of-a", "task-of-nothing"]) == 1
        assert ids_of(self.take_all(1)) == ["a"]
        self.assert_none(because="no other parked letter was named")
        assert self.admin.revive(["again"]) == 1, "a parked letter has an id too"
        assert self.admin.revive() == 0, "naming none revives none"

    def test_reviving_deletes_the_record_of_the_failure_in_the_same_step(self) -> None:
        self.needs(self.facts.atomic_commit, "shares no store with a backend")
        backend = self.open_backend()
        self.publish("a")
        self.settle(self.take_one().receipt, Bury("why"), records=(record("a", "FAILURE"),))
        assert backend.read(["a"])[0] is not None
        assert self.admin.revive(["a"]) == 1
        assert list(backend.read(["a"])) == [None]

    def test_dropped_letters_are_gone(self) -> None:
        self.bury("a", "b")
        self.publish("alive")
        assert self.admin.drop(["a", "alive", "unknown"]) == 1
        assert [each.message.id for each in self.admin.dead(None, 10)] == ["b"]
        assert self.admin.revive(["a"]) == 0
        assert ids_of(self.take_all(1)) == ["alive"]

    # ---------------------------------------------------------------- pauses

    def test_a_paused_queue_takes_messages_in_and_gives_none_out_until_it_is_resumed(self) -> None:
        self.publish("before")
        self.admin.pause("q", True)
        self.publish("during")
        self.assert_none(because="the queue is paused")
        assert self.depth_of("q") == Depth("q", ready=2, paused=True)
        self.publish("free", queue="other")
        assert ids_of(self.broker.take(["q", "other"], 10, PROMPT_S)) == ["free"]
        self.admin.pause("q", False)
        assert sorted(ids_of(self.take_all(2))) == ["before", "during"]
        assert not self.depth_of("q").paused

    def test_what_is_held_of_a_paused_queue_can_be_settled(self) -> None:
        self.publish("a", "b")
        a, b = (delivery.receipt for delivery in self.take_all(2))
        self.admin.pause("q", True)
        assert not self.broker.extend([a, b], 30.0)
        assert not self.settle(a).stale
        assert not self.settle(b, Release()).stale
        self.assert_none(because="the queue is paused")

    def test_a_queue_can_be_paused_before_its_first_message_and_for_every_object(self) -> None:
        self.admin.pause("new", True)
        other = self.open_broker()
        other.publish([self.message("a", "new")])
        assert not other.take(["new"], 1, 0.0), "the pause belongs to the queue, not to who asked for it"

    # ---------------------------------------------------------------- cancellations

    def test_a_cancelled_task_is_delivered_as_cancelled_wherever_its_message_was(self) -> None:
        self.admin.cancel(["before"])
        self.publish("before", "ready", "released", "untouched")
        held = {delivery.message.id: delivery.receipt for delivery in self.take_all(4)}
        for name in ("ready", "untouched"):
            self.settle(held[name], Release())
        self.admin.cancel(["ready", "released"])
        self.settle(held["released"], Release())
        self.settle(held["before"], Release())
        got = {delivery.message.id: delivery.cancelled for delivery in self.take_all(4)}
        expected = {"before": True, "ready": True, "released": True, "untouched": False}
        assert got == (expected if self.facts.cancels else dict.fromkeys(expected, False))

    def test_a_task_cancelled_before_it_was_sent_is_cancelled_at_its_first_delivery(self) -> None:
        self.admin.cancel(["a", "c"])
        self.publish("a", "b")
        got = {delivery.message.id: delivery.cancelled for delivery in self.take_all(2)}
        assert got == {"a": self.facts.cancels, "b": False}

    def test_a_cancelled_task_that_was_parked_is_delivered_as_cancelled_and_what_is_dead_stays(self) -> None:
        self.needs(self.facts.cancels, "does not keep cancellations")
        self.bury("parked", "other", verdict=Bury("unknown", parked=True))
        self.bury("dead")
        self.admin.cancel(["parked", "dead", "parked"])
        got = self.take_one()
        assert (got.message.id, got.cancelled) == ("parked", True)
        self.assert_none(because="no other one was cancelled and parked")
        assert sorted(each.message.id for each in self.admin.dead(None, 10)) == ["dead", "other"]

    def test_a_cancellation_is_kept_as_long_as_its_message(self) -> None:
        self.needs(self.facts.cancels, "does not keep cancellations")
        self.publish("a")
        self.admin.cancel(["a"], 0.05)
        let_pass(0.3 * scale())
        for _ in range(3):
            self.sweep()
        assert self.take_one().cancelled, "the message was there all the time"

    def test_a_cancellation_of_an_absent_task_runs_out(self) -> None:
        self.needs(self.facts.cancels, "does not keep cancellations")
        self.admin.cancel(["a"], 0.05)
        let_pass(0.1)
        self.sweep()
        self.publish("a")
        assert not self.take_one().cancelled, "the cancellation was to be kept for 50 ms"
