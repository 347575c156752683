"""The node's line to its broker: gathers settlements, keeps the wish for more, commits both together.

What could not be committed stays here and is tried again; what became stale is dropped, and said so.
"""

from __future__ import annotations

import selectors
from collections.abc import Sequence
from math import inf
from typing import Any, Protocol, Union

from msgspec import Struct

from celeriac.model.errors import BackendRejected, BrokerRejected, ImproperlyConfigured, OperationalError
from celeriac.model.message import Ack, Bury, Claim, Delivery, Receipt, Settled, Settlement
from celeriac.model.ports import Backend, Broker, Clock

_RETRY_FIRST_S = 0.05
_RETRY_MAX_S = 1.0
_LOOK_S = 0.05
"""How often a hungry node looks for messages whose senders could not ring."""
_NO_BELL = (
    f"there is no doorbell, so new tasks are looked for each {_LOOK_S * 1000:.0f} ms: a bell takes an open file per queue "
    "(see ulimit -Hn), and a private directory below $XDG_RUNTIME_DIR or /tmp"
)


AWAY = (OperationalError, ImproperlyConfigured)
"""What a worker that was connected once waits out. Also what only a person can mend (a directory that was moved, a file
that may not be written): they will, and what is held here would be lost with this process."""


class Arrived(Struct, frozen=True, gc=False):
    """Deliveries for the node; answers its wish."""

    deliveries: tuple[Delivery, ...]


class Committed(Struct, frozen=True, gc=False):
    """What became of the settlements that asked for it."""

    done: tuple[Receipt, ...]
    stale: tuple[Receipt, ...]


LinkNews = Union[Arrived, Committed]


class Trouble(Protocol):
    """Who is told about the broker's troubles."""

    def __call__(self, action: str, text: str, **fields: Any) -> None:
        """Say it, under a stable name."""
        ...


class Committer:
    """Carries settlements to broker and backend: one transaction where they share a store, else publish,
    write, acknowledge, in that order."""

    def __init__(self, broker: Broker, backend: Backend | None, trouble: Trouble) -> None:
        self._broker = broker
        self._backend = backend
        self._trouble = trouble
        facts = broker.facts
        self._one_step = facts.atomic_commit and (backend is None or backend.facts.store_id == facts.store_id)
        self.claims = facts.claims_in_settle

    def commit(self, settlements: Sequence[Settlement], claim: Claim | None) -> Settled:
        """Commit all. Raises one of `AWAY` when nothing, or not all of it, could be committed."""
        try:
            if self._one_step:
                return self._broker.settle(settlements, claim)
            for settlement in settlements:
                if settlement.follow_ups:
                    self._broker.publish(settlement.follow_ups)
            records = [record for settlement in settlements for record in settlement.records]
            if records and self._backend is not None:
                self._backend.write(records)
            bare = [Settlement(s.receipt, s.verdict) for s in settlements if s.receipt is not None]
            return self._broker.settle(bare, claim)
        except (BrokerRejected, BackendRejected) as exc:
            if len(settlements) == 1 and claim is None:
                return self._without_payload(settlements[0], exc)
        stale: list[Receipt] = []
        for settlement in settlements:
            stale.extend(self.commit((settlement,), None).stale)
        deliveries = () if claim is None else self._broker.settle((), claim).deliveries
        return Settled(tuple(stale), deliveries)

    def _without_payload(self, settlement: Settlement, exc: OperationalError) -> Settled:
        """The store refuses this very settlement: keep the message, with the reason, among the dead letters."""
        self._trouble("settlement_refused", f"an outcome cannot be stored and its message is buried: {exc}")
        if settlement.receipt is None:
            return Settled()
        verdict = settlement.verdict
        reason = f"its outcome cannot be stored: {exc}"
        return self._broker.settle(
            [Settlement(settlement.receipt, Bury(reason) if isinstance(verdict, Ack) else verdict)]
        )


