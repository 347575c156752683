"""The program as a user runs it: real processes, one SQLite file each, no worker unless the test is about it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
RUN_S = 30 * SCALE

PROJECT = """
from celeriac import Celeriac

app = Celeriac("proj")


@app.task
def add(x, y):
    return x + y


@app.task
def fail(word):
    raise ValueError(word)


@app.task
def die():
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""

Program = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "NO_COLOR"))}
    return {**clean, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "proj.py").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def celeriac(folder: Path) -> Program:
    def run(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celeriac", *words],
            cwd=folder,
            env=environment(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )

    return run


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, before: tuple[str, ...] = ("-A", "proj"), **variables: str) -> subprocess.Popen[str]:
        with (folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celeriac", *before, "worker", *words],
                cwd=folder,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=RUN_S)


def log_of(folder: Path) -> str:
    path = folder / "worker.log"
    return path.read_text(errors="replace") if path.exists() else ""


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_task_is_called_run_and_answered(celeriac: Program, worker: Any, folder: Path):
    process = worker("-c", "1", "-l", "info", "-n", "w1@%h")
    done = celeriac("-A", "proj", "call", "proj.add", "-a", "[2, 3]", "--wait", "25")
    assert done.returncode == 0, done.stderr + log_of(folder)
    task_id, value = done.stdout.split()
    assert value == "5"
    assert celeriac("-A", "proj", "result", task_id).stdout == "5\n"
    found = data(celeriac("-A", "proj", "result", task_id, "--json"))
    assert (found["id"], found["state"], found["result"]) == (task_id, "SUCCESS", 5)

    failed = celeriac("-A", "proj", "call", "proj.fail", "-k", '{"word": "oh"}', "--wait", "25")
    assert failed.returncode == 1
    assert "FAILURE: ValueError: oh" in failed.stderr
    again = celeriac("-A", "proj", "result", failed.stdout.strip(), "--traceback")
    assert again.returncode == 1
    assert "raise ValueError(word)" in again.stdout

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=RUN_S) == 0
    log = log_of(folder)
    for words in ("w1@", "proj.add, proj.die, proj.fail", str(folder / "celeriac.db"), "1 (prefork)", "survive"):
        assert words in log, log
    assert "\x1b[" not in log


