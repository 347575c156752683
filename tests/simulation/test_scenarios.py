"""Clusters with a made-up plan, for promises that name figures. All times are simulated: no machine makes them fail."""

from __future__ import annotations

import pytest

from celeriac.model.policy import EnginePolicy, PoolPolicy
from celeriac.testing.simulator import simulate
from celeriac.testing.simulator_plan import Fault, Plan, TaskPlan


def plan(tasks, policy=None, nodes=1, faults=(), **changes):
    """A calm cluster with these tasks."""
    return Plan(
        seed=changes.pop("seed", 1),
        policy=policy or EnginePolicy(),
        nodes=nodes,
        tasks=tuple(tasks),
        faults=tuple(faults),
        lease_s=6.0,
        deaths_are_seen=changes.pop("deaths_are_seen", True),
        max_tasks_per_child=None,
        crowded=False,
        **changes,
    )


def tiny(number, at=1.0, duration_s=2e-5):
    return TaskPlan(f"t{number}", "late", at, duration_s)


def ended(report):
    return {fact.task: fact.at for fact in report.history if fact.what == "ended"}


def test_a_thousand_tiny_tasks_behind_a_long_one_finish_within_a_second():
    long = TaskPlan("long", "late", 1.0, 20.0)
    tasks = [long, *(tiny(number) for number in range(1000))]
    report = simulate(1, plan(tasks, EnginePolicy((PoolPolicy("prefork", 2),))))
    assert not report.violations, report.text()
    times = ended(report)
    assert max(at for task, at in times.items() if task != "long") < 2.0
    assert times["long"] > 20.0


def test_tiny_tasks_flow_in_batches():
    report = simulate(1, plan([tiny(number) for number in range(2000)]))
    assert not report.violations, report.text()
    takes = [fact.number for fact in report.history if fact.what == "take"]
    assert max(takes) == EnginePolicy().batch_max
    assert max(ended(report).values()) < 1.5


def test_slow_tasks_are_not_reserved():
    """A second node finds the tasks that the first one did not need to hold."""
    tasks = [TaskPlan(f"t{number}", "late", 1.0, 0.5) for number in range(12)]
    report = simulate(1, plan(tasks, EnginePolicy((PoolPolicy("prefork", 1),)), nodes=2))
    assert not report.violations, report.text()
    assert max(ended(report).values()) < 1.0 + 12 * 0.5 / 2 + 0.6


def test_a_killed_child_repeats_the_one_task_it_was_in():
    tasks = [tiny(number, duration_s=0.001) for number in range(400)]
    report = simulate(1, plan(tasks, faults=[Fault(1.25, "kill_child", 0, 0.0)]))
    assert not report.violations, report.text()
    began = [fact.task for fact in report.history if fact.what == "began"]
    killed = [fact.task for fact in report.history if fact.what == "crashed"]
    assert len(killed) == 1
    assert sorted(began) == sorted([*(f"t{number}" for number in range(400)), *killed])


def test_a_killed_node_costs_a_lease_and_no_task():
    tasks = [tiny(number, duration_s=0.002) for number in range(300)]
    faults = [Fault(1.2, "kill_all", 0, 0.0)]
    report = simulate(3, plan(tasks, nodes=2, faults=faults, deaths_are_seen=False, seed=3))
    assert not report.violations, report.text()
    assert set(ended(report)) == {task.id for task in tasks}
    assert max(ended(report).values()) < 1.2 + 6.0 + 2.0


def test_a_poisonous_task_is_buried_after_three_crashes_and_its_neighbours_are_unharmed():
    poison = TaskPlan("poison", "late", 1.0, 0.01, course="crash")
    tasks = [poison, *(tiny(number) for number in range(50))]
    report = simulate(1, plan(tasks, EnginePolicy((PoolPolicy("prefork", 2),))))
    assert not report.violations, report.text()
    crashed = [fact.task for fact in report.history if fact.what == "crashed"]
    assert crashed == ["poison"] * 3
    buried = [fact for fact in report.history if fact.what == "buried"]
    assert [fact.task for fact in buried] == ["poison"]
    assert buried[0].at < 1.0 + 0.0 + 1.0 + 0.5, "the retries come after 0 and 1 s"


