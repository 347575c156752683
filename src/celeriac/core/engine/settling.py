"""How jobs leave the node's hands: settled, handed back, or concluded in another child."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from celeriac.core.engine.effects import Final, SettleItem
from celeriac.core.engine.events import Arrival, Now
from celeriac.core.engine.state import CONCLUDE_WAIT_S, Flight, Out, State
from celeriac.model.message import Ack, Bury, Head, Receipt, Release, Verdict
from celeriac.model.policy import TaskPolicy
from celeriac.model.states import FAILURE, REVOKED

ACK = Ack()
BACK = Release()
"""Back to the queue at once, un-penalised."""
REVOKED_FINAL = Final(REVOKED, "TaskRevokedError", ("revoked",))


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


def revoke(state: State, out: Out, now: Now, flight: Flight) -> None:
    """End a job that was cancelled before it began."""
    if flight.head.linked:
        conclude(state, out, now, flight, ACK, REVOKED_FINAL, again=True)
    else:
        settle_final(out, flight, ACK, REVOKED_FINAL)


def conclude(
    state: State, out: Out, now: Now, flight: Flight, verdict: Verdict, final: Final, *, again: bool = False
) -> None:
    """Run a task's failure path in a child, then settle by `verdict`; when none can, settle at once.

    What is linked is never settled at once: others depend on its failure path. It waits for a child, or goes back to
    the broker: at the end, and if it would wait long here while the next delivery comes to the same end (`again`).
    """
    concluding = Flight(
        state.take_seq(),
        flight.arrival,
        flight.head,
        flight.task,
        acked=flight.acked,
        release_at=inf if is_owed(flight) and not again else now.monotonic + CONCLUDE_WAIT_S,
        final=final,
        verdict=verdict,
        tries=flight.tries,
    )
    if state.over:
        settle_bare(out, concluding)
    else:
        state.pool_of(flight.task).backlog.appendleft(concluding)


def is_owed(flight: Flight) -> bool:
    """True if others depend on the failure path of this task, and it can still go back to the broker to be run."""
    return flight.head.linked and not flight.acked


def settle_bare(out: Out, flight: Flight, after_s: float = 0.0) -> None:
    """End a concluding flight that no child concludes: by its final state alone, or back to the broker if it is owed
    its failure path. At most once allows no second delivery: then the bare state it is."""
    verdict, final = flight.verdict, flight.final
    assert verdict is not None, "only a concluding flight is settled bare"
    assert final is not None, "a concluding flight knows its final state"
    if is_owed(flight):
        crashed = isinstance(verdict, Bury) and verdict.crashed
        out.items.append(SettleItem(flight.receipt, Release(after_s, crashed=crashed)))
    else:
        settle_final(out, flight, verdict, final)


def end_broken(state: State, out: Out, now: Now, flight: Flight, final: Final) -> None:
    """End a run that was ended from here, by a limit or by request."""
    again = final.error == "TimeLimitExceeded" and flight.task.acks_on_timeout is False
    if again and not flight.acked:
        out.items.append(SettleItem(flight.receipt, BACK))
    else:
        conclude(state, out, now, flight, ACK, final)


def take_back(state: State, out: Out, now: Now, flights: Sequence[Flight]) -> None:
    """These jobs have not begun and are in no child any more: find them another place, in their old order."""
    policy = state.policy
    for flight in reversed(flights):
        flight.recalled = False
        if flight.lost:
            continue
        if flight.cancel is not None and not flight.concluding:
            revoke(state, out, now, flight)
        elif state.stopping and not flight.acked and not flight.concluding:
            hand_back(out, flight)
        else:
            if flight.concluding:
                pass  # its time counts from when it became necessary
            elif state.pinned or flight.acked:
                flight.release_at = inf
            elif flight.release_at == inf:
                flight.release_at = now.monotonic + policy.hand_back_s - policy.overrun_s
            state.line_of(flight).appendleft(flight)
