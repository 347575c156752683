"""Messages in SQLite: how they are accepted, claimed and settled. Each function runs inside a transaction
of the caller; each statement here is one native loop over a batch wherever that is possible."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from celeriac.model.message import Ack, Bury, Claim, Delivery, Message, Receipt, Verdict
from celeriac.stores.faults import StoreRejected
from celeriac.stores.levels import LEVELS, NORMAL, check_placeable
from celeriac.stores.sqlite_link import Link
from celeriac.stores.sqlite_nodes import Holder, lease_now

_encode = msgspec.msgpack.Encoder().encode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What decoding of damaged bytes raises."""
_decode = msgspec.msgpack.Decoder(Message).decode

# Due messages made ready in one claim, so that a flood of them never holds the writers' gate for long.
_PROMOTE_MAX = 256

_TAKE = (
    # `cross join` fixes the order of the loops: the planner, knowing no statistics, may choose the other one.
    "select r.key, r.rank, r.attempt, r.crashes, m.data from ready r cross join message m on m.key=r.key "
    "where r.queue=? order by r.rank, r.key limit ?"
)
_NORMAL_RANK = LEVELS - 1 - NORMAL
# A named tuple's own constructor is a Python function; this is the native one below it.
_new_parcel = tuple.__new__
_new_receipt = tuple.__new__

GlanceRow = tuple[str, int, int, int, int, "float | None"]


class Parcel(NamedTuple):
    """A message made ready to be stored, outside of any lock."""

    queue: str
    rank: int
    eta_at: float | None
    data: bytes


# (key, rank, attempt before, crashes, data): a claimed row, not yet decoded. Plain, for there are many.
TakenRow = tuple[int, int, int, int, bytes]


class Haul(NamedTuple):
    """What a claim got."""

    rows: list[TakenRow]
    more: list[str]
    """Queues that have more than was wished for."""
    cancelled: frozenset[int]
    """Keys of messages whose tasks were cancelled."""


NOTHING = Haul([], [], frozenset())


class StaleReceipt(Exception):
    """At least one receipt of a batch is not held: settle it one by one."""


class Damaged(NamedTuple):
    """A claimed row whose bytes are no message."""

    receipt: Receipt
    reason: str
    data: bytes


def pack(messages: Iterable[Message]) -> list[Parcel]:
    """Check and encode. Raises BrokerRejected."""
    parcels: list[Parcel] = []
    for one in messages:
        priority = one.priority
        # The usual ones at once; everything else is checked, or refused with the reason.
        rank = _NORMAL_RANK if priority is None and one.queue else LEVELS - 1 - check_placeable(one)
        try:
            parcels.append(_new_parcel(Parcel, (one.queue, rank, one.eta_at, _encode(one))))
        except (TypeError, ValueError, OverflowError) as exc:
            raise StoreRejected(
                f"message {one.id!r} cannot be stored: {exc}; its fields must be of their types"
            ) from exc
    return parcels


def unpack(data: bytes) -> Message:
    """The message of some stored bytes. Raises one of UNREADABLE."""
    return _decode(data)


