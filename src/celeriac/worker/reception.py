"""Remote control at a node: an ear that hears requests, and a desk that answers them, each on a thread of its own.

The node itself takes part only by showing what it holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from celeriac.control.words import CONTROL_TOPIC
from celeriac.core.engine.events import Now
from celeriac.core.engine.state import State
from celeriac.model.ports import Backend, Bus, Clock, Subscription
from celeriac.model.run import Runnable
from celeriac.worker.commands import Commands
from celeriac.worker.config import Home, WorkerConfig
from celeriac.worker.desk import Asked, Desk
from celeriac.worker.link import AWAY
from celeriac.worker.sight import look
from celeriac.worker.threads import Ear, Mailbox

log = logging.getLogger("celeriac.worker")

_JOIN_S = 5.0


class Reception:
    """Both threads of one node. Nothing runs before `start`."""

    def __init__(self, node: str, bus: Bus, commands: Commands, clock: Clock, shut_down: Callable[[], object]) -> None:
        self._node = node
        self._bus = bus
        self._clock = clock
        self._commands = commands
        self._desk = Desk(node, commands, bus, shut_down, clock.wall)
        self._ear: Ear | None = None
        self._subscription: Subscription | None = None

    def listen(self) -> None:
        """Nothing that is said from now on is missed. What the broker refuses now is tried again once started."""
        with suppress(*AWAY, OSError):
            self._subscription = self._bus.subscribe([CONTROL_TOPIC])

    def start(self, mailbox: Mailbox, trouble: Callable[..., None]) -> None:
        """Hear and answer from now on."""
        self._commands.post = mailbox.post
        self._ear = Ear(self._bus, self._node, mailbox, self._clock, trouble, self._subscription)
        self._ear.start()
        self._desk.start()

    def answer(self, asked: Sequence[Asked], state: State, pids: Mapping[int, int], totals: Mapping[str, int]) -> None:
        """Have these requests answered by what the node is at now. Quick; on the node's own thread."""
        now = Now(self._clock.monotonic(), self._clock.wall())
        self._desk.hand_over(asked, look(state, pids, totals, now))

    def stop(self) -> None:
        """End soon."""
        self._desk.stop()
        if self._ear is not None:
            self._ear.stop()

    def close(self) -> None:
        """Wait until both have ended."""
        self._desk.close()
        if self._ear is not None:
            self._ear.join(timeout=_JOIN_S)


def make_reception(
    config: WorkerConfig,
    home: Home,
    tasks: Mapping[str, Runnable],
    broker: Any,
    backend: Backend | None,
    clock: Clock,
    shut_down: Callable[[], object],
) -> Reception | None:
    """The reception of a node, listening; None where the broker carries no broadcast, and nobody can ask.

    :param shut_down: begins the warm end of the worker
    """
    if not isinstance(broker, Bus):
        return None
    commands = Commands(config, home, tasks, broker, backend)
    reception = Reception(config.hostname, broker, commands, clock, shut_down)
    reception.listen()
    return reception
