"""Examples of the contract of a broker: publishing, placing and taking. One sentence each."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time

import pytest

from celeriac.model.errors import BrokerRejected, CeleriacError, OperationalError
from celeriac.model.message import Message, Release
from celeriac.model.ports import Broker
from celeriac.testing.broker_bench import NEVER_S, PROMPT_S, BrokerBench, ids_of
from celeriac.testing.clients import scale, wait_until

_FAR_TOO_MANY_ROUNDS = 50


class Delivering(BrokerBench):
    """What is published is delivered: whole, once, in order, when due."""

    def test_a_published_message_is_delivered_with_all_its_fields(self) -> None:
        message = Message(
            id="6e6f-ü",
            task="proj.täsk",
            queue="q.with-odd_name/é",
            headers=b'{"a":"\xc3\xbc"}',
            body=bytes(range(256)),
            content_type="application/x-none",
            content_encoding="binary",
            priority=None,
            eta_at=1_600_000_000.25,
            reply_to="some-address",
            properties=b'{"p":1}',
        )
        self.broker.publish([message])
        got = self.take_one(message.queue).message
        assert got.queue == message.queue
        assert (got.id, got.task, got.headers, got.body) == (message.id, message.task, message.headers, message.body)
        assert got.content_type == message.content_type
        assert got.content_encoding == message.content_encoding
        assert got.eta_at == message.eta_at
        assert got.reply_to == message.reply_to
        assert got.properties == message.properties

    def test_an_empty_body_and_a_body_of_a_megabyte_arrive_intact(self) -> None:
        size = min(1 << 20, self.facts.body_bytes_max or 1 << 20)
        large = bytes(range(256)) * (size // 256)
        self.broker.publish([Message("empty", "t", "q", b"{}", b""), Message("large", "t", "q", b"{}", large)])
        bodies = {delivery.message.id: delivery.message.body for delivery in self.take_all(2)}
        assert bodies == {"empty": b"", "large": large}

    def test_the_priority_a_message_was_given_is_delivered_with_it(self) -> None:
        self.publish("numbered", priority=7)
        self.publish("named", priority="high")
        got = {delivery.message.id: delivery.message.priority for delivery in self.take_all(2)}
        assert got["numbered"] == 7
        assert got["named"] == "high" or isinstance(got["named"], int)

    def test_a_first_delivery_is_neither_redelivered_nor_crashed_nor_cancelled(self) -> None:
        self.publish("a")
        got = self.take_one()
        assert (got.redelivered, got.crashes, got.cancelled) == (False, 0, False)

    def test_a_message_is_delivered_once_while_it_is_held(self) -> None:
        self.publish("a")
        self.take_one()
        self.assert_none(because="the only message is held")

    def test_two_messages_with_one_id_are_both_delivered(self) -> None:
        self.publish("same")
        self.publish("same")
        first, second = self.take_all(2)
        assert first.receipt != second.receipt

    def test_a_batch_goes_to_all_the_queues_it_names(self) -> None:
        self.broker.publish([self.message("a", "one"), self.message("b", "two"), self.message("c", "one")])
        assert sorted(ids_of(self.take_all(2, "one"))) == ["a", "c"]
        assert ids_of(self.take_all(1, "two")) == ["b"]

    def test_a_taker_gets_nothing_from_queues_it_did_not_name(self) -> None:
        self.publish("a", queue="other")
        self.assert_none("q", because="the message is in another queue")

    def test_a_take_gives_no_more_than_its_limit_and_leaves_the_rest(self) -> None:
        self.publish(*"abcdefg")
        first = self.take(limit=3, wait_s=PROMPT_S)
        assert 1 <= len(first) <= 3
        rest = self.take_all(7 - len(first))
        assert sorted(ids_of([*first, *rest])) == list("abcdefg")

    def test_messages_of_one_queue_come_in_the_order_of_publishing(self) -> None:
        self.needs(self.facts.ordered, "does not keep the order of publishing")
        ids = [f"m{number:03}" for number in range(120)]
        self.publish(*ids[:60])
        for one in ids[60:]:
            self.publish(one)
        assert ids_of(self.take_all(120, limit=50)) == ids

    def test_a_message_that_came_back_is_delivered_before_those_published_after_it(self) -> None:
        self.needs(self.facts.ordered, "does not keep the order of publishing")
        self.publish("a", "b", "c")
        held = self.take(limit=2, wait_s=PROMPT_S)
        for delivery in reversed(held):
            self.settle(delivery.receipt, Release())
        assert self.order(3) == ["a", "b", "c"]

    def test_no_queue_starves_while_another_is_never_empty(self) -> None:
        for queues in (("busy", "rare"), ("rare2", "busy2")):
            rare, busy = sorted(queues, key=lambda name: name.startswith("busy"))
            self.publish("rare-one", queue=rare)
            seen: list[str] = []
            for _ in range(_FAR_TOO_MANY_ROUNDS):
                self.publish(*"abcd", queue=busy)
                got = self.broker.take(queues, 4, 0.05)
                seen.extend(ids_of(got))
                if "rare-one" in seen:
                    break
            assert "rare-one" in seen, f"{rare!r} starved beside {busy!r} for {_FAR_TOO_MANY_ROUNDS} takes"

    def test_publishing_nothing_and_settling_nothing_do_nothing(self) -> None:
        self.broker.publish([])
        settled = self.broker.settle([])
        assert not settled.stale
        assert not settled.deliveries
        assert not self.broker.extend([], 5.0)
        self.assert_none()

    # ---------------------------------------------------------------- priorities

    def test_names_of_priorities_order_deliveries_high_normal_low(self) -> None:
        self.needs(self.facts.priorities >= 3, "has fewer than three levels of priority")
        self.publish("low", priority="low")
        self.publish("normal", priority="normal")
        self.publish("high", priority="high")
        assert self.order(3) == ["high", "normal", "low"]

    def test_priority_decides_within_one_take_too(self) -> None:
        self.needs(self.facts.priorities >= 3, "has fewer than three levels of priority")
        self.broker.publish([self.message(name, priority=name) for name in ("low", "high", "normal")])
        assert ids_of(self.take_all(3)) == ["high", "normal", "low"]

    def test_a_message_that_came_back_keeps_its_priority(self) -> None:
        self.needs(self.facts.priorities >= 3, "has fewer than three levels of priority")
        self.publish("low", priority="low")
        self.settle(self.take_one().receipt, Release())
        self.publish("high", priority="high")
        self.publish("normal", priority="normal")
        assert self.order(3) == ["high", "normal", "low"]

    def test_a_message_without_priority_stands_at_normal(self) -> None:
        self.needs(self.facts.priorities >= 3, "has fewer than three levels of priority")
        self.publish("low", priority="low")
        self.publish("none")
        self.publish("normal", priority="normal")
        self.publish("high", priority="high")
        order = self.order(4)
        assert order[0] == "high"
        assert order[3] == "low"
        assert not self.facts.ordered or order == ["high", "none", "normal", "low"]

    def test_a_priority_out_of_range_is_rejected_by_name_and_nothing_is_stored(self) -> None:
        for priority in (-1, 10, "urgent"):
            with pytest.raises(BrokerRejected, match="priority"):
                self.publish("bad", priority=priority)
        self.assert_none(because="the message was rejected")

    # ---------------------------------------------------------------- delays

    def test_a_message_whose_time_is_past_is_delivered_at_once(self) -> None:
        self.publish("late", eta_at=time.time() - 5)
        assert self.take_one().message.id == "late"

    def test_a_message_is_not_delivered_before_its_time_and_promptly_after_it(self) -> None:
        self.needs(self.facts.delays, "does not keep messages until they are due")
        due_at = time.time() + 0.3
        self.publish("due", eta_at=due_at)
        self.publish("now")
        assert ids_of(self.take_all(1)) == ["now"]
        got = self.take(wait_s=0.3 + PROMPT_S * scale())
        assert time.time() >= due_at
        assert ids_of(got) == ["due"]

    def test_a_delayed_message_does_not_hold_up_others(self) -> None:
        self.needs(self.facts.delays, "does not keep messages until they are due")
        self.publish("far", eta_at=time.time() + NEVER_S, priority="high")
        self.publish("a", "b")
        assert sorted(ids_of(self.take_all(2))) == ["a", "b"]
        self.assert_none(because="the rest is due in an hour")

    def test_many_delayed_messages_become_due_together(self) -> None:
        self.needs(self.facts.delays, "does not keep messages until they are due")
        count = 600
        due_at = time.time() + 0.2
        self.broker.publish([self.message(f"m{number}", eta_at=due_at) for number in range(count)])
        got = [*self.take(wait_s=0.2 + PROMPT_S * scale())]
        got += self.take_all(count - len(got))
        assert len(set(ids_of(got))) == count

    # ---------------------------------------------------------------- bounds and life

    def test_a_body_over_the_limit_is_rejected_and_one_at_the_limit_is_not(self) -> None:
        size = self.facts.body_bytes_max
        self.needs(size is not None and size <= 1 << 26, "declares no limit that a test could reach")
        assert size is not None
        with pytest.raises(BrokerRejected, match=r"body|large|bytes"):
            self.broker.publish([Message("over", "t", "q", b"{}", bytes(size + 1))])
        self.assert_none(because="the message was rejected")
        self.broker.publish([Message("at", "t", "q", b"{}", bytes(size))])
        assert self.take_one().message.id == "at"

    def test_facts_are_known_before_opening_and_do_not_change(self) -> None:
        broker = self.make(self.url)
        before = broker.facts
        broker.open()
        try:
            assert broker.facts == before
        finally:
            broker.close()

    def test_opening_and_closing_twice_do_nothing_more_and_open_works_again(self) -> None:
        self.broker.open()
        self.publish("a")
        self.broker.close()
        self.broker.close()
        self.broker.open()
        self.publish("b")
        wait_until(lambda: "b" in ids_of(self.take()), PROMPT_S * scale(), "the reopened broker delivers")

    def test_closing_releases_descriptors_and_threads(self) -> None:
        def use(broker: Broker) -> None:
            broker.publish([self.message("a")])
            broker.take(["q", "empty"], 1, 0.01)
            broker.take(["empty"], 1, 0.01)

        self.broker.close()
        self.assert_releases(self.adapter, use)

    def test_after_close_every_verb_works_or_raises_our_own_error(self) -> None:
        self.publish("a")
        receipt = self.take_one().receipt
        self.broker.close()
        calls = (
            lambda: self.publish("b"),
            self.take,
            lambda: self.settle(receipt),
            lambda: self.broker.extend([receipt], 5.0),
        )
        for call in calls:
            try:
                call()
            except OperationalError as exc:
                assert str(exc), "an error says what to do"  # noqa: PT017 - working is just as good

    def test_an_address_that_cannot_work_is_refused_with_our_own_error(self) -> None:
        self.needs(bool(self.bad_urls), "the suite names no bad_urls")
        for url in self.bad_urls:
            with pytest.raises(CeleriacError):
                self.open_broker(url=url.format(folder=self.folder))
