"""Examples of the contract of a bus, and of many who publish at once."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import time
from functools import partial
from typing import cast

from celeriac.model.errors import OperationalError
from celeriac.model.ports import Bus
from celeriac.testing.bus_bench import BusBench
from celeriac.testing.clients import Call, scale
from celeriac.testing.store_bench import LONG_WAIT_S, PROMPT_S

_SHORT_WAIT_S = 0.25
_THREADS = 3
_EACH = 40


class Hearing(BusBench):
    """Every subscriber of a topic gets every message published while it listens, in order."""

    def test_a_subscriber_hears_what_is_published_with_its_bytes_intact(self) -> None:
        ear = self.subscribe("news/ü")
        data = bytes(range(256)) * 40
        self.bus.publish_topic("news/ü", data)
        self.bus.publish_topic("news/ü", b"")
        assert self.hear(ear, 2) == [("news/ü", data), ("news/ü", b"")]

    def test_a_message_is_heard_once(self) -> None:
        ear = self.subscribe("t")
        self.bus.publish_topic("t", b"1")
        self.hear(ear, 1)
        self.assert_silent(ear, "the only message was heard")

    def test_every_subscriber_hears_every_message(self) -> None:
        ears = [self.subscribe("t") for _ in range(3)]
        self.bus.publish_topic("t", b"1")
        self.bus.publish_topic("t", b"2")
        for ear in ears:
            assert self.hear(ear, 2) == [("t", b"1"), ("t", b"2")]

    def test_messages_come_in_the_order_of_publishing_over_all_topics(self) -> None:
        ear = self.subscribe("a", "b")
        sent = [("ab"[number % 2], str(number).encode()) for number in range(100)]
        for topic, data in sent:
            self.bus.publish_topic(topic, data)
        assert self.hear(ear, 100) == sent

    def test_a_subscriber_hears_only_its_own_topics(self) -> None:
        ear = self.subscribe("mine")
        self.bus.publish_topic("other", b"1")
        self.bus.publish_topic("min", b"2")
        self.bus.publish_topic("mine.too", b"3")
        self.bus.publish_topic("mine", b"4")
        assert self.hear(ear, 1) == [("mine", b"4")]
        self.assert_silent(ear, "the other topics are not its own")

    def test_a_subscriber_hears_nothing_from_before_it_listened(self) -> None:
        first = self.subscribe("t")
        self.bus.publish_topic("t", b"before")
        second = self.subscribe("t")
        self.bus.publish_topic("t", b"after")
        assert self.hear(first, 2) == [("t", b"before"), ("t", b"after")]
        assert self.hear(second, 1) == [("t", b"after")]

    def test_what_is_published_while_nobody_receives_is_kept_for_the_subscriber(self) -> None:
        ear = self.subscribe("t")
        for number in range(50):
            self.bus.publish_topic("t", str(number).encode())
        assert [data for _, data in self.hear(ear, 50)] == [str(number).encode() for number in range(50)]

    def test_publishing_to_nobody_does_nothing(self) -> None:
        self.bus.publish_topic("t", b"1")
        self.assert_silent(self.subscribe("t"), "nobody listened then")

    def test_publishing_tells_how_many_listen_or_that_nobody_knows(self) -> None:
        counts = [self.bus.publish_topic("t", b"0")]
        ear = self.subscribe("t")
        self.subscribe("other")
        counts.append(self.bus.publish_topic("t", b"1"))
        self.subscribe("t", "u")
        counts.append(self.bus.publish_topic("t", b"2"))
        ear.close()
        counts.append(self.bus.publish_topic("t", b"3"))
        assert counts in ([0, 1, 2, 1], [None] * 4)

    def test_receiving_nothing_returns_empty_after_about_its_wait(self) -> None:
        ear = self.subscribe("t")
        began = time.monotonic()
        assert not ear.receive(_SHORT_WAIT_S)
        took_s = time.monotonic() - began
        assert took_s >= _SHORT_WAIT_S * 0.8, f"it gave up after {took_s:.3f} s of {_SHORT_WAIT_S}"
        assert took_s < _SHORT_WAIT_S + PROMPT_S * scale()
        assert not ear.receive(0.0)

    def test_who_waits_is_woken_by_a_message(self) -> None:
        ear = self.subscribe("t")
        call = self.blocked(ear)
        self.bus.publish_topic("t", b"1")
        assert list(call.result(PROMPT_S * scale())) == [("t", b"1")]

    def test_publishing_and_subscribing_are_prompt_while_another_thread_waits(self) -> None:
        ear = self.subscribe("t")
        call = self.blocked(ear)
        Call(partial(self.bus.publish_topic, "other", b"1")).result(PROMPT_S * scale())
        Call(partial(self.subscribe, "other")).result(PROMPT_S * scale())
        assert call.running, "nothing was published to its topic"
        self.bus.publish_topic("t", b"2")
        assert list(call.result(PROMPT_S * scale())) == [("t", b"2")]

    def test_a_closed_subscription_hears_nothing_and_disturbs_nobody(self) -> None:
        closed, ear = self.subscribe("t"), self.subscribe("t")
        closed.close()
        closed.close()
        self.bus.publish_topic("t", b"1")
        try:
            assert not closed.receive(0.0)
        except OperationalError as exc:
            assert str(exc), "an error says what to do"  # noqa: PT017 - hearing nothing is just as good
        assert self.hear(ear, 1) == [("t", b"1")]

    def test_closing_a_subscription_ends_a_thread_that_waits_in_it(self) -> None:
        ear = self.subscribe("t")
        call = self.blocked(ear)
        ear.close()
        try:
            assert not call.result(PROMPT_S * scale())
        except OperationalError as exc:
            assert str(exc), "an error says what to do"  # noqa: PT017 - hearing nothing is just as good

    def test_closed_subscriptions_release_descriptors_and_threads(self) -> None:
        def use(bus: Bus) -> None:
            ear = bus.subscribe(["t"])
            bus.publish_topic("t", b"1")
            ear.receive(0.01)
            ear.receive(0.01)
            ear.close()

        self.assert_releases(self.adapter, use)

    def test_two_fresh_stores_share_nothing(self) -> None:
        ear = self.subscribe("t")
        cast("Bus", self.open_adapter(self.adapter, self.fresh_url())).publish_topic("t", b"1")
        self.assert_silent(ear, "it was another bus")

    def test_another_object_of_the_same_store_is_heard(self) -> None:
        ear = self.subscribe("t")
        other = cast("Bus", self.open_adapter(self.adapter, self.url))
        call = self.blocked(ear)
        other.publish_topic("t", b"1")
        assert list(call.result(PROMPT_S * scale())) == [("t", b"1")]

    def test_messages_of_many_threads_are_all_heard_each_thread_in_its_order(self) -> None:
        ears = [self.subscribe("t"), self.subscribe("t", "u")]
        calls = [Call(partial(self._publish_many, number)) for number in range(_THREADS)]
        for call in calls:
            call.result(LONG_WAIT_S * scale())
        for ear in ears:
            got = [data for _, data in self.hear(ear, _THREADS * _EACH)]
            for number in range(_THREADS):
                prefix = f"{number}-".encode()
                mine = [data for data in got if data.startswith(prefix)]
                assert mine == [f"{number}-{index}".encode() for index in range(_EACH)]

    def test_other_processes_are_heard_if_and_only_if_the_bus_is_shared(self) -> None:
        ear = self.subscribe("t")
        client = self.client().ready()
        call = self.blocked(ear)
        client.call("publish_topic", "t", b"1")
        if self.shared:
            assert list(call.result(PROMPT_S * scale())) == [("t", b"1")]
            return
        self.bus.publish_topic("t", b"end")
        assert list(call.result(PROMPT_S * scale())) == [("t", b"end")], "the suite says the bus is not shared"

    def test_the_death_of_a_publisher_disturbs_nobody(self) -> None:
        self.needs(self.shared, "is not shared")
        ear = self.subscribe("t")
        client = self.client().ready()
        for number in range(5):
            client.call("publish_topic", "t", str(number).encode())
        client.kill()
        self.bus.publish_topic("t", b"end")
        assert [data for _, data in self.hear(ear, 6)] == [b"0", b"1", b"2", b"3", b"4", b"end"]

    def _publish_many(self, number: int) -> None:
        for index in range(_EACH):
            self.bus.publish_topic("t", f"{number}-{index}".encode())
