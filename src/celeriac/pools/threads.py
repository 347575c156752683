"""The host of a threads pool: N slots, each a thread; the main thread receives."""

from __future__ import annotations

import os
import select
import sys

from celeriac.model.message import Record
from celeriac.pools.crew import SOON_S, Crew, MakeSeat, take_out
from celeriac.pools.host import Allowance, Sockets
from celeriac.pools.line import Line
from celeriac.pools.roster import Roster, Stand
from celeriac.wire.frames import Back, Break, Hello, Keep

_WAIT_MS = 1000
_SWITCH_S = 0.001
"""A thread that computes lets others run after this time: orders are heard within milliseconds, for a few percent."""


class ThreadsHost:
    """Runs jobs on threads until told to leave.

    :param make_seat: makes what runs jobs on a thread
    """

    def __init__(self, sockets: Sockets, stand: Stand, make_seat: MakeSeat, allowance: Allowance) -> None:
        self._line = Line(sockets)
        self._roster = Roster(self._line, stand, allowance, self._waits)
        self._crew = Crew(self._line, self._roster, make_seat, stand.slots)
        self._is_short = False
        """True if more threads are to be woken in a moment."""

    def serve(self) -> None:
        """Say hello and run jobs until the node says leave, closes the socket, or the allowance is used up. Raises what
        a job has raised to end this process, when the others have had time to finish."""
        roster, line = self._roster, self._line
        sys.setswitchinterval(_SWITCH_S)
        line.listen(self, roster.fail)
        line.tell(Hello(os.getpid()))
        poller = select.poll()
        poller.register(line.data, select.POLLIN)
        while self._take():
            poller.poll(SOON_S * 1000 if self._is_short else _WAIT_MS)
        self.recall(None)
        if roster.is_leaving:
            roster.finish()
            self._crew.end()

    def keep(self, record: Record) -> None:
        """Have the node write this record now."""
        self._line.tell(Keep(record))

    # Orders.

    def recall(self, seqs: frozenset[int] | None) -> None:
        """Give these back, as far as they have not begun."""
        with self._roster.lock:
            self._crew.waiting.extend(self._line.receive() or ())
            back = take_out(self._crew.waiting, seqs)
            self._crew.stir_all_locked()
        if back or seqs is not None:
            # A recall is answered even when nothing comes back: what is not named then has begun.
            self._line.tell(Back(tuple(job.seq for job in back)))

    def leave(self) -> None:
        """Begin nothing more; end when what runs is done."""
        with self._roster.lock:
            self._roster.leave_locked()
        self._line.wake()

    def break_in(self, order: Break) -> None:
        """Break into one running job."""
        with self._roster.lock:
            slot = self._roster.running.get(order.seq)
        self._crew.strike(slot, order)

    def tend(self) -> float | None:
        """Go on with break-ins."""
        return self._crew.tend()

    # Jobs.

    def _take(self) -> bool:
        """Take what the node has sent; False when nothing more is to begin."""
        with self._roster.lock:
            jobs = self._line.receive()
            if jobs:
                self._crew.waiting.extend(jobs)
            self._is_short = self._crew.stir_locked()
            return jobs is not None and not self._roster.is_leaving

    def _waits(self, seq: int, waits: bool) -> None:
        """A job has begun to wait for others, or goes on."""
        with self._roster.lock:
            self._crew.waits_locked(seq, waits=waits)
            self._crew.stir_all_locked()
