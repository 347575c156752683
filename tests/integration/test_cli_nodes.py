"""The verbs that ask and tell nodes, and those that look on: real processes, one SQLite file each."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
RUN_S = 30 * SCALE

PROJECT = """
import time
from pathlib import Path
from celeriac import Celeriac

app = Celeriac("proj")


@app.task
def add(x, y):
    return x + y


@app.task
def sleep(seconds):
    Path("slept").touch()
    time.sleep(seconds)


@app.task(bind=True)
def steps(self):
    for number in range(3):
        self.update_state(state="PROGRESS", meta={"step": number})
        while not Path(f"go{number}").exists():
            time.sleep(0.01)
    return "all done"
"""

Program = Callable[..., "subprocess.CompletedProcess[str]"]
Eventually = Callable[..., None]
Node = Callable[..., "subprocess.Popen[bytes]"]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "NO_COLOR"))}
    return {**clean, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", **more}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "celeriac", "-A", "proj", *words]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "proj.py").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def celeriac(folder: Path) -> Program:
    def run(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*words),
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
def node(folder: Path, eventually: Eventually) -> Iterator[Node]:
    """Starts workers by name, and waits until they are ready."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command("worker", "-n", name, "-c", "1", *words), cwd=folder, env=environment(), stdout=out, stderr=out
            )
        started.append(process)
        eventually(lambda: b" ready" in log.read_bytes(), within_s=20, what=f"{name} is ready")
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=RUN_S)


def stopped_between_writes(pid: int, folder: Path) -> bool:
    """Stop a process, but not while it keeps the store to itself: then everybody would stand still."""
    os.kill(pid, signal.SIGSTOP)
    gate = os.open(folder / "celeriac.db-gate", os.O_RDWR)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.kill(pid, signal.SIGCONT)
        return False
    finally:
        os.close(gate)
    return True


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_nodes_is_an_error_of_its_own_and_leaves_no_database_behind(celeriac: Program, folder: Path):
    for words in (["status"], ["inspect", "ping"], ["control", "shutdown"], ["inspect", "active", "-t", "0.1"]):
        done = celeriac(*words)
        assert done.returncode == 69, done.stderr
        assert "No nodes replied" in done.stderr
        assert done.stdout == ""
    done = celeriac("status", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (69, {})
    assert not list(folder.glob("*.db*"))
    celeriac("call", "proj.add", "-a", "[1, 1]")
    began = time.monotonic()
    done = celeriac("inspect", "ping", "-t", "20")
    assert (done.returncode, done.stdout) == (69, "")
    assert time.monotonic() - began < 15 * SCALE, "nobody listens, so nobody is waited for"
    assert celeriac("-b", "memory://", "status").returncode == 78


def test_two_nodes_are_shown_asked_and_told(celeriac: Program, node: Node, folder: Path, eventually: Eventually):
    first, second = node("w1@h"), node("w2@h", "-Q", "other")
    shown = celeriac("status")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split() == ["node", "pid", "up", "pool", "running", "held", "done", "queues"]
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:3]] == ["w1@h", "w2@h"]
    assert "2 nodes online." in shown.stdout
    nodes = data(celeriac("status", "--json"))
    assert list(nodes) == ["w1@h", "w2@h"]
    assert set(nodes["w2@h"]) == {
        *("ok", "pid", "uptime_s", "pool", "concurrency", "pools", "active", "reserved", "done", "queues"),
    }
    assert (nodes["w2@h"]["ok"], nodes["w2@h"]["queues"], nodes["w2@h"]["done"]) == ("pong", ["other"], 0)

    assert celeriac("inspect", "ping").stdout == "w1@h: pong\nw2@h: pong\n"
    assert data(celeriac("inspect", "ping", "-j", "-d", "w2@h")) == {"w2@h": {"ok": "pong"}}
    assert data(celeriac("inspect", "-j", "-d", "w2@h", "ping")) == {"w2@h": {"ok": "pong"}}
    assert celeriac("inspect", "active").stdout == "No task runs.\n"
    task_id = celeriac("call", "proj.sleep", "-a", "[60]").stdout.strip()
    eventually((folder / "slept").exists, within_s=20, what="the task runs")
    assert task_id in celeriac("inspect", "active").stdout
    assert data(celeriac("inspect", "active", "--json"))["w1@h"][0]["id"] == task_id
    assert f"{task_id}: active proj.sleep" in celeriac("inspect", "query_task", task_id).stdout
    later = celeriac("call", "proj.add", "-a", "[1, 2]", "--countdown", "600").stdout.strip()
    scheduled = celeriac("inspect", "scheduled").stdout
    assert later in scheduled
    assert "proj.add(1, 2)" in scheduled
    assert "transport: sqlite" in celeriac("inspect", "stats").stdout
    assert "proj.add" in celeriac("inspect", "registered").stdout
    assert celeriac("inspect", "active_queues", "-d", "w2@h").stdout == "w2@h:\n  other\n"

    missing = celeriac("status", "-d", "w1@h,w9@h", "-t", "0.5")
    assert missing.returncode == 0
    assert "1 node did not answer" in missing.stderr
    revoked = celeriac("control", "revoke", task_id, "--terminate", "--signal", "KILL")
    assert revoked.returncode == 0
    assert f"w1@h: terminate: {task_id}" in revoked.stdout
    assert "REVOKED" in celeriac("result", task_id, "--wait", "20").stderr
    told = celeriac("control", "shutdown", "-d", "w1@h")
    assert (told.returncode, told.stdout) == (0, "w1@h: shutting down\n")
    assert first.wait(timeout=RUN_S) == 0
    assert second.poll() is None
    assert data(celeriac("control", "shutdown", "--json")) == {"w2@h": {"ok": "shutting down"}}
    assert second.wait(timeout=RUN_S) == 0


