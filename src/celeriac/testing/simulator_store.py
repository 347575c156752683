"""The simulated store: a broker of timed leases with nodes, delays, dead letters and crash counts.

The rules are those of the ports: a receipt carries the attempt, a settlement by an old receipt is dropped and named, a
settlement is one transaction with its records and follow-ups. Written without a look at any real adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from celeriac.core.engine.effects import SettleItem
from celeriac.model.message import Ack, Bury, Delivery, Message, Receipt, Release
from celeriac.model.states import READY_STATES

RowState = Literal["ready", "claimed", "dead", "parked", "gone"]


class Row(Struct):
    """One message in the store."""

    key: int
    message: Message
    ready_at: float
    due_at: float
    """Since when it could run, wherever it was since then."""
    state: RowState = "ready"
    attempt: int = 0
    crashes: int = 0
    holder: int = 0


Tell = Callable[..., None]
"""Takes down a fact: what happened, and its particulars."""


class SimStore:
    """Messages, claims and final states of one simulated cluster."""

    def __init__(self, tell: Tell, lease_s: float, on_ready: Callable[[float], None]) -> None:
        self._tell = tell
        self._on_ready = on_ready
        self._lease_s = lease_s
        self.rows: dict[int, Row] = {}
        self.ready: dict[int, Row] = {}
        """What can be, or will be, delivered; in order."""
        self.claims: dict[int, dict[int, Row]] = {}
        """Per holder."""
        self.lease_until: dict[int, float] = {}
        self.cancelled: set[str] = set()
        self.down_until = 0.0
        self._next_key = 1

    def publish(self, message: Message, now: float) -> Row:
        """Accept a message."""
        due_at = max(now, message.eta_at if message.eta_at is not None else now)
        row = Row(self._next_key, message, due_at, due_at)
        self._next_key += 1
        self.rows[row.key] = row
        self.ready[row.key] = row
        self._tell("published", task=message.id)
        self._on_ready(row.ready_at)
        return row

    def join(self, node: int, now: float) -> None:
        """A node exists, or still does."""
        self.lease_until[node] = now + self._lease_s
        self.claims.setdefault(node, {})

    def take(self, node: int, limit: int, now: float) -> list[Delivery]:
        """Claim up to `limit` messages that are due."""
        found = [row for row in self.ready.values() if row.ready_at <= now][:limit]
        deliveries: list[Delivery] = []
        for row in found:
            del self.ready[row.key]
            row.state = "claimed"
            row.attempt += 1
            row.holder = node
            self.claims.setdefault(node, {})[row.key] = row
            self._tell("claimed", node=node, task=row.message.id, receipt=Receipt(row.key, row.attempt))
            deliveries.append(
                Delivery(
                    row.message,
                    Receipt(row.key, row.attempt),
                    row.crashes,
                    redelivered=row.attempt > 1,
                    cancelled=row.message.id in self.cancelled,
                )
            )
        return deliveries

    def held(self, receipt: Receipt, node: int) -> Row | None:
        """The row this receipt is good for."""
        row = self.rows.get(int(receipt.key))
        if row is None or row.state != "claimed" or row.attempt != receipt.attempt or row.holder != node:
            return None
        return row

    def settle(self, node: int, items: Iterable[SettleItem], now: float) -> list[Receipt]:
        """Commit; returns the stale receipts, whose items had no effect."""
        stale: list[Receipt] = []
        for item in items:
            if item.receipt is not None:
                row = self.held(item.receipt, node)
                if row is None:
                    stale.append(item.receipt)
                    self._tell("stale", node=node, receipt=item.receipt)
                    continue
                self._apply(row, item, node, now)
            for message in item.follow_ups:
                self.publish(message, now)
            task, state = _outcome(item)
            if state in READY_STATES:
                bare = item.final is not None
                self._tell("outcome", node=node, task=task, state=state, receipt=item.receipt, flag=bare)
        return stale

    def _apply(self, row: Row, item: SettleItem, node: int, now: float) -> None:
        verdict = item.verdict
        del self.claims[node][row.key]
        task = row.message.id
        if isinstance(verdict, Ack):
            row.state = "gone"
            self._tell("acked", node=node, task=task, receipt=item.receipt, flag=item.confirm)
        elif isinstance(verdict, Bury):
            row.state = "parked" if verdict.parked else "dead"
            row.crashes += verdict.crashed
            self._tell("buried", node=node, task=task, state=verdict.reason, flag=verdict.parked)
        else:
            if not verdict.crashed:
                self._tell("aside", node=node, task=task, receipt=item.receipt, number=verdict.after_s)
            self._back(row, verdict, now)

    def _back(self, row: Row, verdict: Release, now: float) -> None:
        row.state = "ready"
        row.holder = 0
        row.ready_at = now + verdict.after_s
        if verdict.crashed or not verdict.after_s:
            row.due_at = row.ready_at
        self.ready[row.key] = row
        if verdict.crashed:
            row.crashes += 1
            self._tell("counted", task=row.message.id, number=row.crashes)
        self._tell("released", task=row.message.id)
        self._on_ready(row.ready_at)

    def extend(self, node: int, receipts: Iterable[Receipt], now: float) -> list[Receipt]:
        """Renew a node's lease; name what it no longer holds."""
        self.join(node, now)
        return [receipt for receipt in receipts if self.held(receipt, node) is None]

    def sweep(self, node: int, running: Iterable[Receipt], now: float) -> None:
        """Take back what a node held that is dead or silent; what its marks show as running has crashed."""
        marked = set(running)
        claims = self.claims.pop(node, {})
        self.lease_until.pop(node, None)
        for row in claims.values():
            crashed = Receipt(row.key, row.attempt) in marked
            self._back(row, Release(crashed=crashed), now)

    def steal(self, row: Row, now: float) -> None:
        """Forget a claim, as a store does that lost a lease without anybody's fault."""
        del self.claims[row.holder][row.key]
        self._back(row, Release(), now)


def _outcome(item: SettleItem) -> tuple[str, str]:
    if item.final is not None and item.head is not None:
        return item.head.id, item.final.state
    if item.records:
        return item.records[-1].id, item.records[-1].state
    return "", ""