def test_the_worker_loads_neither_rich_nor_a_driver_in_its_main_process(folder: Path):
    program = (
        "import sys\n"
        "from celeriac.worker import main\n"
        "main.run_worker = lambda home, config: 40 + len({'rich', 'sqlite3'} & set(sys.modules))\n"
        "from celeriac.cli import main\n"
        "sys.exit(main(['-A', 'proj', 'worker']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment(), capture_output=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 40, done.stderr


def test_help_loads_no_verb_no_rich_no_driver(folder: Path):
    program = (
        "import sys\n"
        "from celeriac.cli import main\n"
        "main(['--help'])\n"
        "unwanted = {'rich', 'sqlite3', 'celeriac.cli.worker', 'celeriac.cli.queues'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {unwanted}' if unwanted else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment(), capture_output=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_crashed_tasks_are_listed_searched_revived_and_dropped(
    celeriac: Program, worker: Any, eventually: Any, folder: Path
):
    worker("-c", "1")
    sent = [celeriac("-A", "proj", "call", "proj.die").stdout.strip() for _ in range(2)]

    def dead() -> list[Any]:
        return list(data(celeriac("-A", "proj", "queues", "dead", "--json")))

    eventually(lambda: len(dead()) == 2, within_s=25, what="both are dead letters")
    letter = dead()[0]
    assert letter["id"] in sent
    assert "signal 9" in letter["reason"]
    shown = celeriac("-A", "proj", "queues", "dead", "--search", "PROJ.DIE").stdout
    assert all(task_id in shown for task_id in sent)
    assert "proj.die" in shown
    assert celeriac("-A", "proj", "queues", "dead", "--search", "nothing like it").stdout.startswith("No dead letters")

    celeriac("-A", "proj", "queues", "pause", "celery")
    assert celeriac("-A", "proj", "queues", "revive", sent[0]).stdout == "Revived 1 dead letter.\n"
    assert [row["ready"] for row in data(celeriac("-A", "proj", "queues", "--json"))] == [1]
    refused = celeriac("-A", "proj", "queues", "drop", "--all")
    assert refused.returncode == 2
    assert "-f" in refused.stderr
    assert celeriac("-A", "proj", "queues", "drop", "--all", "-f").stdout == "Dropped 1 dead letter.\n"
    assert dead() == []


def test_steps_behind_a_revived_task_are_pending_again(celeriac: Program, folder: Path):
    chain = """
from proj import add, app, die
from celeriac.model.message import Bury, Settlement

result = (die.si() | add.si(1, 1)).delay()
broker = app.sender.broker()
(delivery,) = broker.take(["celery"], 1, 0)
broker.settle([Settlement(delivery.receipt, Bury("it died"))])
for step in (result, result.parent):
    app.store_state(step.id, "FAILURE", RuntimeError("it died"), None)
print(result.parent.id, result.id)
"""
    done = subprocess.run(
        [sys.executable, "-c", chain],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    first, last = done.stdout.split()
    assert "RuntimeError" in celeriac("-A", "proj", "result", last).stderr
    assert celeriac("-A", "proj", "queues", "revive", first).stdout == "Revived 1 dead letter.\n"
    told = [json.loads(celeriac("-A", "proj", "result", one, "--json").stdout) for one in (first, last)]
    assert [answer["state"] for answer in told] == ["PENDING", "PENDING"]


def test_a_task_of_unknown_name_is_parked_and_its_result_says_so(celeriac: Program, worker: Any, eventually: Any):
    worker("-c", "1")
    sent = celeriac("-A", "proj", "call", "proj.ad", "-a", "[1]")
    assert "Did you mean proj.add?" in sent.stderr
    task_id = sent.stdout.strip()

    def answer() -> str:
        return celeriac("-A", "proj", "result", task_id).stderr

    eventually(lambda: "parked" in answer(), within_s=20, what="the task is parked")
    assert f"queues revive {task_id}" in answer()
    shown = celeriac("-A", "proj", "queues", "dead").stdout
    assert "parked: " in shown
    assert "(1,)" in shown
    assert celeriac("-A", "proj", "queues", "revive", task_id).stdout == "Revived 1 dead letter.\n"


def test_depths_peek_and_purge_tell_what_waits(celeriac: Program):
    for word in ("a", "b"):
        assert (
            celeriac("-A", "proj", "call", "proj.fail", "-a", json.dumps([word]), "--priority", "high").returncode == 0
        )
    celeriac("-A", "proj", "call", "proj.fail", "-a", '["c"]', "--countdown", "3600", "--queue", "slow")
    rows = {row["queue"]: row for row in data(celeriac("-A", "proj", "queues", "--json"))}
    assert (rows["celery"]["ready"], rows["slow"]["delayed"]) == (2, 1)
    table = celeriac("-A", "proj", "queues").stdout
    assert "celery" in table
    assert "delayed" in table
    waiting = data(celeriac("-A", "proj", "queues", "peek", "celery", "--json"))
    assert [one["arguments"] for one in waiting] == ["('a',)", "('b',)"]
    assert "due in" in celeriac("-A", "proj", "queues", "peek", "slow").stdout

    refused = celeriac("-A", "proj", "purge")
    assert refused.returncode == 2
    assert "2 messages" in refused.stderr
    purged = celeriac("-A", "proj", "purge", "-f")
    assert purged.stdout == "Deleted 2 messages from celery.\n"
    assert "slow" in purged.stderr
    assert celeriac("-A", "proj", "purge", "-f", "-Q", "slow,celery").stdout == "Deleted 1 message from slow, celery.\n"


def test_ids_by_the_thousand_pass_through_a_pipe(celeriac: Program, folder: Path):
    fill = (
        "from proj import app\n"
        "from celeriac.model.message import Bury, Settlement\n"
        "with app.batch():\n"
        "    for n in range(3000):\n"
        "        app.tasks['proj.fail'].delay(str(n))\n"
        "broker = app.make_broker()\n"
        "broker.open()\n"
        "while taken := broker.take(['celery'], 500, 0.0):\n"
        "    broker.settle([Settlement(one.receipt, Bury('for the test')) for one in taken])\n"
        "broker.close()\n"
        "app.close()\n"
    )
    subprocess.run([sys.executable, "-c", fill], cwd=folder, env=environment(), check=True, timeout=RUN_S)
    ids = celeriac("-A", "proj", "queues", "dead", "--ids", "-n", "0").stdout
    assert len(ids.split()) == 3000
    shown = celeriac("-A", "proj", "queues", "dead", "-n", "5")
    assert len(shown.stdout.splitlines()) == 10
    assert "of 3,000" in shown.stderr
    done = celeriac("-A", "proj", "queues", "revive", "-", stdin=ids)
    assert done.stdout == "Revived 3,000 dead letters.\n"
    missing = celeriac("-A", "proj", "queues", "drop", "-f", *ids.split()[:2])
    assert missing.returncode == 1
    assert "2 ids are no dead letter's" in missing.stderr


def test_a_worker_purges_first_when_told_so(celeriac: Program, worker: Any, eventually: Any, folder: Path):
    old = celeriac("-A", "proj", "call", "proj.add", "-a", "[1, 1]").stdout.strip()
    worker("-c", "1", "--purge")
    eventually(lambda: "1 message" in log_of(folder), within_s=20, what="the banner tells what was purged")
    assert celeriac("-A", "proj", "call", "proj.add", "-a", "[2, 2]", "--wait", "25").stdout.endswith("\n4\n")
    assert celeriac("-A", "proj", "result", old).returncode == 75


def test_children_started_anew_have_the_modules_and_settings_of_the_command_line(
    celeriac: Program, worker: Any, folder: Path
):
    (folder / "more.py").write_text(
        "from proj import app\n@app.task\ndef limit():\n    return app.conf.task_crash_limit\n"
    )
    worker("-c", "1", "-I", "more", "--", "worker.start=exec", "task_crash_limit=7")
    done = celeriac("-A", "proj", "call", "more.limit", "--wait", "25")
    assert done.stdout.endswith("\n7\n"), done.stderr + log_of(folder)


def test_a_module_of_tasks_that_fails_to_import_stops_the_worker_with_its_traceback(celeriac: Program, folder: Path):
    (folder / "unwell.py").write_text("1 / 0\n")
    for quiet in ((), ("-q",)):
        done = celeriac("-A", "proj", *quiet, "worker", "-I", "unwell")
        assert done.returncode == 70
        assert "1 / 0" in done.stderr
        assert "ZeroDivisionError" in done.stderr.splitlines()[-2]


def on_a_terminal(folder: Path, *words: str, answer: str = "", **variables: str) -> tuple[int, str]:
    """Exit code and output of the program with a terminal around it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(sys.executable, [sys.executable, "-m", "celeriac", *words], environment(TERM="xterm", **variables))
    if answer:
        os.write(terminal, answer.encode())
    parts: list[bytes] = []
    with contextlib.suppress(OSError):  # the terminal is gone with the program
        while part := os.read(terminal, 65536):
            parts.append(part)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b"".join(parts).decode()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the child becomes another program at once
def test_a_terminal_gets_colours_unless_they_are_unwanted_and_is_asked_before_harm(celeriac: Program, folder: Path):
    celeriac("-A", "proj", "call", "proj.add", "-a", "[1, 1]")
    assert "\x1b[" in on_a_terminal(folder, "-A", "proj", "queues")[1]
    assert "\x1b[" not in on_a_terminal(folder, "-A", "proj", "-C", "queues")[1]
    assert "\x1b[" not in on_a_terminal(folder, "-A", "proj", "queues", NO_COLOR="1")[1]
    assert "\x1b[" not in on_a_terminal(folder, "-C", "workr")[1]
    code, text = on_a_terminal(folder, "-A", "proj", "purge", answer="n\n")
    assert code == 1
    assert "Delete 1 message from celery for good?" in text
    code, text = on_a_terminal(folder, "-A", "proj", "purge", answer="y\n")
    assert code == 0
    assert "Deleted 1 message" in text


def test_looking_leaves_no_empty_database_behind(celeriac: Program, folder: Path):
    for words in (["queues"], ["queues", "peek", "celery"], ["queues", "dead"]):
        done = celeriac("-A", "proj", *words)
        assert done.returncode == 0
        assert "no database" in done.stderr
    assert data(celeriac("-A", "proj", "queues", "--json")) == []
    assert celeriac("-A", "proj", "report").returncode == 0
    assert not list(folder.glob("*.db*"))


def test_a_reader_that_goes_away_is_no_error(folder: Path):
    command = f"{sys.executable} -m celeriac --help | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=True,
    )
    assert done.stdout.startswith("Usage")
    assert done.stderr == ""


def test_report_shows_settings_without_their_secrets(celeriac: Program, folder: Path):
    (folder / "secretive.py").write_text(
        "from celeriac import Celeriac\n"
        "app = Celeriac('secretive')\n"
        "app.conf.security_key_password = 'hunter2'\n"
        "app.conf.result_expires = 77\n"
    )
    done = celeriac("-A", "secretive", "report", PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stdout
    assert done.stderr.startswith("Note: settings without effect here: security_key_password")
    assert "hunter2" not in done.stdout
    assert celeriac("-A", "secretive", "queues", PYTHONWARNINGS="default").stderr.startswith("There is no database")
    for words in ("python:", "result_expires: 77", "durability: process", str(folder / "celeriac.db")):
        assert words in done.stdout


def test_an_app_that_cannot_be_found_ends_with_what_to_do(celeriac: Program, folder: Path):
    (folder / "broken.py").write_text("import no_such_library\n")
    missing = celeriac("-A", "nothere", "worker")
    assert missing.returncode == 2
    assert "-A nothere: there is no module 'nothere'" in missing.stderr
    assert missing.stderr.splitlines()[-1].startswith("Next:")
    broken = celeriac("worker", CELERY_APP="broken")
    assert broken.returncode == 70
    assert "CELERY_APP broken" in broken.stderr
    assert "import no_such_library" in broken.stderr


def test_a_database_that_cannot_be_used_is_told_in_two_lines(celeriac: Program, folder: Path):
    (folder / "bad.db").write_bytes(b"this is no database" * 1000)
    for verb in ("queues", "worker"):
        bad = celeriac("-A", "proj", "-b", "sqlite:///bad.db", verb)
        assert bad.returncode == 78
        assert len(bad.stderr.strip().splitlines()) == 2
    nowhere = celeriac("-A", "proj", "-b", "sqlite:///no/such/folder/x.db", "queues")
    assert nowhere.returncode == 78
    unknown = celeriac("-A", "proj", "-b", "carrier-pigeon://loft", "queues")
    assert unknown.returncode == 78
    assert "carrier-pigeon" in unknown.stderr
    memory = celeriac("-A", "proj", "-b", "memory://", "queues")
    assert memory.returncode == 78
    assert "inside one process" in memory.stderr


def test_settings_after_the_double_dash_reach_the_worker(celeriac: Program):
    wrong = celeriac("-A", "proj", "worker", "--", "worker.prefetch_multiplir=8")
    assert wrong.returncode == 78
    assert "worker_prefetch_multiplier" in wrong.stderr
    kind = celeriac("-A", "proj", "worker", "--", "worker.prefetch_multiplier=(str)many")
    assert kind.returncode == 78
    assert "worker_prefetch_multiplier" in kind.stderr
