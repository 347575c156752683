"""``celeriac chaos``: a worker that keeps its promises passes, one that breaks them does not."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from integration.worker.conftest import SCALE, eventually

pytestmark = pytest.mark.timeout(180)

_SMALL = ("--workers", "2", "--kill-each", "0.3s", "--task-time", "30ms")
_RECOVERY_MAX_S = 10 * SCALE
_BROKEN = Path(__file__).with_name("broken_worker.py")


class Chaos:
    """The program, with temporary files in a folder that can be looked into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *words: str, globals_: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Begin a proof."""
        return subprocess.Popen(
            [sys.executable, "-m", "celeriac", *globals_, "chaos", *words],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def prove(self, *words: str, globals_: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
        """Exit code and report of a proof."""
        bound = ("--recovery-max", f"{_RECOVERY_MAX_S}s")
        process = self.start(*_SMALL, *bound, "--json", *words, globals_=globals_)
        try:
            out, errors = process.communicate(timeout=60 * SCALE)
        finally:
            process.kill()
        assert out, errors
        report: dict[str, Any] = json.loads(out)
        return process.returncode, report

    def folders(self) -> list[Path]:
        """Folders of proofs that are there."""
        return list(self.folder.glob("celeriac-chaos-*"))

    def processes(self) -> list[int]:
        """Processes that work there."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_in(pid)]

    def _is_in(self, pid: int) -> bool:
        try:
            return str(Path(f"/proc/{pid}/cwd").readlink()).startswith(f"{self.folder}/celeriac-chaos-")
        except OSError:
            return False


@pytest.fixture
def chaos(tmp_path: Path) -> Chaos:
    return Chaos(tmp_path)


@pytest.mark.parametrize(("pool", "tasks"), [("prefork", 300), ("threads", 150), ("asyncio", 150), ("mixed", 200)])
def test_kills_lose_nothing_and_repeat_no_completion(chaos: Chaos, pool: str, tasks: int) -> None:
    code, report = chaos.prove("--tasks", str(tasks), "--seed", "1", "--pool", pool)
    assert (code, report["passed"], report["problems"]) == (0, True, [])
    assert (report["sent"], report["succeeded"] + report["given_up"]) == (tasks, tasks)
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert report["kills_felt"] >= 2
    assert 0 < report["recovery_p50_s"] <= report["recovery_p99_s"] < _RECOVERY_MAX_S
    assert chaos.folders() == []
    assert chaos.processes() == []


def _with_fault(chaos: Chaos, fault: str, *words: str) -> dict[str, Any]:
    command = shlex.join([sys.executable, str(_BROKEN), fault])
    code, report = chaos.prove("--tasks", "150", "--patience", "3s", "--worker-command", command, *words)
    assert code == 1
    assert not report["passed"]
    assert report["problems"]
    # What it was is left to be looked at.
    assert chaos.folders() == [Path(report["folder"])]
    assert list(Path(report["folder"]).glob("worker-*.log"))
    return report


def test_a_worker_that_forgets_results_is_found_out(chaos: Chaos) -> None:
    assert _with_fault(chaos, "forgets_results")["lost"] > 5


def test_a_worker_that_completes_tasks_twice_is_found_out(chaos: Chaos) -> None:
    report = _with_fault(chaos, "stores_before_it_acknowledges", "--seed", "3")
    assert report["lost"] == 0
    assert report["doubled"] > 0
    assert report["succeeded"] == report["sent"]


def test_a_worker_that_does_not_acknowledge_what_it_has_done_is_found_out(chaos: Chaos) -> None:
    report = _with_fault(chaos, "forgets_acknowledgements")
    assert report["lost"] == 0
    left = any("left in the queue" in problem for problem in report["problems"])
    assert left or report["doubled"]


def test_a_worker_that_does_not_take_back_what_the_dead_held_is_found_out(chaos: Chaos) -> None:
    report = _with_fault(chaos, "sweeps_nothing", "--seed", "1")
    assert report["lost"] > 0
    assert report["doubled"] == 0


def test_a_recovery_slower_than_the_bound_fails(chaos: Chaos) -> None:
    code, report = chaos.prove("--tasks", "150", "--recovery-max", "1ms")
    assert code == 1
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert any("recovery p99" in problem for problem in report["problems"])


def test_a_proof_without_a_kill_that_hits_work_proves_nothing(chaos: Chaos) -> None:
    code, report = chaos.prove("--tasks", "5", "--kill-each", "1m")
    assert code == 1
    assert any("nothing is proven" in problem for problem in report["problems"])


def test_it_works_in_the_database_of_an_app_and_leaves_nothing_in_it(chaos: Chaos) -> None:
    (chaos.folder / "proj.py").write_text("from celeriac import Celeriac\napp = Celeriac('proj')\n")
    code, report = chaos.prove("--tasks", "100", globals_=("-A", "proj"))
    assert code == 0, report
    shown = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "proj", "queues", "--json"],
        cwd=chaos.folder,
        capture_output=True,
        text=True,
        timeout=20 * SCALE,
        check=True,
    )
    assert json.loads(shown.stdout) == []
    connection = sqlite3.connect(chaos.folder / "celeriac.db")
    try:
        assert connection.execute("select name from sqlite_master where name like 'book%'").fetchall() == []
        assert connection.execute("select count(*) from result").fetchone() == (0,)
    finally:
        connection.close()


def test_a_worker_whose_proof_was_ended_while_it_started_ends_too(chaos: Chaos) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    scene = {
        "url": f"sqlite:///{chaos.folder}/x.db",
        "queue": "q",
        "folder": str(chaos.folder),
        "parent": int(gone.stdout),
    }
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "celeriac.testing.chaos_worker", "worker"],
        cwd=chaos.folder,
        env={**os.environ, "CELERIAC_CHAOS": json.dumps(scene)},
        capture_output=True,
        timeout=20 * SCALE,
        check=False,
    )
    assert done.returncode == 1


@pytest.mark.parametrize("after_s", [0.05, 0.2, 0.5, 0.8])
def test_ending_it_while_workers_start_leaves_none(chaos: Chaos, after_s: float) -> None:
    process = chaos.start("--workers", "3", "--tasks", "20000", "--kill-each", "50ms")
    try:
        eventually(chaos.processes, 20)
        # Somewhere in the midst of starting: where exactly is left to chance.
        threading.Event().wait(after_s)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30 * SCALE)
    finally:
        process.kill()
    assert process.returncode == 130
    eventually(lambda: not chaos.processes())
    assert chaos.folders() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_ending_it_leaves_no_process_and_by_request_no_file(chaos: Chaos, signum: signal.Signals) -> None:
    process = chaos.start(*_SMALL, "--tasks", "20000")
    try:
        eventually(lambda: len(list(chaos.folder.glob("*/runs-*"))) > 3, 20)
        assert len(chaos.processes()) >= 3
        process.send_signal(signum)
        _, errors = process.communicate(timeout=20 * SCALE)
    finally:
        process.kill()
    eventually(lambda: not chaos.processes())
    if signum == signal.SIGKILL:
        return
    assert process.returncode == 130
    assert chaos.folders() == []
    begun, ended = errors.splitlines()
    assert begun.startswith("20,000 tasks on 2 workers of 2 (prefork)")
    assert ended.startswith("Broken off after ")


def test_one_is_counted_as_one(chaos: Chaos) -> None:
    process = chaos.start("--workers", "1", "--tasks", "1", "--kill-each", "60s")
    try:
        _, errors = process.communicate(timeout=30 * SCALE)
    finally:
        process.kill()
    assert errors.startswith("1 task on 1 worker of 2 ")
