"""One thread that waits for the results of all who cannot block: coroutines of any loop, and callbacks.

It is started by the first who waits and ends when nobody has waited for a while. Who waits costs an entry in a table,
as long as he waits: no thread, no descriptor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celeriac.model.errors import BackendUnavailable
from celeriac.model.message import Record
from celeriac.model.shield import shield
from celeriac.model.states import PENDING, READY_STATES
from celeriac.model.watch import Watch
from celeriac.worker.crossing import Call, own_copy, pass_on

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_WAIT_S = 5.0
"""Longest single wait in a backend; with nobody waiting after it, the thread ends."""
_END_S = 5.0
"""How long closing waits for the thread, which may be in the middle of a look into a slow backend."""

Tell = Callable[["Record | None", "BaseException | None"], object]
"""Takes a record, or why there can be none."""


class Ticket:
    """One who waits for one record.

    :param loop: where `tell` is called; None: on the lookout's thread
    :param follows: tell states on the way, too; without it only the last one
    """

    __slots__ = ("follows", "id", "loop", "seen", "tell")

    def __init__(self, task_id: str, loop: AbstractEventLoop | None, tell: Tell, follows: bool = False) -> None:
        self.id = task_id
        self.loop = loop
        self.tell = tell
        self.follows = follows
        self.seen = PENDING
        """The state last heard of."""


class Lookout:
    """Waits for records, and tells each ticket what comes for it.

    :param open_watch: a watch on the backend, opened; it may take its time
    """

    def __init__(self, open_watch: Callable[[], Watch]) -> None:
        self._open_watch = open_watch
        self._lock = threading.Lock()
        self._tickets: dict[str, list[Ticket]] = {}
        self._last: dict[str, Record] = {}
        """Of ids somebody waits for: the state they are in, for who comes later."""
        self._watch: Watch | None = None
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """How many ids are waited for."""
        return len(self._tickets)

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Tell these what comes. Never blocks."""
        guard = shield.mine
        guard.enter()
        try:
            with self._lock:
                calls = self._add_locked(tickets)
        finally:
            guard.leave()
        if calls:
            pass_on((ticket.loop, (ticket.tell, (record, None))) for ticket, record in calls)

    def _add_locked(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Record]]:
        """Tickets that are to be told at once, and what."""
        known, new = self._tickets, []
        calls: list[tuple[Ticket, Record]] = []
        for ticket in tickets:
            waiting = known.get(ticket.id)
            if waiting is None:
                known[ticket.id] = [ticket]
                new.append(ticket.id)
                continue
            waiting.append(ticket)
            record = self._last.get(ticket.id)
            if record is not None:
                ticket.seen = record.state
                if ticket.follows:
                    calls.append((ticket, record))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="celeriac-results", daemon=True)
            self._thread.start()
        elif new and self._watch is not None:
            self._watch.add(new)
        return calls

    def drop(self, tickets: Sequence[Ticket]) -> None:
        """Tell these nothing any more. Tickets that were told their last are gone already."""
        guard = shield.mine
        guard.enter()
        try:
            with self._lock:
                self._drop_locked(tickets)
        finally:
            guard.leave()

    def _drop_locked(self, tickets: Sequence[Ticket]) -> None:
        gone: list[str] = []
        for ticket in tickets:
            waiting = self._tickets.get(ticket.id)
            if waiting is None or ticket not in waiting:
                continue
            waiting.remove(ticket)
            if not waiting:
                gone.append(ticket.id)
                del self._tickets[ticket.id]
                self._last.pop(ticket.id, None)
        if gone and self._watch is not None:
            self._watch.discard(gone)

    def close(self) -> None:
        """Tell all who wait that nothing will come, and end the thread. A later `add` starts anew."""
        thread = self._thread
        self._fail(BackendUnavailable("the app was closed while results were waited for; wait again"))
        with self._lock:
            if self._watch is not None:
                self._watch.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_S)

    def _run(self) -> None:
        watch: Watch | None = None
        try:
            watch = self._open_watch()
            with self._lock:
                goes_on = bool(self._tickets)
                if goes_on:
                    self._watch = watch
                    watch.add(list(self._tickets))
                else:  # closed, or nobody waits any more
                    self._thread = None
            while goes_on:
                goes_on = self._go_on(watch)
        except BaseException as exc:  # noqa: BLE001 - raised again where it is waited for
            with self._lock:
                self._thread = self._watch = None
            self._fail(exc)
        finally:
            if watch is not None:
                watch.close()

    def _go_on(self, watch: Watch) -> bool:
        """Wait once and tell what came; False if the thread is to end."""
        records = watch.wait(_WAIT_S)
        told: list[tuple[AbstractEventLoop | None, Call]] = []
        with self._lock:
            over: list[str] = []
            for record in records:
                is_last = record.state in READY_STATES
                waiting = self._tickets.get(record.id, ())
                for ticket in waiting:
                    ticket.seen = record.state
                    if is_last or ticket.follows:
                        told.append((ticket.loop, (ticket.tell, (record, None))))
                if is_last:
                    over.append(record.id)
                    self._tickets.pop(record.id, None)
                    self._last.pop(record.id, None)
                elif waiting:
                    self._last[record.id] = record
            if over:
                watch.discard(over)
            goes_on = bool(self._tickets or records)
            if not goes_on:
                self._thread = self._watch = None
        pass_on(told)
        return goes_on

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            waiting = [ticket for tickets in self._tickets.values() for ticket in tickets]
            if self._watch is not None:
                self._watch.discard(list(self._tickets))
            self._tickets.clear()
            self._last.clear()
        pass_on((ticket.loop, (ticket.tell, (None, own_copy(error)))) for ticket in waiting)
