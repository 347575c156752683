"""The door from event loops to the broker: messages of coroutines are published by one thread per process, together
all that wait.

A loop hands over once per turn what its coroutines have sent in it, and a batch is answered by one call into each loop
that had a part in it. So many concurrent senders share one transaction, and none of them blocks a loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from celeriac.model.errors import BrokerUnavailable
from celeriac.model.message import Message
from celeriac.model.ports import Broker
from celeriac.worker.crossing import own_copy
from celeriac.worker.retries import LAST_START, PublishRetries

_LETTERS_MAX = 8192
"""So many messages of one loop may be on their way; who sends more waits until there is room."""
_BYTES_MAX = 64 * 1024 * 1024
"""And so many bytes of bodies: what waits for a broker that is away must not fill the memory."""
_TOGETHER_MAX = 1024
"""So many are published at once, so that others get at the broker in between."""
_IDLE_S = 10.0
"""Without anything to send for so long, the thread ends."""
_CLOSE_S = 5.0
"""How long closing waits for what is being published."""


class _Letter:
    """What one coroutine sends: mostly a single message, of a workflow all that begins it."""

    __slots__ = ("began_at", "comes_again", "due_at", "error", "future", "gate", "messages", "retries", "retry")

    def __init__(
        self, messages: Sequence[Message], retries: PublishRetries, future: asyncio.Future[None], gate: _Gate
    ) -> None:
        self.messages = messages
        self.retries = retries
        self.future = future
        self.gate = gate
        self.error: BaseException | None = None
        self.comes_again = False
        self.retry = 0
        self.began_at = 0.0
        self.due_at = 0.0

    def fail(self, error: BaseException, now: float) -> None:
        """Could not be published: it either comes again when it is due, or that was the last time."""
        retries = self.retries
        self.comes_again = False
        if isinstance(error, retries.errors) and (retries.max_retries is None or self.retry < retries.max_retries):
            self.due_at = now + retries.pause_s(self.retry)
            self.retry += 1
            self.comes_again = self.due_at - self.began_at <= retries.patience_s * LAST_START
        self.error = None if self.comes_again else own_copy(error)


class _Gate:
    """One loop's side of the door, touched on its thread only. It does not keep the loop alive."""

    def __init__(self, take: Callable[[list[_Letter]], None]) -> None:
        self._take = take
        self._turn: list[_Letter] = []
        """Sent in this turn of the loop."""
        self._letters = 0
        self._bytes = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        """Who waits for room, first come first served."""

    async def send(self, loop: asyncio.AbstractEventLoop, messages: Sequence[Message], retries: PublishRetries) -> None:
        """Return when the broker has the messages."""
        while self._letters >= _LETTERS_MAX or self._bytes >= _BYTES_MAX:
            await self._room(loop)
        self._letters += 1
        self._bytes += _size(messages)
        future: asyncio.Future[None] = loop.create_future()
        turn = self._turn
        turn.append(_Letter(messages, retries, future, self))
        if len(turn) == 1:
            # After all that is ready now: so what they send goes along.
            loop.call_soon(self._hand_over)
        await future

    def _hand_over(self) -> None:
        letters, self._turn = self._turn, []
        self._take(letters)

    async def _room(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting: asyncio.Future[None] = loop.create_future()
        self._queue.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                with suppress(ValueError):  # its turn came in the same moment, and was passed on
                    self._queue.remove(waiting)
            else:
                self._let_in(1)  # the room that was ours is another's
            raise

    def _let_in(self, count: int) -> None:
        while self._queue and count > 0:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                count -= 1

    def answer(self, letters: Sequence[_Letter]) -> None:
        """These have arrived, or cannot."""
        for letter in letters:
            self._letters -= 1
            self._bytes -= _size(letter.messages)
            if letter.future.done():  # cancelled
                continue
            if letter.error is None:
                letter.future.set_result(None)
            else:
                letter.future.set_exception(letter.error)
        if self._queue:
            self._let_in(_LETTERS_MAX - self._letters)


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.body) for message in messages)


