"""The death of a child: what it ran has crashed, what it had not begun has not, and who takes its place."""

from __future__ import annotations

from collections.abc import Collection

from celeriac.core.engine.children import respawn_delay_s
from celeriac.core.engine.effects import Final, Note, SettleItem
from celeriac.core.engine.events import Died, Now
from celeriac.core.engine.settling import ACK, BACK, conclude, end_broken, is_owed, settle_final, take_back
from celeriac.core.engine.staffing import missing, staff
from celeriac.core.engine.state import CONCLUDE_TRIES_MAX, INNOCENT_S, Child, Flight, Out, Start, State
from celeriac.model.message import Bury, Release, Verdict
from celeriac.model.states import FAILURE


def on_died(state: State, event: Died, now: Now, out: Out) -> None:
    """A child is gone: what it ran has crashed, what it had not begun has not."""
    child = state.children.pop(event.child, None)
    if child is None:
        return
    pool = child.home
    was_host = child in pool.hosts
    for children in (pool.hosts, pool.spares, pool.alone):
        if child in children:
            children.remove(child)
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
    innocent = child.killed or _broken_off(child, now)
    for flight in crashed:
        _crash(state, flight, event.reason, now, out, innocent=innocent)
    take_back(state, out, now, unbegun)
    _note_death(state, child, event, crashed, out)
    failures = 0 if child.proven or crashed else child.failures + 1
    again_at = now.monotonic + respawn_delay_s(failures, state.policy.respawn_max_s)
    if state.stopping:
        pass
    elif child.alone:
        if failures and pool.suspects:
            state.spawns.append(Start(again_at, pool, failures, alone=True))
    elif was_host and child.replace and missing(state, pool) > 0:
        if pool.spares:
            staff(state, pool, now, out)
        else:
            state.spawns.append(Start(again_at, pool, failures))


def _broken_off(child: Child, now: Now) -> bool:
    """True if a child died of being told to break off a job.

    Where that is told by a signal to the process, the signal can come when the job is over, and hit the next one. Where
    it is told to the child by the number of the job, only the job itself can be the cause.
    """
    if child.home.shared:
        return any(flight.broken for flight in child.flights.values())
    return now.monotonic - child.broken_at <= INNOCENT_S


def _crash(state: State, flight: Flight, reason: str, now: Now, out: Out, *, innocent: bool) -> None:
    """A job was running when its child died."""
    policy = state.policy
    task = flight.task
    if flight.verdict is not None and flight.final is not None:
        _crash_concluding(state, flight, flight.verdict, flight.final, now, out, innocent=innocent)
        return
    if flight.final is not None:
        end_broken(state, out, now, flight, flight.final)
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


def _crash_concluding(
    state: State, flight: Flight, verdict: Verdict, final: Final, now: Now, out: Out, *, innocent: bool
) -> None:
    """Settle it bare; but others depend on the failure path of what is linked, so that it gets some tries more."""
    # What was told to end itself is what its child died of, whoever else is innocent: else it would be tried for ever.
    flight.tries += flight.broken or not innocent
    if is_owed(flight) and flight.tries < CONCLUDE_TRIES_MAX:
        conclude(state, out, now, flight, verdict, final)
        return
    if is_owed(flight):
        text = (
            "The failure path of a task ended its process each time: it is given up, error callbacks may not have run."
        )
        fields = {"id": flight.head.id, "task": flight.head.task, "tries": flight.tries, "state": final.state}
        out.effects.append(Note("error", "failure_path_given_up", text, fields))
    settle_final(out, flight, verdict, final)


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
    elif child.up and _as_we_wanted(child, crashed):
        text = "A child was ended with what ran in it, which is given back or over."
        out.effects.append(Note("info", "child_ended", text, fields))
    elif child.up:
        out.effects.append(Note("error", "child_died", "A child died; what it ran is retried or failed.", fields))
    elif state.stopping:
        out.effects.append(Note("debug", "child_ended", "A child was stopped at its start.", fields))
    else:
        text = "A child died at its start; it is started again, with growing pauses."
        out.effects.append(Note("error", "child_start_failed", text, fields))


def _as_we_wanted(child: Child, crashed: Collection[Flight]) -> bool:
    """True if a child died because it was killed from here, or of the signal that was to end the job it ran; and no
    other job fails by that."""
    if any(flight.acked and not flight.broken for flight in crashed):
        return False
    return child.killed or (not child.home.shared and bool(crashed) and all(flight.broken for flight in crashed))
