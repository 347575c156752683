"""Children: crashes, replacements, resizing, and the way to the end."""

from __future__ import annotations

import pytest

from celeriac.core.engine.children import respawn_delay_s
from celeriac.core.engine.effects import Exit, Final, Interrupt, Kill, Note, Recall, Retire, Settle, Spawn, Take
from celeriac.core.engine.events import (
    Cancelled,
    ChildUp,
    Confirmed,
    Delivered,
    Died,
    Finished,
    Resize,
    Returned,
    Started,
    Stop,
)
from celeriac.core.engine.state import CONCLUDE_TRIES_MAX
from celeriac.core.engine.step import wake_at
from celeriac.model.message import Ack, Bury, Receipt, Release
from celeriac.model.states import FAILURE

KILLED = "signal 9 (SIGKILL)"


@pytest.fixture
def node(desk):
    made = desk(children=2)
    made.up(1, 2)
    return made


def pinned(desk, **policy):
    """A node whose one child holds a running job and three that wait."""
    node = desk(prefetch_multiplier=4, **policy)
    node.up()
    return node, node.deliver(*["late"] * 4)


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize(("crashes", "delay_s"), [(0, 0.0), (1, 1.0)])
def test_a_crash_is_counted_and_retried_after_a_pause(node, crashes, delay_s):
    (job,) = node.deliver("late", crashes=crashes)
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().verdict == Release(delay_s, crashed=True)
    assert [note.action for note in node.of(Note)] == ["child_died"]


def test_the_third_crash_is_concluded_in_another_child_and_buried(node):
    (job,) = node.deliver("late", crashes=2)
    node.step(Died(1, (job.seq,), KILLED))
    (conclusion,) = node.jobs(2)
    assert conclusion.conclude.error == "WorkerLostError"
    assert KILLED in conclusion.conclude.args[0]
    node.finished(conclusion, child=2, state=FAILURE)
    assert isinstance(node.item().verdict, Bury)


def test_a_child_that_dies_over_a_failure_path_settles_it_bare(node):
    (job,) = node.deliver("late", crashes=2)
    node.step(Died(1, (job.seq,), KILLED))
    (conclusion,) = node.jobs(2)
    node.step(Died(2, (conclusion.seq,), KILLED))
    assert isinstance(node.item().verdict, Bury)
    assert node.item().final == conclusion.conclude
    assert node.item().head.id == "id1"


@pytest.mark.parametrize("slots", [1, 4])
def test_a_linked_failure_path_that_overruns_its_own_limit_is_given_up_after_some_tries(desk, slots):
    node = desk(children=1, slots=slots)
    node.up(1, slots=slots)
    child, tries = 1, 0
    (job,) = node.deliver("limited", linked=True)
    while not node.items():
        tries += 1
        assert tries <= 1 + CONCLUDE_TRIES_MAX, "for ever"
        node.started(job, child)
        node.tick(2.0)
        assert (job.seq, "hard") in [(effect.seq, effect.how) for effect in node.of(Interrupt)]
        node.step(Died(child, (job.seq,), KILLED))
        if not node.items():
            (child,) = [spawn.child for spawn in node.of(Spawn)]
            (job,) = node.up(child, slots=slots) and node.jobs(child)
    assert tries == 1 + CONCLUDE_TRIES_MAX
    assert node.item().verdict == Ack()
    assert node.item().final == Final(FAILURE, "TimeLimitExceeded", (2.0,))
    assert "failure_path_given_up" in [note.action for note in node.of(Note)]


def test_a_failure_path_that_shared_its_process_with_what_was_ended_is_tried_anew(desk):
    node = desk(children=1, slots=2)
    node.up(1, slots=2)
    child = 1
    (path,) = node.deliver("final", linked=True)
    node.step(Died(1, (path.seq,), KILLED))
    for _ in range(2 * CONCLUDE_TRIES_MAX):
        (child,) = [spawn.child for spawn in node.of(Spawn)]
        node.up(child, slots=2)
        jobs = node.jobs(child)
        (path,) = [job for job in jobs if job.arrival.head.id == "id1"]
        node.step(Started(child, path.seq, node.t))
        for done in jobs:
            if done is not path:
                node.finished(done, child, state=FAILURE)
        (other,) = node.deliver("limited")
        node.started(other, child)
        node.tick(2.0)
        node.step(Died(child, (path.seq, other.seq), KILLED))
        assert not [item for item in node.items() if item.head.id == "id1"]


def test_a_failure_path_that_finds_no_child_in_time_is_settled_bare(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2)
    node.step(Died(1, (job.seq,), KILLED))
    node.tick(4.9)
    assert not node.items()
    node.tick(0.2)
    assert isinstance(node.item().verdict, Bury)
    assert node.item().final.error == "WorkerLostError"


