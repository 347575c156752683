"""Costs of a backend: round trips, counted, and how soon a waiter has what was written."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import queue
import threading
import time
from typing import ClassVar

from celeriac.model.message import Record
from celeriac.testing.backend_bench import BackendBench
from celeriac.testing.clients import Call, scale
from celeriac.testing.costs import PICKUPS, CostBench, CostProbe, paced, pause, pings
from celeriac.testing.store_bench import LONG_WAIT_S

_MANY = 200
_WAKE_TRIPS = 4
"""A write, and a waiter that looks once before and once after it was told."""
_FIND_TRIPS = 1


class Costs(BackendBench, CostBench):
    """Level five of the suite."""

    wait_polls_each_s: ClassVar[float] = 0.05
    """How often waiters look when nobody wakes them: what half of all wake-ups must stay well below."""

    def probe(self) -> CostProbe:
        """The probe of the backend under test, whose connections are warm."""
        self.write("warm")
        self.backend.read(["warm"])
        return self.counted(self.backend)

    def test_writing_a_batch_is_one_round_trip_however_many_records(self) -> None:
        probe = self.probe()
        for count in (1, _MANY):
            batch = [Record(f"w{count}-{number}", "SUCCESS", b"1", 3600.0) for number in range(count)]
            assert self.trips(probe, self.backend.write, batch) == 1, f"for {count} records"

    def test_reading_many_ids_is_one_round_trip_whether_they_are_there_or_not(self) -> None:
        probe = self.probe()
        self.backend.write([Record(f"r{number}", "SUCCESS", b"1") for number in range(_MANY)])
        for count in (1, 2, _MANY, 2 * _MANY):
            names = [f"r{number}" for number in range(count)]
            assert self.trips(probe, self.backend.read, names) == 1, f"for {count} ids"

    def test_forgetting_many_ids_is_one_round_trip(self) -> None:
        probe = self.probe()
        names = [f"f{number}" for number in range(_MANY)]
        self.backend.write([Record(name, "SUCCESS", b"1") for name in names[::2]])
        assert self.trips(probe, self.backend.forget, names) == 1
        assert not any(self.backend.read(names))

    def test_a_wait_for_what_is_there_is_one_look(self) -> None:
        waiter = self.waiter
        waiter.wait(["never"], 0.0)  # what a first wait sets up
        probe = self.probe()
        names = [f"t{number}" for number in range(_MANY)]
        self.backend.write([Record(name, "SUCCESS", b"1") for name in names])
        cost = self.trips(probe, waiter.wait, names, LONG_WAIT_S)
        assert cost <= _FIND_TRIPS, f"{cost} round trips"

    def test_an_idle_waiter_looks_rarely_however_many_ids_it_waits_for(self) -> None:
        waiter, probe = self.waiter, self.probe()
        names = [f"i{number}" for number in range(_MANY)]
        call = Call(lambda: waiter.wait(names, LONG_WAIT_S * scale()))
        self.assert_idle(probe, call)
        self.write("i5")
        self.assert_woken(call, "i5")

    def test_a_waiter_is_woken_with_few_round_trips(self) -> None:
        waiter, probe = self.waiter, self.probe()
        self.assert_woken_cheaply(
            probe, self.blocked_wait("a"), lambda: self.write("a", reply_to=waiter.address), _WAKE_TRIPS
        )

    def test_half_of_all_wake_ups_take_no_more_than_a_message_and_no_poll(self) -> None:
        self.needs(self.facts.pushes, "does not push")
        waiter = self.waiter
        client = self.client().ready() if self.facts.shared else None
        ping_s = pings(client)
        told: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()

        def wait() -> None:
            for number in range(PICKUPS):
                (found,) = waiter.wait([f"m{number}"], LONG_WAIT_S * scale())
                told.put((found.id, time.monotonic()))

        threading.Thread(target=wait, daemon=True).start()
        wakes: list[tuple[float, float, float]] = []
        for number in range(PICKUPS):
            pause(number)
            record = Record(f"m{number}", "SUCCESS", b"1", reply_to=waiter.address)
            began = time.monotonic()
            if client is not None:
                began, ended = client.call("timed_write", [record])
            else:
                self.backend.write([record])
                ended = time.monotonic()
            name, woken = told.get(timeout=LONG_WAIT_S * scale())
            assert name == record.id
            wakes.append((began, ended, woken))
        paced(wakes, client, ping_s).check(self.wait_polls_each_s)
