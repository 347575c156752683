"""The thread that answers remote control, beside the node's own: it asks the store, and writes replies."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from celeriac.control.commands import BadArguments, checked_arguments, find_command
from celeriac.control.words import Reply, Request, encode_reply
from celeriac.core.engine.events import Cancelled
from celeriac.model.errors import CeleriacError
from celeriac.model.ports import Bus
from celeriac.worker.commands import Commands
from celeriac.worker.sight import Sight

log = logging.getLogger("celeriac.worker")

_REQUESTS_MAX = 256
"""So many requests wait at the desk; more come only while the store is away, and whoever asked has gone by then."""
_LOOK_S = 0.5
"""How soon the thread sees that it is to end."""
_JOIN_S = 2.0
_ERROR_CHARS_MAX = 1000


class Asked(Struct, frozen=True):
    """In the node's mailbox: a request that concerns this node."""

    request: Request
    cancelled: Cancelled | None = None
    """What the engine is told with it."""


class Desk(threading.Thread):
    """Serves requests one by one, in order.

    :param name: the node's
    :param shut_down: begins the warm end of this worker
    :param wall: the wall clock
    """

    def __init__(
        self,
        name: str,
        commands: Commands,
        bus: Bus,
        shut_down: Callable[[], object],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(name="desk", daemon=True)
        self._node = name
        self.commands = commands
        self._bus = bus
        self._shut_down = shut_down
        self._wall = wall
        self._requests: queue.Queue[tuple[Request, Sight] | None] = queue.Queue(_REQUESTS_MAX)
        """None wakes the thread up, to end."""
        self._stopping = threading.Event()
        self._is_told = self._is_shut = False

    def hand_over(self, asked: Sequence[Asked], sight: Sight) -> None:
        """Requests, and what the node looked like when it heard them. Never blocks."""
        for one in asked:
            try:
                self._requests.put_nowait((one.request, sight))
            except queue.Full:
                if not self._is_told:
                    self._is_told = True
                    text = "more remote commands come than can be answered; some are dropped"
                    log.warning(text, extra={"action": "control_flooded"})

    def run(self) -> None:
        """Until stopped."""
        while not self._stopping.is_set():
            try:
                asked = self._requests.get(timeout=_LOOK_S)
            except queue.Empty:
                self._is_told = False
                continue
            if asked is None:
                continue
            request, sight = asked
            try:
                self._serve(request, sight)
            except Exception as exc:  # noqa: BLE001 - the next request may fare better
                text = f"the remote command {request.command!r} could not be answered: {exc}"
                log.warning(text, extra={"action": "control_unanswered"})

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()
        with suppress(queue.Full):  # then it is awake
            self._requests.put_nowait(None)

    def close(self) -> None:
        """End, and wait for it."""
        self.stop()
        if self.is_alive():
            self.join(_JOIN_S)

    def _serve(self, request: Request, sight: Sight) -> None:
        if request.is_late(self._wall()):
            # It waited here while the store was away.
            return
        ends = False
        try:
            command = find_command(request.command)
            if command is None:
                raise BadArguments(f"unknown command {request.command!r}")
            arguments = checked_arguments(command, request.arguments)
            answer = self.commands.answer(command.name, arguments, sight)
            ends = command.name == "shutdown"
        except Exception as exc:
            answer = {"error": _error(exc)}
            unexpected = not isinstance(exc, (BadArguments, CeleriacError, ValueError))
            log.warning(
                "the remote command %r failed: %s",
                request.command,
                exc,
                exc_info=unexpected,
                extra={"action": "control_failed"},
            )
        try:
            self._reply(request, answer)
        finally:
            # Nobody who asks twice is to hasten what was begun gently.
            if ends and not sight.stopping and not self._is_shut:
                self._is_shut = True
                log.info("Got shutdown from remote", extra={"action": "shutdown_remote"})
                self._shut_down()

    def _reply(self, request: Request, answer: Any) -> None:
        if not request.reply_to:
            return
        try:
            word = encode_reply(Reply(request.ticket, self._node, answer))
        except Exception as exc:  # noqa: BLE001 - the encoder meets values of the user's
            word = encode_reply(
                Reply(request.ticket, self._node, {"error": f"the answer cannot be sent: {_error(exc)}"})
            )
        with suppress(CeleriacError):  # whoever asked sees that no reply came
            self._bus.publish_topic(request.reply_to, word)


def _error(exc: BaseException) -> str:
    text = str(exc) if isinstance(exc, (BadArguments, CeleriacError)) else repr(exc)
    return text[:_ERROR_CHARS_MAX].encode("utf-8", "replace").decode()