def test_what_the_dead_child_had_not_begun_is_not_penalised(desk):
    node, jobs = pinned(desk, children=2)
    node.up(2)
    node.step(Died(1, (jobs[0].seq,), KILLED))
    assert [item.receipt for item in node.items()] == [Receipt(1, 1)]
    assert [job.seq for job in node.jobs(2)] == [job.seq for job in jobs[1:]]


def test_a_task_that_asks_for_it_fails_at_its_first_crash(node):
    (job,) = node.deliver("final")
    node.step(Died(1, (job.seq,), KILLED))
    (conclusion,) = node.jobs(2)
    node.finished(conclusion, child=2, state=FAILURE)
    assert node.item().verdict == Ack()


def test_an_at_most_once_task_fails_with_its_child_and_is_never_run_again(node):
    node.deliver("once")
    node.step(Confirmed((Receipt(1, 1),), ()))
    (job,) = node.jobs()
    node.step(Died(1, (job.seq,), KILLED))
    (conclusion,) = node.jobs(2)
    assert conclusion.conclude.error == "WorkerLostError"
    node.finished(conclusion, child=2, state=FAILURE)
    assert node.item().receipt is None


def test_an_at_most_once_task_that_had_not_begun_runs_elsewhere(node):
    node.deliver("once")
    node.step(Confirmed((Receipt(1, 1),), ()))
    (job,) = node.jobs()
    node.step(Died(1, (), KILLED))
    assert [again.seq for again in node.jobs(2)] == [job.seq]


def test_a_child_that_dies_before_the_confirmation_leaves_the_task_to_another(node):
    node.deliver("once")
    node.step(Died(1, (), KILLED))
    assert not node.items()
    node.step(Confirmed((Receipt(1, 1),), ()))
    assert len(node.jobs(2)) == 1


# ---------------------------------------------------------------- replacements


def test_the_pause_before_a_new_start_grows_to_its_bound():
    assert [respawn_delay_s(failures, 10.0) for failures in range(9)] == [0, 0, 0.5, 1, 2, 4, 8, 10, 10]
    assert respawn_delay_s(10**6, 10.0) == 10.0


def test_a_child_that_keeps_dying_at_its_start_is_started_with_growing_pauses(desk):
    node = desk()
    child = 1
    pauses = []
    for _ in range(5):
        died_at = node.t
        node.step(Died(child, (), "could not import proj.tasks"))
        assert node.of(Note)[0].action == "child_start_failed"
        while not node.of(Spawn):
            node.tick_when_due()
        pauses.append(node.t - died_at)
        (spawn,) = node.of(Spawn)
        child = spawn.child
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0]


def test_a_child_that_has_finished_something_is_replaced_at_once(node):
    (job,) = node.deliver("late")
    node.step(Finished(1, job.seq, "SUCCESS", Ack(), 0.0), Died(1, (), KILLED))
    assert node.of(Spawn)


# ---------------------------------------------------------------- resizing


def test_more_children_are_started_at_once(node):
    node.step(Resize(4))
    assert len(node.of(Spawn)) == 2


def test_idle_children_go_first_and_the_others_when_they_have_nothing_left(desk):
    node = desk(children=3)
    node.up(1, 2, 3)
    one, two = node.deliver("late", "late")
    node.started(one)
    node.step(Started(2, two.seq, node.t))
    node.step(Resize(1))
    assert [retire.child for retire in node.of(Retire)] == [3]
    left = [child.id for child in node.state.children.values() if child.leaving and not child.retired]
    assert len(left) == 1
    job = one if left == [1] else two
    node.finished(job, child=left[0])
    assert [retire.child for retire in node.of(Retire)] == left
    node.step(Died(left[0], (), "exit code 0"))
    assert not node.of(Spawn)


def test_children_that_are_starting_or_awaited_go_before_all_others(desk):
    node = desk(children=2)
    node.up(1)
    node.step(Resize(1))
    assert [kill.child for kill in node.of(Kill)] == [2]
    node.step(Died(2, (), KILLED))
    node.step(Died(1, (), KILLED))
    node.step(Died(3, (), KILLED))
    node.step(Resize(0))
    node.tick(60)
    assert not node.of(Spawn)


def test_what_a_leaving_child_has_not_begun_is_asked_back(desk):
    node, jobs = pinned(desk)
    node.step(Started(1, jobs[0].seq, node.t))
    node.step(Resize(0))
    (recall,) = node.of(Recall)
    assert recall.seqs == tuple(job.seq for job in jobs[1:])


