"""Several pools in one node: who runs what, who is started when, and what a full one may cost the others."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Note, Retire, Spawn
from celeriac.core.engine.events import Delivered, Died, LeaseLost, Resize, Returned, Stop, Waits
from celeriac.core.engine.step import wake_at
from celeriac.model.message import Receipt, Release
from celeriac.model.policy import PoolPolicy

BOTH = (PoolPolicy("prefork", 2), PoolPolicy("asyncio", 1, 20, kills=False))
ON_DEMAND = (PoolPolicy("prefork"), PoolPolicy("asyncio", 1, 20, kills=False, on_demand=True))


@pytest.fixture
def node(desk):
    """Two children of one slot each, and a third one of twenty."""
    made = desk(pools=BOTH)
    made.up(1, 2)
    made.up(3, slots=20)
    return made


@pytest.fixture
def sleeping(desk):
    """One child of one slot, and a pool that nobody has wanted yet."""
    made = desk(pools=ON_DEMAND)
    made.up(1)
    return made


def fill_prefork(node, count=2):
    """Long jobs in all slots of the first pool."""
    jobs = node.deliver(*["late"] * count)
    for child, job in zip((1, 2), jobs, strict=False):
        node.started(job, child)
    return jobs


def released(node):
    return [item.verdict for item in node.items() if isinstance(item.verdict, Release)]


def test_each_pool_is_started_with_its_children(desk):
    node = desk(pools=BOTH)
    assert [(spawn.child, spawn.pool) for spawn in node.of(Spawn)] == [(1, "prefork"), (2, "prefork"), (3, "asyncio")]


def test_a_task_runs_in_the_pool_that_it_wants(node):
    node.deliver("late", "await", "await", "late")
    assert [len(node.jobs(child)) for child in (1, 2, 3)] == [1, 1, 2]


def test_what_wants_a_pool_that_is_not_there_runs_in_the_default_one(node):
    (job,) = node.deliver("elsewhere")
    assert node.jobs(1) == [job]


def test_children_say_which_pool_they_are_of(node):
    assert [child.pool for child in node.state.children.values()] == ["prefork", "prefork", "asyncio"]


def test_a_dead_child_is_replaced_in_its_own_pool(node):
    node.step(Died(3, (), "signal 9 (SIGKILL)"))
    assert [spawn.pool for spawn in node.of(Spawn)] == ["asyncio"]


def test_resizing_concerns_the_pool_that_is_named_and_else_the_default_one(node):
    node.step(Resize(2, "asyncio"), Resize(3))
    assert [spawn.pool for spawn in node.of(Spawn)] == ["asyncio", "prefork"]
    node.step(Resize(5, "gevent"))
    assert not node.said


# ---------------------------------------------------------------- on demand


def test_a_pool_on_demand_is_started_by_the_first_task_that_wants_it_and_stays(sleeping):
    assert len(sleeping.state.children) == 1
    sleeping.deliver("late")
    assert not sleeping.of(Spawn)
    sleeping.deliver("await")
    assert [(spawn.child, spawn.pool) for spawn in sleeping.of(Spawn)] == [(2, "asyncio")]
    assert not sleeping.items(), "it waits here for its child"
    sleeping.t += 0.5
    sleeping.up(2, slots=20)
    assert len(sleeping.jobs(2)) == 1
    sleeping.step(Died(2, (), "signal 9 (SIGKILL)"))
    assert sleeping.of(Spawn)


def test_what_started_a_pool_does_not_wait_for_ever_for_its_child(sleeping):
    sleeping.deliver("await")
    sleeping.tick(0.9)
    assert not sleeping.items()
    sleeping.tick(0.2)
    assert released(sleeping) == [Release()]


def test_a_pool_that_sleeps_is_asked_for_although_the_others_are_full(sleeping):
    fill_prefork(sleeping, 1)
    sleeping.tick(0.1)
    assert sleeping.state.asked > 0
    sleeping.deliver("await")
    assert sleeping.of(Spawn)


def test_a_pool_is_not_started_by_a_node_that_ends(sleeping):
    sleeping.step(Stop(10.0))
    sleeping.step(Delivered((sleeping.arrival("await"),)))
    assert not sleeping.of(Spawn)
    assert released(sleeping) == [Release()]


def test_resizing_a_pool_that_sleeps_does_not_wake_it(sleeping):
    sleeping.step(Resize(3, "asyncio"))
    assert not sleeping.of(Spawn)
    sleeping.deliver("await")
    assert len(sleeping.of(Spawn)) == 3


def test_the_default_pool_is_never_on_demand(desk):
    node = desk(pools=(PoolPolicy("asyncio", 1, 20, kills=False, on_demand=True),))
    assert node.of(Spawn)


# ---------------------------------------------------------------- a full pool


def test_nothing_is_asked_for_before_a_child_is_up(desk):
    node = desk(pools=ON_DEMAND)
    assert node.asked() is None
    node.tick(1.0)
    assert node.asked() is None


def test_no_more_is_asked_for_than_may_be_set_aside_and_than_the_fullest_pool_has_room_for(desk):
    node = desk(pools=(PoolPolicy("prefork"), PoolPolicy("asyncio", 1, 500, kills=False)), aside_max=100)
    node.up(1)
    node.up(2, slots=500)
    assert node.state.asked == 1 + 50, "half a second's budget"


def test_what_finds_its_pool_full_is_set_aside_while_the_others_get_their_work(node):
    fill_prefork(node)
    node.deliver("late", "await", "late")
    assert len(node.jobs(3)) == 1
    while not node.items():
        node.tick_when_due()
    assert [item.receipt.key for item in node.items()] == [3, 5]
    assert set(released(node)) == {Release()}, "in its place, where others find it at once"
    assert node.t < 1000.1, "it was not kept for long"


def test_past_a_full_pool_the_node_looks_again_when_its_budget_is_whole(desk):
    node = desk(pools=BOTH, aside_max=40)
    node.up(1, 2)
    node.up(3, slots=20)
    fill_prefork(node)
    node.deliver(*["late"] * 20)
    while not node.items():
        node.tick_when_due()
    assert len(node.items()) == 20
    assert node.state.asked == 0
    at = node.t
    node.tick_when_due()
    while not node.state.asked:
        node.tick_when_due()
    assert node.t - at == pytest.approx(1.0, abs=0.05), "twenty, at forty a second and half of them at a time"
    assert node.state.asked == 20


def test_after_something_was_set_aside_others_may_have_it_for_a_while(node):
    fill_prefork(node)
    node.deliver("late")
    while not node.items():
        node.tick_when_due()
    at = node.t
    node.tick_when_due()
    while not node.state.asked:
        node.tick_when_due()
    assert node.t - at == pytest.approx(0.2, abs=0.01)


def test_what_was_given_back_is_not_taken_again_while_more_is_held(node):
    fill_prefork(node)
    node.deliver("late")
    node.tick(0.01)
    node.deliver("late")
    while not node.items():
        node.tick_when_due()
    assert len(node.items()) == 1
    assert node.state.asked == 0
    at = node.t
    while not node.state.asked:
        node.tick_when_due()
    assert node.t - at > 0.15


def test_however_much_is_handed_back_the_next_look_is_a_second_away_at_most(desk):
    node = desk(pools=BOTH, aside_max=40)
    node.up(1, 2)
    node.up(3, slots=20)
    fill_prefork(node)
    node.step(Delivered(tuple(node.arrival("late") for _ in range(500))))
    while len(node.items()) < 500:
        node.tick_when_due()
    at = node.t
    while not node.state.asked:
        node.tick_when_due()
    assert node.t - at < 1.1


def test_a_look_past_a_full_pool_goes_on_while_the_budget_lasts(node):
    fill_prefork(node)
    asked = []
    while node.state.asked:
        asked.append(node.state.asked)
        node.deliver(*["late"] * node.state.asked)
    assert asked == [256, 256, 256, 256]


def test_a_node_that_waits_for_its_budget_does_not_wake_for_it_once_it_stops(desk):
    node = desk(pools=BOTH, aside_max=40)
    node.up(1, 2)
    node.up(3, slots=20)
    fill_prefork(node)
    node.deliver(*["late"] * 20)
    while not node.items():
        node.tick_when_due()
    assert wake_at(node.state, node.now()) is not None
    node.step(Stop(None))
    wake = wake_at(node.state, node.now())
    assert wake is None or wake > node.t


def test_when_the_full_pool_has_room_again_it_is_asked_for_at_once(desk):
    node = desk(pools=BOTH, aside_max=40)
    node.up(1, 2)
    node.up(3, slots=20)
    one, _ = fill_prefork(node)
    node.deliver(*["late"] * 20)
    while not node.items():
        node.tick_when_due()
    node.finished(one, 1)
    assert node.asked() > 0


def test_where_prefetch_is_pinned_what_is_beyond_it_is_set_aside_too(desk):
    node = desk(pools=BOTH, prefetch_multiplier=1)
    node.up(1, 2)
    node.up(3, slots=20)
    fill_prefork(node)
    node.deliver("late")
    while not node.items():
        node.tick_when_due()
    assert released(node)


def test_with_one_pool_nothing_is_put_off(desk):
    node = desk()
    node.up()
    node.deliver("late", "late")
    while not node.items():
        node.tick_when_due()
    assert released(node) == [Release()]


def test_a_promise_of_at_most_once_keeps_a_slot_in_its_own_pool(node):
    node.deliver("await once", "late")
    assert [len(node.jobs(child)) for child in (1, 2, 3)] == [1, 0, 0]
    assert node.state.children[3].awaiting == 1
    assert node.state.pools["asyncio"].once_share > 0
    assert node.state.home.once_share == 0


def test_losing_a_lease_and_coming_back_find_the_right_line(node):
    (job,) = node.deliver("await")
    node.step(Returned(3, (job.seq,)))
    assert [again.seq for again in node.jobs(3)] == [job.seq]
    fill_prefork(node)
    node.deliver("late")
    assert [flight.head.task for flight in node.state.backlog] == ["late"]
    node.step(LeaseLost((Receipt(4, 1),)))
    assert not node.state.backlog


def test_a_pool_without_children_keeps_nothing(node):
    node.step(Resize(0, "asyncio"))
    assert [retire.child for retire in node.of(Retire)] == [3]
    node.step(Died(3, (), "exit code 0"))
    node.deliver("await")
    assert released(node) == [Release()]


# ---------------------------------------------------------------- tasks that must run alone


@pytest.fixture
def shared(desk):
    """One child of four slots."""
    made = desk(slots=4)
    made.up(1, slots=4)
    return made


def test_each_job_that_ran_counts_a_crash_when_a_shared_child_dies_by_itself(shared):
    jobs = shared.deliver("late", "late", "late")
    shared.step(Died(1, (jobs[0].seq, jobs[1].seq), "signal 11 (SIGSEGV)"))
    assert {(item.receipt.key, item.verdict) for item in shared.items()} == {
        (1, Release(0.0, crashed=True)),
        (2, Release(0.0, crashed=True)),
    }


def test_the_last_run_before_the_crash_limit_is_a_run_alone(shared):
    shared.deliver("late", crashes=2)
    (spawn,) = shared.of(Spawn)
    shared.up(spawn.child, slots=4)
    (suspect,) = shared.jobs(spawn.child)
    shared.deliver("late", "late")
    assert [len(shared.jobs(child)) for child in (1, spawn.child)] == [2, 0]
    shared.step(Died(spawn.child, (suspect.seq,), "signal 11 (SIGSEGV)"))
    (conclusion,) = shared.jobs(1)
    assert conclusion.conclude.error == "WorkerLostError"
    assert not shared.of(Spawn), "nobody needs another one"


@pytest.mark.parametrize("crashes", [0, 1])
def test_runs_before_that_are_runs_in_company(shared, crashes):
    shared.deliver("late", crashes=crashes)
    assert len(shared.jobs(1)) == 1


def test_where_each_child_has_one_slot_every_run_is_alone_anyway(desk):
    node = desk()
    node.up()
    node.deliver("late", crashes=2)
    assert len(node.jobs(1)) == 1


def test_suspects_run_in_a_few_children_one_after_the_other(shared):
    shared.deliver(*["late"] * 6, crashes=2)
    spawned = [spawn.child for spawn in shared.of(Spawn)]
    assert len(spawned) == 4
    shared.up(*spawned, slots=4)
    jobs = {child: shared.jobs(child) for child in spawned}
    assert [len(held) for held in jobs.values()] == [1, 1, 1, 1]
    shared.finished(jobs[spawned[0]][0], spawned[0])
    assert len(shared.jobs(spawned[0])) == 1


def test_a_suspect_that_waits_for_others_does_not_keep_them_from_a_child(shared):
    shared.deliver(*["late"] * 5, crashes=2)
    spawned = [spawn.child for spawn in shared.of(Spawn)]
    shared.up(*spawned, slots=4)
    shared.step(Waits(spawned[0], shared.jobs(spawned[0])[0].seq))
    assert len(shared.of(Spawn)) == 1


def test_a_suspect_that_finds_no_child_in_time_is_put_off_for_longer_each_time(shared):
    shared.deliver("late", crashes=2)
    shared.tick(1.1)
    assert released(shared) == [Release(1.0)]


def test_a_child_for_suspects_goes_when_there_are_none(shared):
    shared.deliver("late", crashes=2)
    (spawn,) = shared.of(Spawn)
    shared.up(spawn.child, slots=4)
    (job,) = shared.jobs(spawn.child)
    shared.finished(job, spawn.child)
    shared.tick(4.9)
    assert not shared.of(Retire)
    shared.tick(0.2)
    assert [retire.child for retire in shared.of(Retire)] == [spawn.child]
    shared.step(Died(spawn.child, (), "exit code 0"))
    assert not shared.of(Spawn)


def test_a_child_for_suspects_that_dies_at_its_start_is_started_with_growing_pauses(shared):
    shared.deliver("late", crashes=2)
    spawned = 0
    for _ in range(3):
        for spawn in shared.of(Spawn):
            spawned += 1
            shared.step(Died(spawn.child, (), "could not import proj.tasks"))
            if shared.of(Spawn):
                break
    assert spawned == 2, "at once the first time, then after a pause"


# ---------------------------------------------------------------- blame in shared processes


def test_who_dies_of_a_job_that_was_broken_off_leaves_innocent_neighbours(desk):
    node = desk(slots=2)
    node.up(slots=2)
    bad, good = node.deliver("limited", "late")
    node.started(bad)
    node.started(good)
    node.tick(2.0)
    node.step(Died(1, (bad.seq, good.seq), "signal 11 (SIGSEGV)"))
    assert node.item().verdict == Release()


def test_once_the_job_that_was_broken_off_has_ended_a_death_has_another_cause(desk):
    node = desk(slots=2)
    node.up(slots=2)
    bad, good = node.deliver("limited", "late")
    node.started(bad)
    node.started(good)
    node.tick(2.0)
    node.finished(bad, state="FAILURE")
    node.step(Died(1, (good.seq,), "signal 11 (SIGSEGV)"))
    assert [item.verdict for item in node.items() if item.receipt.key == 2] == [Release(0.0, crashed=True)]


def test_notes_of_deaths_name_the_tasks(shared):
    (job,) = shared.deliver("late")
    shared.step(Died(1, (job.seq,), "signal 11 (SIGSEGV)"))
    (note,) = shared.of(Note)
    assert note.fields["tasks"] == ["late"]


class Line:
    """What a broker does: messages in their order, in their place again when they are handed back."""

    def __init__(self, node, *tasks) -> None:
        self._node = node
        self._all = {arrival.delivery.receipt: arrival for arrival in (node.arrival(task) for task in tasks)}
        self._here = set(self._all)
        self.back = 0

    def turn(self) -> None:
        """Give what is asked for, and take back what is set aside."""
        node = self._node
        due = sorted(self._here)[: node.state.asked]
        if due:
            self._here -= set(due)
            node.step(Delivered(tuple(self._all[receipt] for receipt in due)))
        else:
            wake = wake_at(node.state, node.now())
            node.tick(0.02 if wake is None else min(0.02, max(0.001, wake - node.t)))
        for item in node.items():
            if isinstance(item.verdict, Release) and item.receipt in self._all:
                self._here.add(item.receipt)
                self.back += 1


@pytest.mark.parametrize("slots", [4, 500])
@pytest.mark.parametrize(("count", "within_s"), [(100, 0.1), (300, 0.1), (1000, 0.1)])
def test_what_is_far_behind_messages_for_a_full_pool_is_found_all_the_same(desk, count, within_s, slots):
    node = desk(pools=(PoolPolicy("prefork", 2), PoolPolicy("asyncio", 1, slots, kills=False)))
    node.up(1, 2)
    node.up(3, slots=slots)
    fill_prefork(node)
    line = Line(node, *["late"] * count, "await")
    began_at = node.t
    while not node.jobs(3):
        line.turn()
        assert node.t - began_at < within_s


def test_what_comes_behind_many_that_were_seen_is_found_by_the_next_look(desk):
    node = desk(pools=BOTH)
    node.up(1, 2)
    node.up(3, slots=20)
    fill_prefork(node)
    line = Line(node, *["late"] * 900)
    began_at = node.t
    while node.t - began_at < 5.0:
        line.turn()
    assert line.back <= 6 * 1024, "the budget holds"
    late = node.arrival("await")
    line._all[late.delivery.receipt] = late
    line._here.add(late.delivery.receipt)
    came_at = node.t
    while not node.jobs(3):
        line.turn()
        assert node.t - came_at < 2.5
