"""The children of a node: started, replaced, asked to leave, killed, dead."""

from __future__ import annotations

from collections.abc import Collection

from celeriac.core.engine.dispatch import not_begun, recall
from celeriac.core.engine.effects import Final, Kill, Note, Retire, SettleItem, Spawn
from celeriac.core.engine.events import ChildUp, Died, Now, Resize
from celeriac.core.engine.prefetch import first_depth
from celeriac.core.engine.settling import ACK, BACK, conclude, settle_final, take_back
from celeriac.core.engine.state import END, INNOCENT_S, NEIGHBOURS_S, RETIRE_WAIT_S, Child, Flight, Out, State
from celeriac.model.message import Bury, Release
from celeriac.model.states import FAILURE

_RESPAWN_FIRST_S = 0.5
"""Pause before the second attempt to start a child that dies at its start; it doubles from there."""
_DOUBLINGS_MAX = 20
"""Keeps the power of two finite."""


def respawn_delay_s(failures: int, most_s: float) -> float:
    """Pause before starting a child anew after so many that died at their start: 0, 0.5, 1, 2, ..."""
    if failures <= 1:
        return 0.0
    return min(most_s, _RESPAWN_FIRST_S * 2.0 ** min(failures - 2, _DOUBLINGS_MAX))


def spawn(state: State, out: Out, failures: int) -> None:
    """Start one child."""
    child = state.next_child
    state.next_child = child + 1
    state.children[child] = Child(child, failures)
    out.effects.append(Spawn(child, state.policy.pools[0].name))


def spawn_due(state: State, now: Now, out: Out) -> None:
    """Start the children whose time has come."""
    due = [failures for at, failures in state.spawns if at <= now.monotonic]
    state.spawns = [pending for pending in state.spawns if pending[0] > now.monotonic]
    for failures in due:
        spawn(state, out, failures)


def kill(child: Child, out: Out) -> None:
    """End a child at once. What runs in it and has no final state of its own is innocent."""
    if child.killed:
        return
    child.killed = True
    child.leaving = True
    out.effects.append(Kill(child.id))


def condemn(state: State, child: Child, now: Now, out: Out) -> None:
    """A job in this child does not end: replace the child, let the neighbours finish, then kill it."""
    if child.condemned or child.killed:
        return
    if all(flight.broken or flight.started_at is None for flight in child.flights.values()):
        kill(child, out)
        return
    child.condemned = True
    child.leaving = True
    if child.replace and not state.stopping:
        child.replace = False
        spawn(state, out, 0)
    flights = not_begun(child)
    if flights:
        recall(child, flights, out)
    state.alarm(now.monotonic + NEIGHBOURS_S, END, child.id)


def leave_if_empty(state: State, child: Child, now: Now, out: Out) -> None:
    """Let a leaving child go when nothing is left in it, or nothing that ends by itself."""
    if child.condemned and all(flight.broken for flight in child.flights.values()):
        kill(child, out)
    elif child.up and not child.flights and not child.retired and not child.killed:
        child.retired = True
        out.effects.append(Retire(child.id))
        state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)


def retiring(state: State, child: Child, now: Now, out: Out) -> None:
    """A child ends by itself. Where other jobs still run in it, that can take long: its replacement starts already."""
    child.leaving = True
    child.retired = True
    state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)
    if child.slots == 1:
        return
    # It gives back what it had when it decided to end; what was on its way then must be asked for.
    flights = not_begun(child)
    if flights:
        recall(child, flights, out)
    if child.flights and child.replace and not state.stopping:
        child.replace = False
        spawn(state, out, 0)


def on_child_up(state: State, event: ChildUp, now: Now, out: Out) -> None:
    """A child can work."""
    child = state.children.get(event.child)
    if child is None or child.up:
        return
    child.up = True
    child.slots = max(1, event.slots)
    child.depth = first_depth(state, child)
    child.progress_at = now.monotonic
    if child.leaving:
        leave_if_empty(state, child, now, out)


