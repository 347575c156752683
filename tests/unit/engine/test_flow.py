"""How much is reserved, where it runs, and how it is taken back."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Recall, Run, Settle, Take
from celeriac.core.engine.events import Cancelled, Confirmed, Delivered, Finished, LeaseLost, Returned
from celeriac.core.engine.step import wake_at
from celeriac.model.message import Ack, Receipt, Release
from celeriac.model.states import REVOKED


def work_off(node, jobs, each_s):
    """Let child 1 finish these jobs at this pace, in one batch."""
    node.t += each_s * len(jobs)
    node.step(*(Finished(1, job.seq, "SUCCESS", Ack(), each_s) for job in jobs))


def reserve(node, each_s, rounds=12):
    """Keep child 1 busy with jobs of this length until the reserve is learnt; what is in its hands then."""
    jobs = node.deliver("late")
    for _ in range(rounds):
        work_off(node, jobs, each_s)
        jobs = node.deliver(*["late"] * (node.asked() or 0))
    return jobs


def test_nothing_is_asked_for_before_a_child_is_up(desk):
    node = desk()
    assert node.asked() is None
    node.up()
    assert node.asked() == 1


def test_one_take_is_out_at_a_time(desk):
    node = desk(children=2)
    node.up(1, 2)
    assert node.asked() == 2
    node.tick()
    assert node.asked() is None


def test_a_take_is_replaced_when_more_slots_are_idle_than_it_asks_for(desk):
    node = desk(children=2)
    node.up(1)
    node.up(2)
    assert node.asked() == 2


def test_the_reserve_starts_with_one_job_per_slot_and_doubles_at_most(desk):
    node = desk()
    node.up()
    asked = []
    jobs = node.deliver("late")
    for _ in range(6):
        work_off(node, jobs, 0.0001)
        asked.append(node.asked())
        jobs = node.deliver(*["late"] * node.asked())
    assert asked == [2, 4, 8, 16, 32, 64]


def test_the_reserve_is_about_a_tenth_of_a_second_of_work(desk):
    node = desk()
    node.up()
    assert 8 <= len(reserve(node, 0.01)) <= 10


def test_the_reserve_is_bounded_by_depth_and_batch(desk):
    node = desk(depth_max=40, batch_max=16)
    node.up()
    for _ in range(12):
        reserve(node, 1e-6)
    assert node.state.children[1].depth == 40
    assert len(node.state.children[1].flights) <= 40


def test_a_pinned_prefetch_is_exact(desk):
    node = desk(prefetch_multiplier=4)
    node.up()
    assert node.asked() == 4
    node.deliver(*["late"] * 4)
    node.t += 10
    assert node.asked() is None


def test_an_unlimited_prefetch_takes_up_to_the_greatest_depth(desk):
    node = desk(prefetch_multiplier=0, depth_max=100)
    node.up()
    assert node.asked() == 100


def test_a_job_that_overruns_gets_those_behind_it_recalled_once(desk):
    node = desk()
    node.up()
    jobs = reserve(node, 0.01)
    node.tick(0.051)
    (recall,) = node.of(Recall)
    assert recall.seqs == tuple(job.seq for job in jobs[1:])
    node.tick(0.2)
    assert not node.of(Recall)


def test_hunger_is_withdrawn_while_every_child_is_blocked(desk):
    node = desk()
    node.up()
    jobs = reserve(node, 0.001)
    work_off(node, jobs[: len(jobs) * 2 // 3], 0.001)
    assert node.asked()
    node.tick(0.051)
    assert node.asked() == 0


def test_what_comes_back_goes_to_idle_slots_of_other_children_at_once(desk):
    node = desk(children=2)
    node.up(1)
    jobs = reserve(node, 0.01)
    node.tick(0.051)
    node.up(2)
    node.step(Returned(1, tuple(job.seq for job in jobs[1:])))
    assert [job.seq for job in node.jobs(2)] == [jobs[1].seq]


def test_what_finds_no_slot_goes_back_to_the_broker_un_penalised_in_time(desk):
    node = desk()
    node.up()
    jobs = reserve(node, 0.01)
    began_at = node.t
    node.tick(0.05)
    node.t += 0.002
    node.step(Returned(1, tuple(job.seq for job in jobs[1:])))
    assert not node.of(Settle)
    node.tick_when_due()
    assert node.t == pytest.approx(began_at + 0.08)
    assert {item.verdict for item in node.items()} == {Release()}
    assert len(node.items()) == len(jobs) - 1


def test_with_a_pinned_prefetch_what_comes_back_waits_here(desk):
    node = desk(prefetch_multiplier=4)
    node.up()
    jobs = node.deliver(*["late"] * 4)
    node.tick(0.05)
    node.step(Returned(1, tuple(job.seq for job in jobs[1:])))
    node.tick(10.0)
    assert not node.items()
    node.finished(jobs[0])
    assert [job.seq for job in node.jobs()] == [job.seq for job in jobs[1:]]


def test_surplus_deliveries_are_run_or_released(desk):
    node = desk()
    node.up()
    (first,) = node.deliver("late", "late", "late")
    node.tick(0.031)
    assert [item.verdict for item in node.items()] == [Release(), Release()]
    node.finished(first)
    assert node.item().verdict == Ack()


def test_a_settlement_comes_after_the_work_and_before_the_next_claim(desk):
    node = desk()
    node.up()
    (first,) = node.deliver("late", "late")
    assert [type(effect) for effect in node.finished(first)] == [Run, Settle]
    node.t += 0.001
    (second,) = node.state.children[1].flights.values()
    assert [type(effect) for effect in node.finished(second)] == [Settle, Take]


def test_a_reservation_that_waits_too_long_is_recalled_though_nobody_overruns(desk):
    node = desk()
    node.up()
    jobs = reserve(node, 0.001)
    assert len(jobs) > 20
    recalled = False
    for job in jobs[:10]:
        node.t += 0.04
        node.finished(job)
        recalled = recalled or bool(node.of(Recall))
        node.tick()
        recalled = recalled or bool(node.of(Recall))
    assert recalled


def test_an_idle_engine_needs_no_tick(desk):
    node = desk()
    node.up()
    assert wake_at(node.state, node.now()) is None
    (job,) = node.deliver("late")
    assert wake_at(node.state, node.now()) == pytest.approx(node.t + 0.05)
    node.finished(job)
    node.tick(0.05)
    assert wake_at(node.state, node.now()) is None


# ---------------------------------------------------------------- at most once


def test_an_at_most_once_task_runs_only_when_its_acknowledgement_is_confirmed(desk):
    node = desk()
    node.up()
    assert not node.deliver("once")
    item = node.item()
    assert item.confirm
    assert item.verdict == Ack()
    node.step(Confirmed((item.receipt,), ()))
    (job,) = node.jobs()
    node.finished(job)
    assert node.item().receipt is None
    assert node.item().records


def test_a_stale_acknowledgement_means_that_it_does_not_run(desk):
    node = desk()
    node.up()
    node.deliver("once")
    node.step(Confirmed((), (node.item().receipt,)))
    assert not node.jobs()
    assert node.state.idle()
    assert node.asked() == 1


def test_a_confirmation_that_is_not_awaited_changes_nothing(desk):
    node = desk()
    node.up()
    assert node.step(Confirmed((Receipt(7, 1),), (Receipt(8, 1),))) == []


def test_an_at_most_once_task_waits_for_an_empty_slot_and_nothing_overtakes_it(desk):
    node = desk()
    node.up()
    jobs = reserve(node, 0.01, rounds=3)
    node.deliver("once", "late")
    assert not node.items(), "no slot is idle: it is not acknowledged yet"
    work_off(node, jobs, 0.01)
    assert [item.confirm for item in node.items()] == [*[False] * len(jobs), True]
    assert not node.jobs()
    node.step(Confirmed((node.items()[-1].receipt,), ()))
    assert [job.arrival.delivery.message.task for job in node.jobs()] == ["once", "late"]


def test_an_at_most_once_task_that_finds_no_empty_slot_goes_back(desk):
    node = desk()
    node.up()
    reserve(node, 0.01, rounds=3)
    node.deliver("once")
    node.tick(0.129)
    assert not node.items()
    node.tick(0.002)
    assert [item.verdict for item in node.items()] == [Release()]


def test_where_all_tasks_promise_at_most_once_nothing_is_reserved(desk):
    node = desk(children=2)
    node.up(1, 2)
    for _ in range(40):
        node.deliver("once")
        receipt = node.item().receipt
        node.step(Confirmed((receipt,), ()))
        (job,) = node.jobs()
        child = next(child.id for child in node.state.children.values() if job.seq in child.flights)
        node.t += 0.0001
        node.finished(job, child=child)
    assert node.asked() == 2
    assert node.state.children[1].depth > 10


def test_at_most_once_tasks_are_forgotten_when_no_more_come(desk):
    node = desk()
    node.up()
    node.deliver("once")
    node.step(Confirmed((node.item().receipt,), ()))
    node.finished(node.jobs()[0])
    for _ in range(200):
        reserve(node, 0.0001, rounds=1)
    assert node.state.home.once_share == 0.0


def test_losing_the_lease_while_an_acknowledgement_is_under_way_says_nothing(desk):
    """A renewal does not find what was just acknowledged; only the confirmation tells."""
    node = desk()
    node.up()
    node.deliver("once")
    receipt = node.item().receipt
    node.step(LeaseLost((receipt,)))
    node.step(Confirmed((receipt,), ()))
    (job,) = node.jobs()
    node.step(LeaseLost((receipt,)))
    assert not node.said
    node.finished(job)
    assert node.item().records


def test_deliveries_of_a_batch_mix_promises(desk):
    node = desk(children=2)
    node.up(1, 2)
    node.step(Delivered((node.arrival("once"), node.arrival("late"))))
    assert len(node.jobs()) == 1
    assert node.item().confirm


def test_cancelled_while_its_acknowledgement_is_under_way_it_is_revoked(desk):
    node = desk()
    node.up()
    node.deliver("once")
    receipt = node.item().receipt
    node.step(Cancelled(("id1",)))
    node.step(Confirmed((receipt,), ()))
    assert not node.jobs()
    assert node.item().receipt is None
    assert node.item().final.state == REVOKED
