"""What users expect of a worker on an ordinary day."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.exceptions import MaxRetriesExceededError, TaskRevokedError, TimeLimitExceeded, WorkerLostError

from .conftest import Worker, eventually, lines

Start = Callable[..., Worker]


def test_a_task_runs_in_another_process_and_its_result_comes_back(jobs: ModuleType, start: Start) -> None:
    start()
    assert jobs.add.delay(2, 3).get(timeout=10) == 5
    assert jobs.pid.delay().get(timeout=10) != os.getpid()


def test_tasks_sent_before_any_worker_started_run_when_one_does(jobs: ModuleType, start: Start) -> None:
    results = [jobs.add.delay(n, n) for n in range(200)]
    start()
    assert [result.get(timeout=10) for result in results] == [2 * n for n in range(200)]


def test_retries_keep_the_id_and_count_up(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    result = jobs.retry_until.delay(2, "tries")
    assert result.get(timeout=10) == 2
    assert lines(folder / "tries") == ["0", "1", "2"]


def test_exhausted_retries_fail_the_task(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    result = jobs.retry_until.delay(9, "tries")
    with pytest.raises(MaxRetriesExceededError):
        result.get(timeout=10)
    assert lines(folder / "tries") == ["0", "1", "2"]


def test_automatic_retries_end_in_success(jobs: ModuleType, start: Start) -> None:
    start()
    assert jobs.autoretry.delay(2).get(timeout=10) == 2


def test_a_failure_comes_back_as_its_own_class_with_the_workers_traceback(jobs: ModuleType, start: Start) -> None:
    start()
    result = jobs.fail.delay("no good")
    with pytest.raises(ValueError, match="no good"):
        result.get(timeout=10)
    assert result.state == "FAILURE"
    assert "raise ValueError(text)" in result.traceback


def test_a_delayed_task_does_not_run_early_and_runs_in_time(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    due = datetime.now(timezone.utc) + timedelta(seconds=1.0)
    result = jobs.record.apply_async(("trace", "ran"), eta=due)
    assert result.get(timeout=10) == "ran"
    assert datetime.now(timezone.utc) >= due
    assert result.date_done >= due


def test_an_expired_task_does_not_run(jobs: ModuleType, start: Start, folder: Path) -> None:
    result = jobs.record.apply_async(("trace", "ran"), expires=0.05)
    over = time.time() + 0.05
    eventually(lambda: time.time() > over)
    start()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert lines(folder / "trace") == []


def test_higher_priority_goes_first(jobs: ModuleType, start: Start, folder: Path) -> None:
    with jobs.app.batch():
        for priority in ("low", 0, None, 9, "high"):
            jobs.record.apply_async(("order", str(priority)), priority=priority)
        last = jobs.record.apply_async(("order", "last"), priority=0)
    start("-c", "1")
    last.get(timeout=10)
    assert lines(folder / "order") == ["9", "high", "None", "low", "0", "last"]


def test_progress_is_visible_while_the_task_runs(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    result = jobs.progress.delay("progress")
    eventually(lambda: lines(folder / "progress"))
    assert result.state == "PROGRESS"
    assert result.info == {"done": 1}
    (folder / "progress.go").touch()
    assert result.get(timeout=10) == "done"


def test_the_end_of_a_tracked_task_is_not_overwritten_by_its_beginning(jobs: ModuleType, start: Start) -> None:
    start("-c", "2", "--", "task_track_started=true")
    failing = [jobs.fail.delay("soon") for _ in range(100)]
    for result in failing:
        with pytest.raises(ValueError, match="soon"):
            result.get(timeout=10)
    slow = jobs.sleep.delay(60)
    eventually(lambda: slow.state == "STARTED")


def test_coroutine_tasks_run(jobs: ModuleType, start: Start) -> None:
    start()
    assert jobs.coroutine.delay(1).get(timeout=10) == 2


def test_the_request_tells_who_and_where(jobs: ModuleType, start: Start) -> None:
    start("-c", "1", "-n", "here@there")
    result = jobs.request_of.apply_async(headers={"trace": "t-1"})
    request = result.get(timeout=10)
    assert request["id"] == result.id
    assert request["hostname"] == "here@there"
    assert request["headers"] == {"trace": "t-1"}
    assert request["queue"] == "celery"
    assert request["redelivered"] is False


def test_a_cancelled_task_never_runs(jobs: ModuleType, start: Start, folder: Path) -> None:
    result = jobs.record.delay("trace", "ran")
    result.revoke()
    for _ in range(3):
        start("-c", "1")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert jobs.add.delay(1, 1).get(timeout=10) == 2
    assert lines(folder / "trace") == []


def test_a_running_task_is_terminated_on_request(jobs: ModuleType, start: Start, folder: Path) -> None:
    start()
    result = jobs.sleep.delay(60, "trace")
    eventually(lambda: lines(folder / "trace"))
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert jobs.add.delay(1, 1).get(timeout=10) == 2


def test_a_running_task_that_is_revoked_ends_as_it_ends(jobs: ModuleType, start: Start, folder: Path) -> None:
    start("-c", "1")
    running, reserved = jobs.sleep.delay(1.5, "trace"), jobs.add.delay(1, 1)
    eventually(lambda: lines(folder / "trace"))
    jobs.app.revoke([running.id, reserved.id])
    assert running.state != "REVOKED"
    with pytest.raises(TaskRevokedError):
        reserved.get(timeout=10)
    running.get(timeout=10)
    assert (running.state, reserved.state) == ("SUCCESS", "REVOKED")


def test_rejected_tasks_are_dead_letters_and_ignored_ones_leave_no_state(jobs: ModuleType, start: Start) -> None:
    start()
    rejected = jobs.reject.delay(False)
    eventually(lambda: rejected.state == "FAILURE")
    ignored = jobs.ignore.delay()
    assert jobs.add.delay(1, 1).get(timeout=10) == 2
    assert ignored.state == "PENDING"


def test_solo_runs_tasks_one_at_a_time_in_one_process(jobs: ModuleType, start: Start) -> None:
    worker = start("-P", "solo")
    assert worker.tree() == [worker.process.pid]
    assert jobs.pid.delay().get(timeout=10) == worker.process.pid
    assert [jobs.add.delay(n, 1).get(timeout=10) for n in range(20)] == [n + 1 for n in range(20)]
    assert jobs.soft_limited.delay(30).get(timeout=10) == "cleaned up"
    assert worker.stop() == 0


def test_logs_are_json_lines_on_request(jobs: ModuleType, start: Start) -> None:
    worker = start("-c", "1", "--log-json")
    jobs.add.delay(2, 2).get(timeout=10)
    eventually(lambda: "succeeded" in worker.output())
    records = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    assert any("succeeded" in record.get("message", "") for record in records)


def test_solo_outlives_a_task_that_exits_and_counts_it_as_crashed(jobs: ModuleType, start: Start) -> None:
    worker = start("-P", "solo")
    pid = worker.process.pid
    with pytest.raises(WorkerLostError, match="exit code 3"):
        jobs.exit_with.delay(3).get(timeout=15)
    assert jobs.pid.delay().get(timeout=10) == pid
    assert "SystemExit: 3" in worker.output()
    assert worker.stop() == 0


def test_solo_starts_itself_anew_when_its_node_gives_up_and_purges_nothing_then(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    worker = start("-P", "solo", "--purge")
    first = jobs.sleep.delay(1.0, "trace")
    waiting = [jobs.add.delay(n, 1) for n in range(5)]
    eventually(lambda: lines(folder / "trace"))
    (folder / "celeriac.db-nodes").unlink()
    eventually(lambda: worker.output().count("ready for tasks") == 2)
    assert [result.get(timeout=15) for result in (first, *waiting)] == [1.0, 1, 2, 3, 4, 5]
    assert worker.process.poll() is None
    assert worker.stop() == 0


def test_a_task_that_kills_a_solo_worker_is_a_dead_letter_after_three_workers(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    result = jobs.kill_self.delay("trace")
    for run in (1, 2, 3):
        worker = start("-P", "solo")
        assert worker.process.wait(10) == -signal.SIGKILL
        assert len(lines(folder / "trace")) == run
    start("-P", "solo")
    with pytest.raises(WorkerLostError):
        result.get(timeout=10)
    assert len(lines(folder / "trace")) == 3


def test_solo_ends_task_after_task_at_their_hard_limits(jobs: ModuleType, start: Start) -> None:
    worker = start("-P", "solo")
    for _ in range(2):
        with pytest.raises(TimeLimitExceeded):
            jobs.hard_limited.delay(60).get(timeout=10)
    assert jobs.pid.delay().get(timeout=10) == worker.process.pid
    assert worker.output().count("ready for tasks") == 1
    assert worker.stop() == 0


def test_solo_hands_back_what_outlasts_the_grace_period(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-P", "solo", "--grace", "0.3")
    result = jobs.sleep.delay(1.5, "trace")
    eventually(lambda: lines(folder / "trace"))
    assert worker.stop() == 0
    assert lines(folder / "trace") == ["begin"]
    start("-P", "solo")
    assert result.get(timeout=10) == 1.5
    assert lines(folder / "trace") == ["begin", "begin", "end"]


def test_solo_may_be_stopped_at_any_moment_of_its_start(start: Start) -> None:
    for _ in range(3):
        assert start("-P", "solo").stop() == 0
