"""How files of other versions are met."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from celeriac.stores.faults import StoreMisconfigured
from celeriac.stores.sqlite_link import Link
from celeriac.stores.sqlite_schema import MIGRATIONS, Migration


def add_colour(conn: sqlite3.Connection) -> None:
    conn.execute("alter table queue add column colour text not null default 'green'")


def add_and_break(conn: sqlite3.Connection) -> None:
    conn.execute("alter table queue add column shape text")
    raise RuntimeError("power gone")


def versions(path: Path, migrations: tuple[Migration, ...]) -> str:
    link = Link(str(path), 5.0, durable=False, migrations=migrations)
    try:
        return str(link.read(lambda conn: conn.execute("select value from meta where name='schema'").fetchone()[0]))
    finally:
        link.close()


def test_an_older_file_is_migrated_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert versions(path, MIGRATIONS) == str(len(MIGRATIONS))
    old = sqlite3.connect(path)
    old.execute("insert into queue(name) values('q')")
    old.commit()
    old.close()
    assert versions(path, (*MIGRATIONS, add_colour)) == str(len(MIGRATIONS) + 1)
    new = sqlite3.connect(path)
    assert new.execute("select name, colour from queue").fetchall() == [("q", "green")]
    new.close()


def test_a_newer_file_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    versions(path, (*MIGRATIONS, add_colour))
    ours, theirs = len(MIGRATIONS), len(MIGRATIONS) + 1
    with pytest.raises(StoreMisconfigured, match=rf"schema version {theirs} .* knows {ours}.*upgrade"):
        versions(path, MIGRATIONS)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    versions(path, MIGRATIONS)
    with pytest.raises(RuntimeError, match="power gone"):
        versions(path, (*MIGRATIONS, add_colour, add_and_break))
    assert versions(path, MIGRATIONS) == str(len(MIGRATIONS))
    left = sqlite3.connect(path)
    assert "colour" not in [row[1] for row in left.execute("pragma table_info(queue)")]
    left.close()


def test_many_who_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(versions(path, MIGRATIONS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [str(len(MIGRATIONS))] * 8
