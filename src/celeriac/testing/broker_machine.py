"""Random histories: a broker and the reference live through the same verbs and must agree after each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from celeriac.model.message import Ack, Bury, Claim, Message, Priority, Release, Settlement, Verdict
from celeriac.model.ports import Broker, BrokerAdmin
from celeriac.testing.broker_bench import NEVER_S, BrokerBench
from celeriac.testing.broker_model import ReferenceBroker
from celeriac.testing.store_bench import examples

_QUEUES = ("alpha", "beta")
_STEPS = 30
_VERDICTS: tuple[Verdict, ...] = (
    Ack(),
    Release(),
    Release(crashed=True),
    Release(after_s=NEVER_S),
    Bury("no use"),
    Bury("unknown", parked=True),
)

_a_queue = st.sampled_from(_QUEUES)
_some_queues = st.lists(_a_queue, min_size=1, max_size=2, unique=True)
_a_limit = st.integers(1, 5)
_picks = st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(_VERDICTS), st.booleans()), min_size=1, max_size=5)
"""Which of the receipts ever given out, its verdict, and whether a follow-up comes with it."""


class BrokerMachine(RuleBasedStateMachine):
    """One history on a fresh store."""

    bench: ClassVar[BrokerBench]
    """Makes the stores."""

    def __init__(self) -> None:
        super().__init__()
        self.broker: Broker = self.bench.make(self.bench.fresh_url())
        self.broker.open()
        self.model = ReferenceBroker(self.broker.facts)
        self._count = 0

    def teardown(self) -> None:
        """Take everything that is left: nothing is lost, whatever happened before."""
        try:
            self._empty()
        finally:
            self.broker.close()

    def _empty(self) -> None:
        for queue in self.model.paused & set(_QUEUES):
            self._admin.pause(queue, False)
        self.model.paused.clear()
        while self.model.deliverable(_QUEUES):
            deliveries = self.broker.take(_QUEUES, 50, 0.5)
            self.model.delivered(_QUEUES, 50, deliveries)
        assert not self.broker.take(_QUEUES, 50, 0.0), "more came than was published"

    @property
    def _admin(self) -> BrokerAdmin:
        assert isinstance(self.broker, BrokerAdmin)
        return self.broker

    def _has_admin(self) -> bool:
        return isinstance(self.broker, BrokerAdmin)

    def _message(self, queue: str, priority: Priority, far: bool) -> Message:
        self._count += 1
        name = f"m{self._count}"
        later = time.time() + NEVER_S if far and self.broker.facts.delays else None
        return Message(name, f"task-{self._count % 3}", queue, b"{}", name.encode(), priority=priority, eta_at=later)

    def _priority(self, number: int) -> Priority:
        """One of ten numbers where those are kept apart in our sense, else a name."""
        if self.broker.facts.priorities == 10 and self.bench.larger_goes_first:
            return number
        names: tuple[Priority, ...] = (None, "low", "normal", "high")
        return names[number % len(names)]

    @rule(queue=_a_queue, numbers=st.lists(st.integers(0, 9), min_size=1, max_size=4), plain=st.booleans())
    def publish(self, queue: str, numbers: Sequence[int], plain: bool) -> None:
        """Messages of many priorities, or of none."""
        batch = [self._message(queue, None if plain else self._priority(number), far=False) for number in numbers]
        self.broker.publish(batch)
        self.model.publish(batch)

    @rule(queue=_a_queue, number=st.integers(0, 9))
    def publish_for_later(self, queue: str, number: int) -> None:
        """A message that is not due within the test."""
        batch = [self._message(queue, self._priority(number), far=True)]
        self.broker.publish(batch)
        self.model.publish(batch)

    @rule(queues=_some_queues, limit=_a_limit)
    def take(self, queues: list[str], limit: int) -> None:
        """Whatever comes must be what the contract allows."""
        wait_s = 0.5 if self.model.deliverable(queues) else 0.0
        self.model.delivered(queues, limit, self.broker.take(queues, limit, wait_s))

    @precondition(lambda self: bool(self.model.receipts))
    @rule(picks=_picks, queue=_a_queue, claim=st.booleans())
    def settle(self, picks: Sequence[tuple[int, Verdict, bool]], queue: str, claim: bool) -> None:
        """A batch of verdicts, on old receipts too, with follow-ups where the broker takes them."""
        settlements: list[Settlement] = []
        for index, verdict, follows in picks:
            receipt = self.model.receipts[-1 - index % len(self.model.receipts)]
            follow_ups = (self._message(queue, None, far=False),) if follows and self.broker.facts.atomic_commit else ()
            settlements.append(Settlement(receipt, verdict, (), follow_ups))
        then_take = Claim(_QUEUES, 3) if claim else None
        expected = self.model.settle(settlements)
        settled = self.broker.settle(settlements, then_take)
        assert sorted(settled.stale, key=repr) == sorted(expected, key=repr), "stale settlements are not those reported"
        if then_take is None or not self.broker.facts.claims_in_settle:
            assert not settled.deliveries
        else:
            self.model.delivered(_QUEUES, 3, settled.deliveries)

    @precondition(lambda self: bool(self.model.receipts))
    @rule()
    def extend(self) -> None:
        """Of all receipts ever given out, exactly those that hold nothing are lost."""
        lost = self.broker.extend(self.model.receipts, 30.0)
        assert sorted(lost, key=repr) == sorted(self.model.lost(self.model.receipts), key=repr)

    @precondition(_has_admin)
    @rule(queue=_a_queue, paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        """Pause or resume."""
        self._admin.pause(queue, paused)
        (self.model.paused.add if paused else self.model.paused.discard)(queue)

    @precondition(_has_admin)
    @rule(queue=_a_queue)
    def purge(self, queue: str) -> None:
        """Delete what waits."""
        assert self._admin.purge(queue) == self.model.purge(queue)

    @precondition(lambda self: self._has_admin() and bool(self.model.dead()))
    @rule(index=st.integers(0, 1000), drop=st.booleans())
    def revive_or_drop(self, index: int, drop: bool) -> None:
        """One dead letter by its id."""
        dead = self.model.dead()
        name = dead[index % len(dead)]
        if drop:
            assert self._admin.drop([name]) == self.model.drop([name])
        else:
            assert self._admin.revive([name]) == self.model.revive([name])

    @precondition(lambda self: self._has_admin() and bool(self.model.entries))
    @rule(index=st.integers(0, 1000))
    def cancel(self, index: int) -> None:
        """One message, wherever it is."""
        name = list(self.model.entries)[index % len(self.model.entries)]
        self._admin.cancel([name])
        self.model.cancelled.add(name)

    @precondition(lambda self: self.broker.facts.durability != "none" and not self.model.claimed())
    @rule()
    def reopen(self) -> None:
        """Close and open; while something is held it would stay with the old holder."""
        self.broker.close()
        self.broker.open()

    @precondition(_has_admin)
    @invariant()
    def counts_agree(self) -> None:
        """`depth` counts what the model counts, and dead letters are those of the model."""
        found = {each.queue: each for each in self._admin.depth(_QUEUES)}
        for queue in _QUEUES:
            expected = self.model.depth(queue)
            assert found.get(queue, type(expected)(queue)) == expected
        assert sorted(each.message.id for each in self._admin.dead(None, 1000)) == sorted(self.model.dead())


class Histories(BrokerBench):
    """The model test of the suite."""

    def test_random_histories_agree_with_the_reference(self) -> None:
        """See `BrokerMachine`."""
        machine = type("Machine", (BrokerMachine,), {"bench": self})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples(),
                stateful_step_count=_STEPS,
                deadline=None,
                database=None,
                suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
            ),
        )
