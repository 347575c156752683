"""Lifetimes of keys against clocks that jump, machines that start anew, and memory that must not grow."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.backends.sqlite import SqliteBackend
from celeriac.stores import sqlite_kv
from celeriac.stores.sqlite_link import Link
from celeriac.stores.sqlite_schema import MIGRATIONS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.7e9 + self.now


@pytest.fixture
def kv(tmp_path: Path):
    backend = SqliteBackend(f"sqlite:///{tmp_path}/q.db", {})
    backend.open()
    yield backend
    backend.close()


def rows(tmp_path: Path) -> int:
    conn = sqlite3.connect(tmp_path / "q.db")
    try:
        return conn.execute("select count(*) from kv").fetchone()[0]
    finally:
        conn.close()


def test_a_step_of_the_wall_clock_ends_no_lifetime_and_prolongs_none(kv, monkeypatch):
    wall, mono = 1.7e9, 500.0
    monkeypatch.setattr(sqlite_kv.time, "time", lambda: wall)
    monkeypatch.setattr(sqlite_kv, "lease_now", lambda: mono)
    kv.set("lock", b"mine", 10.0)
    wall += 86400
    assert kv.get_many(["lock"]) == [b"mine"], "the clock was put forward"
    kv.set("other", b"1", 10.0)
    assert kv.get_many(["lock"]) == [b"mine"], "a write removes what is over, and only that"
    wall -= 2 * 86400
    mono += 10.0
    assert kv.get_many(["lock"]) == [None], "ten seconds have passed, whatever the wall clock says"
    assert kv.add_if_absent("lock", b"yours", 10.0)


def test_after_a_new_start_of_the_machine_the_wall_clock_counts(kv, monkeypatch):
    wall = 1.7e9
    monkeypatch.setattr(sqlite_kv.time, "time", lambda: wall)
    kv.set("short", b"1", 60.0)
    kv.set("long", b"2", 3600.0)
    kv.set("ever", b"3", None)
    monkeypatch.setattr(sqlite_kv, "BOOT_ID", "the-next-one")
    monkeypatch.setattr(sqlite_kv, "lease_now", lambda: 3.0)
    wall += 120
    assert kv.get_many(["short", "long", "ever"]) == [None, b"2", b"3"]


def test_what_is_over_is_removed_by_those_who_write(kv, tmp_path, monkeypatch):
    mono = 500.0
    monkeypatch.setattr(sqlite_kv, "lease_now", lambda: mono)
    monkeypatch.setattr(sqlite_kv.time, "time", lambda: 1.7e9 + mono)
    for number in range(100):
        kv.set(f"k{number}", b"1", 10.0)
    mono += 11.0
    for number in range(40):
        kv.set(f"n{number}", b"1", None)
    assert rows(tmp_path) == 40


def test_memory_keeps_no_keys_that_are_over():
    clock = Clock()
    backend = MemoryBackend("memory://keeps-no-keys", {"clock": clock})
    backend.open()
    for number in range(5000):
        backend.set(f"k{number}", b"1", 5.0)
        clock.now += 0.01
    assert len(backend._store.kv._entries) < 3000
    backend.close()


def test_a_file_of_the_release_before_is_given_its_table(tmp_path):
    path = tmp_path / "q.db"
    old = Link(str(path), 5.0, durable=False, migrations=MIGRATIONS[:1])
    old.read(lambda conn: conn.execute("select 1").fetchone())
    old.close()
    backend = SqliteBackend(f"sqlite:///{path}", {})
    backend.open()
    assert backend.incr("n", 5, None) == 5
    backend.close()
