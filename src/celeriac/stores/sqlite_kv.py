"""Keys and values in a SQLite store. Each function runs inside a read or write of the caller.

A lifetime is kept twice: on the clock of leases, which nobody sets, with the machine's boot id, and on the wall clock,
for readers after the next boot. What is over is hidden at once and removed, a few rows with each write, by those who
write: a file that is only a result store has no node that sweeps it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence

from celeriac.stores.kv_rules import added
from celeriac.stores.sqlite_nodes import BOOT_ID, lease_now

# More than one write can add, so that what is over never piles up.
_REMOVE_WITH_EACH_WRITE = 4
# A scan reads this many keys at a time, each time in a transaction of its own.
SCAN_MAX = 500
_ALIVE = "(expires_at is null or case when boot_id=:boot then until>:mono else expires_at>:wall end)"
_GET = f"select value from kv where key=:key and {_ALIVE}"  # noqa: S608 - our own text, here and below
_GET_MANY = f"select key, value from kv where key in (select value from json_each(:keys)) and {_ALIVE}"  # noqa: S608
_PUT = "insert or replace into kv values(:key, :value, :wall + :ttl, :mono + :ttl, case when :ttl is not null then :boot end)"
_SCAN = f"select key from kv where key>=:low and key<:high and {_ALIVE} order by key limit {SCAN_MAX}"  # noqa: S608
_OVER = (
    "delete from kv where key in "  # noqa: S608
    f"(select key from kv where expires_at<=:wall order by expires_at limit {_REMOVE_WITH_EACH_WRITE}) and not {_ALIVE}"
)
# SQLite's own JSON ends a text at this character.
_NUL = "\0"
_LAST = "\U0010ffff"

_Clocks = dict[str, object]


def _clocks() -> _Clocks:
    return {"boot": BOOT_ID, "mono": lease_now(), "wall": time.time()}


def get_many(conn: sqlite3.Connection, keys: Sequence[str]) -> list[bytes | None]:
    """The values in the order of `keys`; None for absent ones."""
    now = _clocks()
    if len(keys) == 1:
        return [_get(conn, keys[0], now)]
    rows = conn.execute(_GET_MANY, {**now, "keys": json.dumps(list(keys))}).fetchall()
    found: dict[str, bytes] = dict(rows)
    return [_get(conn, key, now) if _NUL in key else found.get(key) for key in keys]


def _get(conn: sqlite3.Connection, key: str, now: _Clocks) -> bytes | None:
    row = conn.execute(_GET, {**now, "key": key}).fetchone()
    return None if row is None else row[0]


def put(conn: sqlite3.Connection, key: str, value: bytes, ttl_s: float | None) -> None:
    """Give `key` this value and this lifetime."""
    _put(conn, key, value, ttl_s, _clocks())


def _put(conn: sqlite3.Connection, key: str, value: bytes, ttl_s: float | None, now: _Clocks) -> None:
    conn.execute(_PUT, {**now, "key": key, "value": value, "ttl": ttl_s})
    conn.execute(_OVER, now)


def delete_many(conn: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Make `keys` absent."""
    conn.executemany("delete from kv where key=?", [(key,) for key in keys])


def scan_after(conn: sqlite3.Connection, prefix: str, last: str | None) -> list[str]:
    """The next present keys that begin with `prefix`, those after `last`, at most SCAN_MAX, in order."""
    # A longer text is larger: the one just above `last` is `last` and the smallest character.
    low = prefix if last is None else last + _NUL
    rows = conn.execute(_SCAN, {**_clocks(), "low": low, "high": _above(prefix)}).fetchall()
    return [key for (key,) in rows]


def _above(prefix: str) -> str | bytes:
    """The smallest value above every text that begins with `prefix`; a blob is above every text."""
    stem = prefix.rstrip(_LAST)
    if not stem:
        return b""
    code = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if code == 0xD800 else code)  # between them are halves of pairs, which are no text


def incr(conn: sqlite3.Connection, key: str, by: int, ttl_s: float | None) -> int:
    """Add to the number at `key`; the lifetime is that of the first addition. Raises StoreRejected."""
    now = _clocks()
    value = _get(conn, key, now)
    total = added(key, value, by)
    if value is None:
        _put(conn, key, b"%d" % total, ttl_s, now)
    else:
        conn.execute("update kv set value=? where key=?", (b"%d" % total, key))
    return total


def compare_and_set(
    conn: sqlite3.Connection, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None
) -> bool:
    """Replace exactly `old`, absent for None, by `new`."""
    now = _clocks()
    if _get(conn, key, now) != old:
        return False
    if new is None:
        conn.execute("delete from kv where key=?", (key,))
    else:
        _put(conn, key, new, ttl_s, now)
    return True
