"""The walk that removes results that are over: all of them in time, no other one, and no work when nothing is over."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.model.message import Record
from celeriac.stores import sqlite_expiry, sqlite_results
from celeriac.stores.sqlite_expiry import expire_results
from celeriac.stores.sqlite_link import Link
from celeriac.stores.sqlite_results import write_records
from celeriac.stores.sqlite_schema import MIGRATIONS

_HOUR_S = 3600.0


class Store:
    """Results, on a clock of the test's."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        self.link = Link(str(path), 5.0, durable=False)
        monkeypatch.setattr(sqlite_results.time, "time", lambda: self.now)

    def write(self, *ids: str, lifetime_s: float | None) -> None:
        self.link.write(write_records, [Record(task_id, "SUCCESS", b"1", lifetime_s) for task_id in ids])

    def sweep(self) -> None:
        """One sweep's share, without time to go on beyond it."""
        expire_results(self.link, lambda: self.now, until=0.0)

    def ids(self) -> list[str]:
        return self.link.read(lambda conn: [row[0] for row in conn.execute("select id from result order by id")])

    def changes(self) -> int:
        return self.link.read(lambda conn: int(conn.total_changes))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(sqlite_expiry, "_STEP", 3)
    # Each sweep is a single step.
    monkeypatch.setattr(sqlite_expiry, "_WALK_FOR_S", 0.0)
    store = Store(tmp_path / "x.db", monkeypatch)
    yield store
    store.link.close(for_good=True)


def test_what_is_over_goes_and_nothing_else(store: Store):
    store.write("a", "c", lifetime_s=10)
    store.write("b", lifetime_s=None)
    store.write("d", lifetime_s=20)
    store.now += 11
    for _ in range(3):
        store.sweep()
    assert store.ids() == ["b", "d"]


def test_nothing_is_done_until_the_first_result_is_over(store: Store):
    store.write("a", lifetime_s=100)
    store.sweep()
    before = store.changes()
    for _ in range(9):
        store.now += 10
        store.sweep()
    assert store.changes() == before
    store.now += 11
    store.sweep()
    assert store.ids() == []


def test_a_shorter_lifetime_that_comes_later_is_heard_of(store: Store):
    store.write("a", lifetime_s=_HOUR_S)
    store.sweep()
    store.write("b", lifetime_s=5)
    store.now += 6
    store.sweep()
    assert store.ids() == ["a"]


def test_what_is_written_behind_a_walk_that_is_under_way_is_not_forgotten(store: Store):
    store.write(*"bcdefgh", lifetime_s=10)
    store.write("i", lifetime_s=_HOUR_S)
    store.now += 11
    store.sweep()
    assert store.ids() == ["e", "f", "g", "h", "i"]
    store.write("a", lifetime_s=1)
    for _ in range(3):
        store.sweep()
    assert store.ids() == ["a", "i"]
    store.now += 2
    store.sweep()
    assert store.ids() == ["i"]


def test_a_result_that_is_written_again_lives_anew(store: Store):
    store.link.write(write_records, [Record("a", "STARTED", b"", 10)])
    store.now += 9
    store.write("a", lifetime_s=10)
    store.now += 9
    for _ in range(3):
        store.sweep()
    assert store.ids() == ["a"]


def test_after_a_walk_for_little_it_rests_in_proportion_to_the_work(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_expiry, "_RESTS_PER_WORK", 1e9)
    store.write("a", lifetime_s=1)
    store.write("b", "c", "d", lifetime_s=5)
    store.now += 2
    store.sweep()
    store.sweep()
    store.now += 10
    store.sweep()
    assert store.ids() == ["b", "c", "d"], "it did not rest"
    store.now += _HOUR_S
    store.sweep()
    assert store.ids() == []


def test_a_clock_that_was_set_back_does_not_put_it_to_sleep_for_good(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_expiry, "_RESTS_PER_WORK", 1e9)
    store.write("a", lifetime_s=1)
    store.write("b", "c", "d", lifetime_s=_HOUR_S * 1000)
    store.now += 2
    store.sweep()
    store.sweep()
    store.now -= _HOUR_S * 24
    store.write("a", lifetime_s=1)
    store.now += 2
    store.sweep()
    assert store.ids() == ["b", "c", "d"]


def test_what_is_unreadable_of_an_earlier_walk_is_no_hindrance(store: Store):
    store.write("a", lifetime_s=1)
    store.link.write(lambda conn: conn.execute("insert or replace into meta values('results_walk', 'x')"))
    store.now += 2
    store.sweep()
    assert store.ids() == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nobody_loses_a_result_and_what_is_over_goes(store: Store, seed: int):
    chance = random.Random(seed)
    expires: dict[str, float] = {}
    for _ in range(150):
        match chance.randrange(4):
            case 0:
                store.now += chance.choice([0.1, 1.0, 30.0])
            case 1:
                ids = [f"{chance.randrange(200):03d}" for _ in range(chance.randrange(1, 6))]
                lifetime_s = chance.choice([0.5, 20.0, 500.0])
                store.write(*ids, lifetime_s=lifetime_s)
                for task_id in ids:
                    if expires.get(task_id, 0.0) <= store.now:  # nothing replaces a success that is not over
                        expires[task_id] = store.now + lifetime_s
            case _:
                store.sweep()
        assert {task_id for task_id, at in expires.items() if at > store.now} <= set(store.ids())
    store.now += 501
    for _ in range(200):
        store.now += 1
        store.sweep()
    assert store.ids() == []


def test_a_file_from_before_the_walk_keeps_its_results_and_loses_its_index(tmp_path: Path):
    path = tmp_path / "old.db"
    before = Link(str(path), 5.0, durable=False, migrations=MIGRATIONS[:2])
    now = time.time()
    before.write(
        lambda conn: conn.executemany(
            "insert into result values(?,?,?,?,?)",
            [("a", "SUCCESS", b"1", "application/json", now + 99), ("b", "FAILURE", b"2", "x/y", now - 1)],
        )
    )
    before.close(for_good=True)
    link = Link(str(path), 5.0, durable=False)
    found = link.read(sqlite_results.read_records, ["a", "b"])
    assert found == [Record("a", "SUCCESS", b"1", content_type="application/json"), None]
    expire_results(link, time.time, until=0.0)
    link.close(for_good=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select id from result").fetchall() == [("a",)]
        names = [row[0] for row in connection.execute("select name from sqlite_master where tbl_name='result'")]
        assert [name for name in names if not name.startswith("sqlite_")] == ["result"]
