"""Result records in SQLite. Each function runs inside a read or write of the caller."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence

from celeriac.model.message import Record
from celeriac.stores.sqlite_expiry import LOWER_SOONEST

_RECORD = (
    "insert into result(id, expires_at, state, content_type, payload) values(?,?,?,?,?) "
    "on conflict(id) do update set expires_at=excluded.expires_at, state=excluded.state, "
    "content_type=excluded.content_type, payload=excluded.payload "
    "where state<>'SUCCESS' or expires_at<=?"
)

_READ_ONE = "select id, state, payload, content_type, expires_at from result where id=?"
_READ_MANY = (
    "select r.id, r.state, r.payload, r.content_type, r.expires_at "
    "from json_each(?) wanted cross join result r on r.id=wanted.value"
)
# SQLite's own JSON ends a text at this character.
_NUL = "\0"


def write_records(conn: sqlite3.Connection, records: Sequence[Record]) -> bool:
    """Keep records; nothing replaces a SUCCESS that has not expired. False if one was refused for that."""
    now = time.time()
    rows = [
        (one.id, None if one.expires_s is None else now + one.expires_s, one.state, one.content_type, one.payload, now)
        for one in records
    ]
    kept = conn.executemany(_RECORD, rows).rowcount == len(rows)
    lifetimes = [one.expires_s for one in records if one.expires_s is not None]
    if lifetimes:
        soonest_at = now + min(lifetimes)
        conn.execute(LOWER_SOONEST, (soonest_at, soonest_at))
    return kept


def read_records(conn: sqlite3.Connection, ids: Sequence[str]) -> list[Record | None]:
    """Records in the order of `ids`; None for unknown or expired ones. One statement, and so one moment, however many."""
    if len(ids) == 1:
        rows = conn.execute(_READ_ONE, (ids[0],)).fetchall()
    else:
        rows = conn.execute(_READ_MANY, (json.dumps(list(ids)),)).fetchall() if ids else []
        for odd in [task_id for task_id in ids if _NUL in task_id]:
            rows += conn.execute(_READ_ONE, (odd,)).fetchall()
    now = time.time()
    found = {
        task_id: Record(task_id, state, payload, content_type=content_type)
        for task_id, state, payload, content_type, expires_at in rows
        if expires_at is None or expires_at > now
    }
    return [found.get(task_id) for task_id in ids]


def forget_records(conn: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Delete records; unknown ids are ignored."""
    conn.executemany("delete from result where id=?", [(task_id,) for task_id in ids])
