"""A client whose standard library gevent has patched."""

from __future__ import annotations

from collections.abc import Callable

import pytest

PATCHED = """
from gevent import monkey
monkey.patch_all()
import gevent
broker, backend = opened(), SqliteBackend(url, {})
backend.open()
ticks = []

def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.005)

def serve(count):
    while count:
        taken = broker.take(["q"], 5, 10)
        broker.settle([
            Settlement(one.receipt, Ack(), (Record(one.message.id, "SUCCESS", b"1", reply_to=one.message.reply_to),))
            for one in taken
        ])
        count -= len(taken)

def ask(name):
    for number in range(10):
        broker.publish([message(f"{name}-{number}", reply_to=backend.address)])
        assert backend.wait([f"{name}-{number}"], 10)

ticker = gevent.spawn(tick)
gevent.joinall([gevent.spawn(serve, 30), *(gevent.spawn(ask, name) for name in "abc")], timeout=20, raise_error=True)
before = len(ticks)
assert backend.wait(["nothing"], 0.3) == []
say(broker.depth(["q"])[0].claimed, len(ticks) - before > 10)
"""


def test_greenlets_send_and_wait_and_let_each_other_run(output: Callable[..., str]) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    assert output(PATCHED) == "0 True\n"
