"""How jobs leave the node's hands: settled, handed back, or concluded in another child."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from celeriac.core.engine.effects import Final, SettleItem
from celeriac.core.engine.events import Arrival, Now
from celeriac.core.engine.state import CONCLUDE_WAIT_S, Flight, Out, State
from celeriac.model.message import Ack, Head, Receipt, Release, Verdict
from celeriac.model.policy import TaskPolicy
from celeriac.model.states import FAILURE, REVOKED

ACK = Ack()
BACK = Release()
"""Back to the queue at once, un-penalised."""


def stored(final: Final, head: Head, task: TaskPolicy | None) -> bool:
    """True if a record of this final state is wanted."""
    ignored = head.ignore_result
    if ignored is None:
        ignored = task is not None and task.ignore_result
    if not ignored:
        return True
    return final.state == FAILURE and task is not None and task.store_errors_even_if_ignored


def settle_arrival(out: Out, arrival: Arrival, verdict: Verdict, final: Final, task: TaskPolicy | None) -> None:
    """End a message that was never dispatched."""
    message = arrival.delivery.message
    head = arrival.head or Head(id=message.id, task=message.task)
    out.items.append(_item(arrival.delivery.receipt, verdict, final, head, task, message.reply_to))


def settle_final(out: Out, flight: Flight, verdict: Verdict, final: Final) -> None:
    """End a flight with a state that no child reported."""
    reply_to = flight.arrival.delivery.message.reply_to
    out.items.append(_item(flight.receipt, verdict, final, flight.head, flight.task, reply_to))


def _item(
    receipt: Receipt | None, verdict: Verdict, final: Final, head: Head, task: TaskPolicy | None, reply_to: str
) -> SettleItem:
    kept = final if stored(final, head, task) else None
    return SettleItem(receipt, verdict, final=kept, head=head, reply_to=reply_to)


def hand_back(out: Out, flight: Flight) -> None:
    """Give a job that has not begun back to the broker, un-penalised.

    One that is acknowledged already is published anew: it never began, so at most once still holds.
    """
    if flight.acked:
        out.items.append(SettleItem(None, ACK, follow_ups=(flight.arrival.delivery.message,)))
    else:
        out.items.append(SettleItem(flight.arrival.delivery.receipt, BACK))


def revoke(out: Out, flight: Flight) -> None:
    """End a job that was cancelled before it began."""
    settle_final(out, flight, ACK, Final(REVOKED, "TaskRevokedError", ("revoked",)))


def conclude(state: State, out: Out, now: Now, flight: Flight, verdict: Verdict, final: Final) -> None:
    """Run a task's failure path in another child, then settle by `verdict`; when none can, settle at once."""
    if state.over:
        settle_final(out, flight, verdict, final)
        return
    release_at = now.monotonic + CONCLUDE_WAIT_S
    state.backlog.appendleft(
        Flight(
            state.take_seq(),
            flight.arrival,
            flight.head,
            flight.task,
            acked=flight.acked,
            release_at=release_at,
            final=final,
            verdict=verdict,
        )
    )


def take_back(state: State, out: Out, now: Now, flights: Iterable[Flight]) -> None:
    """These jobs have not begun and are in no child any more: find them another place, in their old order."""
    policy = state.policy
    again: list[Flight] = []
    for flight in flights:
        flight.recalled = False
        if flight.lost:
            continue
        if flight.cancel is not None and not flight.concluding:
            revoke(out, flight)
        elif state.stopping and not flight.acked and not flight.concluding:
            hand_back(out, flight)
        else:
            if flight.concluding:
                pass  # its time counts from when it became necessary
            elif state.pinned or flight.acked:
                flight.release_at = inf
            elif flight.release_at == inf:
                flight.release_at = now.monotonic + policy.hand_back_s - policy.overrun_s
            again.append(flight)
    state.backlog.extendleft(reversed(again))


def release_overdue(state: State, out: Out, now: Now) -> None:
    """Hand back what found no slot in time; settle bare what found no child to conclude it."""
    # With no child, and none to come, nobody will ever take it.
    t = now.monotonic if state.children or state.spawns else inf
    if not any(flight.release_at <= t for flight in state.backlog):
        return
    kept: list[Flight] = []
    for flight in state.backlog:
        if flight.release_at > t:
            kept.append(flight)
        elif flight.verdict is not None and flight.final is not None:
            settle_final(out, flight, flight.verdict, flight.final)
        else:
            hand_back(out, flight)
    state.backlog.clear()
    state.backlog.extend(kept)
