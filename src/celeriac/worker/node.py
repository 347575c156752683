"""The node: the one process of a worker that talks to the broker and decides what its children do.

All decisions are the engine's (`core.engine`); this file carries them out. One thread, one selector: children,
main process, bell and mailbox are descriptors on it. A turn is: wait, gather events, `step`, carry out the
effects, commit; and again while that brings news.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import Any

from celeriac.core.engine import effects as fx
from celeriac.core.engine import events as ev
from celeriac.core.engine.state import Pool
from celeriac.core.engine.step import new_state, start, step
from celeriac.model.message import Delivery, Receipt, Record, Release, Settlement
from celeriac.model.policy import TaskPolicy
from celeriac.model.ports import Backend, BrokerAdmin, Clock, Nodes, Pollable
from celeriac.pools.hosted import HostedPool
from celeriac.pools.spawner import Exited, Signalled, Spawned
from celeriac.wire.frames import Back, Done, FromChild, Hello, JobFrame, Keep, Resumes, Waits
from celeriac.wire.protocol2 import decode_head
from celeriac.worker import task_log
from celeriac.worker.config import WorkerConfig
from celeriac.worker.desk import Asked
from celeriac.worker.finals import final_record
from celeriac.worker.link import AWAY, Arrived, Committer, Link
from celeriac.worker.pool_notes import write_note
from celeriac.worker.reception import Reception
from celeriac.worker.taker import TakingLink
from celeriac.worker.threads import Keeper, Mailbox

log = logging.getLogger("celeriac.worker")

_GATHER_S = 0.004
"""While every child has much to do, outcomes are gathered for so long, to be committed together."""
_GATHER_DEPTH = 24
"""That much: jobs in flight of the child that has the fewest."""
_GATHER_EVENTS = 16
"""Many jobs of a child of many slots may all be waiting for something: it is busy if a turn brings so much news."""
_STEPS_MAX = 64
"""Bound on the steps of one turn; the rest waits for the next turn, so that children are heard."""
_WAIT_MAX_S = 5.0
_OPEN_RETRY_MAX_S = 2.0
_LAST_COMMIT_S = 4.0
"""Less than the main process waits beyond the grace period."""
_LAST_COMMIT_PAUSE_S = 0.05


class Node:
    """Owns the broker's side of a worker.

    :param pool: its children; the node shares their selector and their spawner
    :param reception: answers remote control; None where nobody can ask
    """

    def __init__(
        self,
        config: WorkerConfig,
        broker: Any,
        backend: Backend | None,
        tasks: Mapping[str, TaskPolicy],
        pool: HostedPool,
        clock: Clock,
        reception: Reception | None = None,
    ) -> None:
        self._config = config
        self._broker = broker
        self._backend = backend
        self._pool = pool
        self._spawner = pool.spawner
        self._selector = selector = pool.selector
        self._clock = clock
        self._tasks = tasks
        self._state = new_state(config.policy, tasks)
        self._held: dict[Receipt, str] = {}
        self._records: list[Record] = []
        self._exit: int | None = None
        self._stops = 0
        self._moved_at = clock.monotonic()
        self._log_received = log.isEnabledFor(logging.INFO)
        self._received = task_log.Received()
        self._mailbox = Mailbox()
        line: Callable[..., Link] = Link if isinstance(broker, Pollable) else TakingLink
        self._link = line(
            self._broker, Committer(self._broker, backend, trouble), config.queues, selector, clock, trouble
        )
        self._keeper = Keeper(
            broker, config.lease_s, lambda: list(self._held), lambda: self._moved_at, self._mailbox, clock, trouble
        )
        self._keeper.unpark = lambda: revive_known(broker, tasks)
        self._reception = reception
        self._asked: list[Asked] = []
        self._totals = dict.fromkeys(tasks, 0)

    def set_give_up(self, give_up: Callable[[], object]) -> None:
        """How to end at once when only a fresh process can go on; unset, this process exits. Before `run`."""
        self._keeper.give_up = give_up

    def run(self) -> int:
        """Work until told to stop; the exit code."""
        self._selector.register(self._spawner.fileno(), selectors.EVENT_READ, ("spawner", 0))
        self._selector.register(self._mailbox.fileno(), selectors.EVENT_READ, ("mail", 0))
        self._keeper.start()
        if self._reception is not None:
            self._reception.start(self._mailbox, trouble)
        try:
            self._carry(start(self._state, ev.Now(self._clock.monotonic(), self._clock.wall())))
            self._work()
            self._commit_last()
        finally:
            self._keeper.stop()
            if self._reception is not None:
                self._reception.stop()
        return self._finish(self._exit or 0)

    def _commit_last(self) -> None:
        """What has ended must be recorded, or it would run again: give a broker that is away some time."""
        self._link.drop_confirmable()
        deadline = self._clock.monotonic() + _LAST_COMMIT_S
        self._link.step()
        while self._link.pending and self._clock.monotonic() < deadline:
            time.sleep(_LAST_COMMIT_PAUSE_S)
            self._link.step()

    def _finish(self, code: int) -> int:
        self._keeper.join(timeout=5.0)
        if self._reception is not None:
            self._reception.close()
        self._link.close()
        self._pool.close()
        self._selector.unregister(self._mailbox.fileno())
        self._selector.unregister(self._spawner.fileno())
        self._mailbox.close()
        return code

    def _work(self) -> None:
        """Turn after turn, until the engine says that it is over."""
        state, link, clock = self._state, self._link, self._clock
        pools = tuple(state.pools.values())
        events: list[ev.Event] = []
        gathered = 0
        while True:
            if _is_worth_gathering(pools, gathered):
                time.sleep(_GATHER_S)
            now = clock.monotonic()
            ends_at = now if events else min(link.due_at, now + _WAIT_MAX_S, state.wake_at or inf)
            ready = self._selector.select(max(0.0, ends_at - now))
            self._moved_at = now = clock.monotonic()
            before = len(events)
            self._gather(ready, events)
            gathered = len(events) - before
            if state.wake_at is not None and state.wake_at <= now:
                for child, seq, at in self._pool.begun():
                    events.append(ev.Started(child, seq, at))
                events.append(ev.Tick())
            if self._records:
                # Before what is settled next: the end of a task must not be overwritten by its beginning.
                self._write_records()
            for _ in range(_STEPS_MAX):
                if events:
                    self._carry(step(state, events, ev.Now(clock.monotonic(), clock.wall())))
                    events = []
                if self._exit is not None:
                    return
                if now < link.due_at:
                    break
                for news in link.step():
                    if isinstance(news, Arrived):
                        events.append(self._arrived(news.deliveries))
                    else:
                        for receipt in news.stale:
                            self._held.pop(receipt, None)
                        events.append(ev.Confirmed(news.done, news.stale))
                if not events:
                    break
            if self._asked and self._reception is not None:
                asked, self._asked = self._asked, []
                self._reception.answer(asked, state, self._pool.pids(), self._totals)

    # What happened.

    def _gather(self, ready: Sequence[tuple[selectors.SelectorKey, int]], events: list[ev.Event]) -> None:
        for key, mask in ready:
            kind, child = key.data
            if kind == "child":
                if mask & selectors.EVENT_WRITE:
                    self._pool.writable(child)
                if mask & selectors.EVENT_READ:
                    self._from_child(child, self._pool.readable(child), events)
            elif kind == "bell":
                self._link.rung()
            elif kind == "mail":
                self._from_mail(events)
            else:
                self._from_spawner(events)

    def _from_mail(self, events: list[ev.Event]) -> None:
        for event in self._mailbox.collect():
            if isinstance(event, ev.LeaseLost):
                for receipt in event.receipts:
                    self._held.pop(receipt, None)
            elif isinstance(event, Asked):
                # What runs is seen only when somebody looks.
                events += [ev.Started(child, seq, at) for child, seq, at in self._pool.begun()]
                self._asked.append(event)
                if event.cancelled is None:
                    continue
                event = event.cancelled  # noqa: PLW2901 - the answer tells what it ends, so both go together
            events.append(event)

    def _from_child(self, child: int, frames: Sequence[FromChild], events: list[ev.Event]) -> None:
        known = self._state.children.get(child)
        flights, totals = known.flights if known is not None else {}, self._totals
        for frame in frames:
            if isinstance(frame, Done):
                flight = flights.get(frame.seq)
                if flight is not None and flight.head.task in totals:
                    totals[flight.head.task] += 1
                events.append(
                    ev.Finished(
                        child,
                        frame.seq,
                        frame.state,
                        frame.verdict,
                        frame.runtime_s,
                        frame.records,
                        frame.follow_ups,
                        frame.retiring,
                    )
                )
            elif isinstance(frame, Back):
                events.append(ev.Returned(child, frame.seqs))
            elif isinstance(frame, Keep):
                self._records.append(frame.record)
            elif isinstance(frame, Waits):
                events.append(ev.Waits(child, frame.seq))
            elif isinstance(frame, Resumes):
                events.append(ev.Resumes(child, frame.seq))
            else:
                events.append(ev.ChildUp(child, self._pool.slots(child)))

    def _from_spawner(self, events: list[ev.Event]) -> None:
        try:
            news = self._spawner.receive()
        except EOFError:
            # Nobody reaps or starts children any more.
            log.critical("the main process is gone; ending", extra={"action": "main_gone"})
            self._exit = 1
            return
        for item in news:
            if isinstance(item, Spawned):
                self._pool.adopt(item)
            elif isinstance(item, Exited):
                gone = self._pool.gone(item)
                # One that came up and died at once is told of by its death.
                self._from_child(gone.child, [word for word in gone.last_words if not isinstance(word, Hello)], events)
                events.append(ev.Died(gone.child, gone.running, gone.status))
            else:
                events.append(self._stop(item))

    def _stop(self, signalled: Signalled) -> ev.Stop:
        """TERM and INT end warmly, QUIT and any second signal at once."""
        self._stops += 1
        at_once = self._stops > 1 or signalled.name == "SIGQUIT"
        code = 0 if signalled.name == "SIGTERM" else 1
        log.info("%s shutdown", "cold" if at_once else "warm", extra={"action": "shutdown", "signal": signalled.name})
        return ev.Stop(0.0 if at_once else self._config.grace_s, code)

    def _arrived(self, deliveries: Sequence[Delivery]) -> ev.Delivered:
        arrivals: list[ev.Arrival] = []
        held, accept, log_received = self._held, self._config.results.accept, self._log_received
        for delivery in deliveries:
            held[delivery.receipt] = delivery.message.id
            try:
                head = decode_head(delivery.message, accept)
            except Exception as exc:  # noqa: BLE001 - whatever a message does to its reader, it does not end the node
                task_log.message_unreadable(delivery.message.id, delivery.message.task, exc)
                arrivals.append(ev.Arrival(delivery, None, str(exc)))
            else:
                if log_received:
                    self._received.came(head)
                arrivals.append(ev.Arrival(delivery, head, None))
        return ev.Delivered(tuple(arrivals))

    # What to do.

    def _carry(self, effects: Sequence[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Run):
                frames: list[JobFrame] = []
                for job in effect.jobs:
                    delivery, final = job.arrival.delivery, job.conclude
                    key, attempt = delivery.receipt
                    frames.append(
                        JobFrame(
                            job.seq,
                            key if isinstance(key, int) and final is None else 0,
                            delivery.message,
                            attempt,
                            delivery.crashes,
                            delivery.redelivered,
                            None if final is None else (final.state, final.error, final.args),
                        )
                    )
                self._pool.submit(effect.child, frames)
            elif isinstance(effect, fx.Settle):
                self._settle(effect)
            elif isinstance(effect, fx.Take):
                self._link.want(effect.limit)
            else:
                self._carry_rare(effect)

    def _carry_rare(self, effect: fx.Effect) -> None:
        if isinstance(effect, fx.Recall):
            self._pool.recall(effect.child, effect.seqs)
        elif isinstance(effect, fx.Interrupt):
            self._pool.interrupt(effect.child, effect.seq, effect.how, effect.signal)
        elif isinstance(effect, fx.Spawn):
            self._pool.start(effect.child, effect.pool)
        elif isinstance(effect, fx.Kill):
            self._pool.kill(effect.child)
        elif isinstance(effect, fx.Retire):
            self._pool.retire(effect.child)
        elif isinstance(effect, fx.Note):
            write_note(effect, self._pool)
        elif isinstance(effect, fx.Exit):
            self._exit = effect.code

    def _settle(self, effect: fx.Settle) -> None:
        settlements: list[Settlement] = []
        confirm: list[Receipt] = []
        for item in effect.items:
            receipt, records = item.receipt, item.records
            if item.final is not None and item.head is not None:
                record = final_record(item.final, item.head, item.reply_to, self._config.results, self._clock.wall())
                records = (*records, record)
            if receipt is not None:
                task_id = self._held.pop(receipt, None)
                verdict = item.verdict
                if task_id and isinstance(verdict, Release) and not verdict.crashed:
                    self._received.set_aside(task_id)
                if item.confirm:
                    confirm.append(receipt)
            settlements.append(Settlement(receipt, item.verdict, records, item.follow_ups))
        self._link.settle(settlements, confirm)

    def _write_records(self) -> None:
        """STARTED records: they tell people, nothing depends on them, so a failed write is only said."""
        records, self._records = self._records, []
        if self._backend is None:
            return
        try:
            self._backend.write(records)
        except AWAY as exc:
            trouble("started_not_written", f"could not write that tasks have started: {exc}")


def _is_worth_gathering(pools: Sequence[Pool], gathered: int) -> bool:
    """True if some pool has work, and no child of such a pool is short of it."""
    is_busy = False
    for pool in pools:
        in_flight = [len(child.flights) for child in pool.hosts if child.up]
        if any(in_flight):
            if min(in_flight) < _GATHER_DEPTH or (pool.shared and gathered < _GATHER_EVENTS):
                return False
            is_busy = True
    return is_busy


def trouble(action: str, text: str, **fields: Any) -> None:
    """Log what went wrong with a server."""
    log.warning("%s", text, extra={"action": action, "data": fields})


def marks_descriptor(broker: Any, size: int) -> tuple[int, int] | None:
    """(descriptor, offset) of marks that the broker keeps for others to read after our death, or None."""
    if not isinstance(broker, Nodes):
        return None
    fd = broker.join(size)
    if fd is None:
        return None
    return fd, int(getattr(broker, "marks_offset", 0))


def revive_known(broker: Any, tasks: Collection[str]) -> None:
    """Messages that were parked because nobody knew their task: now somebody may. Raises OperationalError."""
    if not isinstance(broker, BrokerAdmin):
        return
    revived = broker.revive(parked_tasks=tuple(tasks))
    if revived:
        log.info("%d parked messages can run now", revived, extra={"action": "unparked", "data": {"count": revived}})
