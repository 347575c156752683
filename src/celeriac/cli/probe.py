"""What a worker must know of its broker before it starts, asked in a process of its own.

So the worker's main process never loads a driver, and every process it forks is free of one but the node.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from celeriac.cli.failure import EXIT_UNAVAILABLE, Failure, explain
from celeriac.model.errors import CeleriacError
from celeriac.model.facts import Durability
from celeriac.model.ports import BrokerAdmin

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_WAIT_MAX_S = 60.0
"""Longer than any connect timeout that makes sense, and than deleting a few million messages."""
_BLOCK = 65536


class Answer(Struct, frozen=True):
    """What the broker is, and what was done to it."""

    durability: Durability
    shared: bool
    purged: int | None = None


class _Refusal(Struct, frozen=True):
    message: str
    hint: str
    exit_code: int


class _Reply(Struct, frozen=True):
    answer: Answer | None = None
    refusal: _Refusal | None = None


def ask(app: Celeriac, purge: Sequence[str] | None = None) -> Answer:
    """Facts of the app's broker; with `purge` those queues are emptied first. Raises Failure."""
    if threading.active_count() > 1:
        # The app's import has started threads: forking now could deadlock in the child.
        return _ask_here(app, purge)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _reply_and_end(app, purge, writer)
    os.close(writer)
    try:
        data = _read(reader)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not data:
        raise Failure("The broker did not answer.", "See that it runs; `celeriac report` asks again.", EXIT_UNAVAILABLE)
    reply = msgspec.json.decode(data, type=_Reply)
    if reply.answer is None:
        refusal = reply.refusal
        assert refusal is not None
        raise Failure(refusal.message, refusal.hint, refusal.exit_code)
    return reply.answer


def _ask_here(app: Celeriac, purge: Sequence[str] | None) -> Answer:
    broker = app.make_broker()
    facts = broker.facts
    if purge is None:
        return Answer(facts.durability, facts.shared)
    broker.open()
    try:
        admin: object = broker
        if not isinstance(admin, BrokerAdmin):
            raise Failure(f"The broker {facts.name} cannot be purged from here.", "Start the worker without --purge.")
        return Answer(facts.durability, facts.shared, sum(admin.purge(queue) for queue in purge))
    finally:
        broker.close()


def _reply_and_end(app: Celeriac, purge: Sequence[str] | None, writer: int) -> None:
    """The forked child: answer and leave without running anything of the parent's."""
    try:
        try:
            reply = _Reply(_ask_here(app, purge))
        except Failure as exc:
            reply = _Reply(refusal=_Refusal(exc.message, exc.hint, exc.exit_code))
        except CeleriacError as exc:
            failure = explain(exc)
            reply = _Reply(refusal=_Refusal(failure.message, failure.hint, failure.exit_code))
        with open(writer, "wb") as pipe:
            pipe.write(msgspec.json.encode(reply))
    finally:
        os._exit(0)


def _read(reader: int) -> bytes:
    """All that comes until the other end closes, or nothing when it takes too long."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], _WAIT_MAX_S)
        if not ready:
            return b""
        part = os.read(reader, _BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)
