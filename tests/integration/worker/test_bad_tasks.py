"""Tasks that misbehave harm themselves at most."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.msgpack import decode, encode
from msgspec.structs import replace

from celeriac.control.words import Request, encode_request
from celeriac.exceptions import EncodeError, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celeriac.model.message import Message

from .conftest import Worker, eventually, lines

Start = Callable[..., Worker]


def works(jobs: ModuleType) -> bool:
    """True if the worker still does its job."""
    return bool(jobs.add.delay(20, 22).get(timeout=15) == 42)


def test_an_exception_without_pickle_or_text_is_a_failure_like_any_other(jobs: ModuleType, start: Start) -> None:
    start()
    with pytest.raises(Exception, match="Unpicklable"):
        jobs.fail_badly.delay().get(timeout=10)
    assert works(jobs)


def test_a_task_that_exits_is_a_lost_worker(jobs: ModuleType, start: Start) -> None:
    start()
    with pytest.raises(WorkerLostError, match="exit code 3"):
        jobs.exit_with.delay(3).get(timeout=15)
    assert works(jobs)


def test_a_segmentation_fault_is_a_lost_worker(jobs: ModuleType, start: Start) -> None:
    start()
    with pytest.raises(WorkerLostError, match="SIGSEGV"):
        jobs.crash_in_c.delay().get(timeout=15)
    assert works(jobs)


def test_a_task_may_close_its_stdout(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    assert jobs.close_stdout.delay().get(timeout=10) == "closed"
    assert works(jobs)
    assert jobs.close_stdout.delay().get(timeout=10) == "closed"


def test_a_task_that_forks_is_answered_once(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    assert jobs.fork_and_return.delay().get(timeout=10) == "forked"
    assert all(works(jobs) for _ in range(3))


def test_a_large_result_comes_back(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    size = 50_000_000
    assert len(jobs.large.delay(size).get(timeout=30)) == size
    assert works(jobs)


def test_a_result_over_the_limit_fails_the_task_with_the_size(jobs: ModuleType, start: Start) -> None:
    start("-c", "1", "--", "task_body_bytes_max=1000")
    with pytest.raises(EncodeError, match="1000"):
        jobs.large.delay(5000).get(timeout=10)
    assert works(jobs)


def test_a_soft_limit_lets_the_task_clean_up(jobs: ModuleType, start: Start) -> None:
    start()
    assert jobs.soft_limited.delay(30).get(timeout=10) == "cleaned up"


def test_a_soft_limit_that_is_over_before_the_body_begins_counts(jobs: ModuleType, start: Start) -> None:
    start("-c", "2")
    results = [jobs.soft_limited_at_once.delay(5) for _ in range(6)]
    for result in results:
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=10)


def test_a_soft_limit_while_sending_leaves_the_store_free(jobs: ModuleType, start: Start) -> None:
    start("-c", "2")
    results = [jobs.send_until_limited.delay() for _ in range(12)]
    for result in results:
        assert result.get(timeout=20) == "limited"
    assert works(jobs)


def test_a_hard_limit_ends_the_task_and_the_worker_goes_on(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    with pytest.raises(TimeLimitExceeded, match=r"0\.5"):
        jobs.hard_limited.delay(60).get(timeout=10)
    assert works(jobs)


def test_a_hard_limit_per_call_overrides_the_tasks(jobs: ModuleType, start: Start) -> None:
    start("-c", "1")
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        jobs.sleep.apply_async((60,), time_limit=0.3).get(timeout=10)


def test_a_task_that_ignores_term_is_killed_when_terminated(jobs: ModuleType, start: Start, folder: Path) -> None:
    start("-c", "1")
    result = jobs.ignore_term.delay(60, "trace")
    eventually(lambda: lines(folder / "trace"))
    result.revoke(terminate=True)
    eventually(lambda: works(jobs))
    assert result.state == "REVOKED"


def test_a_corrupt_message_is_a_dead_letter_and_the_worker_goes_on(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    corrupt = [jobs.add.delay(1, 1) for _ in range(3)]
    jobs.app.close()
    with sqlite3.connect(folder / "celeriac.db") as connection:
        rows = connection.execute("select key, data from message order by key").fetchall()
        spoiled = [
            replace(decode(data, type=Message), **change)
            for (_, data), change in zip(
                rows,
                ({"headers": b"{not json"}, {"body": b"\xff\xfe"}, {"body": b'[[1, 2], {}, "odd"'}),
                strict=True,
            )
        ]
        for (key, _), message in zip(rows, spoiled, strict=True):
            connection.execute("update message set data = ? where key = ?", (encode(message), key))
    connection.close()
    start("-c", "1")
    assert works(jobs)
    broker = jobs.app.make_broker()
    broker.open()
    eventually(lambda: len(broker.dead(None, 10)) == 3)
    assert all(letter.reason for letter in broker.dead(None, 10))
    assert {result.state for result in corrupt} == {"FAILURE"}
    broker.close()


def test_no_header_kills_the_node(jobs: ModuleType, start: Start, folder: Path) -> None:
    """Bytes that are no text, half of a surrogate pair, numbers without end, endless nesting."""
    headers = (
        b'{"task": "jobs.add", "id": "\xff"}',
        b'{"task": "jobs.add", "id": "\\udcff"}',
        b'{"task": "jobs.add", "id": "1", "retries": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"task": 5, "id": []}',
        b'{"task": "jobs.add", "id": "1", "timelimit": {"a": 1}}',
        b'{"task": "jobs.add", "id": "1", "expires": "tomorrow"}',
    )
    broker = jobs.app.make_broker()
    broker.open()
    broker.publish(
        [
            Message(f"hostile-{n}", "jobs.add", "celeriac-odd", head, b"[[1, 1], {}, {}]")
            for n, head in enumerate(headers)
        ]
    )
    worker = start("-c", "1", "-Q", "celeriac-odd,celery")
    node = worker.node
    assert works(jobs)
    eventually(lambda: len(broker.dead(None, 20)) == len(headers))
    assert worker.node == node
    assert worker.stop() == 0
    broker.close()


def test_a_stray_write_to_the_workers_sockets_costs_the_task_alone(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    start("-c", "1")
    with pytest.raises(WorkerLostError):
        jobs.scribble.delay("trace").get(timeout=15)
    assert works(jobs)
    assert len(lines(folder / "trace")) == 3


def test_no_signal_by_which_a_task_is_terminated_harms_the_worker(jobs: ModuleType, start: Start, folder: Path) -> None:
    worker = start("-c", "1")
    with pytest.raises(ValueError, match="signal"):
        jobs.sleep.delay(0).revoke(terminate=True, signal="99")
    result = jobs.sleep.delay(60, "trace")
    eventually(lambda: lines(folder / "trace"))
    broker = jobs.app.make_broker()
    broker.open()
    broker.cancel([result.id])
    said = {"task_id": [result.id], "terminate": True, "signal": "99", "stored": True}
    broker.publish_topic("control", encode_request(Request("revoke", said)))
    broker.publish_topic("control", b"\xff\xfe")
    assert works(jobs)
    assert worker.process.poll() is None
    broker.close()


def test_an_unknown_task_waits_for_the_code_that_knows_it(jobs: ModuleType, start: Start, folder: Path) -> None:
    result = jobs.app.send_task("jobs.later", (1,))
    old = start("-c", "1")
    assert works(jobs)
    assert result.state == "PENDING"
    broker = jobs.app.make_broker()
    broker.open()
    (depth,) = broker.depth(["celery"])
    assert depth.parked == 1
    broker.close()
    assert old.stop() == 0
    with (folder / "jobs.py").open("a") as file:
        file.write("\n\n@app.task\ndef later(n):\n    return n + 1\n")
    start("-c", "1")
    assert result.get(timeout=10) == 2


def test_a_running_worker_takes_what_an_older_one_has_parked(jobs: ModuleType, start: Start, folder: Path) -> None:
    """A deployment under way: the new code runs already when an old worker gets the new task's message."""
    (folder / "more.py").write_text(
        "from jobs import app\n\n\n@app.task(name='jobs.later')\ndef later(n):\n    return n + 1\n"
    )
    start("-c", "1", "-I", "more")
    jobs.sleep.delay(4, "trace")
    eventually(lambda: lines(folder / "trace"))
    old = start("-c", "1")
    result = jobs.app.send_task("jobs.later", (1,))
    broker = jobs.app.make_broker()
    broker.open()
    eventually(lambda: broker.depth(["celery"])[0].parked == 1 or "No task of this name" in old.output())
    assert old.stop() == 0
    assert result.get(timeout=10) == 2
    broker.close()


def test_a_module_that_fails_to_import_is_told_and_ends_the_worker(folder: Path) -> None:
    (folder / "jobs.py").write_text("import there_is_no_such_module\n")
    worker = Worker(folder, "-c", "1")
    assert worker.process.wait(20) != 0
    assert "there_is_no_such_module" in worker.output()


def test_an_import_that_starts_threads_is_named_and_children_are_started_by_exec(
    jobs: ModuleType, start: Start, folder: Path
) -> None:
    with (folder / "jobs.py").open("a") as file:
        file.write(
            "\n\nimport threading\nthreading.Thread(target=time.sleep, args=(600,), name='bystander', daemon=True).start()\n"
        )
    worker = start("-c", "1")
    assert works(jobs)
    assert "bystander" in worker.output()
    assert "exec" in worker.output()


def test_a_slow_import_starts_fine(jobs: ModuleType, start: Start, folder: Path) -> None:
    with (folder / "jobs.py").open("a") as file:
        file.write("\n\ntime.sleep(3)\n")
    start("-c", "2")
    assert works(jobs)
