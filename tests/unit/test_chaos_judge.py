"""The judge of chaos: what it calls lost, completed twice, recovered, and what it does not believe."""

from __future__ import annotations

from msgspec import structs

from celeriac.testing.chaos_judge import Claim, Completion, Evidence, Final, Kill, Recovery, judge, recoveries
from celeriac.testing.chaos_tasks import Run

_MAIN, _CHILD, _SIBLING, _OTHER_MAIN, _OTHER_CHILD = 10, 11, 12, 20, 21
_NODE, _OTHER_NODE, _UNKNOWN_NODE = 1, 2, 3


def _run(task_id: str, name: str, pid: int, begun_at: float, ended_at: float | None) -> Run:
    return Run(task_id, name, _MAIN if pid in {_CHILD, _SIBLING} else _OTHER_MAIN, pid, begun_at, ended_at)


# Task a: killed with its child at 5, done by the other worker. Task b: done there in peace.
_GOOD = Evidence(
    ids=["a", "b"],
    finals={"a": Final("SUCCESS", "a2"), "b": Final("SUCCESS", "b1")},
    runs=[
        _run("a", "a1", _CHILD, 4.0, None),
        _run("a", "a2", _OTHER_CHILD, 5.5, 6.0),
        _run("b", "b1", _OTHER_CHILD, 4.0, 5.2),
    ],
    kills=[Kill(5.0, "child", _CHILD, _MAIN)],
    claims=[
        Claim("a", _NODE, 3.9, 5.1),
        Claim("a", _OTHER_NODE, 5.4, 6.1),
        Claim("b", _OTHER_NODE, 3.9, 5.3),
    ],
    completions=[Completion("a", "SUCCESS", 6.1), Completion("b", "SUCCESS", 5.3)],
    duration_s=7.0,
)


def _judged(**changes: object) -> list[str]:
    report = judge(structs.replace(_GOOD, **changes), 10.0)
    assert report.passed == (not report.problems)
    return [problem.partition(":")[0] for problem in report.problems]


def test_what_went_well_passes_with_its_figures():
    report = judge(_GOOD, 10.0)
    assert report.passed
    assert (report.sent, report.succeeded, report.lost, report.doubled, report.given_up) == (2, 2, 0, 0, 0)
    assert (report.repeated, report.runs_more) == (1, 1)
    assert (report.kills, report.kills_felt) == ({"child": 1}, 1)
    assert (report.recovery_p50_s, report.recovery_p99_s, report.recovery_worst_s) == (0.5, 0.5, 0.5)


def test_a_task_without_a_final_state_is_lost():
    assert _judged(finals={"b": Final("SUCCESS", "b1")}) == ["lost"]
    assert "lost" in _judged(finals={**_GOOD.finals, "a": Final("RETRY")})


def test_a_task_that_never_left_a_trace_is_lost():
    assert _judged(ids=["a", "b", "c"]) == ["lost"]


def test_given_up_is_lost_unless_it_was_begun_three_times():
    failed = {**_GOOD.finals, "a": Final("FAILURE")}
    assert _judged(finals=failed) == ["lost"]
    thrice = [*_GOOD.runs, _run("a", "a3", _OTHER_CHILD, 5.6, None)]
    assert _judged(finals=failed, runs=thrice) == []
    assert judge(structs.replace(_GOOD, finals=failed, runs=thrice), 10.0).given_up == 1


def test_two_final_records_are_a_completion_too_many_whatever_they_say():
    for state in ("SUCCESS", "FAILURE"):
        twice = [*_GOOD.completions, Completion("b", state, 5.4)]
        assert _judged(completions=twice) == ["completed twice"]


def test_a_result_that_no_run_has_returned_is_not_believed():
    assert _judged(finals={**_GOOD.finals, "b": Final("SUCCESS", "a2")}) == ["a result that no run has returned"]
    begun = [run for run in _GOOD.runs if run.id != "b"] + [_run("b", "b1", _OTHER_CHILD, 4.0, None)]
    assert _judged(runs=begun) == ["a result that no run has returned"]


