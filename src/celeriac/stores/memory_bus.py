"""Topics of one process: every subscriber has its own bounded mailbox."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

# A subscriber that does not read loses the oldest messages beyond this many, instead of filling memory.
_MAILBOX_MAX = 10_000


class MemorySubscription:
    """An open ear on some topics."""

    def __init__(self, topics: MemoryTopics, names: Sequence[str], arrived: threading.Condition) -> None:
        self._topics = topics
        self._arrived = arrived
        self.names = frozenset(names)
        self.mailbox: deque[tuple[str, bytes]] = deque(maxlen=_MAILBOX_MAX)
        self._closed = False

    def receive(self, wait_s: float) -> Sequence[tuple[str, bytes]]:
        """What has come, in order of publishing; empty after about `wait_s`, or when closed."""
        deadline = time.monotonic() + wait_s
        with self._arrived:
            while not self.mailbox and not self._closed:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return ()
                self._arrived.wait(left_s)
            got = tuple(self.mailbox)
            self.mailbox.clear()
            return got

    def close(self) -> None:
        """Stop listening. Idempotent."""
        with self._arrived:
            self._closed = True
            self.mailbox.clear()
            self._topics.leave(self)
            self._arrived.notify_all()


class MemoryTopics:
    """All subscriptions of a store."""

    def __init__(self, lock: threading.RLock) -> None:
        self._arrived = threading.Condition(lock)
        self._ears: set[MemorySubscription] = set()

    def publish(self, topic: str, data: bytes) -> int:
        """Hand `data` to every present subscriber of `topic`; how many there are."""
        with self._arrived:
            listening = [ear for ear in self._ears if topic in ear.names]
            for ear in listening:
                ear.mailbox.append((topic, data))
            self._arrived.notify_all()
            return len(listening)

    def subscribe(self, names: Sequence[str]) -> MemorySubscription:
        """A new ear, listening from now on."""
        with self._arrived:
            ear = MemorySubscription(self, names, self._arrived)
            self._ears.add(ear)
            return ear

    def leave(self, ear: MemorySubscription) -> None:
        """Forget an ear."""
        self._ears.discard(ear)
