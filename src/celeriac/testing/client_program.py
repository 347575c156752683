"""The program of a client process: `celeriac.testing.clients` starts it and tells it what to do.

It reads frames (length, msgpack) from its standard input and answers on its standard output. It imports
neither pytest nor Hypothesis, so that it starts quickly.
"""

from __future__ import annotations

import functools
import importlib
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import msgspec

from celeriac.model.errors import CeleriacError
from celeriac.model.message import Ack, Message, Receipt, Record, Release, Settlement
from celeriac.pools.marks import RECORD_BYTES
from celeriac.testing import kv_loops

HEADER = struct.Struct("!I")
"""The length of the frame that follows."""

_CHURN_BATCH = 32
_RELAY_BATCH = 3
_RELEASE_EACH = 7
"""A churning client hands back each seventh message it sees for the first time, so that attempts are exercised."""


class Site(msgspec.Struct, frozen=True):
    """Where a client works: the adapter's class as ``module:name``, and what it is constructed with."""

    adapter: str
    url: str
    options: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What became of one verb: its value, or the text of the error it raised."""

    value: Any = None
    error: str = ""


_ARGUMENTS: Mapping[str, Any] = {
    "publish": tuple[list[Message]],
    "settle": tuple[list[Settlement]],
    "extend": tuple[list[Receipt], float],
    "write": tuple[list[Record]],
    "timed_write": tuple[list[Record]],
    "publish_topic": tuple[str, bytes],
    "timed_publish_topic": tuple[str, bytes],
}
"""Arguments that need types to be rebuilt; those of all other verbs are plain values."""


class _Served:
    """The verbs: those of the adapter, and some that are many of them in a row."""

    def __init__(self, adapter: Any, output: IO[bytes]) -> None:
        self._adapter = adapter
        self._output = output
        self._marks: int | None = None
        self._own: Mapping[str, Callable[..., object]] = {
            "join": self._join,
            "mark": self._mark,
            "churn": self._churn,
            "publish_on": self._publish_on,
            "write_on": self._write_on,
            "relay_on": self._relay_on,
            "pick_on": self._pick_on,
            "ping": lambda: None,
            "timed_write": functools.partial(_timed, adapter, "write"),
            "timed_publish_topic": functools.partial(_timed, adapter, "publish_topic"),
            "scan": lambda prefix: list(adapter.scan(prefix)),
            **{
                loop.__name__: functools.partial(loop, adapter)
                for loop in (kv_loops.add_on, kv_loops.swap_on, kv_loops.lock_on, kv_loops.win_on)
            },
        }

    def send(self, answer: Answer) -> None:
        """Answer the process that drives this one."""
        frame = msgspec.msgpack.encode(answer)
        self._output.write(HEADER.pack(len(frame)) + frame)
        self._output.flush()

    def perform(self, verb: str, arguments: Sequence[Any]) -> object:
        """Do one verb; return its value."""
        kind = _ARGUMENTS.get(verb)
        if kind is not None:
            arguments = msgspec.convert(arguments, kind)
        own = self._own.get(verb)
        return own(*arguments) if own is not None else getattr(self._adapter, verb)(*arguments)

    def _join(self, marks_bytes: int) -> bool:
        self._marks = self._adapter.join(marks_bytes)
        return self._marks is not None

    def _mark(self, slot: int, key: int) -> None:
        """Note that this slot runs the message of that key, as a child does before the body."""
        if self._marks is None:
            raise CeleriacError("this client has no marks: ask it to join first")
        offset = int(getattr(self._adapter, "marks_offset", 0)) + RECORD_BYTES * slot
        os.pwrite(self._marks, struct.pack("=Q", key), offset)

    def _churn(self, queues: Sequence[str], idle_s: float) -> list[tuple[str, int]]:
        """Take and acknowledge until nothing came for `idle_s`; tell what was acknowledged, at which attempt."""
        done: list[tuple[str, int]] = []
        fresh = 0
        while True:
            deliveries = self._adapter.take(queues, _CHURN_BATCH, idle_s)
            if not deliveries:
                return done
            settlements: list[Settlement] = []
            for delivery in deliveries:
                fresh += not delivery.redelivered
                back = not delivery.redelivered and fresh % _RELEASE_EACH == 0
                settlements.append(Settlement(delivery.receipt, Release() if back else Ack()))
                if not back:
                    done.append((delivery.message.id, delivery.receipt.attempt))
            stale = self._adapter.settle(settlements).stale
            if stale:
                raise CeleriacError(f"claims were lost while they were held: {stale}")

    def _publish_on(self, queue: str, prefix: str, batch: int) -> None:
        """Publish batches until killed; answer with the ids of each batch when it is confirmed."""
        number = 0
        while True:
            ids = [f"{prefix}-{number}-{index}" for index in range(batch)]
            self._adapter.publish([Message(one, "t", queue, b"{}", b"[]") for one in ids])
            self.send(Answer(ids))
            number += 1

    def _relay_on(self, queue: str, next_queue: str) -> None:
        """Settle until killed: each message with its ack, a record of its id, and a follow-up ``<id>-next``; answer
        with the ids of each batch when it is confirmed."""
        while True:
            deliveries = self._adapter.take([queue], _RELAY_BATCH, 0.1)
            ids = [delivery.message.id for delivery in deliveries]
            batch = [
                Settlement(
                    delivery.receipt,
                    Ack(),
                    (Record(one, "SUCCESS", one.encode()),),
                    (Message(f"{one}-next", "t", next_queue, b"{}", b"[]"),),
                )
                for one, delivery in zip(ids, deliveries, strict=True)
            ]
            stale = self._adapter.settle(batch).stale
            if stale:
                raise CeleriacError(f"claims were lost while they were held: {stale}")
            self.send(Answer(ids))

    def _pick_on(self, queue: str, count: int, wait_s: float) -> None:
        """Take and acknowledge one by one; tell of each its id and when it was here, on the clock of the machine."""
        for _ in range(count):
            (got,) = self._adapter.take([queue], 1, wait_s)
            here_at = time.monotonic()
            self._adapter.settle([Settlement(got.receipt, Ack())])
            self.send(Answer([got.message.id, here_at]))

    def _write_on(self, prefix: str) -> None:
        """Write records until killed; answer with the id of each when it is confirmed."""
        number = 0
        while True:
            one = f"{prefix}-{number}"
            self._adapter.write([Record(one, "SUCCESS", one.encode())])
            self.send(Answer([one]))
            number += 1


def _timed(adapter: Any, verb: str, *arguments: object) -> tuple[float, float]:
    """Do a verb; when it began and ended, on the clock of the machine."""
    began = time.monotonic()
    getattr(adapter, verb)(*arguments)
    return began, time.monotonic()


def load(path: str) -> Any:
    """The class that ``module:name`` names."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _next_request(source: IO[bytes]) -> tuple[str, Sequence[Any]] | None:
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    return msgspec.msgpack.decode(source.read(HEADER.unpack(header)[0]), type=tuple[str, list[Any]])


def main(text: str) -> None:
    """Open the adapter of the site in `text` (JSON), then do what is asked until the input ends."""
    site = msgspec.json.decode(text, type=Site)
    adapter = load(site.adapter)(site.url, site.options)
    served = _Served(adapter, sys.stdout.buffer)
    adapter.open()
    served.send(Answer())
    while (asked := _next_request(sys.stdin.buffer)) is not None:
        verb, arguments = asked
        try:
            served.send(Answer(served.perform(verb, arguments)))
        except Exception as exc:
            served.send(Answer(error=f"{type(exc).__name__}: {exc}"))
    adapter.close()


if __name__ == "__main__":
    main(sys.argv[1])
