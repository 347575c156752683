"""A book that a SQLite store keeps of what happens to some of its tasks: who claimed them when, and every record of
a result that was committed, those too that the store did not keep because an older one stands.

Triggers write it, in the very transactions it tells of. So what was rolled back is not in it, and what was committed
is, whoever did it. It is for proofs: a claim and a result cost a row each more.
"""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

from celeriac.stores.sqlite_link import Link

_MARK = re.compile(r"[a-z0-9-]{4,64}")
_TIMEOUT_S = 20.0
"""A book is read while many others write."""

_TABLES = ("book_task", "book_claim", "book_record")
_OF_MESSAGES = ("ready", "due", "claimed", "dead", "message")
_TRIGGERS = ("book_accepts", "book_claims", "book_returns", "book_completes")

_SCHEMA = """
create table book_task(key integer primary key, id text not null);
create table book_claim(number integer primary key, key int not null, node int, at real not null);
create table book_record(number integer primary key, id text not null, state text not null, payload blob not null,
                         at real not null);
create trigger book_accepts after insert on message when instr(new.data, {mark_bytes}) begin
  insert into book_task values(new.key, cast(substr(new.data, instr(new.data, {mark_bytes}), {id_bytes}) as text));
end;
create trigger book_claims after insert on claimed when exists(select 1 from book_task where key=new.key) begin
  insert into book_claim(key, node, at) values(new.key, new.node, {now});
end;
create trigger book_returns after delete on claimed when exists(select 1 from book_task where key=old.key) begin
  insert into book_claim(key, node, at) values(old.key, null, {now});
end;
create trigger book_completes before insert on result when new.id glob '{mark}*' begin
  insert into book_record(id, state, payload, at) values(new.id, new.state, new.payload, {now});
end;
"""
# `before insert`: it fires for each record that anybody wants kept, also where the store then keeps an older one. A
# trigger after it would not see the second of two successes.


class ClaimEntry(NamedTuple):
    """A claim was made, or has ended (`node` is None), at a moment of the wall clock."""

    id: str
    node: int | None
    at: float


class RecordEntry(NamedTuple):
    """A record was committed with a transaction; or was to be, and the store kept an older one."""

    id: str
    state: str
    payload: bytes
    at: float


class SqliteBook:
    """The book of one database. It has to be there.

    :param path: the database
    :param mark: how the ids of the tasks begin: 4 to 64 of ``a-z 0-9 -``
    :param id_length: how long these ids are, all of them
    """

    def __init__(self, path: str, mark: str, id_length: int) -> None:
        if not _MARK.fullmatch(mark):
            raise ValueError(f"mark={mark!r} must be 4 to 64 of a-z, 0-9 and -")
        self._mark = mark
        self._id_length = id_length
        self._link = Link(path, _TIMEOUT_S, durable=False)

    def open(self) -> None:
        """From now on the book is kept; one that an earlier proof has left is removed. Raises StoreFault."""
        self._link.write(self._create)

    def _create(self, conn: sqlite3.Connection) -> None:
        _drop(conn)
        script = _SCHEMA.format(
            mark=self._mark,
            mark_bytes=f"X'{self._mark.encode().hex()}'",
            id_bytes=self._id_length,
            now="(julianday('now') - 2440587.5) * 86400",
        )
        statement = ""
        for line in script.splitlines():
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                conn.execute(statement)
                statement = ""

    def erase(self, queue: str) -> None:
        """Remove the tasks of this book, whatever has become of them, their results, their queue, and the book, which must be
        open."""
        self._link.write(self._erase, queue)

    def _erase(self, conn: sqlite3.Connection, queue: str) -> None:
        for table in _OF_MESSAGES:
            conn.execute(f"delete from {table} where key in (select key from book_task)")  # noqa: S608 - our own text
        conn.execute("delete from result where id glob ?", (f"{self._mark}*",))
        conn.execute("delete from queue where name=?", (queue,))
        _drop(conn)

    def close(self) -> None:
        """Close. The book stays, and is kept, until it is erased. Idempotent."""
        self._link.close(for_good=True)

    def completed(self) -> int:
        """How many records there are; costs nothing."""
        return self._link.read(
            lambda conn: int(conn.execute("select ifnull(max(number), 0) from book_record").fetchone()[0])
        )

    def waiting(self) -> int:
        """How many of the messages are still there, dead letters apart."""
        return self._link.read(
            lambda conn: int(
                conn.execute(
                    "select count(*) from book_task t cross join message m on m.key=t.key "
                    "where not exists(select 1 from dead d where d.key=t.key)"
                ).fetchone()[0]
            )
        )

    def claims(self) -> list[ClaimEntry]:
        """All entries of claims, in the order of their commits."""
        return self._link.read(
            lambda conn: [
                ClaimEntry(*row)
                for row in conn.execute(
                    "select t.id, c.node, c.at from book_claim c cross join book_task t on t.key=c.key order by c.number"
                )
            ]
        )

    def records(self) -> list[RecordEntry]:
        """All records, in the order of their commits."""
        return self._link.read(
            lambda conn: [
                RecordEntry(*row)
                for row in conn.execute("select id, state, payload, at from book_record order by number")
            ]
        )

    def damage(self) -> str:
        """What is wrong with the file; empty if it is whole."""
        found = self._link.read(lambda conn: str(conn.execute("pragma integrity_check").fetchone()[0]))
        return "" if found == "ok" else found


def _drop(conn: sqlite3.Connection) -> None:
    for trigger in _TRIGGERS:
        conn.execute(f"drop trigger if exists {trigger}")
    for table in _TABLES:
        conn.execute(f"drop table if exists {table}")
