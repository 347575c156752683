"""Processes that die or hang: what they held comes back, counted right, and nothing accepted is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Ack, Delivery, Message, Release, Settlement
from integration.worker.conftest import SCALE

Program = Callable[..., "subprocess.Popen[str]"]
Eventually = Callable[..., None]

HOLDER = """
    import mmap, struct
    broker = opened(lease_s=float(sys.argv[2]))
    fd = broker.join(65536)
    taken = broker.take(["q"], 3, 5)
    marks = mmap.mmap(fd, 65536, offset=broker.marks_offset)
    # Two children: the first one runs the second message, the other is idle.
    marks[64:72] = struct.pack("=Q", taken[1].receipt.key)
    say(*[one.message.id for one in taken])
    sys.stdin.read()
    say(len(broker.extend([one.receipt for one in taken], 6.0)))
    sys.stdin.close()
    time.sleep(60)
"""


def message(task_id: str) -> Message:
    return Message(id=task_id, task="t", queue="q", headers=b"{}", body=b"[]")


def swept(broker: SqliteBroker) -> Callable[[], bool]:
    return lambda: broker.sweep() > 0


def crashes(deliveries: list[Delivery] | tuple[Delivery, ...]) -> dict[str, int]:
    return {one.message.id: one.crashes for one in deliveries}


def test_a_killed_holder_is_seen_at_once_and_only_what_ran_counts_a_crash(
    broker: SqliteBroker, program: Program, eventually: Eventually
) -> None:
    broker.publish([message(one) for one in "abcd"])
    holder = program(HOLDER, 3600)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "a b c\n"
    assert broker.sweep() == 0, "it lives"
    holder.kill()
    eventually(swept(broker), 2.0, "the sweep takes back what the dead one held")
    taken = broker.take(["q"], 9, 0)
    assert [one.message.id for one in taken] == ["a", "b", "c", "d"], "each at its old place"
    assert crashes(list(taken)) == {"a": 0, "b": 1, "c": 0, "d": 0}
    assert broker.depth() == [broker.depth(["q"])[0]]


def test_the_second_crash_waits_a_second_and_the_third_is_delivered_at_once(
    broker: SqliteBroker, program: Program, eventually: Eventually
) -> None:
    broker.publish([message("x"), message("poison"), message("y")])
    for expected, delayed in ((1, 0), (2, 1), (3, 0)):
        holder = program(HOLDER, 3600)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "x poison y\n"
        holder.kill()
        holder.wait()
        eventually(swept(broker), 2.0)
        assert broker.depth(["q"])[0].delayed == delayed
        eventually(lambda: not broker.depth(["q"])[0].delayed, 5.0)
        views = {view.message.id: view.crashes for view in broker.peek("q", 9)}
        assert views == {"x": 0, "poison": expected, "y": 0}


def test_a_holder_that_hangs_loses_its_claims_with_its_lease_and_learns_it(
    broker: SqliteBroker, program: Program, eventually: Eventually
) -> None:
    broker.publish([message(one) for one in "abc"])
    holder = program(HOLDER, 0.5)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "a b c\n"
    holder.send_signal(signal.SIGSTOP)
    eventually(swept(broker), 5.0, "the lease ends")
    taken = broker.take(["q"], 9, 5)
    assert [one.message.id for one in taken] == ["a", "b", "c"]
    holder.send_signal(signal.SIGCONT)
    holder.stdin.close()
    assert holder.stdout.readline() == "3\n", "all three are lost to it"
    holder.stdin = None


def test_a_region_is_used_again_after_its_owner_is_gone(broker: SqliteBroker, program: Program, path: Path) -> None:
    broker.publish([message("a"), message("b"), message("c")])
    assert broker.join(64) is not None
    assert broker.marks_offset == 0
    for _ in range(3):
        holder = program(HOLDER, 3600)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait()
        broker.sweep()
    assert Path(f"{path}-nodes").stat().st_size == 2 * 65536


def test_marks_of_a_dead_holder_are_safe_until_they_are_swept(broker: SqliteBroker, program: Program) -> None:
    broker.publish([message("a"), message("b"), message("c")])
    holder = program(HOLDER, 3600)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    broker.join(64)
    assert broker.sweep() == 3
    assert crashes(list(broker.take(["q"], 9, 0))) == {"a": 0, "b": 1, "c": 0}


def test_the_death_of_one_holder_does_not_shorten_the_moment_another_has(
    broker: SqliteBroker, make: Callable[..., SqliteBroker]
) -> None:
    slow = make()
    broker.publish([message("a"), message("b")])
    (first,) = broker.take(["q"], 1, 0)
    (second,) = slow.take(["q"], 1, 0)
    write = broker._store.main.write
    write(lambda conn: conn.execute("update node set boot_id='earlier' where id=?", (broker._holder.node,)).rowcount)
    write(lambda conn: conn.execute("update node set lease_until=0 where id=?", (slow._holder.node,)).rowcount)
    assert make().sweep() == 1
    assert broker.settle([Settlement(first.receipt, Ack())]).stale == (first.receipt,)
    assert slow.settle([Settlement(second.receipt, Ack())]).stale == ()


def test_a_claim_from_before_the_machine_started_again_comes_back(
    broker: SqliteBroker, make: Callable[..., SqliteBroker]
) -> None:
    broker.publish([message("a")])
    assert broker.take(["q"], 1, 0)
    broker._store.main.write(lambda conn: conn.execute("update node set boot_id='earlier'").rowcount)
    assert broker.sweep() == 1
    assert [one.receipt.attempt for one in broker.take(["q"], 1, 0)] == [2]


def test_a_holder_whose_lease_is_over_gets_a_moment_to_renew_it(broker: SqliteBroker, eventually: Eventually) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    broker._store.main.write(lambda conn: conn.execute("update node set lease_until=0").rowcount)
    assert broker.sweep() == 0, "perhaps the whole machine stood still"
    assert broker.extend([held.receipt], 6.0) == []
    time.sleep(0.5)
    assert broker.sweep() == 0
    assert broker.settle([Settlement(held.receipt, Ack())]).stale == ()


def test_a_holder_that_was_swept_away_goes_on_under_a_new_row(broker: SqliteBroker, eventually: Eventually) -> None:
    broker.publish([message("a"), message("b")])
    (lost,) = broker.take(["q"], 1, 0)
    broker._store.main.write(lambda conn: conn.execute("update node set lease_until=0").rowcount)
    eventually(swept(broker), 5.0)
    assert broker.settle([Settlement(lost.receipt, Ack())]).stale == (lost.receipt,)
    again = broker.take(["q"], 9, 0)
    assert [one.message.id for one in again] == ["a", "b"]
    assert broker.extend([one.receipt for one in again] + [lost.receipt], 6.0) == [lost.receipt]
    assert broker.settle([Settlement(again[0].receipt, Release()), Settlement(again[1].receipt, Ack())]).stale == ()


def test_one_process_sweeps_at_a_time(broker: SqliteBroker, program: Program, eventually: Eventually) -> None:
    broker.publish([message("a")])
    other = program(
        """
        from celeriac.stores.sqlite_nodes import lock_sweeper, open_nodes
        broker = opened()
        broker.take(["q"], 1, 0)
        fd = open_nodes(url.removeprefix("sqlite:///"))
        say(lock_sweeper(fd))
        sys.stdin.read()
        """
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    broker._store.main.write(lambda conn: conn.execute("update node set lease_until=0").rowcount)
    assert broker.sweep() == 0
    assert broker.sweep() == 0
    # A sweep takes milliseconds: whoever is at it for ever was stopped amid it.
    eventually(swept(broker), 5.0)
    other.kill()
    other.wait()


PRODUCER = """
    broker = opened()
    number = 0
    while True:
        name = f"{sys.argv[2]}-{number}"
        broker.publish([message(name)])
        say("put", name)
        number += 1
