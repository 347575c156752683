"""The line to a broker that is no `Pollable`: a thread waits in `take` for the node, one message at a time.

A broker of six verbs can only be waited for by claiming. So the thread claims one message while the node is hungry, rings,
and the node takes it together with what else is there. A message that came when the hunger was over is kept for a moment
and then handed back without penalty.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Sequence

from celeriac.model.message import Delivery, Release, Settlement
from celeriac.model.ports import Broker, Clock
from celeriac.worker.link import AWAY, Committer, Link, LinkNews, Trouble

_TAKE_S = 1.0
"""How long one wait in the broker is: no broker is asked to end it when the node's hunger is over."""
_KEPT_S = 0.25
"""How long a message that nobody is hungry for is kept: a short task may end meanwhile."""
_AWAY_S = 0.5
"""The pause after a broker did not answer. The node tells it, and tries on its own."""
_END_S = 2.0
"""How long the end of a worker waits for the thread."""


class Taker:
    """`Pollable` for a broker that is not, with a thread that lives while the node listens or holds something here."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._state = threading.Condition()
        self._queues: tuple[str, ...] = ()
        self._hungry = False
        self._here: list[Delivery] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def hunger(self, limit: int) -> None:
        """How many the node wishes for now."""
        if (limit > 0) != self._hungry:
            with self._state:
                self._hungry = limit > 0
                self._state.notify_all()

    def take(self, queues: Sequence[str], limit: int, wait_s: float) -> Sequence[Delivery]:
        """What the thread has claimed, and what else is there."""
        with self._state:
            got, self._here = self._here[:limit], self._here[limit:]
            self._state.notify_all()
        if len(got) == limit:
            return got
        try:
            return [*got, *self._broker.take(queues, limit - len(got), wait_s)]
        except AWAY:
            if got:
                return got  # these are ours; the next call tells what is wrong
            raise

    # ---------------------------------------------------------------- Pollable

    def listen(self, queues: Sequence[str]) -> int | None:
        """A descriptor that becomes readable when the thread has something; no queues: claim no more."""
        with self._state:
            self._queues = tuple(queues)
            if queues and self._thread is None:
                self._thread = threading.Thread(target=self._attend, name="taker", daemon=True)
                self._thread.start()
            self._state.notify_all()
        return self._read if queues else None

    def heard(self) -> bool:
        """Clear the descriptor; False if it was not rung."""
        try:
            return bool(os.read(self._read, 4096))
        except BlockingIOError:
            return False

    def changed(self) -> bool:
        """Nothing changes unheard: the thread looks."""
        return False

    def next_due_at(self, queues: Sequence[str]) -> float | None:
        """The broker itself knows."""
        return None

    def ring(self, queue: str) -> None:
        """Other takers wait in the broker, which wakes them."""

    def close(self) -> None:
        """Hand back what is here and end the thread. Idempotent."""
        with self._state:
            self._closed = True
            self._hungry = False
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(_END_S)

    # ---------------------------------------------------------------- the thread

    def _attend(self) -> None:
        while True:
            queues = self._wanted()
            if self._closed:
                self._hand_back()
                return
            if not queues:
                self._hand_back()
                continue
            try:
                got = self._broker.take(queues, 1, _TAKE_S)
            except AWAY:
                self._ring()  # the node looks, meets the same error and tells it
                time.sleep(_AWAY_S)
                continue
            if got:
                with self._state:
                    self._here += got
                self._ring()

    def _wanted(self) -> tuple[str, ...]:
        """The queues to claim from, when something is wished for and nothing is here; none when what is here has been
        kept for long enough, or at the end."""
        with self._state:
            kept_until = time.monotonic() + _KEPT_S
            while not self._closed:
                if self._queues and self._hungry and not self._here:
                    return self._queues
                left_s = kept_until - time.monotonic()
                if self._here and not self._hungry and left_s <= 0:
                    return ()
                if self._hungry or not self._here:
                    kept_until = time.monotonic() + _KEPT_S
                self._state.wait(left_s if self._here and not self._hungry else None)
            return ()

    def _hand_back(self) -> None:
        with self._state:
            unwanted, self._here = self._here, []
        if not unwanted:
            return
        try:
            self._broker.settle([Settlement(one.receipt, Release()) for one in unwanted])
        except AWAY:
            if self._closed:
                return  # its lease ends with this process
            time.sleep(_AWAY_S)
            with self._state:
                self._here = unwanted + self._here

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")


class TakingLink(Link):
    """A line to a broker that is no `Pollable`."""

    def __init__(
        self,
        broker: Broker,
        committer: Committer,
        queues: tuple[str, ...],
        selector: selectors.BaseSelector,
        clock: Clock,
        trouble: Trouble,
    ) -> None:
        self._taker = Taker(broker)
        super().__init__(self._taker, committer, queues, selector, clock, trouble)

    def want(self, limit: int) -> None:
        """The node is hungry for so many."""
        super().want(limit)
        self._taker.hunger(limit)

    def step(self) -> list[LinkNews]:
        """Commit what is pending and take what is wished for; what came of it."""
        news = super().step()
        self._taker.hunger(self._want)
        return news

    def close(self) -> None:
        """Stop listening; what was claimed and not taken goes back."""
        super().close()
        self._taker.close()
