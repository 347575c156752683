"""Which child runs what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import inf

from celeriac.core.engine.effects import Job, Recall, Run, SettleItem
from celeriac.core.engine.events import Confirmed, Now
from celeriac.core.engine.settling import ACK, hand_back, revoke
from celeriac.core.engine.state import Child, Flight, Out, Pool, State


def fill(state: State, pool: Pool, now: Now, out: Out) -> None:
    """Give a pool's backlog to its children: idle slots first, spread evenly, then up to each child's depth."""
    backlog, t = pool.backlog, now.monotonic
    look_at = t + state.policy.overrun_s
    runs: dict[int, list[Job]] = {}
    ready = [child for child in pool.hosts if child.up and not child.leaving]
    for deep in (False, True):
        if deep:
            open_ = [c for c in ready if len(c.flights) < c.depth and not c.blocked and not c.awaiting]
        else:
            open_ = [c for c in ready if len(c.flights) < c.slots]
        if len(open_) > 1:
            open_.sort(key=_load)
        while open_ and backlog:
            some_full = False
            for child in open_:
                if not backlog or (deep and backlog[0].once):
                    open_ = []
                    break
                flight = backlog.popleft()
                flights = child.flights
                if len(flights) < child.slots:
                    child.progress_at = t
                    child.blocked = False
                flights[flight.seq] = flight
                flight.sent_at = t
                if look_at < child.look_at:  # noqa: PLR1730 - once per job: no call
                    child.look_at = look_at
                some_full |= len(flights) >= (child.depth if deep else child.slots)
                if flight.once and not flight.acked:
                    _acknowledge_first(state, child, flight, out)
                    continue
                job = Job(flight.seq, flight.arrival, flight.final if flight.verdict is not None else None)
                jobs = runs.get(child.id)
                if jobs is None:
                    runs[child.id] = [job]
                else:
                    jobs.append(job)
            if some_full:
                open_ = [c for c in open_ if len(c.flights) < (c.depth if deep else c.slots)]
        if not backlog:
            break
    for child_id, jobs in runs.items():
        out.effects.append(Run(child_id, tuple(jobs)))


def give_alone(state: State, child: Child, flight: Flight, now: Now, out: Out) -> None:
    """Give an idle child the one job that it is there for."""
    child.progress_at = flight.sent_at = now.monotonic
    child.blocked = False
    child.look_at = now.monotonic + state.policy.overrun_s
    child.flights[flight.seq] = flight
    if flight.once and not flight.acked:
        _acknowledge_first(state, child, flight, out)
    else:
        out.effects.append(Run(child.id, (Job(flight.seq, flight.arrival),)))


def _load(child: Child) -> float:
    """How much each slot of a child has to do."""
    return len(child.flights) / child.slots


def _acknowledge_first(state: State, child: Child, flight: Flight, out: Out) -> None:
    """The slot is kept for it; it runs when the broker has confirmed that nobody else will."""
    flight.confirming = True
    child.awaiting += 1
    receipt = flight.arrival.delivery.receipt
    assert receipt not in state.confirming, "a message is acknowledged at its start once"
    state.confirming[receipt] = flight
    out.items.append(SettleItem(receipt, ACK, confirm=True))


def on_confirmed(state: State, event: Confirmed, now: Now, out: Out) -> None:
    """The broker has committed acknowledgements at start, or found them stale."""
    for receipt in event.stale:
        flight = state.confirming.pop(receipt, None)
        if flight is not None:
            _stop_awaiting(state, flight, keep=False)
    for receipt in event.done:
        flight = state.confirming.pop(receipt, None)
        if flight is None:
            continue
        flight.acked = True
        runs = flight.cancel is None and not state.over
        child = _stop_awaiting(state, flight, keep=runs)
        if flight.cancel is not None:
            revoke(state, out, now, flight)
        elif state.over:
            hand_back(out, flight)
        elif child is None:
            flight.release_at = inf
            state.line_of(flight).appendleft(flight)
        else:
            child.progress_at = flight.sent_at = now.monotonic
            child.look_at = min(child.look_at, now.monotonic + state.policy.overrun_s)
            out.effects.append(Run(child.id, (Job(flight.seq, flight.arrival),)))


def _stop_awaiting(state: State, flight: Flight, *, keep: bool) -> Child | None:
    """The child whose slot was kept for it, if it can still run it; else the slot is free again."""
    flight.confirming = False
    for child in state.children.values():
        if flight.seq in child.flights:
            child.awaiting -= 1
            if keep and not child.leaving:
                return child
            del child.flights[flight.seq]
            return None
    return None


def recall(child: Child, flights: Sequence[Flight], out: Out) -> None:
    """Ask a child for those of these jobs that it has not begun."""
    for flight in flights:
        flight.recalled = True
    seqs = tuple(flight.seq for flight in flights)
    child.recalls.append(seqs)
    out.effects.append(Recall(child.id, seqs))


def not_begun(child: Child) -> list[Flight]:
    """All that this child has been given, was not seen to begin, and has not been asked back."""
    return [f for f in child.flights.values() if f.started_at is None and not f.recalled and not f.confirming]


def waiting(child: Child) -> list[Flight]:
    """What a child has been given beyond its slots and can still be asked back."""
    return [
        flight
        for flight in islice(child.flights.values(), child.slots, None)
        if flight.started_at is None and not flight.recalled and not flight.confirming
    ]
