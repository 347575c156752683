"""The moments before a worker is ready."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import SCALE, Worker, eventually, lines

Start = Callable[..., Worker]


def test_a_worker_that_is_stopped_while_it_imports_the_app_ends_well(folder: Path) -> None:
    with (folder / "jobs.py").open("a") as file:
        file.write("\n\nnote('importing')\nwhile True:\n    with suppress(BaseException):\n        time.sleep(60)\n")
    worker = Worker(folder, "-c", "1")
    try:
        eventually(lambda: lines(folder / "importing"))
        assert worker.stop() == 0
    finally:
        worker.kill_all()


@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["aloud", "quiet"])
def test_a_worker_of_several_processes_refuses_a_broker_that_lives_in_one(folder: Path, quiet: tuple[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "jobs", "-b", "memory://", *quiet, "worker"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20 * SCALE,
        check=False,
    )
    assert done.returncode == 78
    assert "-P solo" in done.stderr
    assert "ready" not in done.stderr


def test_a_solo_worker_takes_such_a_broker_with_a_warning(start: Start) -> None:
    worker = start("-P", "solo", environment={"CELERY_BROKER_URL": "memory://"})
    assert "no other program can send" in worker.output()
    assert worker.stop() == 0


def test_a_worker_works_with_its_standard_streams_closed(folder: Path, jobs: ModuleType) -> None:
    log = folder / "worker.log"
    command = [sys.executable, "-m", "celeriac", "-A", "jobs", "worker", "-c", "1", "-l", "info", "-f", str(log)]
    # The shell closes what Popen can only replace.
    process = subprocess.Popen(["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *command], cwd=folder)
    try:
        eventually(lambda: log.exists() and " ready" in log.read_text(), 15)
        assert jobs.add.delay(1, 1).get(timeout=10) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(15 * SCALE) == 0
    finally:
        process.kill()
        process.wait(10)