def test_a_revocation_holds_where_no_node_replies(celeriac: Program):
    task_id = celeriac("call", "proj.add", "-a", "[1, 1]").stdout.strip()
    done = celeriac("control", "revoke", task_id)
    assert done.returncode == 0
    assert "Marked as revoked" in done.stderr
    assert "revoked" in celeriac("result", task_id).stderr
    bad = celeriac("control", "revoke", task_id, "--signal", "SIGNONSENSE")
    assert bad.returncode == 2
    assert "SIGNONSENSE" in bad.stderr


def test_a_stopped_node_is_told_of_and_does_not_keep_the_others_from_answering(
    celeriac: Program, node: Node, folder: Path, eventually: Eventually
):
    node("w1@h")
    node("w2@h")
    pid = data(celeriac("inspect", "stats", "-d", "w1@h", "-j"))["w1@h"]["pid"]
    eventually(lambda: stopped_between_writes(pid, folder), what="it stands still")
    try:
        done = celeriac("inspect", "ping")
        assert (done.returncode, done.stdout) == (0, "w2@h: pong\n")
        assert "1 node did not answer within 1 s" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)


def test_asking_loads_neither_rich_nor_what_runs_tasks(folder: Path, node: Node):
    node("w1@h")
    program = (
        "import sys\n"
        "from celeriac.cli import main\n"
        "code = main(['-A', 'proj', 'inspect', 'ping'])\n"
        "unwanted = {'rich', 'celeriac.cli.show', 'celeriac.cli.worker', 'celeriac.worker.node', 'celeriac.worker.main',\n"
        "            'celeriac.core.engine.step', 'celeriac.worker.perform', 'multiprocessing'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {unwanted}' if unwanted else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "w1@h: pong\n"), done.stderr


def test_a_result_is_followed_to_its_end(celeriac: Program, node: Node, folder: Path, eventually: Eventually):
    node("w1@h")
    task_id = celeriac("call", "proj.steps").stdout.strip()
    with (folder / "seen").open("wb") as out:
        follower = subprocess.Popen(
            command("result", task_id, "--follow", "--json"), cwd=folder, env=environment(), stdout=out, stderr=out
        )

    def states() -> list[Any]:
        found = [json.loads(line) for line in (folder / "seen").read_text().splitlines()]
        return [one["result"] for one in found if one["state"] == "PROGRESS"]

    try:
        for number in range(3):
            eventually(lambda: {"step": number} in states(), within_s=20, what="the step is told")  # noqa: B023 - at once
            (folder / f"go{number}").touch()
        assert follower.wait(timeout=RUN_S) == 0
    finally:
        follower.kill()
        follower.wait(timeout=RUN_S)
    last = json.loads((folder / "seen").read_text().splitlines()[-1])
    assert (last["state"], last["ready"], last["result"]) == ("SUCCESS", True, "all done")
    again = celeriac("result", task_id, "--follow")
    assert (again.returncode, again.stdout, again.stderr) == (0, "all done\n", "")
    never = celeriac("result", "no-such-task", "--follow", "--wait", "0.2")
    assert never.returncode == 75


def test_following_stops_cleanly_on_ctrl_c(celeriac: Program, folder: Path, eventually: Eventually):
    task_id = celeriac("call", "proj.add", "-a", "[1, 1]").stdout.strip()
    with (folder / "seen").open("wb") as out:
        follower = subprocess.Popen(
            command("result", task_id, "--follow"), cwd=folder, env=environment(), stdout=out, stderr=out
        )
    try:
        eventually(lambda: b"PENDING" in (folder / "seen").read_bytes(), within_s=20, what="it follows")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=RUN_S) == 130
    finally:
        follower.kill()
        follower.wait(timeout=RUN_S)
    assert "Traceback" not in (folder / "seen").read_text()


def test_a_shell_has_the_app_its_tasks_and_what_workflows_are_built_of(celeriac: Program):
    words = "print(app.main, celery is app, add.name)\nprint([callable(one) for one in (chain, group, signature)])\n"
    done = celeriac("shell", "--python", stdin=words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "proj True proj.add\n[True, True, True]\n"
    bare = celeriac("shell", "--without-tasks", stdin="print('add' in globals(), AsyncResult)\n")
    assert bare.stdout.startswith("False")


def test_a_shell_that_is_not_installed_is_named(celeriac: Program, folder: Path):
    for package, option in (("bpython", "-B"), ("IPython", "-I")):
        done = celeriac("shell", option)
        if done.returncode != 0:  # it is not installed here
            assert done.returncode == 2
            assert f"{package} is not installed" in done.stderr


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the child becomes another program at once
def test_a_shell_on_a_terminal_greets_and_ends_with_ctrl_d(folder: Path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(sys.executable, command("shell", "-P"), environment(TERM="dumb"))
    text = ""
    try:
        # Each word is said when it is asked for: a terminal changes its mode in between.
        for said, prompts in ((b"print(6 * 7)\n", 1), (b"\x04", 2)):
            while text.count(">>> ") < prompts:
                text += os.read(terminal, 65536).decode()
            os.write(terminal, said)
        with suppress(OSError):  # the terminal is gone with the program
            while part := os.read(terminal, 65536):
                text += part.decode()
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    assert "At hand: app" in text
    assert "\n42\r\n" in text
