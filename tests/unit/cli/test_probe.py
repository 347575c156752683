"""What a worker asks its broker in a process of its own, and what becomes of that when the process dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ASKED = """
import os, signal, sys
from celeriac import Celeriac
from celeriac.cli.failure import Failure
from celeriac.cli.probe import Probe

deaths, forks, fork = int(sys.argv[1]), [], os.fork


def short_lived():
    forks.append(1)
    pid = fork()
    if pid == 0 and len(forks) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return pid


os.fork = short_lived
probe = Probe(Celeriac("app", broker="sqlite:///q.db"))
try:
    print(len(forks), probe.answer().shared, len(forks))
except Failure as failure:
    print(len(forks), failure.message, failure.exit_code)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no process left")
"""


@pytest.mark.parametrize(
    ("deaths", "said"),
    [
        (0, "1 True 1"),
        (1, "1 True 2"),
        (9, "2 What asks the broker was killed twice, by signal 9. 69"),
    ],
)
def test_when_the_process_that_asks_is_killed_another_one_asks_once(tmp_path: Path, deaths: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(deaths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [said, "no process left"], done.stderr
