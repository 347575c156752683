"""Time limits, cancellation, lost leases, and what comes back."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Final, Interrupt, Kill, Note, Recall, Run, Settle, Spawn
from celeriac.core.engine.events import Cancelled, Confirmed, Died, Finished, LeaseLost, Returned, Started
from celeriac.core.engine.step import wake_at
from celeriac.model.message import Ack, Receipt, Release
from celeriac.model.states import FAILURE, REVOKED


@pytest.fixture
def node(desk):
    made = desk(children=2)
    made.up(1, 2)
    return made


def interrupts(node):
    return [(effect.seq, effect.how) for effect in node.of(Interrupt)]


# ---------------------------------------------------------------- limits


def test_the_soft_limit_interrupts_once(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(0.999)
    assert not interrupts(node)
    node.tick(0.001)
    assert interrupts(node) == [(job.seq, "soft")]
    node.tick(0.5)
    assert not interrupts(node)


def test_limits_count_from_the_moment_the_job_was_seen_in_its_body(node):
    (job,) = node.deliver("limited")
    node.step(Started(1, job.seq, node.t - 0.4))
    node.tick(0.6)
    assert interrupts(node) == [(job.seq, "soft")]


def test_a_job_that_was_never_seen_to_begin_has_no_limit_but_is_looked_for(node):
    node.deliver("limited")
    for _ in range(10):
        node.tick_when_due()
        assert not interrupts(node)
    assert node.t == pytest.approx(1000.5), "twenty looks a second"


def test_the_hard_limit_ends_the_job_and_its_failure_path_runs_elsewhere(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(2.0)
    assert (job.seq, "hard") in interrupts(node)
    assert [note.action for note in node.of(Note)] == ["time_limit_exceeded"]
    node.step(Died(1, (job.seq,), "signal 9 (SIGKILL)"))
    (conclusion,) = node.jobs(2)
    assert conclusion.conclude == Final(FAILURE, "TimeLimitExceeded", (2.0,))
    node.finished(conclusion, child=2, state=FAILURE)
    assert node.item().verdict == Ack()
    assert node.item().receipt == Receipt(1, 1)


def test_a_job_that_finishes_before_it_is_killed_wins(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(2.0)
    node.finished(job)
    assert node.item().records[0].state == "SUCCESS"
    node.tick(2.0)
    assert not node.of(Kill)


def test_a_child_that_does_not_obey_a_hard_interrupt_is_killed(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(2.0)
    node.tick(0.99)
    assert not node.of(Kill)
    node.tick(0.01)
    assert [kill.child for kill in node.of(Kill)] == [1]


@pytest.mark.parametrize(
    ("head", "expected"),
    [({"time_limit_s": 0.5}, 0.5), ({"time_limit_s": 5.0}, 5.0), ({}, 2.0)],
)
def test_the_limit_of_the_message_goes_before_that_of_the_task(node, head, expected):
    (job,) = node.deliver("limited", **head)
    node.started(job)
    node.tick(expected - 0.001)
    assert "hard" not in dict(interrupts(node)).values()
    node.tick(0.001)
    assert interrupts(node)[-1] == (job.seq, "hard")


def test_the_limit_of_the_worker_is_the_last_to_be_asked(desk):
    node = desk(time_limit_s=0.7)
    node.up()
    (job,) = node.deliver("late")
    node.started(job)
    node.tick(0.7)
    assert interrupts(node) == [(job.seq, "hard")]


def test_a_task_whose_timeouts_are_not_acknowledged_goes_back(node):
    (job,) = node.deliver("back")
    node.started(job)
    node.tick(1.0)
    node.step(Died(1, (job.seq,), "signal 9 (SIGKILL)"))
    assert node.item().verdict == Release()
    assert node.item().final is None


def test_neighbours_of_a_job_that_does_not_end_may_finish_while_a_replacement_starts(desk):
    node = desk(slots=3)
    node.up(slots=3)
    bad, good, slow = node.deliver("limited", "late", "late")
    for job in (bad, good, slow):
        node.started(job)
    node.tick(2.0)
    node.tick(1.0)
    assert node.of(Spawn)
    assert not node.of(Kill)
    node.finished(good)
    assert node.item().verdict == Ack()
    node.tick(4.0)
    assert not node.of(Kill)
    node.tick(1.0)
    assert [kill.child for kill in node.of(Kill)] == [1]
    node.up(2, slots=3)
    node.step(Died(1, (bad.seq, slow.seq), "signal 9 (SIGKILL)"))
    assert node.item().verdict == Release(), "an innocent neighbour is not penalised"
    assert [job.conclude.error for job in node.jobs(2)] == ["TimeLimitExceeded"]
    assert not node.of(Spawn)


def test_a_condemned_child_is_killed_as_soon_as_its_neighbours_are_through(desk):
    node = desk(slots=2)
    node.up(slots=2)
    bad, good = node.deliver("limited", "late")
    node.started(bad)
    node.started(good)
    node.tick(2.0)
    node.tick(1.0)
    node.finished(good)
    assert [kill.child for kill in node.of(Kill)] == [1]


def test_what_a_condemned_child_has_not_begun_is_asked_back(desk):
    node = desk(slots=2, prefetch_multiplier=2)
    node.up(slots=2)
    bad, good, waiting = node.deliver("limited", "late", "late")
    node.started(bad)
    node.started(good)
    node.tick(2.0)
    node.step(Returned(1, ()))
    node.tick(1.0)
    asked = [seq for recall in node.of(Recall) for seq in recall.seqs]
    assert asked in ([waiting.seq], [])


# ---------------------------------------------------------------- cancellation


def test_what_waits_here_is_revoked_at_once(desk):
    node = desk()
    node.up()
    node.deliver("late", "late")
    node.step(Cancelled(("id2",)))
    assert node.item().receipt == Receipt(2, 1)
    assert node.item().final == Final(REVOKED, "TaskRevokedError", ("revoked",))


def test_what_a_child_has_not_begun_is_recalled_and_revoked(node):
    (job,) = node.deliver("late")
    node.step(Cancelled(("id1",)))
    assert node.of(Recall)[0].seqs == (job.seq,)
    node.step(Returned(1, (job.seq,)))
    assert node.item().final.state == REVOKED
    assert not node.jobs()


def test_a_running_task_goes_on_unless_it_is_to_be_terminated(node):
    (job,) = node.deliver("late")
    node.started(job)
    assert not node.step(Cancelled(("id1",)))
    node.finished(job)
    assert node.item().records[0].state == "SUCCESS"


def test_a_running_task_is_terminated_by_the_given_signal_and_revoked_when_its_child_is_gone(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Cancelled(("id1",), terminate=True, signal="SIGKILL"))
    (interrupt,) = node.of(Interrupt)
    assert (interrupt.how, interrupt.signal) == ("terminate", "SIGKILL")
    node.step(Cancelled(("id1",), terminate=True))
    assert not node.of(Interrupt), "once is enough"
    node.step(Died(1, (job.seq,), "signal 9 (SIGKILL)"))
    (conclusion,) = node.jobs(2)
    assert conclusion.conclude == Final(REVOKED, "TaskRevokedError", ("terminated",))
    node.finished(conclusion, child=2, state=REVOKED)
    assert node.item().verdict == Ack()


def test_a_task_that_turns_out_to_run_after_all_is_terminated(node):
    (job,) = node.deliver("late")
    node.step(Cancelled(("id1",), terminate=True))
    assert node.of(Recall)
    node.step(Returned(1, ()))
    assert interrupts(node) == [(job.seq, "terminate")]


def test_a_terminated_job_in_a_shared_process_costs_the_process_if_it_does_not_obey(desk):
    node = desk(slots=4)
    node.up(slots=4)
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Cancelled(("id1",), terminate=True))
    node.tick(1.0)
    assert node.of(Kill)


# ---------------------------------------------------------------- leases


def test_what_waits_here_and_is_no_longer_ours_is_forgotten(desk):
    node = desk()
    node.up()
    node.deliver("late", "late")
    node.step(LeaseLost((Receipt(2, 1),)))
    node.tick(1.0)
    assert not node.items()


def test_what_has_not_begun_and_is_no_longer_ours_is_recalled_and_forgotten(node):
    (job,) = node.deliver("late")
    node.step(LeaseLost((Receipt(1, 1),)))
    assert node.of(Recall)
    node.step(Returned(1, (job.seq,)))
    assert not node.items()
    assert node.state.idle()


def test_what_runs_and_is_no_longer_ours_is_ended_and_its_outcome_dropped(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(LeaseLost((Receipt(1, 1),)))
    assert interrupts(node) == [(job.seq, "hard")]
    node.finished(job)
    assert not node.items()


def test_what_died_and_was_no_longer_ours_is_not_counted(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(LeaseLost((Receipt(1, 1),)))
    node.step(Died(1, (job.seq,), "signal 9 (SIGKILL)"))
    assert not node.of(Settle)


def test_a_job_that_is_seen_to_begin_after_its_lease_was_lost_is_ended(node):
    (job,) = node.deliver("late")
    node.step(LeaseLost((Receipt(1, 1),)))
    node.started(job)
    assert interrupts(node) == [(job.seq, "hard")]


# ---------------------------------------------------------------- late and unknown


def test_events_of_children_and_jobs_that_are_gone_change_nothing(node):
    for event in (
        Finished(9, 9, "SUCCESS", Ack(), 0.0),
        Finished(1, 9, "SUCCESS", Ack(), 0.0),
        Started(9, 9, node.t),
        Returned(9, (9,)),
        Returned(1, (9,)),
        Died(9, (9,), "exit code 0"),
        Confirmed((), ()),
        LeaseLost((Receipt(9, 9),)),
        Cancelled(("nobody",), terminate=True),
    ):
        assert not node.step(event)


def test_a_retiring_child_gets_nothing_new_and_what_it_returns_runs_elsewhere(desk):
    node = desk(children=2)
    node.up(1)
    (first,) = node.deliver("late")
    node.t += 0.001
    node.finished(first)
    one, two = node.deliver("late", "late")
    node.finished(one, retiring=True)
    node.up(2)
    node.step(Returned(1, (two.seq,)))
    assert [(run.child, run.jobs[0].seq) for run in node.of(Run)] == [(2, two.seq)]
    node.step(Died(1, (), "exit code 0"))
    assert node.of(Spawn)
    assert not node.items()


def test_a_retiring_child_that_does_not_go_is_killed(node):
    (job,) = node.deliver("late")
    node.finished(job, retiring=True)
    while node.t < 1004.9:
        assert not node.of(Kill)
        node.tick(0.1)
    node.tick(0.2)
    assert node.of(Kill)


def test_everything_is_at_rest_in_the_end(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.finished(job)
    node.tick(0.1)
    assert node.state.idle()
    assert wake_at(node.state, node.now()) is None


def test_alarms_of_jobs_that_are_over_do_not_pile_up(node):
    for _ in range(3000):
        (job,) = node.deliver("limited", time_limit_s=3600.0)
        node.started(job)
        node.finished(job)
    assert len(node.state.alarms) < 2100


def test_the_limits_of_running_jobs_survive_the_clearing_of_stale_alarms(node):
    (first,) = node.deliver("limited", time_limit_s=100.0, soft_time_limit_s=50.0)
    node.started(first)
    for _ in range(3000):
        (job,) = node.deliver("limited", time_limit_s=3600.0)
        node.step(Started(2, job.seq, node.t))
        node.finished(job, child=2)
    node.tick(50.0)
    assert interrupts(node) == [(first.seq, "soft")]


def test_a_child_gives_back_a_job_that_was_taken_for_begun(node):
    """The mark was read between two jobs: what comes back has not begun, whatever was seen."""
    (job,) = node.deliver("limited")
    node.started(job)
    node.step(Returned(1, (job.seq,)))
    assert [again.seq for again in node.jobs()] == [job.seq]
    node.tick(5.0)
    assert not node.of(Interrupt)


def test_a_hard_limit_after_a_lost_lease_adds_nothing(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.step(LeaseLost((Receipt(1, 1),)))
    node.tick(0.99)
    assert not node.said
    node.tick(1.01)
    assert not node.of(Interrupt)


def test_a_leaving_child_with_long_jobs_is_not_killed_for_being_late(desk):
    node = desk(slots=2)
    node.up(slots=2)
    short, long = node.deliver("late", "late")
    node.started(short)
    node.started(long)
    node.finished(short, retiring=True)
    assert node.of(Spawn), "its replacement does not wait for the long job"
    for _ in range(10):
        node.tick(5.0)
        assert not node.of(Kill)
    node.finished(long)
    node.step(Died(1, (), "exit code 0"))
    assert not node.of(Spawn)


def test_a_child_cannot_report_what_it_was_never_given(desk):
    node = desk()
    node.up()
    node.deliver("once")
    seq = next(iter(node.state.children[1].flights))
    for event in (Started(1, seq, node.t), Finished(1, seq, "SUCCESS", Ack(), 0.0), Returned(1, (seq,))):
        node.step(event)
        assert not node.items()
    node.step(Confirmed((Receipt(1, 1),), ()))
    assert [job.seq for job in node.jobs()] == [seq]


def test_a_terminated_job_that_ignores_the_signal_costs_its_process(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Cancelled(("id1",), terminate=True))
    node.tick(1.0)
    assert [kill.child for kill in node.of(Kill)] == [1]


def test_what_was_on_its_way_to_a_child_that_ends_is_asked_back(desk):
    node = desk(slots=2, prefetch_multiplier=2)
    node.up(slots=2)
    short, long, *waiting = node.deliver("late", "late", "late", "late")
    node.started(short)
    node.started(long)
    node.finished(short, retiring=True)
    assert [recall.seqs for recall in node.of(Recall)] == [tuple(job.seq for job in waiting)]
