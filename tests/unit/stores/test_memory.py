"""What is particular to the memory store; the contract itself is proven by the conformance suites."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from celeriac.backends.memory import MemoryBackend
from celeriac.brokers.memory import MemoryBroker
from celeriac.model.clock import ManualClock
from celeriac.model.errors import BackendUnavailable, BrokerRejected, BrokerUnavailable
from celeriac.model.message import Ack, Bury, Claim, Message, Record, Release, Settled, Settlement
from celeriac.model.ports import Backend, Broker, BrokerAdmin, Bus, Waiter


def message(task_id: str, **fields: object) -> Message:
    return Message(id=task_id, task="t", queue="q", headers=b"{}", body=b"[]", **fields)  # type: ignore[arg-type]


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(url: str, clock: ManualClock) -> MemoryBroker:
    broker = MemoryBroker(url, {"lease_s": 6.0, "clock": clock})
    broker.open()
    return broker


@pytest.fixture
def backend(url: str, broker: MemoryBroker) -> MemoryBackend:
    assert broker.facts.store_id == url
    backend = MemoryBackend(url, {})
    backend.open()
    return backend


def test_the_classes_have_all_methods_of_their_ports(broker: MemoryBroker, backend: MemoryBackend) -> None:
    assert isinstance(broker, Broker)
    assert isinstance(broker, BrokerAdmin)
    assert isinstance(broker, Bus)
    assert isinstance(backend, Backend)
    assert isinstance(backend, Waiter)


def test_brokers_of_one_name_share_their_queues(broker: MemoryBroker, url: str) -> None:
    other = MemoryBroker(url, {})
    other.open()
    broker.publish([message("a")])
    assert [d.message.id for d in other.take(["q"], 9, 0)] == ["a"]


def test_a_lease_that_ends_returns_the_message_to_its_old_place(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish([message("a"), message("b")])
    (first,) = broker.take(["q"], 1, 0)
    clock.advance(6.1)
    again = broker.take(["q"], 9, 0)
    assert [d.message.id for d in again] == ["a", "b"]
    assert (again[0].receipt.attempt, again[0].redelivered, again[0].crashes) == (2, True, 0)
    assert broker.settle([Settlement(first.receipt, Ack())]).stale == (first.receipt,)


def test_extend_renews_everything_and_names_what_is_lost(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    for _ in range(5):
        clock.advance(4)
        assert list(broker.extend([held.receipt], 6.0)) == []
    clock.advance(6.1)
    assert list(broker.extend([held.receipt], 6.0)) == [held.receipt]


def test_a_jump_of_the_wall_clock_ends_no_lease(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    clock.jump(1e6)
    assert broker.take(["q"], 1, 0) == []
    assert list(broker.extend([held.receipt], 6.0)) == []


def test_a_stale_settlement_is_dropped_whole(broker: MemoryBroker, backend: MemoryBackend, clock: ManualClock) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    clock.advance(7)
    (again,) = broker.take(["q"], 1, 0)
    late = Settlement(held.receipt, Ack(), (Record("a", "SUCCESS", b"1"),), (message("next"),))
    assert broker.settle([late], Claim(("q",), 9)) == Settled((held.receipt,), ())
    assert backend.read(["a"]) == [None]
    assert broker.settle([Settlement(again.receipt, Ack())]).stale == ()


def test_a_bad_follow_up_leaves_everything_as_it_was(broker: MemoryBroker, backend: MemoryBackend) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    bad = Settlement(held.receipt, Ack(), (Record("a", "SUCCESS", b"1"),), (message("n", priority=10),))
    with pytest.raises(BrokerRejected, match="priority"):
        broker.settle([bad])
    assert backend.read(["a"]) == [None]
    assert broker.settle([Settlement(held.receipt, Ack())]).stale == ()


def test_release_later_waits_for_its_time_and_counts_the_crash(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    broker.settle([Settlement(held.receipt, Release(10.0, crashed=True))])
    assert broker.take(["q"], 1, 0) == []
    clock.advance(10.1)
    assert [d.crashes for d in broker.take(["q"], 1, 0)] == [1]


def test_a_revived_letter_is_pending_again(broker: MemoryBroker, backend: MemoryBackend) -> None:
    broker.publish([message("a")])
    (held,) = broker.take(["q"], 1, 0)
    broker.settle([Settlement(held.receipt, Bury("why"), (Record("a", "FAILURE", b"x"),))])
    assert broker.revive(["a"]) == 1
    assert backend.read(["a"]) == [None]
    assert broker.dead(None, 9) == []
    assert [d.message.id for d in broker.take(["q"], 9, 0)] == ["a"]


def test_a_cancellation_covers_what_came_before_it_ran_out(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish([message("a")])
    broker.cancel(["a", "later"], keep_s=5.0)
    clock.advance(60)
    broker.cancel(["other"])
    broker.publish([message("later")])
    assert [(d.message.id, d.cancelled) for d in broker.take(["q"], 9, 0)] == [("a", True), ("later", False)]


@pytest.mark.parametrize("priority", [-1, 10, "urgent", True, 2.5])
def test_a_priority_that_is_none_is_refused_by_name(broker: MemoryBroker, priority: object) -> None:
    with pytest.raises(BrokerRejected, match="priority="):
        broker.publish([message("ok"), message("a", priority=priority)])
    assert broker.take(["q"], 9, 0) == []


def test_close_frees_a_thread_that_waits_in_take(broker: MemoryBroker) -> None:
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(broker.take(["q"], 1, 30.0)))
    thread.start()
    broker.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(BrokerUnavailable, match="open"):
        broker.publish([message("a")])


def test_a_closed_backend_says_so(backend: MemoryBackend) -> None:
    backend.close()
    with pytest.raises(BackendUnavailable, match="open"):
        backend.read(["a"])


def test_a_forked_child_starts_empty_with_free_locks(broker: MemoryBroker) -> None:
    broker.publish([message("a")])
    with broker._store.lock:
        pid = os.fork()
        if pid == 0:
            thread = threading.Thread(target=lambda: os._exit(len(broker.take(["q"], 9, 0))))
            thread.start()
            thread.join(10)
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [d.message.id for d in broker.take(["q"], 9, 0)] == ["a"]
