"""Costs of a bus: round trips, counted, and how soon a subscriber hears what was said."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import queue
import threading
import time
from typing import ClassVar

from celeriac.testing.bus_bench import BusBench
from celeriac.testing.clients import scale
from celeriac.testing.costs import PICKUPS, CostBench, CostProbe, paced, pause, pings
from celeriac.testing.store_bench import LONG_WAIT_S

_SAY_TRIPS = 2
"""To see whether anybody listens, and to say it."""
_HEAR_TRIPS = 2
_WAKE_TRIPS = 6
_MANY = 100


class Costs(BusBench, CostBench):
    """Level five of the suite."""

    hear_polls_each_s: ClassVar[float] = 0.05
    """How often subscribers look when nobody wakes them: what half of all wake-ups must stay well below."""

    def probe(self) -> CostProbe:
        """The probe of the bus under test, whose connections are warm."""
        self.bus.publish_topic("warm", b"1")
        return self.counted(self.bus)

    def test_a_message_costs_the_same_however_many_listen(self) -> None:
        probe = self.probe()
        for count in (1, 10):
            ears = [self.subscribe("t") for _ in range(count)]
            cost = self.trips(probe, self.bus.publish_topic, "t", b"1")
            assert cost <= _SAY_TRIPS, f"for {count} subscribers: {cost} round trips"
            for ear in ears:
                ear.close()

    def test_a_message_that_nobody_listens_to_costs_a_look_at_most(self) -> None:
        probe = self.probe()
        self.subscribe("other")
        assert self.trips(probe, self.bus.publish_topic, "t", b"1") <= 1

    def test_hearing_all_that_was_said_costs_the_same_however_much_it_is(self) -> None:
        probe = self.probe()
        for count in (1, _MANY):
            ear = self.subscribe("t")
            for number in range(count):
                self.bus.publish_topic("t", str(number).encode())
            before = probe.count()
            got = ear.receive(0.0)
            cost = probe.count() - before
            assert len(got) == count, "one receive should have them all"
            assert cost <= _HEAR_TRIPS, f"for {count} messages: {cost} round trips"
            ear.close()

    def test_an_idle_subscriber_looks_rarely(self) -> None:
        probe = self.probe()
        ear = self.subscribe("t")
        call = self.blocked(ear)
        self.assert_idle(probe, call)
        self.bus.publish_topic("t", b"end")
        assert list(call.result(LONG_WAIT_S * scale())) == [("t", b"end")]

    def test_a_subscriber_is_woken_with_few_round_trips(self) -> None:
        probe = self.probe()
        ear = self.subscribe("t")
        self.assert_woken_cheaply(probe, self.blocked(ear), lambda: self.bus.publish_topic("t", b"1"), _WAKE_TRIPS)

    def test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll(self) -> None:
        client = self.client().ready() if self.shared else None
        ping_s = pings(client)
        ear = self.subscribe("t")
        told: queue.SimpleQueue[tuple[bytes, float]] = queue.SimpleQueue()

        def listen() -> None:
            for _ in range(PICKUPS):
                ((_, data),) = ear.receive(LONG_WAIT_S * scale())
                told.put((data, time.monotonic()))

        threading.Thread(target=listen, daemon=True).start()
        wakes: list[tuple[float, float, float]] = []
        for number in range(PICKUPS):
            pause(number)
            data = str(number).encode()
            began = time.monotonic()
            if client is not None:
                began, ended = client.call("timed_publish_topic", "t", data)
            else:
                self.bus.publish_topic("t", data)
                ended = time.monotonic()
            heard, woken = told.get(timeout=LONG_WAIT_S * scale())
            assert heard == data
            wakes.append((began, ended, woken))
        paced(wakes, client, ping_s).check(self.hear_polls_each_s)
