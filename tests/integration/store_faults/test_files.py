"""What may be wrong with the file: each fault is a typed error, in time, that says what to do."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.errors import (
    BackendMisconfigured,
    BackendRejected,
    BackendUnavailable,
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
)
from celeriac.model.message import Ack, Message, Record, Settlement
from integration.worker.conftest import SCALE

Output = Callable[..., str]


def message(task_id: str, **fields: object) -> Message:
    return Message(id=task_id, task="t", queue="q", headers=b"{}", body=b"[]", **fields)  # type: ignore[arg-type]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerMisconfigured, match=r"absent.*does not exist"):
        SqliteBroker(f"sqlite:///{tmp_path}/absent/x.db", {}).open()
    with pytest.raises(BackendMisconfigured, match=r"absent.*does not exist"):
        SqliteBackend(f"sqlite:///{tmp_path}/absent/x.db", {}).open()


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerMisconfigured, match="is a directory"):
        SqliteBroker(f"sqlite:///{tmp_path}", {}).open()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, url: str) -> None:
    path.write_bytes(b"these are no pages" * 1000)
    with pytest.raises(BrokerMisconfigured, match="no SQLite database"):
        SqliteBroker(url, {}).open()
    with pytest.raises(BackendMisconfigured, match="no SQLite database"):
        SqliteBackend(url, {}).open()
    assert path.read_bytes() == b"these are no pages" * 1000


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, url: str) -> None:
    other = sqlite3.connect(path)
    other.execute("create table users(name)")
    other.commit()
    other.close()
    with pytest.raises(BrokerMisconfigured, match="another program"):
        SqliteBroker(url, {}).open()
    other = sqlite3.connect(path)
    assert other.execute("select name from sqlite_master").fetchall() == [("users",)]
    other.close()


def test_damaged_pages_are_reported_as_damage(path: Path, url: str, broker: SqliteBroker) -> None:
    broker.publish([message(str(number)) for number in range(2000)])
    broker.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    again = SqliteBroker(url, {})
    with pytest.raises(BrokerMisconfigured, match="damaged"):
        again.open()
        again.publish([message("a")])
    again.close()


def test_a_database_locked_by_another_program_is_an_error_in_time(
    path: Path, broker: SqliteBroker, backend: SqliteBackend
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        began_at = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="locked by another program"):
            broker.publish([message("a")])
        with pytest.raises(BackendUnavailable, match="locked by another program"):
            backend.write([Record("a", "SUCCESS", b"1")])
        assert time.monotonic() - began_at < 4 * SCALE
    finally:
        other.execute("rollback")
        other.close()
    broker.publish([message("b")])
    assert [one.message.id for one in broker.take(["q"], 9, 0)] == ["b"]


def test_a_process_that_stops_within_its_turn_at_the_gate_is_an_error_in_time(
    broker: SqliteBroker, program: Callable[..., object], path: Path
) -> None:
    holder = program(
        """
        import fcntl
        gate = open(sys.argv[2], "r+")
        fcntl.flock(gate, fcntl.LOCK_EX)
        say("in")
        sys.stdin.read()
        """,
        f"{path}-gate",
    )
    assert holder.stdout.readline() == "in\n"  # type: ignore[attr-defined]
    with pytest.raises(BrokerUnavailable, match="busy"):
        broker.publish([message("a")])
    holder.kill()  # type: ignore[attr-defined]
    holder.wait()  # type: ignore[attr-defined]
    broker.publish([message("b")])
    assert [one.message.id for one in broker.take(["q"], 9, 0)] == ["b"]


AS_NOBODY = """
    os.setgid(65534); os.setuid(65534)
    for kind in (SqliteBroker, SqliteBackend):
        adapter = kind(url, {"connect_timeout_s": 1.0})
        try:
            adapter.open()
            if kind is SqliteBroker:
                adapter.publish([message("x")])
            else:
                adapter.write([Record("x", "SUCCESS", b"1")])
            say("worked")
        except ImproperlyConfigured as exc:
            say(isinstance(exc, (BrokerMisconfigured, BackendMisconfigured)), "writable" in str(exc))
"""


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """The folder of the store, which another user may enter."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    return tmp_path


needs_root = pytest.mark.skipif("os.geteuid() != 0", reason="only root can act as another user")


@needs_root
def test_a_read_only_file_is_a_wrong_configuration(
    broker: SqliteBroker, reachable: Path, path: Path, output: Output
) -> None:
    broker.publish([message("a")])
    broker.close()
    reachable.chmod(0o777)
    path.chmod(0o444)
    Path(f"{path}-gate").chmod(0o666)
    assert output(AS_NOBODY) == "True True\nTrue True\n"


@needs_root
def test_a_read_only_directory_is_a_wrong_configuration(
    broker: SqliteBroker, reachable: Path, path: Path, output: Output
) -> None:
    broker.publish([message("a")])
    broker.close()
    path.chmod(0o666)
    reachable.chmod(0o555)
    assert output(AS_NOBODY) == "True True\nTrue True\n"
    reachable.chmod(0o755)


