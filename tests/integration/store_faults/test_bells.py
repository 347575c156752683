"""Doorbells and datagrams only shorten waits: with them it is quick, without them all the same it works."""

from __future__ import annotations

import os
import select
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.backends.sqlite import SqliteBackend
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Ack, Claim, Message, Record, Settlement
from celeriac.stores.sqlite_bells import Bells, forget_lost_databases, runtime_dir
from integration.worker.conftest import SCALE

Output = Callable[..., str]
Eventually = Callable[..., None]


def message(task_id: str, **fields: object) -> Message:
    return Message(id=task_id, task="t", queue="q", headers=b"{}", body=b"[]", **fields)  # type: ignore[arg-type]


def test_the_runtime_directory_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path("/dev/shm") / f"own-{os.getpid()}"
    base.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    folder = runtime_dir(str(tmp_path / "x.db"))
    assert folder is not None
    for one in (Path(folder), Path(folder).parent):
        assert (one.stat().st_mode & 0o777, one.stat().st_uid) == (0o700, os.geteuid())
    assert runtime_dir(str(tmp_path / "y.db")) != folder
    shutil.rmtree(base)


def test_the_last_one_out_removes_the_directory_and_the_next_one_makes_it_again(
    broker: SqliteBroker, backend: SqliteBackend, make: Callable[..., SqliteBroker], output: Output
) -> None:
    assert broker._store.folder is not None
    folder = Path(broker._store.folder)
    broker.listen(["q"])
    backend.wait(["a"], 0.01)
    output("""
        broker = opened()
        broker.publish([message("a")])
        broker.close()
    """)
    assert broker.heard(), "another process that leaves takes nothing away"
    broker.close()
    backend.close()
    assert not folder.exists()
    broker.open()
    assert broker.listen(["q"]) is not None
    assert folder.exists()


def test_the_bells_of_a_database_that_is_gone_for_long_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path("/dev/shm") / f"gone-{os.getpid()}"
    base.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    (tmp_path / "there.db").write_text("")
    folders = {name: Path(str(runtime_dir(str(tmp_path / name)))) for name in ("there.db", "gone.db", "young.db")}
    for name, folder in folders.items():
        os.mkfifo(folder / "q-1")
        if name != "young.db":
            os.utime(folder, (0, 0))
    forget_lost_databases(str(folders["there.db"]))
    assert {name for name, folder in folders.items() if folder.exists()} == {"there.db", "young.db"}
    shutil.rmtree(base)


