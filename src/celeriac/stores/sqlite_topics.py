"""Broadcast in a SQLite store: a table of what was said, and a bell per subscriber.

Nothing is written for a topic that nobody listens to.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from celeriac.model.ids import random_id
from celeriac.stores.faults import StoreFault
from celeriac.stores.sqlite import LOOK_AGAIN_S, SqliteStore
from celeriac.stores.sqlite_nodes import BOOT_ID, lease_now

# A subscriber that has not asked for this long is taken for dead.
_EAR_LIFE_S = 60.0
_RENEW_BELOW_S = 40.0
# Read in one go, so that a slow reader's memory has a bound.
_WORDS_MAX = 1000


def publish_topic(store: SqliteStore, topic: str, data: bytes) -> int:
    """Keep `data` for every present subscriber of `topic`, and ring for them; how many there are. Raises StoreFault.

    Subscribers that have died without a word are known by their bells, and not counted.
    """

    def ears(conn: sqlite3.Connection) -> list[str]:
        rows = conn.execute(
            "select distinct oid from ear where topic=? and boot_id=? and until>?", (topic, BOOT_ID, lease_now())
        ).fetchall()
        return [oid for (oid,) in rows]

    oids = [oid for oid in store.main.read(ears) if not store.bells.is_abandoned(f"e-{oid}")]
    if oids:
        store.main.write(
            lambda conn: (
                conn.execute("insert into word(topic, data, at) values(?,?,?)", (topic, data, time.time())).lastrowid
            )
        )
        for oid in oids:
            store.bells.ring_once(f"e-{oid}")
    return len(oids)


class SqliteSubscription:
    """An open ear: it hears what is said after its making."""

    def __init__(self, store: SqliteStore, topics: Sequence[str]) -> None:
        self._store = store
        self._topics = tuple(dict.fromkeys(topics))
        self._oid = random_id()
        self._listener = store.bells.listen([f"e-{self._oid}"])
        self._until = 0.0
        self._closed = False
        self._heard = store.main.write(self._register)

    def _register(self, conn: sqlite3.Connection) -> int:
        """Say that we listen; return the number of the last word said before."""
        self._until = lease_now() + _EAR_LIFE_S
        conn.execute("delete from ear where oid=?", (self._oid,))
        conn.executemany(
            "insert into ear(topic, oid, boot_id, until) values(?,?,?,?)",
            [(topic, self._oid, BOOT_ID, self._until) for topic in self._topics],
        )
        row = conn.execute("select seq from sqlite_sequence where name='word'").fetchone()
        return int(row[0]) if row else 0

    def receive(self, wait_s: float) -> Sequence[tuple[str, bytes]]:
        """What was said, in order; empty after about `wait_s`, or when closed. Raises StoreFault."""
        deadline = time.monotonic() + wait_s
        while not self._closed:
            if self._until - lease_now() < _RENEW_BELOW_S:
                self._store.main.write(self._register)
            words = self._store.main.read(self._words)
            left_s = deadline - time.monotonic()
            if words or left_s <= 0:
                return words
            nap_s = min(left_s, LOOK_AGAIN_S)
            if self._listener is not None:
                self._listener.wait(nap_s)
            else:
                time.sleep(nap_s)
        return ()

    def _words(self, conn: sqlite3.Connection) -> list[tuple[str, bytes]]:
        rows = conn.execute(
            "select id, topic, data from word where id>? order by id limit ?", (self._heard, _WORDS_MAX)
        ).fetchall()
        if rows:
            self._heard = rows[-1][0]
        return [(topic, data) for _, topic, data in rows if topic in self._topics]

    def close(self) -> None:
        """Stop listening. Idempotent; what cannot be deleted now expires."""
        if self._closed:
            return
        self._closed = True
        # Another thread may be waiting.
        self._store.bells.ring_once(f"e-{self._oid}")
        if self._listener is not None:
            self._listener.close()
        with suppress(*StoreFault):
            self._store.main.write(lambda conn: conn.execute("delete from ear where oid=?", (self._oid,)).rowcount)
            # In this order: a bell that nobody listens to tells that the ear is deaf, no bell does not.
            if self._store.folder is not None:
                Path(f"{self._store.folder}/e-{self._oid}").unlink(missing_ok=True)
