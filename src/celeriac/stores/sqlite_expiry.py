"""How results that are over leave a SQLite store: by a walk through all of them, a little at a time.

An index by expiry would find them at once, and would cost every task a page more to read and to write, for something
that is in no hurry: who reads a result looks at its lifetime anyway. What is known exactly is when the first result is
over, for who writes one says so; from then on, one process after the other takes the walk a bit further, in the order
of the ids.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import msgspec

from celeriac.stores.sqlite_link import Link

_STEP = 500
"""Rows of one transaction: the gate must stay free for those who work."""
_WALK_FOR_S = 0.01
"""So long does each sweep walk, of a second: that is felt by nobody."""
_WORTHWHILE = _STEP // 10
"""Where so many of a step are over, others may come as fast, and the walk goes on."""
_RESTS_PER_WORK = 50
"""A walk of a second is followed by a rest of this many, whatever is over meanwhile."""
_REST_MAX_S = 3600.0
_NEVER = 1e18

SOONEST = "results_soonest"
"""No result of the store is over before this moment; while a walk is under way, none that it has left behind."""
_WALK = "results_walk"
LOWER_SOONEST = "update meta set value=? where name='results_soonest' and value>?"
"""To be said, with the same moment twice, in the transaction that writes a result which is over then."""
_KEEP = "insert or replace into meta values(?, ?)"


class Walk(msgspec.Struct, frozen=True):
    """Where the walk is."""

    after: str | None = None
    """The last id that was looked at; None: no walk is under way."""
    worked_s: float = 0.0
    seen: int = 0
    removed: int = 0
    rests_until: float = 0.0
    """On the wall clock."""


_NOT_BEGUN = Walk()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Walk).decode


def expire_results(link: Link, clock: Callable[[], float], until: float) -> None:
    """If there is anything to do, walk on for a moment; until `until` (monotonic) while much is over."""
    if not link.read(_is_due, clock()):
        return
    ends_at = time.monotonic() + _WALK_FOR_S
    while True:
        walk, removed = link.write(_step, clock())
        now = time.monotonic()
        if walk.after is None or now >= until or (now >= ends_at and removed < _WORTHWHILE):
            return


def _load(conn: sqlite3.Connection) -> tuple[Walk, float]:
    """Where the walk is, and when the first result is over; as if never walked in a file that does not tell."""
    found = dict(conn.execute("select name, value from meta where name in (?, ?)", (_WALK, SOONEST)).fetchall())
    try:
        return _decode(found.get(_WALK) or b"{}"), float(found.get(SOONEST) or 0.0)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return _NOT_BEGUN, 0.0


def _is_due(conn: sqlite3.Connection, now: float) -> bool:
    walk, soonest_at = _load(conn)
    # A rest longer than the longest there is was given by another clock.
    is_resting = now < walk.rests_until <= now + _REST_MAX_S
    return walk.after is not None or (soonest_at <= now and not is_resting)


def _step(conn: sqlite3.Connection, now: float) -> tuple[Walk, int]:
    """One step of the walk: where it is then, and how many results it removed."""
    began_at = time.monotonic()
    walk, _ = _load(conn)
    if walk.after is None:
        walk = Walk("")
        conn.execute(_KEEP, (SOONEST, _NEVER))
    rows = conn.execute(
        "select id, expires_at from result where id>? order by id limit ?", (walk.after, _STEP)
    ).fetchall()
    over = [(task_id,) for task_id, at in rows if at is not None and at <= now]
    conn.executemany("delete from result where id=?", over)
    left = [at for _, at in rows if at is not None and at > now]
    if left:
        conn.execute(LOWER_SOONEST, (min(left), min(left)))
    seen, removed = walk.seen + len(rows), walk.removed + len(over)
    worked_s = walk.worked_s + time.monotonic() - began_at
    if len(rows) == _STEP:
        walk = Walk(rows[-1][0], worked_s, seen, removed)
    else:
        # One that has found much was worth its work.
        rest_s = 0.0 if removed * 2 > seen else min(worked_s * _RESTS_PER_WORK, _REST_MAX_S)
        walk = Walk(rests_until=now + rest_s)
    conn.execute(_KEEP, (_WALK, _encode(walk)))
    return walk, len(over)
