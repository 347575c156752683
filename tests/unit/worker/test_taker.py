"""A broker of six verbs is waited for by a thread that claims for the node."""

from __future__ import annotations

import selectors
import threading
import time

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.model.clock import SystemClock
from celeriac.model.errors import BrokerUnavailable
from celeriac.model.message import Ack, Message, Settlement
from celeriac.model.ports import Broker, Pollable
from celeriac.worker.link import Arrived, Committer
from celeriac.worker.taker import Taker, TakingLink


class SixVerbs:
    """A broker that has nothing but those."""

    def __init__(self, name: str) -> None:
        self._inner = MemoryBroker(f"memory://{name}", {"lease_s": 30.0})
        self.facts = self._inner.facts
        self.away = False
        self.open, self.close = self._inner.open, self._inner.close
        self.publish, self.settle, self.extend = self._inner.publish, self._inner.settle, self._inner.extend
        self.depth = self._inner.depth
        self.takes = 0

    def take(self, queues, limit, wait_s):
        self.takes += 1
        if self.away:
            raise BrokerUnavailable("gone fishing")
        return self._inner.take(queues, limit, wait_s)


@pytest.fixture
def broker(request):
    broker = SixVerbs(request.node.name)
    broker.open()
    yield broker
    broker.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def link(broker, told):
    selector = selectors.DefaultSelector()
    link = TakingLink(
        broker,
        Committer(broker, None, lambda action, text, **_: None),
        ("q",),
        selector,
        SystemClock(),
        lambda action, text, **_: told.append(action),
    )
    link.selector = selector
    yield link
    link.close()
    selector.close()


def message(name):
    return Message(name, "t", "q", b"{}", b"[]")


def turn(link, until, within_s=5.0):
    """What a node does: step, wait at the selector, answer the bell."""
    ends_at = time.monotonic() + within_s
    got = []
    while not until(got):
        assert time.monotonic() < ends_at, f"in vain; got {got}"
        for news in link.step():
            if isinstance(news, Arrived):
                got += news.deliveries
        for _ in link.selector.select(max(0.0, min(link.due_at - time.monotonic(), 0.05))):
            link.rung()
    return got


def claimed(broker):
    (depth,) = broker.depth(["q"])
    return depth.claimed


def test_it_needs_no_more_than_a_broker(broker):
    assert isinstance(broker, Broker)
    assert not isinstance(broker, Pollable)
    assert isinstance(Taker(broker), Pollable)


def test_what_is_there_comes_at_once_and_what_is_published_later_rings(broker, link):
    broker.publish([message("a"), message("b")])
    link.want(10)
    assert [one.message.id for one in turn(link, lambda got: len(got) == 2)] == ["a", "b"]
    link.want(10)
    threading.Timer(0.1, lambda: broker.publish([message("c"), message("d")])).start()
    got = turn(link, bool)
    if len(got) < 2:
        link.want(9)
        got += turn(link, bool)
    assert [one.message.id for one in got] == ["c", "d"]


def test_a_hungry_node_asks_rarely_while_nothing_comes(broker, link):
    link.want(1)
    turn(link, lambda _: broker.takes >= 2)
    before, began = broker.takes, time.monotonic()
    while time.monotonic() - began < 0.5:
        turn(link, lambda _: True)
        link.selector.select(0.05)
        assert not link.step()
    assert broker.takes - before <= 3


def test_what_came_when_the_hunger_was_over_goes_back_unpenalised(broker, link, eventually):
    link.want(1)
    turn(link, lambda _: broker.takes >= 2)
    link.want(0)
    broker.publish([message("a")])
    eventually(lambda: claimed(broker) == 1, what="the thread, which was waiting in the broker, claims it")
    eventually(lambda: claimed(broker) == 0, what="it is handed back")
    link.want(1)
    (again,) = turn(link, bool)
    assert (again.message.id, again.crashes) == ("a", 0)


def test_what_came_when_the_hunger_was_over_is_there_if_it_comes_back_soon(broker, link, eventually):
    link.want(1)
    turn(link, lambda _: broker.takes >= 2)
    link.want(0)
    broker.publish([message("a")])
    eventually(lambda: claimed(broker) == 1)
    link.want(1)
    (got,) = turn(link, bool)
    assert not broker.settle([Settlement(got.receipt, Ack())]).stale


def test_a_broker_that_is_away_is_told_once_and_back_again(broker, link, told):
    link.want(1)
    turn(link, lambda _: broker.takes >= 2)
    broker.away = True
    turn(link, lambda _: "broker_away" in told)
    broker.away = False
    broker.publish([message("a")])
    turn(link, bool)
    assert told.count("broker_away") == 1
    assert told[-1] == "broker_back"


def test_closing_hands_back_what_is_here_and_ends_the_thread(broker, link, eventually):
    link.want(1)
    turn(link, lambda _: broker.takes >= 2)
    link.want(0)
    broker.publish([message("a")])
    eventually(lambda: claimed(broker) == 1)
    link.close()
    assert claimed(broker) == 0
    assert "taker" not in [thread.name for thread in threading.enumerate()]