def test_with_no_child_left_nothing_is_kept(desk):
    node, jobs = pinned(desk)
    node.step(Resize(0))
    node.step(Returned(1, tuple(job.seq for job in jobs)))
    node.step(Died(1, (), "exit code 0"))
    assert len(node.items()) == 4
    assert {item.verdict for item in node.items()} == {Release()}


# ---------------------------------------------------------------- the end


def test_a_stop_withdraws_the_hunger_and_asks_back_what_has_not_begun(desk):
    node, jobs = pinned(desk, children=2)
    node.up(2)
    assert node.asked()
    node.step(Started(1, jobs[0].seq, node.t), Started(1, jobs[1].seq, node.t), Stop(10.0))
    assert node.of(Recall)[0].seqs == (jobs[2].seq, jobs[3].seq)
    assert node.asked() == 0
    node.step(Returned(1, (jobs[2].seq, jobs[3].seq)))
    assert [item.verdict for item in node.items()] == [Release(), Release()]


def test_what_comes_while_it_stops_goes_straight_back(node):
    node.step(Stop(10.0))
    node.step(Delivered((node.arrival(), node.arrival("once"))))
    assert [item.verdict for item in node.items()] == [Release(), Release()]
    assert not node.jobs()


def test_what_waited_here_goes_back_at_once(desk):
    node = desk()
    node.up()
    node.deliver("late", "late")
    node.step(Stop(None))
    assert [item.receipt for item in node.items()] == [Receipt(2, 1)]


def test_an_idle_node_retires_its_children_and_exits_with_the_code(node):
    node.step(Stop(10.0, code=3))
    assert {retire.child for retire in node.of(Retire)} == {1, 2}
    node.step(Died(1, (), "exit code 0"))
    assert not node.of(Exit)
    node.step(Died(2, (), "exit code 0"))
    assert node.of(Exit) == [Exit(3)]
    assert wake_at(node.state, node.now()) is None


def test_what_runs_may_finish_within_the_grace(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Stop(10.0))
    node.tick(9.9)
    assert not node.of(Kill)
    node.finished(job)
    assert node.item().verdict == Ack()
    assert len(node.of(Retire)) == 2


def test_what_runs_when_the_grace_is_over_goes_back_un_penalised(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Stop(10.0))
    node.tick_when_due()
    while node.t < 1010.0:
        node.tick_when_due()
    assert [kill.child for kill in node.of(Kill)] == [1]
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().verdict == Release()
    node.step(Died(2, (), "exit code 0"))
    assert node.of(Exit)


def test_a_second_stop_shortens_the_grace_and_never_lengthens_it(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Stop(10.0))
    node.step(Stop(20.0))
    node.tick(10.0)
    assert node.of(Kill)


def test_a_second_stop_without_grace_kills_at_once(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Stop(None))
    node.step(Stop(0.0))
    assert node.of(Kill)


