"""Tables of a SQLite store, and how an older file becomes a newer one.

A message's key is the microsecond at which it was accepted, or one more than the largest key there is,
whichever is larger: keys grow in the order of publishing, tell the time, and cost no counter.
A message's bytes are written once; what changes about it lies in a small row in exactly one of
``ready``, ``due``, ``claimed`` and ``dead``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from celeriac.stores.faults import StoreMisconfigured

_FIRST = """
create table meta(name text primary key, value) without rowid;
create table queue(id integer primary key, name text not null unique, paused int not null default 0);
create table message(key integer primary key, data blob not null);
create table ready(queue int not null, rank int not null, key int not null, attempt int not null, crashes int not null,
                   primary key(queue, rank, key)) without rowid;
create table due(queue int not null, due_at real not null, key int not null, rank int not null, attempt int not null,
                 crashes int not null, primary key(queue, due_at, key)) without rowid;
create table claimed(key integer primary key, node int not null, attempt int not null, crashes int not null,
                     queue int not null, rank int not null);
create table dead(key integer primary key, attempt int not null, crashes int not null, queue int not null,
                  rank int not null, parked int not null, reason text not null, buried_at real not null,
                  task_id text not null, task text not null);
create index dead_by_id on dead(task_id);
create index dead_by_time on dead(buried_at);
create index parked_by_task on dead(task) where parked;
create table cancel(id text primary key, until_at real not null, keep_s real not null, upto int not null) without rowid;
create table result(id text primary key, state text not null, payload blob not null, content_type text not null,
                    expires_at int) without rowid;
create index result_by_expiry on result(expires_at) where expires_at is not null;
create table node(id integer primary key autoincrement, boot_id text not null, lease_until real not null, region int,
                  units int not null default 0, oid text not null);
create table ear(id integer primary key autoincrement, topic text not null, oid text not null, boot_id text not null,
                 until real not null);
create index ear_by_topic on ear(topic);
create table word(id integer primary key autoincrement, topic text not null, data blob not null, at real not null);
"""
_KV = """
create table kv(key text primary key, value blob not null, expires_at real, until real, boot_id text) without rowid;
create index kv_by_expiry on kv(expires_at) where expires_at is not null;
"""
_WALKED_RESULTS = """
alter table result rename to result_before;
create table result(id text primary key, expires_at real, state text not null, content_type text not null,
                    payload blob not null) without rowid;
insert into result select id, expires_at, state, content_type, payload from result_before;
drop table result_before;
insert or replace into meta values('results_soonest', 0);
"""
# The lifetime stands before the payload: who walks through all of them need not read those. No index: see
# sqlite_expiry.
# cancel.upto is the largest key there was: a cancellation covers all up to it, and what came before `until_at`.
# rank is 9 minus the level, so that plain ascending order is the order of delivery.

# "CelQ": tells this file from another program's database.
APPLICATION_ID = 0x43656C51

Migration = Callable[[sqlite3.Connection], None]


def _run(conn: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            conn.execute(statement)


def _create(conn: sqlite3.Connection) -> None:
    _run(conn, _FIRST)
    conn.execute(f"pragma application_id={APPLICATION_ID}")


def _add_kv(conn: sqlite3.Connection) -> None:
    _run(conn, _KV)


def _walk_results(conn: sqlite3.Connection) -> None:
    _run(conn, _WALKED_RESULTS)


MIGRATIONS: tuple[Migration, ...] = (_create, _add_kv, _walk_results)
"""Step n makes version n + 1 of version n. Never change a step that was released: add one."""


def version_of(conn: sqlite3.Connection) -> int:
    """The schema version of the file, 0 if it is empty. Raises StoreMisconfigured for a foreign file."""
    (application_id,) = conn.execute("pragma application_id").fetchone()
    if application_id == APPLICATION_ID:
        row = conn.execute("select value from meta where name='schema'").fetchone()
        return int(row[0]) if row else 0
    (tables,) = conn.execute("select count(*) from sqlite_master").fetchone()
    if tables:
        raise StoreMisconfigured("the database belongs to another program; give the queue a file of its own")
    return 0


def check_version(conn: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
    """Whether the file is of our version. Raises StoreMisconfigured if it is newer."""
    version = version_of(conn)
    if version > len(migrations):
        raise StoreMisconfigured(
            f"the database has schema version {version} and this release knows {len(migrations)} at most; "
            "upgrade this installation, or use another file"
        )
    return version == len(migrations)


def migrate(conn: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the file to our version, within a transaction the caller has begun. Raises StoreMisconfigured
    if it is newer."""
    check_version(conn, migrations)
    for step in migrations[version_of(conn) :]:
        step(conn)
    conn.execute("insert or replace into meta values('schema', ?)", (len(migrations),))
