"""The store of a SQLite file in this process, shared by all brokers and backends on that file.

It owns two connections: the main one, and one for renewing leases, so that a beat never waits for a
transaction of this process. All writes of many threads that wait at once go into one transaction.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from celeriac.model.ids import random_id
from celeriac.model.message import Claim, Delivery, Message, Receipt, Record, Settled, Settlement
from celeriac.stores import sqlite_admin
from celeriac.stores import sqlite_messages as messages_sql
from celeriac.stores.faults import StoreFault, StoreUnavailable
from celeriac.stores.sqlite_bells import Bells, Listener, bell_of, leave_folder, runtime_dir
from celeriac.stores.sqlite_files import check_place
from celeriac.stores.sqlite_link import Link
from celeriac.stores.sqlite_messages import (
    Haul,
    Parcel,
    QueueIds,
    StaleReceipt,
    anything,
    claim,
    deliveries,
    insert,
    pack,
)
from celeriac.stores.sqlite_nodes import Holder
from celeriac.stores.sqlite_push import Mailbox, Post
from celeriac.stores.sqlite_results import read_records, write_records
from celeriac.stores.sqlite_settle import Settling

# Messages of other threads that one transaction takes along, so that none waits for a giant one.
_TOGETHER_MAX = 4096
# What waits in `take` looks this often when no bell rings: writers of other users cannot ring ours.
LOOK_AGAIN_S = 0.05


class _Batch:
    """One caller's messages on their way into a shared transaction."""

    __slots__ = ("done", "fault", "parcels")

    def __init__(self, parcels: list[Parcel]) -> None:
        self.parcels = parcels
        self.done = False
        self.fault: Exception | None = None