class Door:
    """Publishes for coroutines of any loop of this process, on a thread of its own, which runs while there is something
    to send.

    :param open_broker: returns the process's broker, opened; it may take its time
    """

    def __init__(self, open_broker: Callable[[], Broker]) -> None:
        self._open_broker = open_broker
        self._gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Gate] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._arriving: queue.SimpleQueue[list[_Letter]] = queue.SimpleQueue()
        self._again: list[_Letter] = []
        """What is to be repeated when it is due. Touched by the thread only."""

    async def send(self, messages: Sequence[Message], retries: PublishRetries) -> None:
        """Return when the broker has all the messages; the loop goes on meanwhile.

        If it is cancelled, they may be sent or not. Raises BrokerUnavailable when the broker stayed unavailable,
        BrokerRejected, BrokerMisconfigured: each sender gets the error of his own messages.
        """
        loop = asyncio.get_running_loop()
        gate = self._gates.get(loop)
        if gate is None:
            gate = self._gates[loop] = _Gate(self._take)
        await gate.send(loop, messages, retries)

    def _take(self, letters: list[_Letter]) -> None:
        now = time.monotonic()
        for letter in letters:
            letter.began_at = now
        with self._lock:
            self._arriving.put(letters)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="celeriac-door", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait for what is being published, within bounds. What is sent later is published all the same."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._arriving.put([])
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            letters, ends = self._next()
            if letters:
                self._publish(letters)
            elif ends:
                with self._lock:
                    if self._arriving.empty() and not self._again:
                        self._thread = None
                        return

    def _next(self) -> tuple[list[_Letter], bool]:
        """What to publish now, and whether the thread may end if that is nothing."""
        now = time.monotonic()
        wait_s = min((letter.due_at for letter in self._again), default=now + _IDLE_S) - now
        letters: list[_Letter] = []
        ends = False
        try:
            arrived = self._arriving.get(timeout=max(0.0, wait_s)) if wait_s > 0 else []
            ends = not arrived
            letters += arrived
            while len(letters) < _TOGETHER_MAX:
                arrived = self._arriving.get_nowait()
                letters += arrived
        except queue.Empty:
            ends = ends or not letters
        if self._again:
            now = time.monotonic()
            letters += [letter for letter in self._again if letter.due_at <= now]
            self._again = [letter for letter in self._again if letter.due_at > now]
        return letters, ends

    def _publish(self, letters: list[_Letter]) -> None:
        for letter in letters:
            letter.comes_again = False
        # Nobody waits for those that were cancelled; what is not sent yet need not be.
        sent = [letter for letter in letters if not letter.future.cancelled()]
        for start in range(0, len(sent), _TOGETHER_MAX):
            self._publish_together(sent[start : start + _TOGETHER_MAX])
        answers: dict[_Gate, list[_Letter]] = {}
        for letter in letters:
            if letter.comes_again:
                self._again.append(letter)
            else:
                answers.setdefault(letter.gate, []).append(letter)
        for gate, its_letters in answers.items():
            try:
                its_letters[0].future.get_loop().call_soon_threadsafe(gate.answer, its_letters)
            except RuntimeError:  # closed: nobody waits there any more
                continue

    def _publish_together(self, letters: Sequence[_Letter]) -> None:
        error = self._try(letters)
        if error is None:
            return
        now = time.monotonic()
        if len(letters) == 1 or isinstance(error, BrokerUnavailable):
            for letter in letters:
                letter.fail(error, now)
            return
        # Somebody's message is refused, and nothing was stored: each alone, so that each gets an answer of his own.
        for letter in letters:
            if not isinstance(error, BrokerUnavailable):
                error = self._try((letter,))
            if error is not None:
                letter.fail(error, now)

    def _try(self, letters: Sequence[_Letter]) -> BaseException | None:
        try:
            self._open_broker().publish([message for letter in letters for message in letter.messages])
        except BaseException as exc:  # noqa: BLE001 - raised where it is waited for
            return exc
        return None