def test_a_stop_in_the_middle_repeats_nothing():
    tasks = [tiny(number, duration_s=0.003) for number in range(300)]
    faults = [Fault(1.1 + step * 0.7, "stop", 4, 0.5) for step in range(4)]
    report = simulate(2, plan(tasks, EnginePolicy((PoolPolicy("prefork", 2),)), nodes=2, faults=faults, seed=2))
    assert not report.violations, report.text()
    began = [fact.task for fact in report.history if fact.what == "began"]
    assert len(began) == len(set(began)) == 300


def test_with_a_pinned_prefetch_nothing_is_handed_back_while_the_node_lives():
    tasks = [TaskPlan(f"t{number}", "late", 1.0, 0.3) for number in range(20)]
    policy = EnginePolicy((PoolPolicy("prefork", 2),), prefetch_multiplier=4)
    report = simulate(1, plan(tasks, policy))
    assert not report.violations, report.text()
    assert not [fact for fact in report.history if fact.what == "released"]


# ---------------------------------------------------------------- several pools


BOTH = (PoolPolicy("prefork", 2), PoolPolicy("asyncio", 1, 20, kills=False, on_demand=True))


def test_a_full_pool_keeps_no_other_from_its_work():
    """Two long tasks fill the first pool, hundreds stand behind them, and the tasks of the other pool behind those."""
    tasks = [TaskPlan(f"long{number}", "late", 0.9, 20.0) for number in range(2)]
    tasks += [TaskPlan(f"behind{number}", "late", 1.0, 0.01) for number in range(100)]
    tasks += [TaskPlan(f"await{number}", "late@asyncio", 1.1 + number / 10, 0.5) for number in range(20)]
    report = simulate(1, plan(tasks, EnginePolicy(BOTH)))
    assert not report.violations, report.text()
    assert max(at for task, at in ended(report).items() if task.startswith("await")) < 4.5
    asides = [fact for fact in report.history if fact.what == "aside"]
    assert len(asides) < 20 * EnginePolicy().aside_max, "half of it goes round each second"


def test_a_pool_that_nobody_wants_is_not_started():
    report = simulate(1, plan([tiny(number) for number in range(50)], EnginePolicy(BOTH)))
    assert not report.violations, report.text()
    assert [fact.what for fact in report.history].count("spawn") == 2


def test_ten_thousand_tasks_that_wait_run_at_once_in_one_child():
    tasks = [TaskPlan(f"t{number}", "late@asyncio", 1.0, 1.0) for number in range(2_000)]
    pools = (PoolPolicy("prefork"), PoolPolicy("asyncio", 1, 10_000, kills=False, on_demand=True))
    report = simulate(1, plan(tasks, EnginePolicy(pools)))
    assert not report.violations, report.text()
    assert max(ended(report).values()) < 4.0


# ---------------------------------------------------------------- tasks that share a process


def test_a_poisonous_task_in_a_shared_process_takes_no_neighbour_with_it():
    """They count a crash for each death in company; the run that would be the last is a run alone."""
    pools = (PoolPolicy("threads", 1, 8, kills=False),)
    tasks = [TaskPlan("poison", "late", 1.0, 0.2, course="crash")]
    tasks += [TaskPlan(f"t{number}", "late", 1.0, 0.5) for number in range(7)]
    report = simulate(1, plan(tasks, EnginePolicy(pools)))
    assert not report.violations, report.text()
    assert [fact.task for fact in report.history if fact.what == "buried"] == ["poison"]
    outcomes = {fact.task: fact.state for fact in report.history if fact.what == "outcome"}
    assert outcomes == {"poison": "FAILURE", **{f"t{number}": "SUCCESS" for number in range(7)}}


