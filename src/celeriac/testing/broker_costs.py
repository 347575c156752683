"""Costs of a broker: round trips, counted, and how soon a waiting taker has what was published."""
# ruff: noqa: D102 - the name of a test is its sentence

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from celeriac.model.message import Ack, Bury, Claim, Delivery, Release, Settlement, Verdict
from celeriac.testing.broker_bench import LONG_WAIT_S, NEVER_S, BrokerBench, ids_of, record
from celeriac.testing.clients import Call, Client, scale
from celeriac.testing.costs import PICKUPS, CostBench, CostProbe, paced, pause, pings

_MANY = 100
_LOOK_AND_CLAIM = 2
"""A take may look before it claims."""
_WAKE_TRIPS = 5
"""A publish, and a taker that looks and claims, with one look more for each."""
_LOOKS = 9


class Costs(BrokerBench, CostBench):
    """Level five of the suite."""

    pickup_polls_each_s: ClassVar[float] = 0.05
    """How often takers look when nobody wakes them: what half of all pickups must stay well below."""

    def probe(self, *queues: str) -> CostProbe:
        """The probe of the broker under test, whose queues are declared and whose connections are warm."""
        for name in queues or ("q",):
            self.publish("warm", queue=name)
            self.broker.settle([Settlement(self.take_one(name).receipt, Ack())])
        self.broker.extend([], 30.0)
        return self.counted(self.broker)

    def test_publishing_a_batch_is_one_round_trip_however_many_messages_and_queues(self) -> None:
        probe = self.probe("a", "b", "c")
        for count in (1, 3, _MANY):
            batch = [self.message(f"m{number}", "abc"[number % 3]) for number in range(count)]
            assert self.trips(probe, self.broker.publish, batch) == 1, f"for {count} messages"

    def test_delayed_messages_and_priorities_cost_no_round_trip_more(self) -> None:
        probe = self.probe()
        batch = [self.message(f"m{number}", priority="high" if number % 2 else None) for number in range(_MANY)]
        if self.facts.delays:
            batch += [self.message(f"d{number}", eta_at=time.time() + NEVER_S) for number in range(_MANY)]
        assert self.trips(probe, self.broker.publish, batch) == 1

    def test_taking_what_is_there_is_a_look_and_a_claim_however_much_it_is(self) -> None:
        probe = self.probe("q", "empty")
        for count in (1, _MANY):
            self.publish(*(f"m{number}" for number in range(count)))
            before = probe.count()
            got = self.broker.take(["q", "empty"], _MANY, 0.0)
            cost = probe.count() - before
            assert len(got) == count, "one take should have them all"
            assert cost <= _LOOK_AND_CLAIM, f"a take of {count} cost {cost} round trips"

    def test_looking_at_empty_queues_is_one_round_trip_however_many_queues(self) -> None:
        queues = [f"q{number}" for number in range(8)]
        probe = self.probe(*queues)
        costs = [self.trips(probe, self.broker.take, queues, 1, 0.0) for _ in range(_LOOKS)]
        # Now and then a taker also looks after the dead.
        assert sorted(costs)[_LOOKS // 2] <= 1, f"looks cost {costs} round trips"

    def test_settling_a_batch_is_one_round_trip_whatever_the_verdicts(self) -> None:
        probe = self.probe()
        mixed: tuple[Verdict, ...] = (Ack(), Release(), Release(after_s=NEVER_S), Release(crashed=True), Bury("why"))
        for verdicts in ((Ack(),), mixed):
            held = self._held(_MANY)
            batch = [Settlement(each.receipt, verdicts[at % len(verdicts)]) for at, each in enumerate(held)]
            assert self.trips(probe, self.broker.settle, batch) == 1, f"of {len(verdicts)} kinds"

    def test_records_and_follow_ups_are_in_the_round_trip_of_their_verdicts(self) -> None:
        self.needs(self.facts.atomic_commit, "takes neither records nor follow-ups")
        self.open_backend()
        probe = self.probe("q", "next")
        batch = [
            Settlement(
                each.receipt, Ack(), (record(each.message.id),), (self.message(f"{each.message.id}-next", "next"),)
            )
            for each in self._held(_MANY)
        ]
        assert self.trips(probe, self.broker.settle, batch) == 1

    def test_settling_and_claiming_what_comes_next_is_one_round_trip(self) -> None:
        self.needs(self.facts.claims_in_settle, "does not claim in settle")
        probe = self.probe()
        batch = [Settlement(each.receipt, Ack()) for each in self._held(_MANY)]
        self.publish(*(f"next{number}" for number in range(_MANY)))
        before = probe.count()
        settled = self.broker.settle(batch, Claim(("q",), _MANY))
        assert probe.count() - before == 1
        assert len(settled.deliveries) == _MANY

    def test_renewing_leases_is_one_round_trip_whatever_is_held(self) -> None:
        probe = self.probe()
        held: list[Delivery] = []
        for count in (0, 1, 2 * _MANY):
            held += self._held(count - len(held))
            receipts = [each.receipt for each in held]
            cost = self.trips(probe, self.broker.extend, receipts, 30.0)
            assert cost == 1, f"for {count} messages held"

    def test_an_idle_taker_looks_rarely(self) -> None:
        probe = self.probe("q", "other")
        if self.facts.delays:
            self.publish("far", eta_at=time.time() + NEVER_S)
        call = Call(lambda: self.broker.take(["q", "other"], 1, LONG_WAIT_S * scale()))
        self.assert_idle(probe, call)
        self.publish("end")
        self.assert_woken(call, "end")

    def test_a_taker_is_woken_with_few_round_trips(self) -> None:
        probe = self.probe()
        self.assert_woken_cheaply(probe, self.blocked_take(), lambda: self.publish("a"), _WAKE_TRIPS)

    def test_half_of_all_pickups_take_no_more_than_a_message_and_no_poll(self) -> None:
        client = self.client().ready() if self.facts.shared else None
        ping_s = pings(client)
        picked = _pickups(client) if client is not None else self._pickups_of_a_thread()
        wakes: list[tuple[float, float, float]] = []
        for number in range(PICKUPS):
            pause(number)
            began = time.monotonic()
            self.publish(f"m{number}")
            ended = time.monotonic()
            name, woken = picked()
            assert name == f"m{number}"
            wakes.append((began, ended, woken))
        if client is not None:
            client.answer()  # that it is done: it listens for pings again
        paced(wakes, client, ping_s).check(self.pickup_polls_each_s)

    def _pickups_of_a_thread(self) -> Callable[[], tuple[str, float]]:
        """A thread of this process takes; the function waits for its next pickup."""
        told: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()

        def take() -> None:
            for _ in range(PICKUPS):
                (got,) = self.broker.take(["q"], 1, LONG_WAIT_S * scale())
                told.put((got.message.id, time.monotonic()))
                self.broker.settle([Settlement(got.receipt, Ack())])

        threading.Thread(target=take, daemon=True).start()
        return lambda: told.get(timeout=LONG_WAIT_S * scale())

    def _held(self, count: int) -> list[Delivery]:
        """So many deliveries, held here."""
        if count <= 0:
            return []
        names = [f"h{number}" for number in range(count)]
        self.publish(*names)
        got: list[Delivery] = []
        while len(got) < count:
            got += [each for each in self.take_all(count - len(got)) if each.message.id in names]
        assert len(set(ids_of(got))) == count
        return got


def _pickups(client: Client) -> Callable[[], tuple[str, float]]:
    """Another process takes; the function waits for its next pickup. The clock is one for the machine."""
    client.ask("pick_on", "q", PICKUPS, LONG_WAIT_S)

    def picked() -> tuple[str, float]:
        name, woken = client.told("pick_on")
        return name, woken

    return picked
