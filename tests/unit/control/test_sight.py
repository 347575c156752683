"""What a node shows of what it holds."""

from __future__ import annotations

from collections.abc import Iterable

from celeriac.core.engine.events import Arrival, ChildUp, Delivered, Event, Now, Started
from celeriac.core.engine.state import State
from celeriac.core.engine.step import new_state, start, step
from celeriac.model.message import Delivery, Head, Message, Receipt
from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy
from celeriac.worker.sight import SHOWN_MAX, Sight, broker_facts, look, pool_facts, query, task_info, usage

WALL = 1_700_000_000.0


def now(at: float) -> Now:
    return Now(at, WALL + at)


def arrivals(count: int) -> tuple[Arrival, ...]:
    return tuple(
        Arrival(
            Delivery(Message(f"id{n}", "t", "q", b"{}", b"", priority=4), Receipt(n + 1, 1), redelivered=True),
            Head(f"id{n}", "t", argsrepr="(1,)", kwargsrepr="{}"),
        )
        for n in range(count)
    )


def node(slots: int, *events: Event, multiplier: int | None = None) -> State:
    policy = EnginePolicy(pools=(PoolPolicy("threads", 1, slots, kills=False),), prefetch_multiplier=multiplier)
    state = new_state(policy, {"t": TaskPolicy("t")})
    start(state, now(0.0))
    step(state, [ChildUp(1, slots)], now(0.0))
    for event in events:
        step(state, [event], now(1.0))
    return state


def seen(state: State, pids: dict[int, int] | None = None) -> Sight:
    return look(state, pids or {1: 4711}, {}, now(5.0))


def ids(infos: Iterable[dict[str, object]]) -> set[object]:
    return {info["id"] for info in infos}


def test_what_has_begun_runs_and_what_has_not_waits():
    state = node(2, Delivered(arrivals(4)), multiplier=2)
    first = next(iter(state.children[1].flights))
    step(state, [Started(1, first, 2.0)], now(2.0))
    sight = seen(state)
    assert (sight.running_count, sight.waiting_count) == (1, 3)
    (running,) = [task_info(held, "w1@h", sight.now) for held in sight.running]
    assert running == {
        "id": "id0",
        "name": "t",
        "args": "(1,)",
        "kwargs": "{}",
        "type": "t",
        "hostname": "w1@h",
        "time_start": WALL + 2.0,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": "q", "priority": 4, "redelivered": True},
        "worker_pid": 4711,
    }
    waiting = [task_info(held, "w1@h", sight.now) for held in sight.waiting]
    assert ids(waiting) == {"id1", "id2", "id3"}
    assert {(info["time_start"], info["worker_pid"]) for info in waiting} == {(None, None)}


def test_tasks_are_found_by_their_ids():
    state = node(2, Delivered(arrivals(2)))
    found = query(seen(state), ["id1", "nobody"], "w1@h")
    assert {task_id: state_and_info[0] for task_id, state_and_info in found.items()} == {"id1": "reserved"}


def test_what_is_shown_has_a_bound_and_what_is_counted_has_none():
    count = SHOWN_MAX + 500
    state = node(count, Delivered(arrivals(count)))
    for seq in tuple(state.children[1].flights)[: SHOWN_MAX + 100]:
        step(state, [Started(1, seq, 2.0)], now(2.0))
    sight = seen(state)
    assert len(sight.running) == SHOWN_MAX
    assert sight.running_count == SHOWN_MAX + 100
    assert len(sight.waiting) == sight.waiting_count == 400


def test_looking_changes_nothing():
    state = node(2, Delivered(arrivals(4)), multiplier=2)
    flights = dict(state.children[1].flights)
    seen(state)
    assert state.children[1].flights == flights


def test_pools_are_summed_and_told_one_by_one():
    policy = EnginePolicy(
        pools=(PoolPolicy("prefork", 4), PoolPolicy("asyncio", 1, 1000, kills=False)), time_limit_s=9.0
    )
    facts = pool_facts(policy, seen(node(1)), None)
    assert facts["max-concurrency"] == 1004
    assert facts["implementation"] == "celeriac:prefork+asyncio"
    assert facts["timeouts"] == [0, 9.0]
    assert facts["max-tasks-per-child"] == "N/A"
    assert [pool["name"] for pool in facts["pools"]] == ["prefork", "asyncio"]


def test_the_broker_is_shown_without_its_password():
    facts = broker_facts("redis", "redis://user:hunter2@host:6379/3")
    assert facts == {"transport": "redis", "hostname": "host", "port": 6379, "userid": "user", "virtual_host": "3"}
    assert broker_facts("sqlite", "sqlite:///tmp/a.db")["virtual_host"] == "/tmp/a.db"
    assert broker_facts("odd", "")["transport"] == "odd"


def test_usage_has_the_kernels_names():
    assert {"utime", "stime", "maxrss", "minflt", "nvcsw"} <= set(usage())
