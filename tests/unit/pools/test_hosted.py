"""The node's side of children of several kinds: records, orders, what has begun."""

from __future__ import annotations

import mmap
import selectors
import signal
import socket

import pytest

from celeriac.model.facts import PoolFacts
from celeriac.pools.host import SOFT_SIGNAL
from celeriac.pools.hosted import HostedPool, Whereabouts
from celeriac.pools.kinds import records_of
from celeriac.pools.marks import RECORD_BYTES, Marks
from celeriac.pools.spawner import Exited, Spawned
from celeriac.wire.frames import Break, FrameReader, RecallJobs

KINDS = {
    "prefork": PoolFacts("prefork", 1, kills=True),
    "threads": PoolFacts("threads", 8, kills=False, by_signal=False),
    "asyncio": PoolFacts("asyncio", 1000, kills=False, by_signal=False),
}


class Paper:
    """A spawner that writes down what it is asked for."""

    def __init__(self):
        self.spawned, self.killed, self.ends = [], [], {}

    def fileno(self):
        return -1

    def receive(self):
        return ()

    def share_marks(self, fd, offset, size):
        raise NotImplementedError

    def spawn(self, child, pool, record):
        self.spawned.append((child, pool, record))

    def kill(self, child, signum):
        self.killed.append((child, signum))


@pytest.fixture
def made():
    """(pool, spawner, marks, up): `up` lets a child that was started come up, and returns its end of the orders."""
    records = 10_000
    marks = Marks(mmap.mmap(-1, records * RECORD_BYTES), records)
    spawner, selector = Paper(), selectors.DefaultSelector()
    pool = HostedPool(spawner, marks, selector, KINDS)
    sockets = []

    def up():
        place = spawner.spawned[-1][0]
        data, control = socket.socketpair(), socket.socketpair()
        sockets.extend((*data, *control))
        pool.adopt(Spawned(place, 1000 + place, data[0], control[0]))
        return control[1]

    yield pool, spawner, marks, up
    pool.close()
    for sock in sockets:
        sock.close()
    selector.close()
    marks.close()


def test_children_of_several_kinds_have_records_of_their_own(made):
    pool, spawner, marks, _ = made
    pools = ["prefork", "asyncio", "threads", "prefork", "threads", "prefork", "asyncio"]
    for child, name in enumerate(pools):
        pool.start(child, name)
    assert [place for place, _, _ in spawner.spawned] == list(range(7))
    taken = [set(range(first, first + records_of(KINDS[name]))) for _, name, first in spawner.spawned]
    assert sum(map(len, taken)) == len(set().union(*taken))
    assert max(set().union(*taken)) < marks.records


def test_small_children_do_not_cut_up_the_room_of_large_ones(made):
    pool, spawner, _, _ = made
    for turn in range(50):
        pool.start(1000 + turn, "prefork")
        pool.start(turn, "asyncio")
        if turn:
            previous = spawner.spawned[-3][0]
            assert pool.gone(Exited(previous, 0, "exit code 0")).child == turn - 1


def test_without_room_it_says_what_it_lacks(made):
    pool, _, _, _ = made
    with pytest.raises(RuntimeError, match="2000 more slots of asyncio: 5 children"):
        for child in range(10):
            pool.start(child, "asyncio")


def test_the_records_of_a_new_child_are_clean(made):
    pool, spawner, marks, _ = made
    pool.start(1, "threads")
    place, _, first = spawner.spawned[0]
    marks.begin(first + 3, 1, 17, 1)
    assert pool.gone(Exited(place, 0, "signal 9")).running == (17,)
    pool.start(2, "threads")
    assert marks.all_running(first, 8) == [0] * 8


def test_what_has_begun_is_told_once_with_the_time_of_its_beginning(made):
    pool, spawner, marks, up = made
    pool.start(1, "asyncio")
    up()
    first = spawner.spawned[0][2]
    for slot in range(0, 1000, 3):
        marks.begin(first + slot, 1, 5000 + slot, 7_000_000_000)
    assert pool.begun() == [(1, 5000 + slot, 7.0) for slot in range(0, 1000, 3)]
    assert pool.begun() == []
    marks.begin(first + 3, 1, 9000, 8_000_000_000)
    marks.clear(first + 6)
    assert pool.begun() == [(1, 9000, 8.0)]


def test_one_of_many_slots_is_broken_into_by_an_order_and_a_process_by_a_signal(made):
    pool, spawner, marks, up = made
    pool.start(1, "threads")
    control = up()
    for how in ("soft", "hard", "terminate"):
        pool.interrupt(1, 5, how, "SIGINT")
    pool.interrupt(1, 6, "terminate", "SIGNONSENSE")
    orders = FrameReader(from_child=False).feed(control.recv(4096))
    assert [(order.seq, order.how) for order in orders] == [
        (5, "soft"),
        (5, "hard"),
        (5, "terminate"),
        (6, "terminate"),
    ]
    assert [order.signum for order in orders[2:]] == [signal.SIGINT, signal.SIGTERM]
    assert spawner.killed == []
    pool.start(2, "prefork")
    up()
    place, _, first = spawner.spawned[1]
    pool.interrupt(2, 9, "hard", "")  # it does not run that
    pool.interrupt(2, 9, "soft", "")
    marks.begin(first, 1, 9, 1)
    pool.interrupt(2, 9, "hard", "")
    assert spawner.killed == [(place, SOFT_SIGNAL), (place, signal.SIGKILL)]


def test_orders_wait_for_a_child_that_does_not_hear_and_keep_their_order(made):
    pool, _, _, up = made
    pool.start(1, "asyncio")
    control = up()
    for seq in range(1, 20_001):
        pool.interrupt(1, seq, "soft", "")
    pool.recall(1, [1, 2, 3])
    reader, orders = FrameReader(from_child=False), []
    while len(orders) < 20_001:
        orders += reader.feed(control.recv(1 << 18))
        for key, mask in pool.selector.select(0):
            assert mask == selectors.EVENT_WRITE
            pool.writable(key.data[1])
    assert [order.seq for order in orders[:-1]] == list(range(1, 20_001))
    assert isinstance(orders[0], Break)
    assert isinstance(orders[-1], RecallJobs)
    assert not pool.selector.select(0)


def test_a_child_that_closes_its_sockets_and_lives_is_killed(made):
    pool, spawner, _, up = made
    pool.start(1, "threads")
    up()
    # The test's fixture holds the child's end: closing it is what the task did.
    for key in list(pool.selector.get_map().values()):
        key.fileobj.shutdown(socket.SHUT_RD)
    assert pool.readable(1) == []
    assert spawner.killed == [(0, signal.SIGKILL)]


def test_where_a_child_was_is_known_until_many_others_have_gone(made):
    pool, spawner, _, up = made
    pool.start(1, "prefork")
    up()
    assert pool.whereabouts(2) is None
    for child in range(2, 102):
        pool.start(child, "threads")
        up()
        place = spawner.spawned[-1][0]
        pid = pool.pids()[child]
        pool.gone(Exited(place, pid, "signal 9"))
        assert pool.whereabouts(child) == Whereabouts("threads", 1, pid)
    assert pool.whereabouts(1).pool == "prefork"
    assert pool.whereabouts(2) is None