class QueueIds:
    """Numbers of queues, remembered until the link's generation changes: then a number may never have been
    committed, or the file may be another one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._generation = -1
        self._known: dict[str, int] = {}

    def known(self) -> dict[str, int]:
        """What is remembered, by name."""
        if self._link.generation != self._generation:
            self._known.clear()
            self._generation = self._link.generation
        return self._known

    def declare(self, conn: sqlite3.Connection, name: str) -> int:
        """The number of a queue that is not remembered; a new one if it is new."""
        row = conn.execute("select id from queue where name=?", (name,)).fetchone()
        number = row[0] if row else conn.execute("insert into queue(name) values(?)", (name,)).lastrowid
        assert number is not None
        self._known[name] = number
        return number


def insert(conn: sqlite3.Connection, queues: QueueIds, parcels: Sequence[Parcel]) -> None:
    """Accept messages in their order."""
    now_us = time.time_ns() // 1000
    now = now_us / 1e6
    known = queues.known()
    if len(parcels) == 1:
        name, rank, eta_at, data = parcels[0]
        number = known.get(name) or queues.declare(conn, name)
        last = conn.execute(
            "insert into message values(max(?, (select ifnull(max(key), 0) + 1 from message)), ?)", (now_us, data)
        ).lastrowid
        if eta_at is not None and eta_at > now:
            conn.execute("insert into due values(?,?,?,?,0,0)", (number, eta_at, last, rank))
        else:
            conn.execute("insert into ready values(?,?,?,0,0)", (number, rank, last))
        return
    (key,) = conn.execute("select max(?, ifnull(max(key), 0) + 1) from message", (now_us,)).fetchone()
    bodies: list[tuple[int, bytes]] = []
    ready: list[tuple[int, int, int]] = []
    due: list[tuple[int, float, int, int]] = []
    for name, rank, eta_at, data in parcels:
        number = known.get(name) or queues.declare(conn, name)
        bodies.append((key, data))
        if eta_at is not None and eta_at > now:
            due.append((number, eta_at, key, rank))
        else:
            ready.append((number, rank, key))
        key += 1
    conn.executemany("insert into message values(?,?)", bodies)
    if ready:
        conn.executemany("insert into ready values(?,?,?,0,0)", ready)
    if due:
        conn.executemany("insert into due values(?,?,?,?,0,0)", due)


def glance(conn: sqlite3.Connection, node: int, queues: Sequence[str]) -> dict[str, GlanceRow]:
    """What a claim must know beforehand, in one statement: of each queue that is known and not paused,
    (name, number, has ready, has due, any cancellation, our lease)."""
    marks = ",?" * (len(queues) - 1)
    rows = conn.execute(
        "select name, id, exists(select 1 from ready where queue=q.id), "  # noqa: S608 - question marks only
        "exists(select 1 from due where queue=q.id and due_at<=?), exists(select 1 from cancel), "
        f"(select lease_until from node where id=?) from queue q where not paused and name in (?{marks})",
        (time.time(), node, *queues),
    ).fetchall()
    return {row[0]: row for row in rows}


def anything(conn: sqlite3.Connection, queues: Sequence[str]) -> bool:
    """Whether a claim would find something: a look that needs no gate."""
    return any(row[2] or row[3] for row in glance(conn, 0, queues).values())


def claim(
    conn: sqlite3.Connection, holder: Holder, wish: Claim, turn: int, seen: dict[str, GlanceRow] | None = None
) -> Haul:
    """Claim for `holder`, beginning with another queue at each `turn`; `seen` is a glance of this transaction,
    after which nothing became ready."""
    names = wish.queues
    if not names or wish.limit <= 0:
        return NOTHING
    if seen is None:
        seen = glance(conn, holder.node, names)
    taken: list[TakenRow] = []
    more: list[str] = []
    any_cancelled = 0
    start = turn % len(names)
    for name in names[start:] + names[:start] if start else names:
        left = wish.limit - len(taken)
        row = seen.get(name)
        if row is None or left <= 0 or not (row[2] or row[3]):
            continue
        _, number, _, is_due, any_cancelled, lease_until = row
        if is_due:
            _promote(conn, number, max(left, _PROMOTE_MAX))
        rows = conn.execute(_TAKE, (number, left)).fetchall()
        if not rows:
            continue
        if not taken and (lease_until is None or lease_until < lease_now() + holder.lease_s / 2):
            holder.ensure(conn)
        conn.execute(
            "insert into claimed select key, ?, attempt + 1, crashes, queue, rank from ready "
            "where queue=? order by rank, key limit ?",
            (holder.node, number, left),
        )
        conn.execute("delete from ready where queue=? and (rank, key) <= (?, ?)", (number, rows[-1][1], rows[-1][0]))
        taken += rows
        if len(rows) == left and conn.execute("select 1 from ready where queue=? limit 1", (number,)).fetchone():
            more.append(name)
    return Haul(taken, more, _cancelled(conn, taken) if any_cancelled else NOTHING.cancelled)


def _cancelled(conn: sqlite3.Connection, taken: Iterable[TakenRow]) -> frozenset[int]:
    keys: set[int] = set()
    for key, _, _, _, data in taken:
        with suppress(*UNREADABLE):
            task_id = _decode(data).id
            if conn.execute(
                "select 1 from cancel where id=? and (upto>=? or until_at*1e6>?)", (task_id, key, key)
            ).fetchone():
                keys.add(key)
    return frozenset(keys)


def _promote(conn: sqlite3.Connection, queue: int, limit: int) -> None:
    """Make ready what has become due, `limit` at most."""
    now = time.time()
    last = conn.execute(
        "select due_at, key from due where queue=? and due_at<=? order by due_at, key limit 1 offset ?",
        (queue, now, limit - 1),
    ).fetchone() or (now, 1 << 62)
    args = (queue, *last)
    conn.execute(
        "insert into ready select queue, rank, key, attempt, crashes from due "
        "where queue=? and (due_at, key) <= (?, ?)",
        args,
    )
    conn.execute("delete from due where queue=? and (due_at, key) <= (?, ?)", args)


def deliveries(haul: Haul) -> tuple[list[Delivery], list[Damaged]]:
    """What was claimed, decoded; apart, what cannot be."""
    good: list[Delivery] = []
    bad: list[Damaged] = []
    cancelled = haul.cancelled
    for key, _, before, crashes, data in haul.rows:
        receipt = _new_receipt(Receipt, (key, before + 1))
        try:
            message = _decode(data)
        except UNREADABLE as exc:
            bad.append(Damaged(receipt, f"the stored message is damaged: {exc}", data))
            continue
        good.append(Delivery(message, receipt, crashes, before > 0, key in cancelled))
    return good, bad


def bury_damaged(conn: sqlite3.Connection, node: int, damaged: Iterable[Damaged]) -> None:
    """Make dead letters of what is no message, keeping the bytes as the body."""
    for receipt, reason, data in damaged:
        row = _held(conn, node, receipt)
        if row is not None:
            queue = queue_name(conn, row[0])
            shown = damaged_message(receipt.key, data, queue)
            conn.execute("update message set data=? where key=?", (_encode(shown), receipt.key))
            _conclude(conn, receipt, row, Bury(reason))


def damaged_message(key: int | str, data: bytes, queue: str = "") -> Message:
    """What stands for a message whose stored bytes are none."""
    return Message(f"damaged-{key}", "", queue, b"{}", data, "application/octet-stream", "binary")


def settle_acks(conn: sqlite3.Connection, node: int, receipts: Sequence[Receipt], any_cancelled: bool) -> None:
    """Acknowledge all of `receipts`. Raises StaleReceipt, and then the transaction must be rolled back."""
    if any_cancelled:
        left(conn, [receipt.key for receipt in receipts])
    done = conn.executemany(
        "delete from claimed where key=? and attempt=? and node=?", [(key, attempt, node) for key, attempt in receipts]
    ).rowcount
    if done != len(receipts):
        raise StaleReceipt
    conn.executemany("delete from message where key=?", [(key,) for key, _ in receipts])


def any_cancellation(conn: sqlite3.Connection) -> bool:
    """Whether any task is flagged as cancelled."""
    return conn.execute("select 1 from cancel limit 1").fetchone() is not None


def settle_one(conn: sqlite3.Connection, node: int, receipt: Receipt, verdict: Verdict) -> int | None:
    """Carry out a verdict; return the queue's number, or None if the receipt is not held."""
    row = _held(conn, node, receipt)
    if row is None:
        return None
    _conclude(conn, receipt, row, verdict)
    return row[0]


