"""The thread that answers remote control, beside the node's own: it asks the store, and writes replies."""

from __future__ import annotations

import logging
import queue
import threading
import time
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
_NAME_CHARS_MAX = 80
"""Of a command's name that is shown: whoever sends it chooses its length."""
_TOLD_MAX = 10
_TOLD_EACH_S = 10.0
"""So many failed commands are logged one by one in this time: whoever sends them chooses their number, too."""


class Asked(Struct, frozen=True):
    """In the node's mailbox: a request that concerns this node."""

    request: Request
    cancelled: Cancelled | None = None
    """What the engine is told with it."""


class Sparing:
    """Which of many like events are told: the first `told_max` of each span of time; the others are counted."""

    def __init__(self, told_max: int, each_s: float) -> None:
        self._told_max = told_max
        self._each_s = each_s
        self._from = -each_s
        self._count = self._left_out = 0

    def is_told(self, now: float) -> bool:
        """One more event; True if it is to be told."""
        if self._is_over(now):
            self._from = now
        self._count += 1
        return self._count <= self._told_max

    def left_out(self, now: float) -> int:
        """How many in spans that are over were not told; each is counted once."""
        self._is_over(now)
        count, self._left_out = self._left_out, 0
        return count

    def _is_over(self, now: float) -> bool:
        if now - self._from < self._each_s:
            return False
        self._left_out += max(0, self._count - self._told_max)
        self._count = 0
        return True


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
        self._sparing = Sparing(_TOLD_MAX, _TOLD_EACH_S)

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
            self._tell_of_left_out()
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
                text = f"the remote command {_name(request)} could not be answered: {_error(exc)}"
                log.warning(text, extra={"action": "control_unanswered"})
        self._tell_of_left_out()

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
                raise BadArguments(f"unknown command {_name(request)}")
            arguments = checked_arguments(command, request.arguments)
            answer = self.commands.answer(command.name, arguments, sight)
            ends = command.name == "shutdown"
        except Exception as exc:  # noqa: BLE001 - the thread goes on
            answer = {"error": _error(exc)}
            self._tell_of_failure(request, exc)
        try:
            self._reply(request, answer)
        finally:
            # Nobody who asks twice is to hasten what was begun gently.
            if ends and not sight.stopping and not self._is_shut:
                self._is_shut = True
                log.info("Got shutdown from remote", extra={"action": "shutdown_remote"})
                self._shut_down()

    def _tell_of_failure(self, request: Request, exc: Exception) -> None:
        if not self._sparing.is_told(time.monotonic()):
            return
        unexpected = not isinstance(exc, (BadArguments, CeleriacError, ValueError))
        text = f"the remote command {_name(request)} failed: {_error(exc)}"
        log.warning(text, exc_info=exc if unexpected else None, extra={"action": "control_failed"})

    def _tell_of_left_out(self) -> None:
        count = self._sparing.left_out(time.monotonic())
        if count:
            log.warning("%d more remote commands failed", count, extra={"action": "control_failed_more"})

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


def _name(request: Request) -> str:
    name = request.command
    return repr(name) if len(name) <= _NAME_CHARS_MAX else f"{name[:_NAME_CHARS_MAX]!r}..."


def _error(exc: BaseException) -> str:
    text = str(exc) if isinstance(exc, (BadArguments, CeleriacError)) else repr(exc)
    return text[:_ERROR_CHARS_MAX].encode("utf-8", "replace").decode()
