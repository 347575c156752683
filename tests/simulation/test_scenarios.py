"""Clusters with a made-up plan, for promises that name figures. All times are simulated: no machine makes them fail."""

from __future__ import annotations

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
