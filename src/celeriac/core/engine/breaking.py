"""Jobs in their bodies: their limits, and how they are broken off."""

from __future__ import annotations

from celeriac.core.engine.effects import Final, Interrupt, Note
from celeriac.core.engine.events import Now
from celeriac.core.engine.state import HARD, KILL, SOFT, Child, Flight, Out, State
from celeriac.model.states import FAILURE, REVOKED


def begun(state: State, child: Child, flight: Flight, at: float, now: Now, out: Out) -> None:
    """A job has been in its body since `at`."""
    flight.started_at = at
    child.seen += 1
    if flight.lost:
        break_off(state, child, flight, now, out)
        return
    if flight.cancel and not flight.concluding:
        terminate(state, child, flight, flight.cancel, now, out)
    soft, hard = limits_of(state, flight)
    if soft is not None:
        state.alarm(at + soft, SOFT, child.id, flight.seq)
    if hard is not None:
        state.alarm(at + hard, HARD, child.id, flight.seq)


def limits_of(state: State, flight: Flight) -> tuple[float | None, float | None]:
    """The soft and the hard limit of a job: the message's own, else the task's, else the worker's."""
    head, task, policy = flight.head, flight.task, state.policy
    soft, hard = head.soft_time_limit_s, head.time_limit_s
    if soft is None:
        soft = task.soft_time_limit_s if task.soft_time_limit_s is not None else policy.soft_time_limit_s
    if hard is None:
        hard = task.time_limit_s if task.time_limit_s is not None else policy.time_limit_s
    return soft, hard


def over_hard_limit(state: State, child: Child, flight: Flight, limit_s: float, now: Now, out: Out) -> None:
    """End a job that has run too long."""
    if flight.final is None:
        flight.final = Final(FAILURE, "TimeLimitExceeded", (limit_s,))
    fields = {"id": flight.head.id, "task": flight.head.task, "limit_s": limit_s, "child": child.id}
    out.effects.append(
        Note("error", "time_limit_exceeded", "A task ran over its hard time limit: it is ended.", fields)
    )
    break_off(state, child, flight, now, out)


def break_off(state: State, child: Child, flight: Flight, now: Now, out: Out) -> None:
    """End a running job by force; its child too if it does not obey."""
    if flight.broken:
        return
    flight.broken = True
    child.broken_at = now.monotonic
    out.effects.append(Interrupt(child.id, flight.seq, "hard"))
    state.alarm(now.monotonic + state.policy.interrupt_wait_s, KILL, child.id, flight.seq)


def terminate(state: State, child: Child, flight: Flight, signal: str, now: Now, out: Out) -> None:
    """End a running job because somebody asked for it."""
    if flight.final is not None or flight.lost:
        return
    flight.final = Final(REVOKED, "TaskRevokedError", ("terminated",))
    flight.broken = True
    child.broken_at = now.monotonic
    out.effects.append(Interrupt(child.id, flight.seq, "terminate", signal))
    # A job may ignore the signal; then its process ends.
    state.alarm(now.monotonic + state.policy.interrupt_wait_s, KILL, child.id, flight.seq)
