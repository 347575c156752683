"""Coroutines on the embedded store, beside a real worker: sending, waiting, progress, forks, and errors while the loop
goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celeriac
from celeriac.exceptions import OperationalError
from celeriac.result import ResultSet

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
JOBS = """
import time
from pathlib import Path
from celeriac import Celeriac

app = Celeriac("jobs", broker="sqlite:///{folder}/jobs.db", task_track_started=True)

@app.task(name="double")
def double(x):
    return 2 * x

@app.task(name="gate", bind=True)
def gate(self, path):
    "Tells how far it is, and ends when the file is there."
    for done in range(1, 4):
        self.update_state(state="PROGRESS", meta={{"done": done}})
        until = time.monotonic() + 20
        while not Path(f"{{path}}-{{done}}").exists() and time.monotonic() < until:
            time.sleep(0.002)
    return "open"

@app.task(name="chained")
async def chained(x):
    "Sends and awaits another task."
    return await (await double.adelay(x)) + 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a worker of two children runs the jobs above."""
    folder = tmp_path_factory.mktemp("async")
    (folder / "async_jobs.py").write_text(JOBS.format(folder=folder))
    command = [sys.executable, "-m", "celeriac", "-A", "async_jobs", "worker", "-c", "2", "-l", "warning"]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
    try:
        yield folder
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0, (folder / "worker.log").read_text()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait(timeout=10)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, str(folder)])}


@pytest.fixture
def app(folder: Path) -> Iterator[Celeriac]:
    app = Celeriac("client", broker=f"sqlite:///{folder}/jobs.db", set_as_current=False)
    yield app
    app.close()


def test_hundreds_send_and_wait_at_once(app):
    async def one(n: int) -> int:
        result = await app.asend_task("double", (n,))
        return await result.aget(timeout=40)

    async def main():
        return await asyncio.gather(*(one(n) for n in range(300)))

    assert asyncio.run(main()) == [2 * n for n in range(300)]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("celeriac-door") <= 1
    assert names.count("celeriac-results") <= 1


def test_loops_in_several_threads_and_blocking_threads_share_one_client(app):
    got: dict[int, list[int]] = {}

    def coroutines(number: int) -> None:
        async def one(n: int) -> int:
            return await (await app.asend_task("double", (n,))).aget(timeout=40)

        async def main():
            got[number] = await asyncio.gather(*(one(n) for n in range(20)))

        asyncio.run(main())

    def blocking(number: int) -> None:
        got[number] = [app.send_task("double", (n,)).get(timeout=40) for n in range(20)]

    threads = [threading.Thread(target=coroutines if n % 2 else blocking, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=50)
    assert got == {n: [2 * m for m in range(20)] for n in range(6)}


def test_progress_is_followed_and_started_states_end_no_wait(app, tmp_path):
    path = tmp_path / "gate"

    async def main():
        result = await app.asend_task("gate", (str(path),))
        ending = asyncio.ensure_future(result.aget(timeout=40))
        blocked = asyncio.ensure_future(asyncio.to_thread(result.get, timeout=40))
        seen = []
        async for state, info in result.astates(timeout=40):
            seen.append(state if state in {"STARTED", "SUCCESS"} else info["done"])
            if state == "PROGRESS":
                assert not ending.done()
                (tmp_path / f"gate-{info['done']}").touch()
        assert seen[-4:] == [1, 2, 3, "SUCCESS"]
        return await asyncio.gather(ending, blocked)

    assert asyncio.run(main()) == ["open", "open"]


def test_members_of_a_set_come_as_they_end(app, tmp_path):
    async def main():
        slow = await app.asend_task("gate", (str(tmp_path / "gate"),))
        fast = [await app.asend_task("double", (n,)) for n in range(10)]
        ended = []
        async for result in ResultSet([slow, *fast], app=app):
            ended.append(result.id)
            if len(ended) == 10:
                for done in (1, 2, 3):
                    (tmp_path / f"gate-{done}").touch()
        assert ended[-1] == slow.id
        assert sorted(ended[:-1]) == sorted(result.id for result in fast)
        return await ResultSet([slow, *fast], app=app)

    assert asyncio.run(main()) == ["open", *(2 * n for n in range(10))]


def test_a_coroutine_task_sends_and_awaits_another(app):
    async def main():
        return await (await app.asend_task("chained", (20,))).aget(timeout=40)

    assert asyncio.run(main()) == 41


def test_a_fork_of_a_program_that_sends_and_waits_does_both_anew(folder):
    program = f"""
        import asyncio, os, sys, threading
        from celeriac import Celeriac
        app = Celeriac("client", broker="sqlite:///{folder}/jobs.db")

        async def main(first):
            sent = await asyncio.gather(*(app.asend_task("double", (n,)) for n in range(first, first + 5)))
            return await asyncio.gather(*(result.aget(timeout=40) for result in sent))

        assert asyncio.run(main(0)) == [0, 2, 4, 6, 8]
        assert len(threading.enumerate()) == 3, threading.enumerate()
        children = []
        for child in range(1, 4):
            pid = os.fork()
            if pid == 0:
                try:
                    assert len(threading.enumerate()) == 1
                    got = asyncio.run(main(10 * child))
                    assert got == [2 * (10 * child + n) for n in range(5)], got
                    os._exit(0)
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    sys.stderr.flush()
                    os._exit(1)
            children.append(pid)
        assert asyncio.run(main(100)) == [200, 202, 204, 206, 208]
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        app.close()
        assert len(threading.enumerate()) == 1, threading.enumerate()
    """
    # Newer interpreters warn of any fork beside threads; that is what this is about.
    options = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        check=False,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_a_program_that_ends_while_it_waits_ends_cleanly(folder):
    program = f"""
        import asyncio
        from celeriac import Celeriac
        app = Celeriac("client", broker="sqlite:///{folder}/jobs.db")

        async def main():
            await app.asend_task("double", (1,))
            asyncio.ensure_future(app.AsyncResult("never").aget())
            app.AsyncResult("never").then(print)
            await asyncio.sleep(0.01)

        asyncio.run(main())
        print("end")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        check=False,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_locked_store_is_an_error_in_time_while_the_loop_goes_on(tmp_path):
    app = Celeriac("client", broker=f"sqlite:///{tmp_path}/own.db", set_as_current=False)
    app.conf.broker_connection_timeout = 0.5
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    async def main():
        await app.asend_task("double", (1,))
        other = sqlite3.connect(tmp_path / "own.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        ticking = asyncio.ensure_future(tick())
        began_at = time.monotonic()
        try:
            errors = await asyncio.gather(*(app.asend_task("double", (n,)) for n in range(3)), return_exceptions=True)
            took_s = time.monotonic() - began_at
        finally:
            other.execute("ROLLBACK")
            other.close()
            ticking.cancel()
        assert [isinstance(error, OperationalError) for error in errors] == [True] * 3
        assert took_s < 20
        assert ticks > 10, "the loop stood still"
        await app.asend_task("double", (2,))

    asyncio.run(main())
    assert app.sender.broker().depth(["celery"])[0].ready == 2
    app.close()
