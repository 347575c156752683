"""How runs end that the node ends, and ends that others depend on."""

from __future__ import annotations

import pytest

from celeriac.core.engine.events import (
    Cancelled,
    Confirmed,
    Delivered,
    Died,
    Finished,
    LeaseLost,
    Resize,
    Returned,
    Stop,
)
from celeriac.core.engine.state import CONCLUDE_TRIES_MAX
from celeriac.model.message import Ack, Bury, Receipt, Release
from celeriac.model.states import FAILURE, RETRY, REVOKED, SUCCESS

KILLED = "signal 9 (SIGKILL)"


@pytest.fixture
def node(desk):
    """One child with two slots."""
    made = desk(slots=2)
    made.up(1, slots=2)
    return made


def over_its_limit(node, task="limited"):
    """A job that was told to end because it ran too long."""
    (job,) = node.deliver(task)
    node.started(job)
    node.tick(2.0)
    return job


# ---------------------------------------------------------------- ended from here


@pytest.mark.parametrize("state", [FAILURE, RETRY])
def test_a_run_that_was_ended_for_its_limit_is_concluded_as_such(node, state):
    job = over_its_limit(node)
    node.finished(job, state=state)
    assert not node.items(), "what the body made of it is not what became of it"
    (conclusion,) = node.jobs(1)
    assert (conclusion.conclude.error, conclusion.conclude.args) == ("TimeLimitExceeded", (2.0,))


def test_a_run_that_was_terminated_is_revoked(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Cancelled(("id1",), terminate=True))
    node.finished(job, state=FAILURE)
    (conclusion,) = node.jobs(1)
    assert conclusion.conclude.state == REVOKED


def test_a_run_that_is_through_when_it_is_told_to_end_is_a_success(node):
    node.finished(over_its_limit(node), state=SUCCESS)
    assert node.item().verdict == Ack()
    assert node.item().records[0].state == SUCCESS


def test_a_task_whose_timeouts_are_not_acknowledged_goes_back_from_a_shared_child_too(node):
    (job,) = node.deliver("back")
    node.started(job)
    node.tick(1.0)
    node.finished(job, state=FAILURE)
    assert node.item().verdict == Release()


def test_a_run_that_only_heard_of_its_soft_limit_ends_as_it_says(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(1.0)
    node.finished(job, state=FAILURE)
    assert node.item().records[0].state == FAILURE


def test_a_run_whose_lease_was_lost_is_settled_by_nobody(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(LeaseLost((Receipt(1, 1),)))
    node.finished(job, state=FAILURE)
    assert not node.items()
    assert not node.jobs()


# ---------------------------------------------------------------- linked


@pytest.mark.parametrize(
    ("task", "options", "error"),
    [
        ("late", {"cancelled": True}, "TaskRevokedError"),
        ("late", {"expires_at": 0.0}, "TaskRevokedError"),
        ("late", {"crashes": 3}, "WorkerLostError"),
    ],
)
def test_the_end_of_a_linked_message_that_never_ran_is_concluded_in_a_child(node, task, options, error):
    (conclusion,) = node.deliver(task, linked=True, **options)
    assert conclusion.conclude.error == error
    assert not node.items()
    node.finished(conclusion, state=conclusion.conclude.state)
    assert node.item().records


def test_an_unknown_linked_task_that_fails_is_concluded_in_a_child(desk):
    node = desk(task_unknown="fail")
    node.up()
    (conclusion,) = node.deliver("who", linked=True)
    assert conclusion.conclude.error == "NotRegistered"


def test_a_linked_job_that_is_cancelled_before_it_begins_is_concluded_in_a_child(desk):
    node = desk(prefetch_multiplier=2)
    node.up()
    first, second = node.deliver("late", "late", linked=True)
    node.step(Cancelled(("id2",)))
    node.step(Returned(1, (second.seq,)))
    assert not node.items()
    (conclusion,) = node.jobs()
    assert conclusion.conclude.state == REVOKED
    assert first.conclude is None


def test_what_is_not_linked_ends_without_a_child(node):
    assert not node.deliver("late", cancelled=True)
    assert node.item().verdict == Ack()


def test_a_linked_end_waits_for_a_child_as_long_as_it_takes(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2, linked=True)
    node.step(Died(1, (job.seq,), KILLED))
    node.tick(60.0)
    assert not node.items()
    node.up(2)
    assert node.jobs(2)[0].conclude.error == "WorkerLostError"


def test_a_linked_end_that_the_next_delivery_finds_again_does_not_wait_here_for_long(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late")
    node.started(job)
    node.deliver("late", cancelled=True, linked=True)
    node.tick(5.1)
    assert node.item().verdict == Release()


def test_at_the_end_a_linked_end_goes_back_with_its_crash(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2, linked=True)
    node.step(Stop(10.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().verdict == Release(crashed=True)
    assert node.item().final is None


def test_at_the_end_a_linked_end_of_what_is_acknowledged_is_bare(desk):
    node = desk()
    node.up()
    node.deliver("once", linked=True)
    node.step(Confirmed((Receipt(1, 1),), ()))
    (job,) = node.jobs()
    node.started(job)
    node.step(Stop(0.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().final.error == "WorkerLostError"


def test_without_any_child_to_come_a_linked_end_goes_back(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2, linked=True)
    node.step(Resize(0))
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().verdict == Release(crashed=True)


def test_a_linked_end_that_kills_its_children_is_bare_after_some_tries(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2, linked=True)
    node.step(Died(1, (job.seq,), KILLED))
    settled = []
    for child in range(2, 2 + CONCLUDE_TRIES_MAX):
        node.up(child)
        (conclusion,) = node.jobs(child)
        node.step(Died(child, (conclusion.seq,), KILLED))
        settled += node.items()
        if child + 1 not in node.state.children:
            node.tick_when_due()
    (item,) = settled
    assert isinstance(item.verdict, Bury)
    assert item.final.error == "WorkerLostError"


def test_a_linked_message_that_comes_while_it_stops_goes_back(node):
    node.step(Stop(None))
    node.step(Delivered((node.arrival("late", linked=True, cancelled=True),)))
    assert node.item().verdict == Release()


def test_a_finished_conclusion_is_settled_by_the_verdict_that_was_reached_before(node):
    (job,) = node.deliver("late", crashes=3, linked=True)
    node.step(Finished(1, job.seq, FAILURE, Ack(), 0.0))
    assert isinstance(node.item().verdict, Bury)