@pytest.mark.parametrize("trap", ["symlink", "open to all", "a file"])
def test_a_runtime_directory_that_somebody_else_may_have_made_is_not_used(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path("/dev/shm") / f"trap-{os.getpid()}"
    base.mkdir()
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
        mine = base / f"celeriac-{os.geteuid()}"
        if trap == "symlink":
            mine.symlink_to(tmp_path)
        elif trap == "a file":
            mine.write_text("")
        else:
            mine.mkdir()
            mine.chmod(0o777)
        assert runtime_dir(str(tmp_path / "x.db")) is None
    finally:
        if mine.is_symlink() or mine.is_file():
            mine.unlink()
        else:
            mine.rmdir()
        base.rmdir()


WITHOUT_BELLS = """
    broker, backend = opened(), SqliteBackend(url, {})
    backend.open()
    assert broker._store.folder is None
    assert broker.listen(["q"]) is None
    (one,) = broker.take(["q"], 1, 20)
    backend.write([Record(one.message.id, "SUCCESS", b"1", reply_to=one.message.reply_to)])
    say("done")
"""


def test_everything_works_without_a_runtime_directory(
    tmp_path: Path, broker: SqliteBroker, backend: SqliteBackend, output: Output
) -> None:
    base = Path("/dev/shm") / f"none-{os.getpid()}"
    base.mkdir()
    (base / f"celeriac-{os.geteuid()}").write_text("in the way")
    found: list[Record] = []
    waiter = threading.Thread(target=lambda: found.extend(backend.wait(["a"], 20)))
    waiter.start()
    try:
        broker.publish([message("a", reply_to=backend.address)])
        assert output(WITHOUT_BELLS, XDG_RUNTIME_DIR=str(base)) == "done\n"
        waiter.join(10 * SCALE)
        assert [one.payload for one in found] == [b"1"]
    finally:
        (base / f"celeriac-{os.geteuid()}").unlink()
        base.rmdir()


def test_a_ring_lasts_until_it_is_heard_and_says_who_was_faster(broker: SqliteBroker) -> None:
    bell = broker.listen(["q"])
    assert bell is not None
    assert not broker.heard()
    broker.publish([message("a"), message("b")])
    assert select.select([bell], [], [], 5)[0] == [bell]
    assert broker.heard()
    assert not broker.heard()
    assert select.select([bell], [], [], 0)[0] == []


def test_who_takes_less_than_there_is_rings_on(broker: SqliteBroker, make: Callable[..., SqliteBroker]) -> None:
    other = make()
    bell = other.listen(["q"])
    assert bell is not None
    broker.publish([message("a"), message("b"), message("c")])
    assert other.heard()
    assert len(broker.take(["q"], 1, 0)) == 1
    assert select.select([bell], [], [], 5)[0] == [bell]
    assert other.heard()
    assert len(broker.take(["q"], 2, 0)) == 2
    assert not other.heard(), "nothing was left to ring for"


def test_a_bell_whose_file_was_cleaned_away_is_found_again(tmp_path: Path, eventually: Eventually) -> None:
    ringer, hearer = Bells(str(tmp_path), "x.db"), Bells(str(tmp_path), "x.db")
    first = hearer.listen(["b"])
    assert first is not None
    ringer.ring("b")
    assert first.wait(5)
    (tmp_path / "b").unlink()
    second = hearer.listen(["b"])
    assert second is not None

    def heard() -> bool:
        ringer.ring("b")
        return second.wait(0.01)

    eventually(heard, 10.0)
    for one in (first, second, ringer):
        one.close()


def test_a_result_reaches_a_waiter_of_another_process_far_sooner_than_a_look(
    backend: SqliteBackend, broker: SqliteBroker, program: Callable[..., object]
) -> None:
    other = program(
        """
        broker = opened()
        say("ready")
        count = 0
        while count < 40:
            for one in broker.take(["q"], 1, 20):
                count += 1
                broker.settle([Settlement(one.receipt, Ack(), (Record(one.message.id, "SUCCESS", b"1",
                                                               reply_to=one.message.reply_to),))])
        """
    )
    assert other.stdout.readline() == "ready\n"  # type: ignore[attr-defined]
    took_s: list[float] = []
    for number in range(40):
        began_at = time.perf_counter()
        broker.publish([message(str(number), reply_to=backend.address)])
        assert backend.wait([str(number)], 20)
        took_s.append(time.perf_counter() - began_at)
    # Two looks at 50 ms each would be the way without bells.
    assert sorted(took_s)[20] < 0.05 * SCALE


@pytest.mark.parametrize("size", [10, 200_000])
def test_small_and_large_results_reach_several_waiting_threads(
    size: int, backend: SqliteBackend, output: Output
) -> None:
    found: list[list[Record]] = []
    threads = [threading.Thread(target=lambda: found.append(list(backend.wait(["a"], 20)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    output(
        f"""
        backend = SqliteBackend(url, {{}})
        backend.open()
        backend.write([Record("a", "SUCCESS", bytes({size}), reply_to=sys.argv[2])])
        """,
        backend.address,
    )
    for thread in threads:
        thread.join(10 * SCALE)
    assert [[len(one.payload) for one in records] for records in found] == [[size]] * 3


def test_an_address_that_leads_out_of_the_directory_is_not_followed(backend: SqliteBackend) -> None:
    assert backend._store.folder is not None
    folder = Path(backend._store.folder)
    # Short, for a socket's address has little room.
    victim_path = folder.parent.parent / f"v{os.getpid()}"
    (folder / "r-x").mkdir()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as victim,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        victim.bind(str(victim_path))
        victim.setblocking(False)
        try:
            address = f"x/../../../{victim_path.name}"
            sender.sendto(b"a path that leads there", f"{folder}/r-{address}")
            assert victim.recv(100) == b"a path that leads there"
            backend.write([Record("a", "SUCCESS", b"1", reply_to=address)])
            with pytest.raises(BlockingIOError):
                victim.recv(100)
        finally:
            victim_path.unlink()
            (folder / "r-x").rmdir()


def test_leftovers_of_dead_processes_are_swept_away_and_living_ones_stay(
    broker: SqliteBroker, backend: SqliteBackend, output: Output
) -> None:
    backend.wait(["nothing"], 0.01)
    dead = output(
        """
        backend = SqliteBackend(url, {})
        backend.open()
        backend.wait(["nothing"], 0.01)
        say(backend.address)
        os._exit(0)
        """
    ).strip()
    assert broker._store.folder is not None
    folder = Path(broker._store.folder)
    assert (folder / f"r-{dead}").exists()
    broker._sweeper._tidied_at = -1e9
    broker.sweep()
    assert not (folder / f"r-{dead}").exists()
    assert (folder / f"r-{backend.address}").exists()


def test_threads_that_publish_at_once_share_transactions_and_get_their_own_errors(broker: SqliteBroker) -> None:
    broker._store.main.read(lambda conn: conn.setlimit(0, 100_000) if hasattr(conn, "setlimit") else None)
    commits: list[int] = []
    write = broker._store.main.write

    def counted(work, queues, parcels):
        commits.append(len(parcels))
        return write(work, queues, parcels)

    broker._store.main.write = counted  # type: ignore[method-assign]
    outcomes: dict[str, str] = {}

    def publish(name: str, size: int) -> None:
        try:
            broker.publish([message(name, properties=bytes(size))])
            outcomes[name] = "stored"
        except Exception as exc:
            outcomes[name] = type(exc).__name__

    sizes = {f"m{number}": 200_000 if number == 5 and hasattr(os, "fork") else 10 for number in range(20)}
    threads = [threading.Thread(target=publish, args=pair) for pair in sizes.items()]
    # While the leader's place is taken, all others gather behind it.
    with broker._store._leading:
        for thread in threads:
            thread.start()
        while len(broker._store._waiting) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join(10 * SCALE)
    stored = {view.message.id for view in broker.peek("q", 99)}
    assert stored == {name for name, outcome in outcomes.items() if outcome == "stored"}
    if hasattr(broker._store.main._conn, "setlimit"):
        assert outcomes.pop("m5") == "StoreRejected"
    assert set(outcomes.values()) == {"stored"}
    assert commits[0] == 20, "all went together first"


def test_a_delayed_release_is_promoted_in_time_for_a_waiting_take(broker: SqliteBroker) -> None:
    broker.publish([message("a")])
    (one,) = broker.take(["q"], 1, 0)
    from celeriac.model.message import Release

    broker.settle([Settlement(one.receipt, Release(0.2))])
    assert broker.next_due_at(["q"]) is not None
    assert [again.message.id for again in broker.take(["q"], 1, 20)] == ["a"]


def test_a_damaged_message_is_buried_with_its_reason_and_its_neighbours_go_on(broker: SqliteBroker) -> None:
    broker.publish([message("a"), message("b"), message("c")])
    second = broker.peek("q", 2)[1]
    assert second.message.id == "b"
    broker._store.main.write(
        lambda conn: (
            conn.execute(
                "update message set data=x'c1c1' where key=(select key from ready order by key limit 1 offset 1)"
            ).rowcount
        )
    )
    assert [view.message.id[:7] for view in broker.peek("q", 9)] == ["a", "damaged", "c"]
    settled = broker.settle([], Claim(("q",), 9))
    assert [one.message.id for one in settled.deliveries] == ["a", "c"]
    (letter,) = broker.dead("q", 9)
    assert (letter.message.queue, letter.message.body, "damaged" in letter.reason) == ("q", b"\xc1\xc1", True)
    assert broker.settle([Settlement(one.receipt, Ack()) for one in settled.deliveries]).stale == ()
    assert broker.drop([letter.message.id]) == 1


def test_what_has_expired_is_swept_in_batches_and_its_room_is_used_again(
    broker: SqliteBroker, backend: SqliteBackend, path: Path, make: Callable[..., SqliteBroker]
) -> None:
    def count(table: str) -> int:
        return int(broker._store.main.read(lambda conn: conn.execute(f"select count(*) from {table}").fetchone()[0]))

    def pages() -> int:
        return int(broker._store.main.read(lambda conn: conn.execute("pragma page_count").fetchone()[0]))

    sizes = []
    for _ in range(3):
        backend.write([Record(f"{number:04d}", "SUCCESS", bytes(500), expires_s=0.0) for number in range(800)])
        assert backend.read(["0000"]) == [None]
        broker.sweep()
        assert count("result") == 0
        sizes.append(pages())
    assert sizes[0] == sizes[1] == sizes[2]

    broker.publish([message("a"), message("b")])
    taken = broker.take(["q"], 9, 0)
    from celeriac.model.message import Bury

    broker.settle([Settlement(one.receipt, Bury("why")) for one in taken])
    broker.cancel(["gone"], keep_s=-1.0)
    make(dead_expires_s=0.0).sweep()
    assert (broker.dead(None, 9), count("message"), count("cancel")) == ([], 0, 0)


def test_a_cancellation_outlasts_its_time_while_its_message_waits(broker: SqliteBroker) -> None:
    broker.publish([message("a")])
    broker.cancel(["a", "later"], keep_s=0.01)
    time.sleep(0.02)
    broker.publish([message("later")])
    broker.sweep()
    assert [(one.message.id, one.cancelled) for one in broker.take(["q"], 9, 0)] == [("a", True), ("later", False)]
