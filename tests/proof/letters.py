"""Dead letters and cancellations: state in the store, which any client changes, with or without workers."""

from __future__ import annotations

from pathlib import Path

from integration.worker.conftest import eventually

from .stage import Stage, noted


def dead_letters_are_found_and_revived(stage: Stage, *, letters: int) -> None:
    """Tasks that killed their process three times are listed, searched, revived one by one and in bulk, and run."""
    jobs = stage.jobs
    stage.jobs.noop.delay()
    doomed = [jobs.fatal_unless.delay("repaired", f"customer-{number}").id for number in range(letters)]
    worker = stage.start("-c", "2")
    eventually(lambda: stage.count("dead") == letters, 10 + 5 * letters)
    assert len(noted(stage.folder / "fatal")) == 3 * letters
    listed = stage.command_json("queues", "dead", "-n", "0")
    assert {letter["id"] for letter in listed} == set(doomed)
    assert all("SIGKILL" in letter["reason"] for letter in listed)
    (found,) = stage.command_json("queues", "dead", "--search", "customer-1'")
    assert found["id"] == doomed[1]
    assert len(stage.command_json("queues", "dead", "--task", "jobs.fatal_unless", "-n", "2")) == 2
    Path(stage.folder / "repaired").touch()
    assert "Revived 1 dead letter" in stage.command("queues", "revive", doomed[1])
    assert jobs.app.AsyncResult(doomed[1]).get(timeout=20) == "customer-1"
    assert stage.count("dead") == letters - 1
    assert f"Revived {letters - 1}" in stage.command("queues", "revive", "--task", "jobs.fatal_unless")
    for number, task_id in enumerate(doomed):
        assert jobs.app.AsyncResult(task_id).get(timeout=20) == f"customer-{number}"
    assert stage.count("dead") == 0
    assert worker.process.poll() is None


def cancelled_tasks_never_run(stage: Stage, *, tasks: int, workers: int) -> None:
    """Revoked while no worker is up: whoever comes later does not run them, and their state says so."""
    jobs = stage.jobs
    with jobs.app.batch():
        doomed = [jobs.trace.delay() for _ in range(tasks)]
        doomed += [jobs.trace.apply_async(countdown=0.5) for _ in range(tasks)]
        spared = [jobs.trace.delay() for _ in range(tasks)]
    for result in doomed:
        result.revoke()
    crowd = [stage.begin("-c", "1") for _ in range(workers)]
    for worker in crowd:
        stage.await_ready(worker, 20 + 2 * workers)
    stage.await_final([result.id for result in doomed + spared], 20)
    assert {result.state for result in doomed} == {"REVOKED"}
    assert {result.state for result in spared} == {"SUCCESS"}
    assert set(stage.runs()) == {result.id for result in spared}