"""
TAKER = """
    broker = opened(lease_s=0.5)
    broker.join(64)
    taken = broker.take(["q"], 16, 5)
    while True:
        # Said before it is settled: what is settled was said, what was said may come again.
        for one in taken:
            say("got", one.message.id)
        taken = broker.settle([Settlement(one.receipt, Ack()) for one in taken], Claim(("q",), 16)).deliveries
        taken = taken or broker.take(["q"], 16, 0.1)
"""


@pytest.mark.parametrize("round_number", range(3))
def test_killing_all_producers_and_takers_at_once_loses_nothing(
    round_number: int, tmp_path: Path, url: str, broker: SqliteBroker, program: Program, eventually: Eventually
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        source = f"os.dup2(os.open({str(log)!r}, os.O_WRONLY | os.O_APPEND), 1)\n"
        out.flush()
        crew = [
            program(source + _dedented(PRODUCER), "p1"),
            program(source + _dedented(PRODUCER), "p2"),
            program(source + _dedented(TAKER)),
            program(source + _dedented(TAKER)),
        ]
        goal = 300 * (round_number + 1)
        eventually(lambda: log.read_bytes().count(b"got") > goal, 20.0, "messages flow")
    for process in crew:
        os.kill(process.pid, signal.SIGKILL)
    for process in crew:
        process.wait()
    lines = [line.split() for line in log.read_text().splitlines() if len(line.split()) == 2]
    accepted = {name for verb, name in lines if verb == "put"}
    done = Counter(name for verb, name in lines if verb == "got")
    broker.sweep()
    left: list[str] = []

    def drain() -> bool:
        taken = broker.take(["q"], 500, 0.05)
        left.extend(one.message.id for one in taken)
        broker.settle([Settlement(one.receipt, Ack()) for one in taken])
        depth = broker.depth(["q"])[0]
        return not depth.ready + depth.delayed + depth.claimed

    eventually(drain, 10.0 * SCALE, "everything comes back")
    assert accepted <= done.keys() | set(left)
    assert max(Counter(left).values(), default=1) == 1
    assert max(done.values()) == 1, "nothing was handed to two takers that both lived"
    assert broker._store.main.read(lambda conn: conn.execute("pragma integrity_check").fetchone()) == ("ok",)


def test_a_subscriber_that_was_killed_is_not_counted_and_nothing_is_kept_for_it(
    broker: SqliteBroker, program: Program, eventually: Callable[..., None]
) -> None:
    ear = broker.subscribe(["t"])
    other = program("ear = opened().subscribe(['t', 'u'])\nsay('listening')\near.receive(60)")
    assert other.stdout is not None
    assert other.stdout.readline() == "listening\n"
    assert broker.publish_topic("t", b"1") == 2
    assert broker.publish_topic("u", b"1") == 1
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert broker.publish_topic("t", b"2") == 1
    assert broker.publish_topic("u", b"2") == 0
    assert [data for _, data in ear.receive(1.0)] == [b"1", b"2"]
    kept = broker._store.main.read(lambda conn: conn.execute("select count(*) from word").fetchone())
    assert kept == (3,)
    ear.close()


def _dedented(source: str) -> str:
    import textwrap

    return textwrap.dedent(source)
