"""Workflows on real workers and SQLite."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celeriac.canvas import chain, group
from celeriac.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from integration.worker.conftest import eventually, lines

WAIT_S = 20


def test_chains_groups_and_callbacks_come_to_their_ends(flows, start, folder):
    start()
    line = (flows.add.s(1, 2) | flows.flaky.s() | flows.once.s() | flows.mul.s(10)).delay()
    many = group(flows.add.s(i, i) for i in range(20)).delay()
    both = (flows.add.s(1, 1) | group(flows.add.s(1), flows.mul.s(5), flows.later.s())).delay()
    linked = flows.add.apply_async((2, 2), link=[flows.mul.s(2), flows.keep.si("told")])
    assert line.get(timeout=WAIT_S) == 30
    assert [line.parent.get(timeout=WAIT_S), line.parent.parent.parent.get(timeout=WAIT_S)] == [3, 3]
    assert many.get(timeout=WAIT_S) == [2 * i for i in range(20)]
    assert many.completed_count() == 20
    assert both.get(timeout=WAIT_S) == [3, 10, 3]
    assert linked.get(timeout=WAIT_S) == 4
    (children,) = linked.children
    assert children.get(timeout=WAIT_S) == [8, ["told"]]
    assert lines(folder / "kept") == ["('told',)"]


def test_a_workflow_sent_from_a_task_is_found_from_its_result(flows, start):
    start()
    result = flows.spawn.delay()
    first, many = (result.get(timeout=WAIT_S), result.children)[1]
    assert many.get(timeout=WAIT_S) == [0, 2, 4]
    assert first.get(timeout=WAIT_S) == 2
    assert first.children[0].get(timeout=WAIT_S) == 10


def test_a_failure_fails_the_chain_and_runs_its_error_callbacks_once(flows, start, folder):
    start()
    work = flows.add.s(1, 2) | flows.fail.s("why") | flows.add.s(1) | flows.mul.s(2)
    work.link_error(flows.on_error.s())
    work.link_error(flows.on_error3.s())
    result = work.delay()
    with pytest.raises(ValueError, match="why"):
        result.get(timeout=WAIT_S)
    assert result.parent.state == "FAILURE"
    failed = result.parent.parent
    assert failed.state == "FAILURE"
    assert failed.parent.get(timeout=WAIT_S) == 3
    assert eventually(lambda: lines(folder / "errors")) == [failed.id]
    assert lines(folder / "errors3") == [f"{failed.id} ValueError"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "error"), [("die", WorkerLostError), ("overrun", TimeLimitExceeded)], ids=["crashes", "hard limit"]
)
def test_ends_that_no_run_reports_fail_the_chain_too(flows, start, folder, task, error):
    start("-c", "1")
    work = chain(getattr(flows, task).si(), flows.add.s(1)).on_error(flows.on_error3.s())
    work.link_error(flows.on_error.s())
    result = work.delay()
    with pytest.raises(error):
        result.get(timeout=WAIT_S)
    assert eventually(lambda: lines(folder / "errors")) == [result.parent.id]
    assert lines(folder / "errors3") == [f"{result.parent.id} {error.__name__}"]


@pytest.mark.slow
def test_an_error_callback_that_overruns_the_limit_of_its_task_is_given_up(flows, start, folder):
    worker = start("-c", "1")
    result = flows.fail.signature(("why",), time_limit=0.3, link_error=flows.on_error3_late.s()).delay()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=WAIT_S)
    assert len(lines(folder / "late")) == 4, "once where the task failed, and three tries more"
    assert "given up" in worker.log.read_text()


def test_a_step_whose_process_dies_is_run_again_and_the_chain_goes_on(flows, start, folder):
    start("-c", "2")
    result = (flows.add.s(1, 1) | flows.die_once.s("tries") | flows.mul.s(10)).delay()
    assert result.get(timeout=WAIT_S) == 20
    assert len(lines(folder / "tries")) == 2


def test_who_waits_for_a_chain_is_told_when_a_step_is_cancelled_or_expires(flows, start):
    past = flows.app.now() + timedelta(seconds=0.5)
    expired = chain(flows.add.signature((1, 1), expires=past), flows.add.s(1)).delay()
    cancelled = chain(flows.add.s(1, 1), flows.add.s(1), flows.mul.s(2)).delay()
    eventually(lambda: flows.app.now() > past)
    cancelled.parent.parent.revoke()
    start()
    for result in (expired, cancelled):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=WAIT_S)
        eventually(lambda result=result: result.state == "REVOKED")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_running_step_that_is_terminated_revokes_what_follows(flows, start, folder, pool):
    start("-c", "1", "-P", pool)
    result = chain(flows.slow.s(30), flows.add.s(1), flows.mul.s(2)).on_error(flows.on_error3.s()).delay()
    eventually(lambda: lines(folder / "slow"))
    result.parent.parent.revoke(terminate=True)
    eventually(lambda: result.state == "REVOKED")
    assert result.parent.state == "REVOKED"
    assert lines(folder / "errors3") == []
