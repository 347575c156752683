"""The demo does what it says, and notices when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import celeriac

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo.py"
RUN_S = 50 * float(os.environ.get("CELERIAC_TEST_SCALE", "1"))

pytestmark = pytest.mark.skipif(not hasattr(celeriac, "Celeriac"), reason="the front is not there yet")


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(DEMO), "--timeout", "40", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)


def test_every_file_is_counted_once_although_a_process_is_killed(tmp_path: Path):
    for number in range(200):
        (tmp_path / f"{number}.py").write_text("a line of words\n" * number)
    (tmp_path / "empty").touch()
    (tmp_path / "no end of line").write_text("one two")
    (tmp_path / "link").symlink_to(tmp_path / "0.py")
    os.mkfifo(tmp_path / "pipe")
    done = _demo(str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "202 files" in done.stdout
    assert "lost: 0, counted twice: 0" in done.stdout
    assert "was killed with SIGKILL" in done.stdout
    assert f"{sum(range(200)):,}" in done.stdout


def test_a_folder_without_files_is_an_error_that_says_so(tmp_path: Path):
    done = _demo(str(tmp_path))
    assert done.returncode == 2
    assert "no file below" in done.stderr


CHECK = """
import sys
sys.path.insert(0, {folder!r})
import demo, survey
answer = survey.Answer(pid=1, **survey.survey_file({file!r}))
assert demo.report([{file!r}], demo.Run(answers=[answer], seconds=1.0, killed=1))
assert not demo.report([{file!r}], demo.Run(answers=[answer | {{"lines": 2}}], seconds=1.0, killed=1))
assert not demo.report([{file!r}], demo.Run(answers=[answer], seconds=1.0, killed=1, doubled=1))
assert not demo.report([{file!r}], demo.Run(answers=[], seconds=1.0))
"""


def test_a_difference_from_the_plain_loop_is_noticed(tmp_path: Path):
    file = tmp_path / "a.py"
    file.write_text("one\n")
    # In a process of its own: importing the demo's tasks makes their app the current one.
    code = CHECK.format(folder=str(DEMO.parent), file=str(file))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr
