"""Jobs that wait for the results of others."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Interrupt, Kill, Note, Recall, Retire, Spawn
from celeriac.core.engine.events import Died, Resize, Resumes, Returned, Started, Stop, Waits
from celeriac.model.policy import PoolPolicy


@pytest.fixture
def node(desk):
    """One child with one slot."""
    made = desk()
    made.up()
    return made


@pytest.fixture
def shared(desk):
    """One child with two slots."""
    made = desk(slots=2)
    made.up(1, slots=2)
    return made


def stand_in(node, job):
    """Let this job of child 1 wait; the child that stands in for it, up."""
    node.step(Waits(1, job.seq))
    (spawn,) = node.of(Spawn)
    node.up(spawn.child)
    return spawn.child


# ---------------------------------------------------------------- where the child is the slot


def test_another_child_stands_in_for_one_whose_job_waits(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    assert node.asked() == 1
    node.deliver("late")
    assert len(node.jobs(other)) == 1


def test_what_stands_behind_a_job_that_waits_is_asked_back_at_once(desk):
    node = desk(prefetch_multiplier=3)
    node.up()
    parent, *behind = node.deliver("late", "late", "late")
    node.step(Waits(1, parent.seq))
    assert [recall.seqs for recall in node.of(Recall)] == [tuple(job.seq for job in behind)]
    node.up(2)
    node.step(Returned(1, tuple(job.seq for job in behind)))
    assert [job.seq for job in node.jobs(2)] == [job.seq for job in behind]
    node.step(Returned(1, ()))
    assert not node.jobs(1), "a child whose job waits is given nothing"


def test_when_the_job_goes_on_the_idle_child_is_spare_and_goes_after_a_while(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    node.step(Resumes(1, parent.seq))
    assert not node.of(Retire)
    assert not node.state.asked, "the only slot is taken"
    while not node.of(Retire):
        node.tick_when_due()
    assert [retire.child for retire in node.of(Retire)] == [other]
    node.step(Died(other, (), "exit code 0"))
    assert not node.of(Spawn)


def test_a_job_that_waits_again_and_again_needs_no_new_child_each_time(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    for _ in range(5):
        node.t += 3.0
        node.step(Resumes(1, parent.seq))
        node.t += 3.0
        node.step(Waits(1, parent.seq))
        assert not node.of(Spawn)
    node.deliver("late")
    assert len(node.jobs(other)) == 1


def test_a_spare_child_finishes_what_it_has_and_is_given_nothing(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    (job,) = node.deliver("late")
    node.step(Started(other, job.seq, node.t))
    node.step(Resumes(1, parent.seq))
    node.deliver("late")
    assert not node.jobs()
    node.finished(job, other)
    assert not node.jobs(), "the parent has the slot"
    node.finished(parent)
    assert len(node.jobs(1)) == 1


def test_when_the_parent_ends_first_its_child_becomes_the_spare_one(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    (job,) = node.deliver("late")
    node.step(Started(other, job.seq, node.t))
    node.step(Resumes(1, parent.seq))
    node.finished(parent)
    node.deliver("late")
    assert not node.jobs(), "one job at a time"
    node.finished(job, other)
    assert len(node.jobs(other)) == 1


def test_a_job_that_ends_while_it_waits_waits_no_more(node):
    (parent,) = node.deliver("late")
    stand_in(node, parent)
    node.finished(parent, state="FAILURE")
    assert node.state.children[1].waits == 0
    assert len(node.state.home.hosts) == 1


def test_a_child_that_dies_with_a_job_that_waits_is_not_replaced_for_it_is_already(node):
    (parent,) = node.deliver("late")
    stand_in(node, parent)
    node.step(Died(1, (parent.seq,), "signal 9 (SIGKILL)"))
    assert not node.of(Spawn)


def test_a_spare_child_takes_the_place_of_one_that_dies(node):
    (parent,) = node.deliver("late")
    other = stand_in(node, parent)
    node.step(Resumes(1, parent.seq))
    node.step(Died(1, (parent.seq,), "signal 9 (SIGKILL)"))
    assert not node.of(Spawn)
    node.deliver("late")
    assert len(node.jobs(other)) == 1


def test_stand_ins_are_bounded_and_what_is_beyond_is_noted_once_a_minute(desk):
    node = desk(extra_max=2)
    node.up()
    child = 1
    (job,) = node.deliver("late")
    for _ in range(2):
        node.step(Waits(child, job.seq))
        (spawn,) = node.of(Spawn)
        child = spawn.child
        node.up(child)
        (job,) = node.deliver("late")
    node.step(Waits(child, job.seq))
    assert not node.of(Spawn)
    assert [note.action for note in node.of(Note)] == ["waits_unserved"]
    node.step(Resumes(child, job.seq))
    node.step(Waits(child, job.seq))
    assert not node.of(Note)


def test_the_limits_of_a_job_that_waits_count_on(node):
    (parent,) = node.deliver("limited")
    node.started(parent)
    node.step(Waits(1, parent.seq))
    node.tick(1.0)
    assert [effect.how for effect in node.of(Interrupt)] == ["soft"]
    node.tick(1.0)
    assert [effect.how for effect in node.of(Interrupt)] == ["hard"]


def test_a_job_that_waits_was_seen_to_begin(node):
    (parent,) = node.deliver("limited")
    node.step(Waits(1, parent.seq))
    node.tick(1.0)
    assert [effect.how for effect in node.of(Interrupt)] == ["soft"]


def test_nobody_stands_in_while_the_node_ends(node):
    (parent,) = node.deliver("late")
    node.step(Stop(10.0))
    node.step(Waits(1, parent.seq))
    assert not node.of(Spawn)


@pytest.mark.parametrize("grace_s", [10.0, None])
def test_a_node_that_ends_and_has_nothing_but_jobs_that_wait_says_so_once_and_lets_them(node, grace_s):
    (parent,) = node.deliver("late")
    node.step(Waits(1, parent.seq))
    node.step(Stop(grace_s))
    assert not node.of(Note)
    node.tick(1.0)
    node.step(Resumes(1, parent.seq))
    node.tick(1.5)
    assert not node.of(Note), "it went on"

    node.step(Waits(1, parent.seq))
    told_at = node.t + 2.0
    while node.t < told_at:
        node.tick_when_due()
    (note,) = node.of(Note)
    assert (note.level, note.action) == ("warning", "stop_waits")
    assert note.fields == {"running": 1, "tasks": ["late"], **({"grace_left_s": 5.5} if grace_s else {})}
    node.tick(1.0)
    assert not node.of(Note)
    assert not node.of(Kill)
    node.finished(parent)
    assert len(node.items()) == 1


def test_a_node_that_ends_and_still_runs_something_else_says_nothing_of_jobs_that_wait(shared):
    parent, other = shared.deliver("late", "late")
    shared.started(other)
    shared.step(Waits(1, parent.seq))
    shared.step(Stop(10.0))
    shared.tick(5.0)
    assert not shared.of(Note)


def test_a_pool_that_shrinks_keeps_those_that_stand_in(node):
    (parent,) = node.deliver("late")
    stand_in(node, parent)
    node.step(Resize(0))
    assert len(node.of(Retire)) == 1
    node.step(Resize(1))
    assert len(node.of(Spawn)) == 1


def test_words_about_jobs_that_are_gone_or_do_not_wait_change_nothing(node):
    (job,) = node.deliver("late")
    for event in (Waits(9, 1), Waits(1, 9), Resumes(9, 1), Resumes(1, 9), Resumes(1, job.seq)):
        node.step(event)
        assert not node.of(Spawn)
    node.step(Waits(1, job.seq), Waits(1, job.seq))
    assert len(node.of(Spawn)) == 1


# ---------------------------------------------------------------- where many share the child


def test_a_shared_child_gets_one_more_for_each_that_waits(shared):
    one, two = shared.deliver("late", "late")
    shared.tick(0.1)
    assert not shared.state.asked
    shared.step(Waits(1, one.seq), Waits(1, two.seq))
    assert shared.asked() == 2
    assert not shared.of(Spawn)
    assert len(shared.deliver("late", "late")) == 2
    shared.step(Resumes(1, one.seq))
    shared.finished(one)
    assert not shared.state.asked, "three run in two slots, one of which waits"


def test_extra_slots_are_bounded(desk):
    node = desk(slots=2, extra_max=3)
    node.up(1, slots=2)
    for _ in range(5):
        for job in node.deliver(*["late"] * (node.state.asked or 0)):
            node.step(Waits(1, job.seq))
    child = node.state.children[1]
    assert (child.slots, len(child.flights), node.state.asked) == (5, 5, 0)


def test_a_shared_child_of_one_slot_that_retires_while_a_job_waits_in_it_is_replaced_at_once(desk):
    node = desk(pools=(PoolPolicy("threads", kills=False),))
    node.up()
    (parent,) = node.deliver("late")
    node.step(Waits(1, parent.seq))
    (job,) = node.deliver("late")
    node.finished(job, retiring=True)
    assert len(node.of(Spawn)) == 1
