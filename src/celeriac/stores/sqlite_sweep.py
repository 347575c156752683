"""The sweep: what dead holders had comes back, and what is due to expire goes. One process at a time."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from celeriac.stores import sqlite_messages as messages_sql
from celeriac.stores.sqlite import SqliteStore
from celeriac.stores.sqlite_bells import bell_of, forget_lost_databases
from celeriac.stores.sqlite_expiry import expire_results
from celeriac.stores.sqlite_nodes import BOOT_ID, Gone, gone_holders, lease_now, lock_sweeper, marked_keys, open_nodes

# Rows that one sweep removes of each kind: the gate must stay free for those who work.
_EXPIRE_MAX = 500
# As long as a sweep goes on removing when there is much: several times faster than tasks can finish.
_EXPIRE_FOR_S = 0.1
# The pause before the run after the n-th crash; a run that crashed more often is delivered at once, to be buried.
_PAUSE_AFTER_CRASH_S = {2: 1.0}
# What is said on a topic is kept this long for subscribers that read slowly.
_WORD_LIFE_S = 60.0
_SWEEP_IN_TAKE_EACH_S = 0.5
_RENEW_WITHIN_S = 0.4
# So often in a row is "another process sweeps" believed; a sweep takes milliseconds.
_REFUSED_MAX = 3
# Leftover sockets and bells of dead processes are looked for this often.
_TIDY_EACH_S = 60.0
# A cancellation has run out, and covers no message that is still here: all that are here are younger.
_CANCEL_OVER = "until_at<=? and max(upto, until_at*1e6) < ifnull((select min(key) from message), 9e18)"


class Sweeper:
    """Sweeps one store for this process."""

    def __init__(self, store: SqliteStore, dead_expires_s: float) -> None:
        self._store = store
        self._dead_expires_s = dead_expires_s
        self._tidied_at = self._swept_at = 0.0
        self._refused = 0
        """How often in a row another process was sweeping."""
        self._suspects: dict[int, float] = {}
        """Holders whose lease is over, and since when we know."""

    def sweep(self) -> int:
        """Take back and expire; return how many messages came back, 0 while another process sweeps."""
        self._swept_at = time.monotonic()
        fd = open_nodes(self._store.path)
        try:
            if lock_sweeper(fd):
                self._refused = 0
            else:
                # The lock spares work, it guards nothing: when it is never free, who has it must have been stopped amid
                # its sweep, and is itself one of those to look after.
                self._refused += 1
                if self._refused < _REFUSED_MAX:
                    return 0
            back, queues = self._take_back(fd)
            for queue in queues:
                self._store.bells.ring(bell_of(queue))
            self._expire()
            if time.monotonic() - self._tidied_at > _TIDY_EACH_S:
                self._tidied_at = time.monotonic()
                self._tidy()
            return back
        finally:
            os.close(fd)

    def sweep_sometimes(self) -> int:
        """Sweep if the last one is a while ago: for takers in programs where no node sweeps each second."""
        return self.sweep() if time.monotonic() - self._swept_at > _SWEEP_IN_TAKE_EACH_S else 0

    def _ripe(self, gone: Iterable[Gone]) -> set[int]:
        """Rows of those whose process is dead, and those whose lease has been over for a while of ours too: when the
        whole machine stood still, or one writer kept all others out, everybody gets a moment to renew."""
        now = time.monotonic()
        self._suspects = {one.node: self._suspects.get(one.node, now) for one in gone}
        return {one.node for one in gone if one.surely or now - self._suspects[one.node] >= _RENEW_WITHIN_S}

    def _take_back(self, fd: int) -> tuple[int, set[str]]:
        ripe = self._ripe(self._store.main.read(lambda conn: gone_holders(conn, fd)))
        if not ripe:
            return 0, set()
        looked_at = time.monotonic()

        def work(conn: sqlite3.Connection) -> tuple[int, set[str]]:
            back, queues = 0, set[str]()
            # Looked up again: between the look and the gate a holder may have renewed its lease.
            waited = time.monotonic() - looked_at >= _RENEW_WITHIN_S
            for node, region, units, surely in gone_holders(conn, fd):
                if not surely and (waited or node not in ripe):
                    continue
                running = marked_keys(fd, region, units) if region is not None else set[int]()
                rows = conn.execute("select distinct queue from claimed where node=?", (node,)).fetchall()
                queues.update(messages_sql.queue_name(conn, queue) for (queue,) in rows)
                back += _return_claims(conn, node, running)
                conn.execute("delete from node where id=?", (node,))
            return back, queues

        return self._store.main.write(work)

    def _expire(self) -> None:
        """Remove what is over, batch by batch, for a bounded time; between batches others get the gate."""
        until = time.monotonic() + _EXPIRE_FOR_S
        while self._store.main.read(self._any_over):
            full = self._store.main.write(self._remove_over)
            if not full or time.monotonic() > until:
                break
        expire_results(self._store.main, time.time, until)

    def _any_over(self, conn: sqlite3.Connection) -> bool:
        now = time.time()
        (due,) = conn.execute(
            "select ifnull((select at from word order by id limit 1)<=?, 0) "  # noqa: S608 - our own text
            "or exists(select 1 from dead where buried_at<=?) "
            "or exists(select 1 from ear where until<=? or boot_id<>?) "
            f"or exists(select 1 from cancel where {_CANCEL_OVER})",
            (now - _WORD_LIFE_S, now - self._dead_expires_s, lease_now(), BOOT_ID, now),
        ).fetchone()
        return bool(due)

    def _remove_over(self, conn: sqlite3.Connection) -> bool:
        """Remove one batch of each kind; whether there may be more."""
        now = time.time()
        # In order of time, so the first one that is not over ends the search.
        words = conn.execute("select id, at from word order by id limit ?", (_EXPIRE_MAX,)).fetchall()
        old_words = [(number,) for number, at in words if at <= now - _WORD_LIFE_S]
        conn.executemany("delete from word where id=?", old_words)
        conn.execute("delete from ear where until<=? or boot_id<>?", (lease_now(), BOOT_ID))
        letters = conn.execute(
            "select key from dead where buried_at<=? limit ?", (now - self._dead_expires_s, _EXPIRE_MAX)
        ).fetchall()
        messages_sql.left(conn, [key for (key,) in letters])
        conn.executemany("delete from dead where key=?", letters)
        conn.executemany("delete from message where key=?", letters)
        flags = conn.execute(
            f"delete from cancel where id in (select id from cancel where {_CANCEL_OVER} limit ?)",  # noqa: S608
            (now, _EXPIRE_MAX),
        ).rowcount
        return max(len(old_words), len(letters), flags) >= _EXPIRE_MAX

    def _tidy(self) -> None:
        """Remove sockets and subscribers' bells that no process owns any more."""
        folder = self._store.folder
        if folder is None:
            return
        alive = self._store.main.read(lambda conn: {oid for (oid,) in conn.execute("select oid from ear").fetchall()})
        with suppress(OSError):
            for path in Path(folder).iterdir():
                is_stale = (path.name.startswith("r-") and not _is_bound(path)) or (
                    path.name.startswith("e-") and path.name[2:] not in alive and _age_s(path) > _TIDY_EACH_S
                )
                if is_stale:
                    path.unlink(missing_ok=True)
        forget_lost_databases(folder)


def _return_claims(conn: sqlite3.Connection, node: int, running: set[int]) -> int:
    """Put a dead holder's messages back; those that were running have one crash more."""
    count: int = conn.execute("select count(*) from claimed where node=?", (node,)).fetchone()[0]
    for key in running:
        row = conn.execute(
            "select queue, rank, attempt, crashes + 1 from claimed where key=? and node=?", (key, node)
        ).fetchone()
        if row is not None:
            conn.execute("delete from claimed where key=?", (key,))
            messages_sql.release(conn, key, row, _PAUSE_AFTER_CRASH_S.get(row[3], 0.0))
    conn.execute("insert into ready select queue, rank, key, attempt, crashes from claimed where node=?", (node,))
    conn.execute("delete from claimed where node=?", (node,))
    return count


def _is_bound(path: Path) -> bool:
    """Whether a process still listens at a socket's file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