@pytest.mark.parametrize(
    ("task", "level", "action"), [("late", "info", "child_ended"), ("once", "error", "child_died")]
)
def test_a_child_that_is_killed_at_the_end_is_no_trouble_unless_its_job_fails_by_that(node, task, level, action):
    node.deliver(task)
    if task == "once":
        node.step(Confirmed((Receipt(1, 1),), ()))
    (job,) = node.jobs()
    node.started(job)
    node.step(Stop(0.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert [(note.level, note.action) for note in node.of(Note)] == [(level, action)]
    assert node.of(Note)[0].fields["running"] == ["id1"]


def test_a_child_that_dies_of_the_end_of_its_job_is_no_trouble_of_its_own(node):
    (job,) = node.deliver("limited")
    node.started(job)
    node.tick(2.0)
    assert [note.action for note in node.of(Note)] == ["time_limit_exceeded"]
    node.step(Died(1, (job.seq,), KILLED))
    assert [(note.level, note.action) for note in node.of(Note)] == [("info", "child_ended")]


def test_an_idle_child_that_dies_by_itself_is_trouble(node):
    node.step(Died(1, (), KILLED))
    assert [(note.level, note.action) for note in node.of(Note)] == [("error", "child_died")]


def test_children_that_are_starting_are_killed(desk):
    node = desk()
    node.step(Stop(None))
    assert node.of(Kill)
    node.step(ChildUp(1, 1), Died(1, (), KILLED))
    assert node.of(Exit)
    assert not node.of(Spawn)


def test_no_child_is_replaced_while_it_stops(node):
    (job,) = node.deliver("late")
    node.step(Stop(10.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert not node.of(Spawn)
    assert node.item().verdict == Release(0.0, crashed=True)


def test_an_at_most_once_task_that_is_cut_off_by_the_end_fails(node):
    node.deliver("once")
    node.step(Confirmed((Receipt(1, 1),), ()))
    (job,) = node.jobs()
    node.started(job)
    node.step(Stop(0.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert node.item().receipt is None
    assert node.item().final.error == "WorkerLostError"


def test_an_at_most_once_task_that_was_acknowledged_but_never_began_is_published_anew(node):
    node.deliver("once")
    node.step(Stop(0.0))
    assert not node.of(Exit), "its acknowledgement may be committed already"
    node.step(Confirmed((Receipt(1, 1),), ()))
    assert node.item().receipt is None
    assert [message.id for message in node.item().follow_ups] == ["id1"]


def test_an_acknowledgement_that_is_never_confirmed_does_not_hold_up_the_end(node):
    node.deliver("once")
    node.step(Stop(0.0))
    node.step(Died(1, (), KILLED))
    node.step(Died(2, (), "exit code 0"))
    assert not node.of(Exit)
    node.tick(1.0)
    assert node.of(Exit)
    assert node.step(Confirmed((Receipt(1, 1),), ())) == []


def test_a_failure_path_runs_within_the_grace_and_is_settled_bare_after_it(node):
    (job,) = node.deliver("late", crashes=2)
    node.step(Stop(10.0))
    node.step(Died(1, (job.seq,), KILLED))
    (conclusion,) = node.jobs(2)
    node.step(Stop(0.0))
    node.step(Died(2, (conclusion.seq,), KILLED))
    assert isinstance(node.item().verdict, Bury)
    assert node.item().final == conclusion.conclude
    assert node.of(Exit)


def test_a_child_that_does_not_retire_is_killed(node):
    node.step(Stop(None))
    node.tick(5.0)
    assert len(node.of(Kill)) == 2


def test_after_the_exit_late_deliveries_go_back(node):
    node.step(Stop(0.0))
    node.step(Died(1, (), KILLED), Died(2, (), KILLED))
    assert node.of(Exit)
    node.step(Delivered((node.arrival(),)), Cancelled(("id1",)))
    assert node.item().verdict == Release()
    assert not node.of(Take)
    assert len(node.of(Settle)) == 1


def test_the_settlements_of_the_last_step_come_before_the_exit(node):
    (job,) = node.deliver("late")
    node.started(job)
    node.step(Stop(0.0))
    node.step(Died(2, (), KILLED))
    said = node.step(Died(1, (job.seq,), KILLED))
    assert [type(effect) for effect in said][-2:] == [Settle, Exit]


def test_a_failure_path_waits_for_a_child_within_the_grace(desk):
    node = desk()
    node.up()
    (job,) = node.deliver("late", crashes=2)
    node.step(Stop(10.0))
    node.step(Died(1, (job.seq,), KILLED))
    assert isinstance(node.item().verdict, Bury), "no child is left and none will come"
    assert node.of(Exit)


def test_what_is_acknowledged_and_waits_for_a_child_is_published_anew_at_the_end(desk):
    node = desk()
    node.up()
    node.deliver("once")
    node.step(Died(1, (), KILLED))
    node.step(Confirmed((Receipt(1, 1),), ()))
    assert not node.items()
    node.step(Stop(10.0))
    assert [message.id for message in node.item().follow_ups] == ["id1"]
    node.step(Died(2, (), KILLED))
    assert node.of(Exit)


def test_a_child_is_up_only_once(node):
    assert not node.step(ChildUp(1, 5))
    assert node.state.children[1].slots == 1


def test_a_child_that_comes_up_after_it_was_sent_away_does_no_work(desk):
    node = desk()
    node.step(Resize(0))
    node.step(ChildUp(1, 1))
    assert node.asked() is None
    assert not node.of(Retire), "it is being killed already"


def test_a_failure_path_that_waits_at_the_end_is_kept_within_the_grace_and_settled_after_it(desk):
    node = desk(children=2)
    node.up(1, 2)
    one, two = node.deliver("late", "late", crashes=2)
    node.step(Started(2, two.seq, node.t))
    node.step(Stop(1.0))
    node.step(Died(1, (one.seq,), KILLED))
    assert not node.items()
    node.tick(1.0)
    assert [item.final.error for item in node.items()] == ["WorkerLostError"]


def test_a_child_that_dies_at_its_start_while_it_stops_is_no_trouble(desk):
    node = desk()
    node.step(Stop(None), Died(1, (), "exit code 1"))
    assert [note.level for note in node.of(Note)] == ["debug"]


def test_what_is_handed_back_late_does_not_take_along_what_came_later(desk):
    node = desk()
    node.up()
    node.deliver("late", "late")
    node.tick(0.02)
    node.step(Delivered((node.arrival(),)))
    node.tick(0.011)
    assert [item.receipt for item in node.items()] == [Receipt(2, 1)]
    node.tick(0.02)
    assert [item.receipt for item in node.items()] == [Receipt(3, 1)]