def test_a_book_that_has_not_seen_a_result_is_not_believed():
    blind = [one for one in _GOOD.completions if one.id != "b"]
    assert _judged(completions=blind) == ["a result whose record the book has not seen"]


def test_messages_that_are_left_and_problems_beside_fail():
    assert _judged(waiting=3) == ["3 messages are left in the queue"]
    assert _judged(problems=("a process was left behind",)) == ["a process was left behind"]


def test_without_a_kill_that_hits_work_nothing_is_proven():
    assert _judged(kills=[]) == ["nothing is proven"]
    assert _judged(kills=[Kill(9.0, "main", _MAIN, _MAIN)]) == ["nothing is proven"]


def test_recovery_at_the_bound_fails():
    assert not judge(_GOOD, 0.5).passed
    assert judge(_GOOD, 0.51).passed


def test_what_never_goes_on_has_an_endless_recovery():
    gone = structs.replace(
        _GOOD, runs=[_GOOD.runs[0], _GOOD.runs[2]], completions=[_GOOD.completions[1]], claims=_GOOD.claims[:1]
    )
    assert judge(gone, 10.0).recovery_worst_s == float("inf")


def _took(evidence: Evidence) -> list[tuple[int, float]]:
    return [(one.tasks, round(one.took_s, 3)) for one in recoveries(evidence)]


def test_a_kill_counts_the_longest_gap_of_all_that_the_worker_had():
    held = Claim("c", _NODE, 4.5, 5.1)
    late = structs.replace(
        _GOOD,
        ids=["a", "b", "c"],
        runs=[*_GOOD.runs, _run("c", "c1", _OTHER_CHILD, 8.0, 8.1)],
        claims=[*_GOOD.claims, held],
        completions=[*_GOOD.completions, Completion("c", "SUCCESS", 8.2)],
    )
    assert _took(late) == [(2, 3.0)]


def test_what_the_other_worker_held_does_not_count():
    late = structs.replace(
        _GOOD,
        runs=[*_GOOD.runs, _run("c", "c1", _OTHER_CHILD, 8.0, 8.1)],
        claims=[*_GOOD.claims, Claim("c", _OTHER_NODE, 4.5, 8.2)],
    )
    assert _took(late) == [(1, 0.5)]


def test_what_a_node_of_nobody_knows_whom_held_counts():
    late = structs.replace(
        _GOOD,
        runs=[*_GOOD.runs, _run("c", "c1", _OTHER_CHILD, 8.0, 8.1)],
        claims=[*_GOOD.claims, Claim("c", _UNKNOWN_NODE, 4.5, 5.1), Claim("c", _OTHER_NODE, 7.9, 8.2)],
    )
    assert _took(late) == [(2, 3.0)]


def test_a_task_in_a_living_sibling_goes_on_while_one_in_a_child_of_a_dead_node_does_not():
    sibling = structs.replace(
        _GOOD,
        runs=[*_GOOD.runs, _run("c", "c1", _SIBLING, 4.0, 9.0)],
        claims=[*_GOOD.claims, Claim("c", _NODE, 3.9, 9.1)],
        completions=[*_GOOD.completions, Completion("c", "SUCCESS", 9.1)],
    )
    assert _took(sibling) == [(1, 0.5)]
    node_died = structs.replace(sibling, kills=[Kill(5.0, "node", 99, _MAIN)])
    assert _took(node_died) == [(2, 4.1)]


def test_what_was_done_before_the_kill_does_not_count():
    done = structs.replace(_GOOD, kills=[Kill(5.35, "main", _OTHER_MAIN, _OTHER_MAIN)])
    assert [one.tasks for one in recoveries(done)] == []


def test_percentiles_are_values_that_occurred_the_p99_of_few_the_worst():
    kills = [Kill(4.5 + number / 100, "child", _CHILD, _MAIN) for number in range(3)]
    report = judge(structs.replace(_GOOD, kills=kills), 10.0)
    gaps = sorted(one.took_s for one in recoveries(structs.replace(_GOOD, kills=kills)))
    assert isinstance(recoveries(_GOOD)[0], Recovery)
    assert (report.recovery_p50_s, report.recovery_p99_s) == (gaps[1], gaps[2])
