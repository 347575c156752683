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
from celeriac.model.errors import BackendUnavailable, BrokerUnavailable, CeleriacError
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


class Probe:
    """A question that is being answered meanwhile.

    :param app: whose broker
    :param purge: queues to empty first; None: only ask for facts
    """

    def __init__(self, app: Celeriac, purge: Sequence[str] | None = None) -> None:
        self._app = app
        self._purge = purge
        self._pid = 0
        self._reader = -1
        self._signal = 0
        """What ended the process, if it was a signal, and not ours."""
        self._begin()

    def _begin(self) -> None:
        self._pid = 0
        if threading.active_count() > 1:
            # The app's import has started threads, and a forked child could hang on their locks.
            return
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reader)
            _reply_and_end(self._app, self._purge, writer)
        os.close(writer)

    def answer(self) -> Answer:
        """Wait for it, once. Raises Failure.

        If the process is killed that asks, it is the machine's trouble and not the broker's: another one asks, once.
        What the first one has purged by then is not counted.
        """
        reply = self._reply()
        if reply is None and self._signal:
            self._begin()
            reply = self._reply()
        if reply is None and self._signal:
            hint = "See what kills processes here: too little memory, maybe. `celeriac report` asks again."
            raise Failure(f"What asks the broker was killed twice, by signal {self._signal}.", hint, EXIT_UNAVAILABLE)
        if reply is None:
            hint = "See that it runs; `celeriac report` asks again."
            raise Failure("The broker did not answer.", hint, EXIT_UNAVAILABLE)
        if reply.answer is None:
            refusal = reply.refusal
            assert refusal is not None
            raise Failure(refusal.message, refusal.hint, refusal.exit_code)
        return reply.answer

    def _reply(self) -> _Reply | None:
        """What the process says; None if it dies before it has said it, or takes too long."""
        if not self._pid:
            return _Reply(_ask_here(self._app, self._purge))
        data = None
        try:
            data = _read(self._reader)
        finally:
            status = self.end()
        self._signal = os.WTERMSIG(status) if data is not None and os.WIFSIGNALED(status) else 0
        try:
            return msgspec.json.decode(data or b"", type=_Reply)
        except msgspec.DecodeError:
            return None

    def end(self) -> int:
        """Leave no process behind; how it ended. Idempotent."""
        if self._reader < 0:
            return 0
        os.close(self._reader)
        self._reader = -1
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        return status


def _ask_here(app: Celeriac, purge: Sequence[str] | None) -> Answer:
    """Open both stores once, so that what only a person can mend is told before a worker is there to fail of it."""
    broker = app.make_broker()
    facts = broker.facts
    purged = None
    try:
        broker.open()
        if purge is not None:
            purged = _purge(broker, purge)
        _look_at_results(app)
    except (BrokerUnavailable, BackendUnavailable):
        # The worker waits for them; only a purge cannot.
        if purge is not None and purged is None:
            raise
    finally:
        broker.close()
    return Answer(facts.durability, facts.shared, purged)


def _purge(broker: object, queues: Sequence[str]) -> int:
    if not isinstance(broker, BrokerAdmin):
        raise Failure("This broker cannot be purged from here.", "Start the worker without --purge.")
    return sum(broker.purge(queue) for queue in queues)


def _look_at_results(app: Celeriac) -> None:
    backend = app.make_backend()
    if backend is not None:
        backend.open()
        backend.close()


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


def _read(reader: int) -> bytes | None:
    """All that comes until the other end closes, or None when it takes too long."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], _WAIT_MAX_S)
        if not ready:
            return None
        part = os.read(reader, _BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)