def queue_name(conn: sqlite3.Connection, number: int) -> str:
    """The name of a queue that is known to be there."""
    (name,) = conn.execute("select name from queue where id=?", (number,)).fetchone()
    return str(name)


def _held(conn: sqlite3.Connection, node: int, receipt: Receipt) -> tuple[int, int, int] | None:
    row: tuple[int, int, int] | None = conn.execute(
        "select queue, rank, crashes from claimed where key=? and attempt=? and node=?", (*receipt, node)
    ).fetchone()
    return row


def _conclude(conn: sqlite3.Connection, receipt: Receipt, row: tuple[int, int, int], verdict: Verdict) -> None:
    queue, rank, crashes = row
    key, attempt = receipt
    conn.execute("delete from claimed where key=?", (key,))
    if isinstance(verdict, Ack):
        left(conn, [key])
        conn.execute("delete from message where key=?", (key,))
    elif isinstance(verdict, Bury):
        (data,) = conn.execute("select data from message where key=?", (key,)).fetchone()
        message = _decode(data)
        conn.execute(
            "insert into dead values(?,?,?,?,?,?,?,?,?,?)",
            (
                key,
                attempt,
                crashes + verdict.crashed,
                queue,
                rank,
                verdict.parked,
                verdict.reason,
                time.time(),
                message.id,
                message.task,
            ),
        )
    else:
        release(conn, key, (queue, rank, attempt, crashes + verdict.crashed), verdict.after_s)


def release(conn: sqlite3.Connection, key: int | str, row: tuple[int, int, int, int], after_s: float) -> None:
    """Put a message, of which no row is left, back to wait; its key keeps its old place."""
    queue, rank, attempt, crashes = row
    if after_s > 0:
        conn.execute("insert into due values(?,?,?,?,?,?)", (queue, time.time() + after_s, key, rank, attempt, crashes))
    else:
        conn.execute("insert into ready values(?,?,?,?,?)", (queue, rank, key, attempt, crashes))


def left(conn: sqlite3.Connection, keys: Iterable[int | str]) -> None:
    """These messages are about to be deleted: a cancellation of theirs runs out from now on."""
    if not any_cancellation(conn):
        return
    now = time.time()
    for key in keys:
        row = conn.execute("select data from message where key=?", (key,)).fetchone()
        if row is not None:
            with suppress(*UNREADABLE):
                task_id = _decode(row[0]).id
                conn.execute(
                    "update cancel set until_at=?+keep_s where id=? and (upto>=? or until_at*1e6>?)",
                    (now, task_id, key, key),
                )
