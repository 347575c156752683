"""Asking over a bus: who waits for whom, and for how long. Nodes are threads on a memory broker."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.control.asking import ask, tell
from celeriac.control.words import CONTROL_TOPIC, Reply, Request, decode_request, encode_reply

_numbers = itertools.count()
LONG_S = 30.0
"""A wait that only a lost answer would use up."""

Answer = Callable[[Request], Any]


class Node(threading.Thread):
    """Answers each request with what `answer` returns; `None` is silence."""

    def __init__(self, bus: MemoryBroker, name: str, answer: Answer) -> None:
        super().__init__(name=name, daemon=True)
        self.bus = bus
        self.answer = answer
        self.ear = bus.subscribe([CONTROL_TOPIC])
        self.heard: list[Request] = []
        self.start()

    def run(self) -> None:
        while words := self.ear.receive(LONG_S):
            for _, data in words:
                request = decode_request(data)
                self.heard.append(request)
                answer = self.answer(request)
                if answer is not None and request.reply_to:
                    self.bus.publish_topic(request.reply_to, encode_reply(Reply(request.ticket, self.name, answer)))

    def end(self) -> None:
        self.ear.close()
        self.join(10)


@pytest.fixture
def bus() -> Iterator[MemoryBroker]:
    broker = MemoryBroker(f"memory://asking-{next(_numbers)}", {})
    broker.open()
    yield broker
    broker.close()


@pytest.fixture
def node(bus: MemoryBroker) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(name: str, answer: Answer = lambda _: "here") -> Node:
        made.append(Node(bus, name, answer))
        return made[-1]

    yield make
    for one in made:
        one.end()


def ears(bus: MemoryBroker) -> int:
    """How many listen, to whatever."""
    return len(bus._store.topics._ears)


def test_the_answers_of_all_who_listen_come_at_once(bus: MemoryBroker, node: Callable[..., Node]):
    node("a")
    node("b")
    began = time.monotonic()
    answers = ask(bus, Request("ping"), LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    assert sorted(reply.node for reply in answers.replies) == ["a", "b"]
    assert answers.listeners == 2


def test_nobody_listens_and_nobody_is_waited_for(bus: MemoryBroker):
    began = time.monotonic()
    answers = ask(bus, Request("ping"), LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    assert answers.replies == ()
    assert answers.listeners == 0


def test_a_node_that_is_silent_is_waited_for_no_longer_than_asked(bus: MemoryBroker, node: Callable[..., Node]):
    node("a")
    node("b", lambda _: None)
    answers = ask(bus, Request("ping"), 0.3)
    assert [reply.node for reply in answers.replies] == ["a"]
    assert answers.listeners == 2


def test_those_who_are_named_are_enough(bus: MemoryBroker, node: Callable[..., Node]):
    node("a")
    node("b", lambda _: None)
    began = time.monotonic()
    answers = ask(bus, Request("ping", destination=("a", "a")), LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    assert [reply.node for reply in answers.replies] == ["a"]


def test_no_more_answers_come_than_the_limit(bus: MemoryBroker, node: Callable[..., Node]):
    for name in "abc":
        node(name)
    told: list[Reply] = []
    answers = ask(bus, Request("ping"), LONG_S, limit=2, on_reply=told.append)
    assert len(answers.replies) == 2
    assert told[:2] == list(answers.replies)


def test_replies_to_others_and_nonsense_are_passed_over(bus: MemoryBroker, node: Callable[..., Node]):
    def answer(request: Request) -> str:
        bus.publish_topic(request.reply_to, b"\xff nonsense")
        bus.publish_topic(request.reply_to, encode_reply(Reply("another ticket", "stranger", 1)))
        return "mine"

    node("a", answer)
    replies = ask(bus, Request("ping"), LONG_S).replies
    assert [(reply.node, reply.answer) for reply in replies] == [("a", "mine")]


def test_asking_leaves_no_ear_behind_whatever_happens(bus: MemoryBroker, node: Callable[..., Node]):
    node("a")

    def stop(_: Reply) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(bus, Request("ping"), LONG_S, on_reply=stop)
    ask(bus, Request("ping"), LONG_S)
    with pytest.raises(TypeError):
        ask(bus, Request("ping", {"x": object()}), LONG_S)
    assert ears(bus) == 1  # the node's own


def test_every_request_ends_some_time_also_one_that_wants_no_reply(bus: MemoryBroker, node: Callable[..., Node]):
    one = node("a")
    assert tell(bus, Request("shutdown")) == 1
    ask(bus, Request("ping"), 5.0)
    told, asked = one.heard
    assert told.expires_at is not None
    assert told.reply_to == ""
    assert asked.expires_at is not None
    assert 4.0 < asked.expires_at - told.expires_at + 10.0 < 60.0


def test_many_ask_at_once_and_each_gets_its_own_answers(bus: MemoryBroker, node: Callable[..., Node]):
    node("a", lambda request: request.arguments["n"])
    node("b", lambda request: request.arguments["n"])
    wrong: list[Any] = []

    def asker(number: int) -> None:
        for turn in range(20):
            n = number * 100 + turn
            replies = ask(bus, Request("ping", {"n": n}), LONG_S).replies
            if [reply.answer for reply in replies] != [n, n]:
                wrong.append((n, replies))

    threads = [threading.Thread(target=asker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