def test_neighbours_of_a_task_that_cannot_be_ended_pay_no_attempt():
    pools = (PoolPolicy("threads", 1, 4, kills=False),)
    stuck = TaskPlan("stuck", "late", 1.0, 1.0, course="hang", stubborn=True, hard_s=0.5)
    tasks = [stuck, *(TaskPlan(f"t{number}", "late", 1.0, 9.0 if number else 3.0) for number in range(3))]
    tasks.append(TaskPlan("later", "late", 3.0, 0.1))
    report = simulate(1, plan(tasks, EnginePolicy(pools)))
    assert not report.violations, report.text()
    assert not [fact for fact in report.history if fact.what == "counted"]
    began = [fact.task for fact in report.history if fact.what == "began"]
    assert sorted(began) == ["later", "stuck", "t0", "t1", "t1", "t2", "t2"], "t0 was through in time"
    assert ended(report)["later"] < 3.3, "a replacement is there"


# ---------------------------------------------------------------- tasks that wait for tasks


def family(depth, width, pool=""):
    """A task that waits for some, each of which waits for some, down to this depth."""

    def member(name, level, sent_by):
        waits_for = tuple(f"{name}.{number}" for number in range(width)) if level else ()
        yield TaskPlan(name, f"late{pool}", 1.0, 0.02, waits_for=waits_for, sent_by=sent_by)
        for child in waits_for:
            yield from member(child, level - 1, name)

    return list(member("p", depth, ""))


ONE_SLOT = {
    "prefork": EnginePolicy((PoolPolicy("prefork"),)),
    "prefork, nothing reserved": EnginePolicy((PoolPolicy("prefork"),), prefetch_multiplier=1),
    "prefork, all reserved": EnginePolicy((PoolPolicy("prefork"),), prefetch_multiplier=0),
    "threads": EnginePolicy((PoolPolicy("threads", kills=False),)),
    "asyncio beside": EnginePolicy((PoolPolicy("prefork"), PoolPolicy("asyncio", kills=False, on_demand=True))),
}


@pytest.mark.parametrize("policy", ONE_SLOT.values(), ids=ONE_SLOT)
def test_tasks_that_wait_for_tasks_that_wait_for_tasks_need_one_slot(policy):
    pool = "@asyncio" if len(policy.pools) > 1 else ""
    report = simulate(1, plan(family(3, 2, pool), policy))
    assert not report.violations, report.text()
    assert ended(report).keys() == {task.id for task in family(3, 2)}
    assert ended(report)["p"] < 4.0


def test_those_who_stood_in_for_tasks_that_waited_go_again():
    sleeper = TaskPlan("last", "late", 12.0, 0.1)
    report = simulate(1, plan([*family(2, 2), sleeper], ONE_SLOT["prefork"]))
    assert not report.violations, report.text()
    spawned = [fact for fact in report.history if fact.what == "spawn"]
    retired = [fact for fact in report.history if fact.what == "retire" and fact.at < 11.0]
    assert len(retired) == len(spawned) - 1 > 0


def test_the_limit_of_a_task_that_waits_is_its_own():
    waits = TaskPlan("p", "late", 1.0, 0.02, waits_for=("slow",), hard_s=0.5)
    slow = TaskPlan("slow", "late", 0.0, 3.0, sent_by="p")
    report = simulate(1, plan([waits, slow], ONE_SLOT["prefork"]))
    assert not report.violations, report.text()
    (told,) = [fact for fact in report.history if fact.what == "interrupt"]
    assert (told.task, told.at < 1.6) == ("p", True)
    outcomes = {fact.task: fact.state for fact in report.history if fact.what == "outcome"}
    assert outcomes == {"p": "FAILURE", "slow": "SUCCESS"}


# ---------------------------------------------------------------- ends that others depend on


def test_the_end_of_a_linked_task_is_never_bare():
    pools = (PoolPolicy("prefork", 1),)
    tasks = [
        TaskPlan("expired", "late", 1.0, 0.1, expires_in_s=0.05, linked=True, delay_s=0.3),
        TaskPlan("poison", "late", 1.0, 0.1, course="crash", linked=True),
        TaskPlan("slow", "late", 1.0, 9.0, hard_s=0.2, linked=True),
    ]
    report = simulate(1, plan(tasks, EnginePolicy(pools), faults=[Fault(2.0, "stop", 1, 0.5)]))
    assert not report.violations, report.text()
    concluded = {fact.task for fact in report.history if fact.what == "concluding"}
    assert concluded == {"expired", "poison", "slow"}