def on_resize(state: State, event: Resize, now: Now, out: Out) -> None:
    """Start more children, or let the idle ones go first and the others when they have nothing left."""
    state.target = max(0, event.children)
    if state.stopping:
        return
    staying = [child for child in state.children.values() if child.replace]
    surplus = len(staying) + len(state.spawns) - state.target
    for _ in range(-surplus):
        spawn(state, out, 0)
    while surplus > 0 and state.spawns:
        state.spawns.pop()
        surplus -= 1
    if surplus <= 0:
        return
    staying.sort(key=lambda child: (child.up, len(child.flights)))
    for child in staying[:surplus]:
        child.replace = False
        child.leaving = True
        flights = not_begun(child)
        if not child.up:
            kill(child, out)
        elif flights:
            recall(child, flights, out)
        leave_if_empty(state, child, now, out)


def on_died(state: State, event: Died, now: Now, out: Out) -> None:
    """A child is gone: what it ran has crashed, what it had not begun has not."""
    child = state.children.pop(event.child, None)
    if child is None:
        return
    running = set(event.running)
    unbegun: list[Flight] = []
    crashed: list[Flight] = []
    for flight in child.flights.values():
        if flight.confirming or flight.lost:
            continue  # the former waits for its confirmation alone, the latter is no longer ours
        # What was seen to begin but is not in its body any more was about to report: that is no crash. But it cannot
        # be run again if it promised to run once, nor if it was being ended.
        begun = flight.started_at is not None and (flight.acked or flight.final is not None)
        if begun or flight.seq in running:
            crashed.append(flight)
        else:
            unbegun.append(flight)
    innocent = child.killed or now.monotonic - child.broken_at <= INNOCENT_S
    for flight in crashed:
        _crash(state, flight, event.reason, now, out, innocent=innocent)
    take_back(state, out, now, unbegun)
    _note_death(state, child, event, crashed, out)
    if child.replace and not state.stopping:
        failures = 0 if child.proven or crashed else child.failures + 1
        state.spawns.append((now.monotonic + respawn_delay_s(failures, state.policy.respawn_max_s), failures))


def _crash(state: State, flight: Flight, reason: str, now: Now, out: Out, *, innocent: bool) -> None:
    """A job was running when its child died."""
    policy = state.policy
    task = flight.task
    if flight.verdict is not None and flight.final is not None:
        settle_final(out, flight, flight.verdict, flight.final)
        return
    if flight.final is not None:
        if flight.final.error == "TimeLimitExceeded" and task.acks_on_timeout is False and not flight.acked:
            out.items.append(SettleItem(flight.receipt, BACK))
        else:
            conclude(state, out, now, flight, ACK, flight.final)
        return
    lost = Final(FAILURE, "WorkerLostError", (f"the process that ran the task ended: {reason}",))
    if flight.acked:
        conclude(state, out, now, flight, ACK, lost)
    elif innocent:
        out.items.append(SettleItem(flight.receipt, BACK))
    elif task.acks_late is True and task.reject_on_worker_lost is False:
        conclude(state, out, now, flight, ACK, lost)
    else:
        before = flight.arrival.delivery.crashes
        if before + 1 >= policy.crash_limit:
            conclude(state, out, now, flight, Bury(str(lost.args[0]), crashed=True), lost)
        else:
            delays = policy.crash_delays_s
            after_s = delays[min(before, len(delays) - 1)] if delays else 0.0
            out.items.append(SettleItem(flight.receipt, Release(after_s, crashed=True)))


def _note_death(state: State, child: Child, event: Died, crashed: Collection[Flight], out: Out) -> None:
    expected = child.retired or child.killed or (child.leaving and not crashed)
    fields = {
        "child": child.id,
        "reason": event.reason,
        "running": [flight.head.id for flight in crashed],
        "tasks": sorted({flight.head.task for flight in crashed}),
    }
    if expected and not crashed:
        out.effects.append(Note("debug", "child_ended", "A child has ended.", fields))
    elif child.up:
        out.effects.append(Note("error", "child_died", "A child died; what it ran is retried or failed.", fields))
    elif state.stopping:
        out.effects.append(Note("debug", "child_ended", "A child was stopped at its start.", fields))
    else:
        text = "A child died at its start; it is started again, with growing pauses."
        out.effects.append(Note("error", "child_start_failed", text, fields))
