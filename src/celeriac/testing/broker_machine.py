"""Random histories: a broker and the reference live through the same verbs and must agree after each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from celeriac.model.message import Ack, Bury, Claim, Message, Priority, Release, Settlement, Verdict
from celeriac.model.ports import Broker, BrokerAdmin
from celeriac.testing.broker_bench import NEVER_S, PROMPT_S, BrokerBench
from celeriac.testing.broker_model import ReferenceBroker
from celeriac.testing.clients import scale

_QUEUES = ("alpha", "beta")
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
_numbers = st.lists(st.integers(0, 9), min_size=1, max_size=4)
_an_index = st.integers(0, 1000)
_Pick = tuple[int, Verdict, bool, bool]
_picks = st.lists(
    st.tuples(_an_index, st.sampled_from(_VERDICTS), st.integers(0, 3).map(lambda one: one == 0), st.booleans()),
    min_size=1,
    max_size=5,
)
"""Which receipt, its verdict, whether it is an old one that is settled late, whether a follow-up comes with it."""


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
            if sys.exc_info()[0] is None:  # a step that failed has said all there is to say
                self._empty()
        finally:
            self.broker.close()

    def _empty(self) -> None:
        for queue in self.model.paused & set(_QUEUES):
            self._admin.pause(queue, False)
        self.model.paused.clear()
        while self.model.deliverable(_QUEUES):
            deliveries = self.broker.take(_QUEUES, 50, PROMPT_S * scale())
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

    @rule(queue=_a_queue, numbers=_numbers)
    def publish(self, queue: str, numbers: Sequence[int]) -> None:
        """A batch of messages of many priorities; each ninth is not due within the test."""
        batch = [self._message(queue, self._priority(number), far=number % 9 == 8) for number in numbers]
        self.broker.publish(batch)
        self.model.publish(batch)

    @rule(queue=_a_queue, count=st.integers(1, 4))
    def publish_plainly(self, queue: str, count: int) -> None:
        """Messages one by one, without priority: their order is all there is."""
        for _ in range(count):
            message = self._message(queue, None, far=False)
            self.broker.publish([message])
            self.model.publish([message])

    @rule(queues=_some_queues, limit=_a_limit)
    def take(self, queues: list[str], limit: int) -> None:
        """Whatever comes must be what the contract allows."""
        wait_s = PROMPT_S * scale() if self.model.deliverable(queues) else 0.0
        self.model.delivered(queues, limit, self.broker.take(queues, limit, wait_s))

    @rule(queues=_some_queues, limit=_a_limit, picks=_picks, claim=st.booleans())
    def take_and_settle(self, queues: list[str], limit: int, picks: Sequence[_Pick], claim: bool) -> None:
        """What a worker does most."""
        self.take(queues, limit)
        self.settle(picks, queues[0], claim)

    @rule(picks=_picks, queue=_a_queue, claim=st.booleans())
    def settle(self, picks: Sequence[_Pick], queue: str, claim: bool) -> None:
        """A batch of verdicts, late ones too, with follow-ups where the broker takes them."""
        held, late = self.model.held(), self.model.late()
        settlements: list[Settlement] = []
        for index, verdict, is_late, follows in picks:
            receipts = (late if is_late else held) or self.model.receipts
            if not receipts:
                continue
            follow_ups = (self._message(queue, None, far=False),) if follows and self.broker.facts.atomic_commit else ()
            settlements.append(Settlement(receipts[index % len(receipts)], verdict, (), follow_ups))
        then_take = Claim(_QUEUES, 3) if claim else None
        expected = self.model.settle(settlements)
        settled = self.broker.settle(settlements, then_take)
        assert sorted(settled.stale, key=repr) == sorted(expected, key=repr), "stale settlements are not those reported"
        if then_take is None or not self.broker.facts.claims_in_settle:
            assert not settled.deliveries
        else:
            self.model.delivered(_QUEUES, 3, settled.deliveries)

    @precondition(_has_admin)
    @rule(queue=_a_queue, index=_an_index, tool=st.sampled_from(("pause", "resume", "purge", "drop", "cancel")))
    def use_a_tool(self, queue: str, index: int, tool: str) -> None:
        """Someone at the command line."""
        if tool in ("pause", "resume"):
            self._admin.pause(queue, tool == "pause")
            (self.model.paused.add if tool == "pause" else self.model.paused.discard)(queue)
        elif tool == "purge" and index % 4 == 0:  # a purge ends what else could happen, so few of them
            assert self._admin.purge(queue) == self.model.purge(queue)
        elif tool == "drop" and (dead := self.model.dead()):
            name = dead[index % len(dead)]
            assert self._admin.drop([name]) == self.model.drop([name])
        elif tool == "cancel" and self.model.entries:
            name = list(self.model.entries)[index % len(self.model.entries)]
            self._admin.cancel([name])
            self.model.cancel(name)

    @precondition(_has_admin)
    @rule(index=_an_index, every=st.booleans())
    def revive(self, index: int, every: bool) -> None:
        """One dead letter by its id, or all of them."""
        dead = self.model.dead()
        names = dead if every or not dead else [dead[index % len(dead)]]
        assert self._admin.revive(names) == self.model.revive(names)

    @rule(reopen=st.booleans())
    def extend(self, reopen: bool) -> None:
        """Of all receipts ever given out, exactly those that hold nothing are lost. While nothing is held, a
        durable broker may also be closed and opened."""
        lost = self.broker.extend(self.model.receipts, 30.0)
        assert sorted(lost, key=repr) == sorted(self.model.lost(self.model.receipts), key=repr)
        if reopen and self.broker.facts.durability != "none" and not self.model.held():
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
