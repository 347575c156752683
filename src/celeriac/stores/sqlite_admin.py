"""What tools do to the queues of a SQLite store. Each function runs inside a read or write of the caller."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

from celeriac.model.message import DeadLetter, Depth, Message, Waiting, WaitingState
from celeriac.stores import sqlite_messages as messages_sql

_DEPTH = """
select q.name, q.paused,
  (select count(*) from ready where queue=q.id) + (select count(*) from due where queue=q.id and due_at<=:now),
  (select count(*) from due where queue=q.id and due_at>:now),
  (select count(*) from claimed where queue=q.id),
  (select count(*) from dead where queue=q.id and not parked),
  (select count(*) from dead where queue=q.id and parked)
from queue q
"""
# Many ids are looked up this many at a time.
_PURGE_MAX = 1000


def depth(conn: sqlite3.Connection, queues: Sequence[str]) -> list[Depth]:
    """Counts of the named queues, or of all, sorted by name."""
    now = time.time()
    if queues:
        rows = [
            conn.execute(f"{_DEPTH} where q.name=:name", {"now": now, "name": name}).fetchone()
            for name in sorted(set(queues))
        ]
        rows = [
            row or (name, 0, 0, 0, 0, 0, 0)
            for row, name in zip(rows, sorted(set(queues)))  # noqa: B905
        ]
    else:
        rows = conn.execute(f"{_DEPTH} order by q.name", {"now": now}).fetchall()
    return [
        Depth(name, ready, delayed, claimed, dead, parked, bool(paused))
        for name, paused, ready, delayed, claimed, dead, parked in rows
    ]


def _shown(key: int, data: bytes) -> Message:
    """The message, or what stands for it if its bytes are damaged."""
    try:
        return messages_sql.unpack(data)
    except messages_sql.UNREADABLE:
        return messages_sql.damaged_message(key, data)


def peek(conn: sqlite3.Connection, queue: str, limit: int, wanted: WaitingState | None = None) -> list[Waiting]:
    """The next messages in the order of delivery; those of one state if `wanted` names it."""
    now = time.time()
    row = conn.execute("select id from queue where name=?", (queue,)).fetchone()
    if row is None or limit <= 0:
        return []
    views: list[Waiting] = []
    # What is due but not yet made ready counts as ready, at its place.
    sources: tuple[tuple[str, WaitingState], ...] = (
        (
            """select rank, key, attempt, crashes, null as due_at from ready where queue=:queue union all
            select rank, key, attempt, crashes, null from due where queue=:queue and due_at<=:now order by rank, key""",
            "ready",
        ),
        (
            "select rank, key, attempt, crashes, due_at from due where queue=:queue and due_at>:now order by due_at, key",
            "delayed",
        ),
        ("select rank, key, attempt, crashes, null from claimed where queue=:queue order by key", "claimed"),
    )
    for source, state in sources:
        if wanted not in {None, state}:
            continue
        rows = conn.execute(
            f"{source} limit :limit", {"queue": row[0], "now": now, "limit": limit - len(views)}
        ).fetchall()
        for _, key, attempt, crashes, due_at in rows:
            body = conn.execute("select data from message where key=?", (key,)).fetchone()
            if body is not None:
                views.append(Waiting(_shown(key, body[0]), state, due_at, attempt, crashes))
    return views


def purge(conn: sqlite3.Connection, queue: str) -> int:
    """Delete up to a batch of what waits in a queue; return how many, 0 when nothing is left."""
    row = conn.execute("select id from queue where name=?", (queue,)).fetchone()
    if row is None:
        return 0
    queue_id = row[0]
    ready = conn.execute("select queue, rank, key from ready where queue=? limit ?", (queue_id, _PURGE_MAX)).fetchall()
    due = conn.execute("select queue, due_at, key from due where queue=? limit ?", (queue_id, _PURGE_MAX)).fetchall()
    keys = [(one[2],) for one in ready + due]
    messages_sql.left(conn, [key for (key,) in keys])
    conn.executemany("delete from ready where queue=? and rank=? and key=?", ready)
    conn.executemany("delete from due where queue=? and due_at=? and key=?", due)
    conn.executemany("delete from message where key=?", keys)
    return len(keys)


def dead(conn: sqlite3.Connection, queue: str | None, limit: int) -> list[DeadLetter]:
    """Dead and parked letters, newest first."""
    rows = conn.execute(
        "select d.key, m.data, d.reason, d.buried_at, d.crashes, d.parked from dead d join message m on m.key=d.key "
        "where ? is null or d.queue=(select id from queue where name=?) order by d.buried_at desc, d.key desc limit ?",
        (queue, queue, max(limit, 0)),
    ).fetchall()
    return [
        DeadLetter(_shown(key, data), reason, at, crashes, bool(parked))
        for key, data, reason, at, crashes, parked in rows
    ]


def revive(conn: sqlite3.Connection, ids: Iterable[str], parked_tasks: Iterable[str]) -> list[str]:
    """Put dead letters back, their crashes and their failure forgotten; return the queue of each."""
    found = {row[0]: row for task_id in ids for row in _dead_rows(conn, "task_id=?", task_id)}
    found.update({row[0]: row for task in parked_tasks for row in _dead_rows(conn, "parked and task=?", task)})
    conn.executemany(
        "delete from result where id=? and state<>'SUCCESS'", [(task_id,) for *_, task_id in found.values()]
    )
    return _dig_out(conn, found.values())


def _dig_out(conn: sqlite3.Connection, rows: Iterable[tuple[int, int, int, int, str]]) -> list[str]:
    queues: list[str] = []
    for key, queue, rank, attempt, _ in rows:
        conn.execute("delete from dead where key=?", (key,))
        messages_sql.release(conn, key, (queue, rank, attempt, 0), 0.0)
        queues.append(messages_sql.queue_name(conn, queue))
    return queues


def anything_parked(conn: sqlite3.Connection) -> bool:
    """Whether a message waits for code that knows its task."""
    return conn.execute("select 1 from dead where parked limit 1").fetchone() is not None


def _dead_rows(conn: sqlite3.Connection, where: str, value: str) -> list[tuple[int, int, int, int, str]]:
    rows: list[tuple[int, int, int, int, str]] = conn.execute(
        f"select key, queue, rank, attempt, task_id from dead where {where}",  # noqa: S608 - our own text
        (value,),
    ).fetchall()
    return rows


def drop(conn: sqlite3.Connection, ids: Iterable[str]) -> int:
    """Delete dead letters for good."""
    keys = {row[0] for task_id in ids for row in _dead_rows(conn, "task_id=?", task_id)}
    messages_sql.left(conn, keys)
    conn.executemany("delete from dead where key=?", [(key,) for key in keys])
    conn.executemany("delete from message where key=?", [(key,) for key in keys])
    return len(keys)


def pause(conn: sqlite3.Connection, queue: str, paused: bool) -> None:
    """Stop or resume deliveries from a queue, known or not."""
    conn.execute(
        "insert into queue(name, paused) values(?,?) on conflict(name) do update set paused=excluded.paused",
        (queue, int(paused)),
    )


def cancel(conn: sqlite3.Connection, ids: Sequence[str], keep_s: float) -> list[str]:
    """Flag tasks as cancelled, and put back their parked letters; return the queue of each letter."""
    until_at = time.time() + keep_s
    conn.executemany(
        "insert or replace into cancel select ?, ?, ?, ifnull(max(key), 0) from message",
        [(task_id, until_at, keep_s) for task_id in ids],
    )
    if not anything_parked(conn):
        return []
    found = {row[0]: row for task_id in ids for row in _dead_rows(conn, "parked and task_id=?", task_id)}
    return _dig_out(conn, found.values())


def next_due_at(conn: sqlite3.Connection, queues: Iterable[str]) -> float | None:
    """When the next delayed message of these queues becomes due. One statement, for idle takers ask often."""
    names = tuple(queues)
    if not names:
        return None
    marks = ",?" * (len(names) - 1)
    (first,) = conn.execute(
        "select min((select min(due_at) from due where queue=q.id)) from queue q "  # noqa: S608 - question marks only
        f"where not paused and name in (?{marks})",
        names,
    ).fetchone()
    return None if first is None else float(first)