def test_a_full_disk_is_unavailable_and_loses_nothing_that_was_accepted(broker: SqliteBroker) -> None:
    broker.publish([message("early")])
    broker._store.main.read(lambda conn: conn.execute("pragma max_page_count=60").fetchone())
    with pytest.raises(BrokerUnavailable, match="disk space"):
        for number in range(100):
            broker.publish([message(f"m{number}", properties=bytes(50_000))])
    taken = broker.take(["q"], 1000, 0)
    assert taken[0].message.id == "early"
    # Finishing work is what frees room, so it must still be possible.
    assert broker.settle([Settlement(one.receipt, Ack()) for one in taken]).stale == ()
    broker.publish([message("late")])


def test_a_disk_that_fills_under_a_process_is_unavailable(output: Output) -> None:
    said = output(
        """
        import resource
        broker = opened(connect_timeout_s=1.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        accepted = []
        try:
            for number in range(1000):
                broker.publish([message(str(number), properties=bytes(20_000))])
                accepted.append(str(number))
        except BrokerUnavailable as exc:
            say("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        got = [one.message.id for one in broker.peek("q", 1000)]
        say(got == accepted, len(got) > 10)
        """
    )
    assert said == "refused\nTrue True\n"


def test_a_file_that_is_deleted_under_us_is_noticed_before_a_message_is_lost(path: Path, broker: SqliteBroker) -> None:
    broker.publish([message("a")])
    for left in path.parent.glob("store.db*"):
        left.unlink()
    # The look at the file is not paid for by every message, but it comes soon.
    with pytest.raises(BrokerUnavailable, match="removed or replaced"):
        for _ in range(1000):
            broker.publish([message("b")])
            time.sleep(0.001)
    broker.publish([message("c")])
    assert [one.message.id for one in broker.take(["q"], 9, 0)] == ["c"]
    fresh = sqlite3.connect(path)
    assert fresh.execute("select count(*) from claimed").fetchone() == (1,)
    fresh.close()


def test_a_body_beyond_what_a_database_holds_is_rejected(broker: SqliteBroker) -> None:
    broker._store.main.read(lambda conn: conn.setlimit(0, 100_000) if hasattr(conn, "setlimit") else None)
    if not hasattr(sqlite3.Connection, "setlimit"):
        pytest.skip("this Python cannot lower the limit")
    with pytest.raises(BrokerRejected, match="size"):
        broker.publish([message("a", properties=bytes(200_000))])
    broker.publish([message("b")])


def test_the_last_one_out_leaves_a_single_sound_file(broker: SqliteBroker, backend: SqliteBackend, path: Path) -> None:
    broker.publish([message("a")])
    broker.join(64)
    broker.close()
    backend.close()
    assert {found.name for found in path.parent.iterdir()} == {"store.db", "store.db-gate", "store.db-nodes"}
    left = sqlite3.connect(path)
    assert left.execute("pragma integrity_check").fetchone() == ("ok",)
    assert left.execute("select count(*) from node").fetchone() == (0,)
    left.close()


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_decides_what_a_commit_waits_for(
    make: Callable[..., SqliteBroker], durability: str, level: int
) -> None:
    broker = make(durability=durability)
    assert broker.facts.durability == durability
    for link in (broker._store.main, broker._store.beat):
        assert link.read(lambda conn: conn.execute("pragma synchronous").fetchone()) == (level,)
        assert link.read(lambda conn: conn.execute("pragma journal_mode").fetchone()) == ("wal",)


def test_an_unknown_durability_is_refused(url: str) -> None:
    with pytest.raises(BrokerMisconfigured, match="durability='hope'"):
        SqliteBroker(url, {"durability": "hope"})


def test_a_sweep_without_its_directory_is_an_error_of_the_broker(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    broker = SqliteBroker(f"sqlite:///{folder}/x.db", {})
    broker.open()
    shutil.rmtree(folder)
    with pytest.raises(BrokerUnavailable, match="directory must be there"):
        broker.sweep()
    with pytest.raises(BrokerUnavailable):
        for _ in range(1000):
            broker.publish([message("b")])
            time.sleep(0.001)
    with pytest.raises(BrokerMisconfigured, match="does not exist"):
        broker.open()
    broker.close()


@pytest.mark.parametrize("fields", [{"properties": object()}, {"reply_to": "\ud800"}, {"queue": "\ud800"}])
def test_a_message_that_no_store_can_hold_is_rejected_and_breaks_nothing(
    broker: SqliteBroker, fields: dict[str, object]
) -> None:
    odd = Message(**{"id": "a", "task": "t", "queue": "q", "headers": b"", "body": b"", **fields})  # type: ignore[arg-type]
    with pytest.raises(BrokerRejected, match="cannot"):
        broker.publish([message("before"), odd])
    with pytest.raises(BrokerRejected):
        broker.take(["\ud800"], 1, 0)
    broker.publish([message("b")])
    assert [one.message.id for one in broker.take(["q"], 9, 0)] == ["b"]


def test_a_record_that_no_store_can_hold_is_rejected(backend: SqliteBackend) -> None:
    with pytest.raises(BackendRejected, match="cannot hold"):
        backend.write([Record("a", "SUCCESS", object())])  # type: ignore[arg-type]
    backend.write([Record("a", "SUCCESS", b"1")])
    assert backend.read(["a"])[0] is not None