class Link:
    """A line to a broker that can be polled: everything happens on the node's own thread.

    :param selector: the node's; the broker's bell is registered with ``data=("bell", 0)``
    """

    def __init__(
        self,
        broker: Any,
        committer: Committer,
        queues: tuple[str, ...],
        selector: selectors.BaseSelector,
        clock: Clock,
        trouble: Trouble,
    ) -> None:
        self._broker = broker
        self._committer = committer
        self._queues = queues
        self._selector = selector
        self._clock = clock
        self._trouble = trouble
        self._pending: list[Settlement] = []
        self._confirm: set[Receipt] = set()
        self._want = 0
        self._looked = False
        self._look_at = 0.0
        self._retry_s = 0.0
        self._retry_at = 0.0
        self._told = ""
        self._bell: int | None = None
        self._listening = False
        self._deaf = False
        """That no bell is to be had was said."""
        self.due_at = inf
        """Monotonic time of the next thing to do here: `step` has nothing to do before."""

    @property
    def pending(self) -> int:
        """Settlements not yet committed."""
        return len(self._pending)

    def want(self, limit: int) -> None:
        """The node is hungry for so many."""
        if limit and not self._listening:
            self._looked = False
        self._want = limit
        if limit == 0 and self._listening:
            self._listen(False)
        self.due_at = self._retry_at

    def settle(self, settlements: Sequence[Settlement], confirm: Sequence[Receipt]) -> None:
        """Commit these with the next step, and tell when those of `confirm` are."""
        self._pending += settlements
        self._confirm.update(confirm)
        self.due_at = self._retry_at

    def drop_confirmable(self) -> None:
        """Forget the wish, and what is to be confirmed but is not committed: an at-most-once task must not be
        acknowledged when nobody is left to run it."""
        self._want = 0
        self._pending = [one for one in self._pending if one.receipt not in self._confirm]
        self._confirm.clear()

    def rung(self) -> None:
        """The bell rang."""
        if not self._broker.heard():
            return
        self._looked = False
        self.due_at = self._retry_at
        if not self._want:
            # Not ours to take: wake somebody else.
            if self._listening:
                self._listen(False)
            for queue in self._queues:
                self._broker.ring(queue)

    def step(self) -> list[LinkNews]:
        """Commit what is pending and take what is wished for; what came of it. Never raises what a broker
        raises when it is away: then this is tried again later."""
        now = self._clock.monotonic()
        if now < self.due_at:
            return []
        pending, limit = self._pending, self._want
        deliveries: Sequence[Delivery] = ()
        stale: tuple[Receipt, ...] = ()
        try:
            rests = self._looked and (now < self._look_at or not self._is_worth_a_take(now))
            if not pending and (not limit or rests):
                self.due_at = self._look_at if limit else inf
                return []
            # What is committed must be told before anything else can fail: without a claim in the same step, the take
            # comes with the next one.
            claims = limit > 0 and (not pending or self._committer.claims)
            if pending:
                settled = self._committer.commit(pending, Claim(self._queues, limit) if claims else None)
                deliveries, stale = settled.deliveries, settled.stale
            else:
                deliveries = self._broker.take(self._queues, limit, 0.0)
        except AWAY as exc:
            self._back_off(now, exc)
            return []
        if self._retry_at:
            self._trouble("broker_back", "the broker answers again")
            self._retry_at = self._retry_s = 0.0
            self._told = ""
        news: list[LinkNews] = []
        if self._confirm or stale:
            news.append(Committed(tuple(r for r in self._confirm if r not in stale), stale))
            self._confirm = set()
        if pending:
            self._pending = []
        if claims and len(deliveries) < limit:
            # Nothing more is there: wait for a ring. What was published before the bell hung is looked for once.
            self._looked = self._listening
            if not self._listening:
                self._listen(True)
            self._look_at = now + _LOOK_S
        if deliveries:
            self._want = 0
            news.append(Arrived(tuple(deliveries)))
        self.due_at = inf if not self._want else self._look_at if self._looked else 0.0
        return news

    def _is_worth_a_take(self, now: float) -> bool:
        """The safety net: did anything change, or become due, without a ring? Raises one of `AWAY`."""
        due_at = self._broker.next_due_at(self._queues)
        changed = self._broker.changed()
        wall = self._clock.wall()
        if changed or (due_at is not None and due_at <= wall):
            return True
        self._look_at = now + _LOOK_S
        if due_at is not None:
            self._look_at = min(self._look_at, now + max(0.0, due_at - wall))
        return False

    def _listen(self, on: bool) -> None:
        self._listening = on
        if on:
            self._bell = self._broker.listen(self._queues)
            if self._bell is not None:
                self._selector.register(self._bell, selectors.EVENT_READ, ("bell", 0))
            elif not self._deaf:
                self._deaf = True
                self._trouble("no_bell", _NO_BELL, queues=len(self._queues))
            return
        if self._bell is not None:
            self._selector.unregister(self._bell)
            self._bell = None
        self._broker.listen(())

    def _back_off(self, now: float, exc: Exception) -> None:
        text = str(exc)
        if text != self._told:
            self._told = text
            self._trouble("broker_away", f"the broker does not answer, trying again: {text}")
        self._retry_s = min(max(self._retry_s * 2, _RETRY_FIRST_S), _RETRY_MAX_S)
        self.due_at = self._retry_at = now + self._retry_s

    def close(self) -> None:
        """Stop listening."""
        if self._listening:
            self._listen(False)
