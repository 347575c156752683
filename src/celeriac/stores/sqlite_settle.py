"""One call of `settle` on a SQLite store: what it asks for, and what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from celeriac.model.message import Ack, Claim, Receipt, Record, Release, Settlement
from celeriac.stores.sqlite_messages import (
    NOTHING,
    Parcel,
    QueueIds,
    any_cancellation,
    claim,
    glance,
    insert,
    pack,
    queue_name,
    settle_acks,
    settle_one,
)
from celeriac.stores.sqlite_nodes import Holder
from celeriac.stores.sqlite_results import write_records


class Settling:
    """Its methods are works of a transaction, and may run again if the first attempt was rolled back."""

    def __init__(
        self,
        holder: Holder,
        queues: QueueIds,
        settlements: Sequence[Settlement],
        then_take: Claim | None,
        turn: int,
    ) -> None:
        self._holder = holder
        self._queues = queues
        self._settlements = settlements
        self._wish = then_take
        self._turn = turn
        self._receipts: list[Receipt] = []
        self._parcels: list[Parcel] = []
        self._parcels_of: dict[int, list[Parcel]] = {}
        self.is_plain = True
        """Everything is acknowledged, or has nothing to settle."""
        self.records: list[Record] = []
        self.all_kept = True
        self.stale: list[Receipt] = []
        self.haul = NOTHING
        for index, one in enumerate(settlements):
            if one.receipt is not None:
                self._receipts.append(one.receipt)
                if type(one.verdict) is not Ack:
                    self.is_plain = False
            if one.records:
                self.records += one.records
            if one.follow_ups:
                self._parcels_of[index] = parcels = pack(one.follow_ups)
                self._parcels += parcels
        self.touched = {parcel.queue for parcel in self._parcels} if self._parcels else set[str]()
        """Queues whose takers must look."""

    def all_acks(self, conn: sqlite3.Connection) -> None:
        """The fast way: everything is acknowledged and held. Raises StaleReceipt if something is not held."""
        wish = self._wish
        seen = glance(conn, self._holder.node, wish.queues) if wish is not None and wish.queues else {}
        if self._receipts:
            some = next(iter(seen.values()), None)
            settle_acks(conn, self._holder.node, self._receipts, bool(some[4]) if some else any_cancellation(conn))
        if self.records:
            self.all_kept = write_records(conn, self.records)
        if self._parcels:
            insert(conn, self._queues, self._parcels)
        if wish is not None:
            self.haul = claim(conn, self._holder, wish, self._turn, None if self._parcels else seen)

    def one_by_one(self, conn: sqlite3.Connection) -> None:
        """Any verdicts, any of them stale."""
        self.stale = []
        released: set[str] = set()
        effective: list[int] = []
        for index, settlement in enumerate(self._settlements):
            if settlement.receipt is None:
                effective.append(index)
                continue
            queue = settle_one(conn, self._holder.node, settlement.receipt, settlement.verdict)
            if queue is None:
                self.stale.append(settlement.receipt)
                continue
            effective.append(index)
            if isinstance(settlement.verdict, Release):
                released.add(queue_name(conn, queue))
        self._carry(conn, effective)
        self.touched |= released
        if self._wish is not None:
            self.haul = claim(conn, self._holder, self._wish, self._turn)

    def _carry(self, conn: sqlite3.Connection, effective: Iterable[int]) -> None:
        """Store what goes with those settlements that have effect."""
        self.records, parcels = [], list[Parcel]()
        for index in effective:
            self.records += self._settlements[index].records
            parcels += self._parcels_of.get(index, ())
        if self.records:
            self.all_kept = write_records(conn, self.records)
        if parcels:
            insert(conn, self._queues, parcels)
        self.touched = {parcel.queue for parcel in parcels}