class SqliteStore:
    """Queues, results and topics in one file. Made by `store_at`, one per path and process."""

    def __init__(self, path: str, timeout_s: float, durable: bool) -> None:
        self.path = path
        self.oid = random_id()
        """Names this process's store to others; changes in a forked child."""
        self.main = Link(path, timeout_s, durable)
        self.beat = Link(path, timeout_s, durable)
        self.folder = runtime_dir(path)
        self.bells = Bells(self.folder, path)
        self.post = Post(self.folder)
        self.mailbox = Mailbox(self.folder, self.read_records)
        self.queues = QueueIds(self.main)
        self.holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self._waiting: deque[_Batch] = deque()
        self._leading = threading.Lock()
        self._users: set[int] = set()
        self._turn = 0

    # ---------------------------------------------------------------- life

    def open(self, user: int) -> None:
        """Check the place, connect, create or migrate. Raises StoreFault."""
        check_place(self.path)
        runtime_dir(self.path)  # the last one out may have removed it
        self.main.unlock()
        self.beat.unlock()
        self.main.read(lambda conn: conn.execute("select 1").fetchone())
        self._users.add(user)

    def close(self, user: int) -> None:
        """Close everything when the last user goes. Idempotent."""
        self._users.discard(user)
        if not self._users:
            self.release()

    def release(self) -> None:
        """Close connections, bells and sockets until somebody opens the store again."""
        self.beat.close(for_good=True)
        self.main.close(for_good=True)
        self.bells.close()
        self.post.close()
        self.mailbox.close()
        if self.folder is not None:
            leave_folder(self.folder)

    def be_strict(self, timeout_s: float, durable: bool) -> None:
        """Meet the wishes of one more user: the shorter wait, the greater durability."""
        for link in (self.main, self.beat):
            link.timeout_s = min(link.timeout_s, timeout_s)
            if durable and not link.durable:
                link.durable = True
                link.close()  # the next connection is a durable one

    def forget_parent(self, oid: str) -> None:
        """In a forked child: be another holder at another address; share nothing."""
        self.oid = oid
        self.main.after_fork_in_child()
        self.beat.after_fork_in_child()
        self.bells.forget()
        self.post.forget()
        self.mailbox.forget()
        self._leading = threading.Lock()
        self._waiting.clear()
        for holder in list(self.holders):
            holder.forget(oid)

    # ---------------------------------------------------------------- publish

    def publish(self, messages: Iterable[Message]) -> None:
        """Accept all of `messages` or none; threads that publish at once share a transaction."""
        parcels = pack(messages)
        if not parcels:
            return
        if not self._waiting and self._leading.acquire(blocking=False):
            try:
                self.main.write(insert, self.queues, parcels)
            finally:
                self._leading.release()
        else:
            self._publish_together(_Batch(parcels))
        if len(parcels) == 1:
            self.bells.ring(bell_of(parcels[0].queue))
            return
        for queue in {parcel.queue for parcel in parcels}:
            self.bells.ring(bell_of(queue))

    def _publish_together(self, batch: _Batch) -> None:
        """Queue behind the thread that is storing now; then store for all that queue, or find it done."""
        self._waiting.append(batch)
        timeout_s = self.main.timeout_s
        if not self._leading.acquire(timeout=timeout_s):
            try:
                self._waiting.remove(batch)
            except ValueError:
                # It is in a leader's hands, whose own waiting is bounded too.
                if not self._leading.acquire(timeout=timeout_s):
                    raise StoreUnavailable("the database is too busy; the messages may have been stored") from None
            else:
                raise StoreUnavailable("other threads kept the database busy all the time; try again")
        try:
            while not batch.done:  # those before us may fill a transaction or two
                self._lead()
        finally:
            self._leading.release()
        if batch.fault is not None:
            raise batch.fault

    def _lead(self) -> None:
        """Store what all waiting threads have to publish."""
        batches: list[_Batch] = []
        count = 0
        while self._waiting and count < _TOGETHER_MAX:
            batches.append(self._waiting.popleft())
            count += len(batches[-1].parcels)
        fault: Exception = StoreUnavailable("publishing was interrupted; try again")
        try:
            if len(batches) > 1:
                try:
                    self.main.write(insert, self.queues, [parcel for batch in batches for parcel in batch.parcels])
                except StoreUnavailable as exc:
                    fault = exc
                    return
                except StoreFault:
                    pass  # somebody's message does not fit: let each try alone
                else:
                    for batch in batches:
                        batch.done = True
                    return
            for batch in batches:
                try:
                    self.main.write(insert, self.queues, batch.parcels)
                except StoreFault as exc:
                    batch.fault = exc
                batch.done = True
        finally:
            for batch in batches:
                if not batch.done:
                    batch.fault, batch.done = fault, True

    # ---------------------------------------------------------------- take and settle

    def take(self, holder: Holder, wish: Claim, *, look_first: bool) -> Sequence[Delivery]:
        """Claim what is there, without waiting. A look that finds nothing spares the writers' gate; it is one
        more statement when there is something."""
        if not wish.queues or wish.limit <= 0 or (look_first and not self.main.read(anything, wish.queues)):
            return ()
        self._turn += 1
        return self._handed_over(holder, self.main.write(claim, holder, wish, self._turn))

    def take_waiting(
        self, holder: Holder, wish: Claim, wait_s: float, when_idle: Callable[[], int]
    ) -> Sequence[Delivery]:
        """Claim, waiting up to `wait_s` for the first message; when there is nothing, `when_idle` may
        bring some back."""
        try:
            return self._take_waiting(holder, wish, time.monotonic() + wait_s, when_idle)
        except StoreUnavailable:
            if holder.is_open:
                raise
            return ()  # closed by another thread while we waited

    def _take_waiting(
        self, holder: Holder, wish: Claim, deadline: float, when_idle: Callable[[], int]
    ) -> Sequence[Delivery]:
        deliveries = self.take(holder, wish, look_first=True)
        if not deliveries and when_idle():
            deliveries = self.take(holder, wish, look_first=True)
        if deliveries or time.monotonic() >= deadline:
            return deliveries
        listener = self.bells.listen([bell_of(name) for name in wish.queues])
        try:
            while True:
                deliveries = self.take(holder, wish, look_first=True)
                left_s = deadline - time.monotonic()
                if deliveries or left_s <= 0 or not holder.is_open:
                    return deliveries
                self._nap(listener, min(left_s, self._until_due_s(wish.queues)))
                when_idle()
        finally:
            if listener is not None:
                listener.close()

    def _until_due_s(self, queues: Sequence[str]) -> float:
        """How long to wait for a bell: the next delayed message needs none, foreign writers cannot ring."""
        due_at = self.main.read(lambda conn: sqlite_admin.next_due_at(conn, queues))
        return LOOK_AGAIN_S if due_at is None else min(max(due_at - time.time(), 0.001), LOOK_AGAIN_S)

    @staticmethod
    def _nap(listener: Listener | None, nap_s: float) -> None:
        if listener is not None:
            listener.wait(nap_s)
        else:
            time.sleep(nap_s)

    def _handed_over(self, holder: Holder, haul: Haul) -> list[Delivery]:
        good, damaged = deliveries(haul)
        if damaged:
            # What cannot be buried now stays claimed, and is met again by who takes it next.
            with suppress(*StoreFault):
                self.main.write(lambda conn: messages_sql.bury_damaged(conn, holder.node, damaged))
        for queue in haul.more:
            self.bells.ring(bell_of(queue))
        return good

    def settle(self, holder: Holder, settlements: Sequence[Settlement], then_take: Claim | None) -> Settled:
        """Verdicts, records, follow-ups and the next claim in one transaction."""
        self._turn += 1
        settling = Settling(holder, self.queues, settlements, then_take, self._turn)
        if settling.is_plain:
            try:
                self.main.write(settling.all_acks)
            except StaleReceipt:
                self.main.write(settling.one_by_one)
        else:
            self.main.write(settling.one_by_one)
        if settling.records:
            self.notify(settling.records, settling.all_kept)
        for queue in settling.touched:
            self.bells.ring(bell_of(queue))
        got = self._handed_over(holder, settling.haul) if settling.haul.rows else ()
        return Settled(tuple(settling.stale), tuple(got))

    def extend(self, holder: Holder, receipts: Sequence[Receipt], lease_s: float) -> list[Receipt]:
        """Renew the holder's lease, on the connection of its own; return the receipts it has no more."""

        def work(conn: sqlite3.Connection) -> set[tuple[int, int]]:
            if holder.node:
                holder.renew(conn, lease_s)
            return set(conn.execute("select key, attempt from claimed where node=?", (holder.node,)).fetchall())

        held = self.beat.write(work)
        return [receipt for receipt in receipts if receipt not in held]

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return self.main.read(lambda conn: int(conn.execute("pragma data_version").fetchone()[0]))

    # ---------------------------------------------------------------- results

    def write_records(self, records: Sequence[Record]) -> None:
        """Store results and tell those who wait for them."""
        if records:
            self.notify(records, self.main.write(write_records, records))

    def notify(self, records: Sequence[Record], all_kept: bool) -> None:
        """Tell those who wait for these results, here and elsewhere; to look for themselves if some were refused."""
        self.mailbox.deliver(records, all_kept)
        self.post.send(records, self.oid, all_kept)

    def read_records(self, ids: Sequence[str]) -> list[Record | None]:
        """Results in the order of `ids`; None for unknown or expired ones."""
        return self.main.read(read_records, ids)
