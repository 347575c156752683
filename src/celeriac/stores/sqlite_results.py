"""Result records in SQLite. Each function runs inside a read or write of the caller."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

from celeriac.model.message import Record

_RECORD = (
    "insert into result values(?,?,?,?,?) on conflict(id) do update set state=excluded.state, "
    "payload=excluded.payload, content_type=excluded.content_type, expires_at=excluded.expires_at "
    "where state<>'SUCCESS' or expires_at<=?"
)

_IDS_MAX = 64
_READ = {
    count: "select id, state, payload, content_type, expires_at from result where id in (?" + ",?" * (count - 1) + ")"
    for count in (1, _IDS_MAX)
}


def write_records(conn: sqlite3.Connection, records: Sequence[Record]) -> bool:
    """Keep records; nothing replaces a SUCCESS that has not expired. False if one was refused for that."""
    now = time.time()
    cursor = conn.executemany(
        _RECORD,
        [
            (
                one.id,
                one.state,
                one.payload,
                one.content_type,
                None if one.expires_s is None else now + one.expires_s,
                now,
            )
            for one in records
        ],
    )
    return cursor.rowcount == len(records)


def read_records(conn: sqlite3.Connection, ids: Sequence[str]) -> list[Record | None]:
    """Records in the order of `ids`; None for unknown or expired ones."""
    now = time.time()
    found: dict[str, Record] = {}
    for start in range(0, len(ids), _IDS_MAX):
        wanted = tuple(ids[start : start + _IDS_MAX])
        # Few different shapes, so that the statements stay cached.
        shape = 1 if len(wanted) == 1 else _IDS_MAX
        rows = conn.execute(_READ[shape], wanted + (None,) * (shape - len(wanted))).fetchall()
        for task_id, state, payload, content_type, expires_at in rows:
            if expires_at is None or expires_at > now:
                found[task_id] = Record(task_id, state, payload, content_type=content_type)
    return [found.get(task_id) for task_id in ids]


def forget_records(conn: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Delete records; unknown ids are ignored."""
    conn.executemany("delete from result where id=?", [(task_id,) for task_id in ids])
