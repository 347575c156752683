"""The host of an asyncio pool: the main thread runs one event loop, on which N coroutine tasks run at once.

Functions run on threads of the same child, so that they do not hold the loop. Orders are heard by a thread of their
own, so that they are heard while a coroutine holds it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from celeriac.model.message import Record
from celeriac.model.shield import shield
from celeriac.pools.crew import SOON_S, Crew, pack_done, take_out
from celeriac.pools.host import SOFT_SIGNAL, Allowance, Sockets
from celeriac.pools.line import Line
from celeriac.pools.places import Bench, LoopStrike, Place
from celeriac.pools.roster import Roster, Stand
from celeriac.pools.steered import Steered
from celeriac.wire.frames import Back, Break, Hello, JobFrame, Keep

log = logging.getLogger("celeriac.worker")

_THREADS_MAX = 32
_THREADS_BESIDE_CORES = 4
"""Functions mostly wait, or they would be in a process of their own."""
_HELD_S = 0.02
"""A loop that does not come round within this time is held by a coroutine: the break-in comes by a signal then."""
_LOOK_S = 0.05
"""How often a child that is leaving looks whether its threads are done."""
_CLEANUP_S = 1.0
"""For what tasks have left running on the loop to end when it is cancelled."""
_SWITCH_S = 0.001
"""A thread that computes lets others run after this time."""


class AsyncioHost:
    """Runs jobs on an event loop until told to leave."""

    def __init__(self, sockets: Sockets, stand: Stand, bench: Bench, allowance: Allowance) -> None:
        self._line = Line(sockets)
        self._roster = Roster(self._line, stand, allowance, self._waits)
        self._roster.room_locked = self._room_locked
        self._bench = bench
        cores = os.cpu_count() or 1
        threads_max = min(_THREADS_MAX, cores + _THREADS_BESIDE_CORES)
        self._crew = Crew(self._line, self._roster, bench.make_seat, threads_max)
        self._waiting: deque[JobFrame] = deque()
        """Coroutine tasks that have not begun. Under the roster's lock, as the next two."""
        self._free: list[Place] = []
        self._starting = 0
        """Places whose first step will look for a job."""
        self._ended: list[Place] = []
        """Places whose outcomes are still to be sent."""
        self._strikes: list[LoopStrike] = []
        """Replaced by the thread that hears orders alone."""
        self._loop = asyncio.new_event_loop()
        self._context = contextvars.copy_context()
        """What belongs to no run runs in it, so that no run inherits the variables of another."""
        self._thread = threading.get_ident()
        self._is_copy = False
        self._stops = False
        self._ends_soon = False
        self._stirs_soon = False

    def serve(self) -> None:
        """Say hello and run jobs until the node says leave, closes the socket, or the allowance is used up. On the main
        thread. Raises what a job has raised to end this process, when the others have had time to finish."""
        line, loop = self._line, self._loop
        sys.setswitchinterval(_SWITCH_S)
        loop.set_exception_handler(_log_trouble)
        signal.signal(SOFT_SIGNAL, self._on_signal)
        os.register_at_fork(after_in_child=self._forked)
        line.listen(self, self._roster.fail)
        line.tell(Hello(os.getpid()))
        loop.add_reader(line.data.fileno(), self._readable)
        self._run_loop()
        if self._roster.is_leaving:
            self._roster.finish()
            self._crew.end()
            self._clean_up()

    def keep(self, record: Record) -> None:
        """Have the node write this record now."""
        self._line.tell(Keep(record))

    # Orders, on the thread that hears them.

    def recall(self, seqs: frozenset[int] | None) -> None:
        """Give these back, as far as they have not begun."""
        back: list[JobFrame] = []
        with self._roster.lock:
            self._receive_locked()
            for waiting in (self._waiting, self._crew.waiting):
                back += take_out(waiting, seqs)
            self._crew.stir_all_locked()
            if self._waiting:
                self._call(self._begin)
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
        if isinstance(slot, Place):
            strike = LoopStrike(slot, order, time.monotonic())
            self._strikes = [*self._strikes, strike]
            self._call(self._cancel, strike)
        else:
            self._crew.strike(slot, order)

    def tend(self) -> float | None:
        """Go on with break-ins; where a coroutine holds the loop, by a signal."""
        wait_s = self._crew.tend()
        if not self._strikes:
            return wait_s
        self._strikes = [strike for strike in self._strikes if not strike.is_done and strike.place.seq == strike.seq]
        now = time.monotonic()
        if any(now - strike.at >= _HELD_S for strike in self._strikes):
            signal.pthread_kill(self._thread, SOFT_SIGNAL)
        return _HELD_S if self._strikes else wait_s

    # Break-ins, on the loop's thread.

    def _cancel(self, strike: LoopStrike) -> None:
        """The loop has come round: the coroutine awaits something."""
        place = strike.place
        if strike.is_done or place.seq != strike.seq:
            return
        strike.is_done = True
        if place.steered is not None and place.seat.open_to(strike.error):
            place.steered.break_in(strike.error)

    def _on_signal(self, _signum: int, frame: FrameType | None) -> None:
        """Something holds the loop; if it is a coroutine that is to be broken into, it is now, in its own code."""
        if not self._strikes or self._is_copy or not self._loop.is_running():
            return
        task = asyncio.current_task(self._loop)
        if task is None or (frame is not None and frame.f_code.co_filename == _STEERED_FILE):
            return
        for strike in self._strikes:
            place = strike.place
            if strike.is_done or place.seq != strike.seq or place.task is not task:
                continue
            if place.seat.open_to(strike.error):
                strike.is_done = True
                guard = shield.mine
                if not guard.inside:
                    raise strike.error
                guard.threat = strike.error

    # Jobs, on the loop's thread.

    def _readable(self) -> None:
        with self._roster.lock:
            is_on = self._receive_locked() and not self._roster.is_leaving
            self._stir_locked()
            self._begin_locked()
        if not is_on:
            self._loop.remove_reader(self._line.data.fileno())
            self.recall(None)
            self._end()

    def _receive_locked(self) -> bool:
        """Take what the node has sent; False when it is gone."""
        jobs = self._line.receive()
        if jobs is None:
            return False
        is_coroutine, crew = self._bench.is_coroutine, self._crew
        for job in jobs:
            (self._waiting if is_coroutine(job) else crew.waiting).append(job)
        return True

    def _stir_locked(self) -> None:
        """Let threads look for work. On the loop's thread."""
        if self._crew.stir_locked() and not self._stirs_soon:
            self._stirs_soon = True
            self._loop.call_later(SOON_S, self._stir, context=self._context)

    def _stir(self) -> None:
        with self._roster.lock:
            self._stirs_soon = False
            self._stir_locked()

    def _begin(self) -> None:
        with self._roster.lock:
            self._begin_locked()

    def _begin_locked(self) -> None:
        """Let as many tasks look for a job as there are jobs and slots. A job is begun by the first step of its task, so
        that it can be recalled while another one holds the loop."""
        roster = self._roster
        room = min(len(self._waiting), roster.slots - roster.busy) - self._starting
        while room > 0 and not roster.is_leaving:
            if self._free:
                place = self._free.pop()
            elif roster.free:
                place = self._new_place(roster.free.pop())
            else:
                return
            # To asyncio it is a coroutine; to the type stubs only the real thing is.
            body: Any = Steered(self._one(place))
            place.steered = body
            # Not by a factory that a task has set: this may not be run at once.
            place.task = body.task = asyncio.Task(body, loop=self._loop)
            self._starting += 1
            room -= 1

    def _new_place(self, record: int) -> Place:
        place = Place(record)
        waits = self._roster.waits
        place.seat = self._bench.make_seat(None, lambda: waits.of(place.seq))
        return place

    async def _one(self, place: Place) -> None:
        """One task of the loop: one job, if there is one still."""
        job = self._take(place)
        if job is not None:
            try:
                performed = await place.seat.perform_async(job)
            except GeneratorExit:
                raise
            except BaseException as exc:  # noqa: BLE001 - the main thread raises it again
                self._roster.fail(exc, job.seq)
                return
            if self._is_copy:
                # The task forked and the copy came back to us: its outcome is the original's business.
                os._exit(0)
            self._roster.waits.forget(job.seq)
            self._line.put_by(pack_done(job, performed, self._roster.is_last(), place.seat.perform))
        if not self._ended:
            # After what else this turn of the loop has to do, so that all outcomes of a turn leave together.
            self._loop.call_soon(self._tell, context=self._context)
        self._ended.append(place)

    def _take(self, place: Place) -> JobFrame | None:
        roster = self._roster
        with roster.lock:
            self._starting -= 1
            if roster.is_leaving or not self._waiting or roster.busy >= roster.slots:
                return None
            job = self._waiting.popleft()
            place.seq = job.seq
            roster.begins_locked(job.seq, place)
        roster.marks.begin(place.record, job.key, job.seq, time.monotonic_ns())
        return job

    def _tell(self) -> None:
        """Send what has ended; then these places are free."""
        ended, self._ended = self._ended, []
        roster = self._roster
        try:
            self._line.flush()
        except OSError as exc:
            roster.fail(exc)
        with roster.lock:
            for place in ended:
                if place.seq:
                    roster.marks.clear(place.record)
                    roster.ends_locked(place.seq)
                    place.seq = 0
                if place.steered is not None:
                    place.steered.let_go()
                place.task = place.steered = None
                self._free.append(place)
            self._stir_locked()
            self._begin_locked()
        if roster.is_leaving:
            self._end()

    def _waits(self, seq: int, waits: bool) -> None:
        """A job has begun to wait for others, or goes on. On any thread."""
        with self._roster.lock:
            if not isinstance(self._roster.running.get(seq), Place):
                self._crew.waits_locked(seq, waits=waits)
            self._crew.stir_all_locked()
            self._room_locked()

    def _room_locked(self) -> None:
        """There is room for one more job. On any thread."""
        if self._waiting:
            self._call(self._begin)

    # The loop.

    def _run_loop(self) -> None:
        while not self._stops:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                if self._is_copy:
                    raise
                # No job raised it, or it would have been caught: what a job had left behind did.
                text = "something that a task left running on the loop wanted to end the process; it goes on"
                log.critical(text, exc_info=True, extra={"action": "loop_trouble"})

    def _end(self) -> None:
        """Stop the loop when the process may end, or nobody listens any more. Once: afterwards it is being cleaned."""
        roster = self._roster
        if self._stops:
            return
        if roster.is_done() or not roster.is_leaving:
            self._stops = True
            self._loop.stop()
        elif not self._ends_soon:
            self._ends_soon = True
            self._loop.call_later(_LOOK_S, self._look, context=self._context)

    def _look(self) -> None:
        self._ends_soon = False
        self._end()

    def _clean_up(self) -> None:
        """End what tasks have left on the loop, and close it."""
        loop = self._loop
        loop.set_task_factory(None)  # that of a task might refuse
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        closing = loop.create_task(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.wait([*left, closing], timeout=_CLEANUP_S))
        loop.close()

    def _call(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args, context=self._context)
        except RuntimeError:  # closed: nothing runs any more
            return

    def _forked(self) -> None:
        """In a copy that a task has made of this process: if it comes back to the loop, it ends there."""
        self._is_copy = True
        if threading.get_ident() == self._thread:
            ready = getattr(self._loop, "_ready", None)
            if ready is not None:
                ready.clear()
            self._loop.call_soon(os._exit, 0)


_STEERED_FILE = Steered.throw.__code__.co_filename


def _log_trouble(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught on the loop: said, and no more."""
    text = "on the event loop of tasks: %s"
    log.error(text, context.get("message"), exc_info=context.get("exception"), extra={"action": "loop_trouble"})
