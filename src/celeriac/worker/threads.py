"""The node's threads beside its main one: they renew leases, sweep, and listen to the control topic.

User code runs in none of them, so nothing a task does can stop a lease from being renewed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from celeriac.control.commands import BadArguments, checked_arguments, find_command
from celeriac.control.words import CONTROL_TOPIC, Malformed, Request, decode_request
from celeriac.core.engine.events import Cancelled, LeaseLost
from celeriac.model.message import Receipt
from celeriac.model.ports import Bus, Clock, Nodes, Subscription
from celeriac.worker.desk import Asked
from celeriac.worker.link import AWAY

log = logging.getLogger("celeriac.worker")

EXIT_GIVEN_UP = 70
"""The node's exit code when only a new one can go on."""
_RENEWALS_PER_LEASE = 3
_SWEEP_S = 0.5
"""How soon a dead node's work is seen by a living one."""
_EAR_S = 1.0
_LATE = (
    "a remote command came after its end and is not obeyed: this node stood still meanwhile, or the clock of the machine "
    "it comes from differs from ours"
)
_STALL_S = 60.0
"""A node whose main thread has not moved for so long is beyond help: it ends, and another takes over."""


class Mailbox:
    """Events from other threads; its descriptor becomes readable when there are any."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._events: deque[Any] = deque()

    def fileno(self) -> int:
        """To poll."""
        return self._read

    def post(self, event: Any) -> None:
        """Leave an event; any thread."""
        self._events.append(event)
        try:
            os.write(self._write, b"!")
        except OSError:
            # Full: then it is readable already.
            return

    def collect(self) -> list[Any]:
        """All events, in order; the node's thread."""
        with contextlib.suppress(OSError):
            while os.read(self._read, 4096):
                continue
        events: list[Any] = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self._write)


class _Once:
    """Tells a trouble when it begins, and again when its text changes, not at every try."""

    def __init__(self, trouble: Callable[..., None]) -> None:
        self._trouble = trouble
        self._told: dict[str, str] = {}

    def __call__(self, action: str, text: str) -> None:
        if self._told.get(action) != text:
            self._told[action] = text
            self._trouble(action, text)

    def over(self, action: str) -> None:
        """This trouble has ended."""
        self._told.pop(action, None)


class Keeper(threading.Thread):
    """Renews the node's lease and sweeps after dead nodes.

    :param held: the receipts the node holds now; called on this thread
    :param moved_at: monotonic time of the main thread's last move
    """

    def __init__(
        self,
        broker: Any,
        lease_s: float,
        held: Callable[[], Sequence[Receipt]],
        moved_at: Callable[[], float],
        mailbox: Mailbox,
        clock: Clock,
        trouble: Callable[..., None],
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self._broker = broker
        self._lease_s = lease_s
        self._held = held
        self._moved_at = moved_at
        self._mailbox = mailbox
        self._clock = clock
        self._trouble = _Once(trouble)
        self._stopping = threading.Event()
        self._is_node = isinstance(broker, Nodes)
        self.unpark: Callable[[], object] = lambda: None
        """Puts back what was parked by a worker that did not know its task, if this one does."""
        self.give_up: Callable[[], object] = lambda: os._exit(EXIT_GIVEN_UP)
        """Ends the node at once, so that another takes over; a worker of one process puts its own way here."""

    def run(self) -> None:
        """Until stopped. A node without its keeper would lose its lease unseen, so they end together."""
        try:
            self._keep()
        except BaseException:
            log.critical("the node's keeper failed; ending the node", exc_info=True, extra={"action": "keeper_failed"})
            self.give_up()

    def _keep(self) -> None:
        beat_s = self._lease_s / _RENEWALS_PER_LEASE
        renew_at = 0.0
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            if now >= renew_at:
                renew_at = now + (beat_s if self._renew() else min(beat_s / 4, 0.5))
            if self._is_node:
                self._sweep()
            self._stopping.wait(max(0.01, min(_SWEEP_S, renew_at - self._clock.monotonic())))

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def _renew(self) -> bool:
        if self._clock.monotonic() - self._moved_at() > max(_STALL_S, 5 * self._lease_s):
            self._trouble("node_stalled", "the node's main thread is stuck; ending it so that its work goes elsewhere")
            self.give_up()
        if self._is_node and not self._broker.is_joined():
            self._trouble(
                "node_displaced",
                "the file by which others see this node live was removed or replaced; a new node takes over",
            )
            self.give_up()
        try:
            lost = self._broker.extend(tuple(self._held()), self._lease_s)
        except AWAY as exc:
            self._trouble("lease_not_renewed", f"the lease could not be renewed, trying again: {exc}")
            return False
        self._trouble.over("lease_not_renewed")
        if lost:
            self._mailbox.post(LeaseLost(tuple(lost)))
        return True

    def _sweep(self) -> None:
        try:
            self._broker.sweep()
            self.unpark()
        except (*AWAY, OSError) as exc:
            self._trouble("sweep_failed", f"could not look after dead workers, trying again: {exc}")
        else:
            self._trouble.over("sweep_failed")


class Ear(threading.Thread):
    """Listens to the control topic, and puts what concerns this node into its mailbox.

    :param node: its name
    :param subscription: begun already, if any
    """

    def __init__(
        self,
        bus: Bus,
        node: str,
        mailbox: Mailbox,
        clock: Clock,
        trouble: Callable[..., None],
        subscription: Subscription | None = None,
    ) -> None:
        super().__init__(name="ear", daemon=True)
        self._bus = bus
        self._node = node
        self._subscription = subscription
        self._mailbox = mailbox
        self._clock = clock
        self._trouble = _Once(trouble)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until stopped."""
        subscription = self._subscription
        while not self._stopping.is_set():
            try:
                if subscription is None:
                    subscription = self._subscription = self._bus.subscribe([CONTROL_TOPIC])
                for _, data in subscription.receive(_EAR_S):
                    self._heard(data)
                self._trouble.over("control_unheard")
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next subscription may hear again
                self._trouble("control_unheard", f"cannot listen to the control topic, trying again: {exc}")
                self._close(subscription)
                subscription = None
                self._stopping.wait(_EAR_S)
        self._close(subscription)

    def stop(self) -> None:
        """End at once."""
        self._stopping.set()
        # Else it would wait for the next word, or for its patience to end.
        self._close(self._subscription)

    @staticmethod
    def _close(subscription: Subscription | None) -> None:
        if subscription is not None:
            with contextlib.suppress(*AWAY, OSError):
                subscription.close()

    def _heard(self, data: bytes) -> None:
        try:
            request = decode_request(data)
        except Malformed as exc:
            self._trouble("control_unreadable", f"a control message cannot be read and is ignored: {exc}")
            return
        if not request.concerns(self._node):
            return
        # A node that stood still for a while must not do now what somebody gave up on.
        if request.is_late(self._clock.wall()):
            self._trouble("control_late", _LATE)
        else:
            self._mailbox.post(Asked(request, cancelled_by(request)))


def cancelled_by(request: Request) -> Cancelled | None:
    """What the engine is told at once: tasks that the sender has marked in the store as revoked. What is wrong with the
    request is told by who answers it."""
    command = find_command(request.command)
    if command is None or command.name not in {"revoke", "terminate"} or not request.arguments.get("stored"):
        return None
    try:
        arguments = checked_arguments(command, request.arguments)
    except BadArguments:
        return None
    terminate = command.name == "terminate" or arguments["terminate"]
    return Cancelled(tuple(arguments["task_id"]), terminate, arguments["signal"])
