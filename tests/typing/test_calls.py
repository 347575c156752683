from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLE = HERE / "calls.py"
pytestmark = pytest.mark.slow  # two type checkers start from nothing

EXPECTED = {
    number: match.group(1)
    for number, line in enumerate(EXAMPLE.read_text().splitlines(), 1)
    if (match := re.search(r"# E: \[([\w-]+)\]$", line))
}


def test_mypy_refuses_wrong_calls_and_nothing_else():
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes", str(EXAMPLE)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = {
        int(match.group(1)): match.group(2)
        for line in done.stdout.splitlines()
        if (match := re.search(r"calls\.py:(\d+): error: .*\[([\w-]+)\]$", line))
    }
    assert found == EXPECTED, done.stdout + done.stderr


def test_pyright_refuses_wrong_calls_and_nothing_else():
    pytest.importorskip("basedpyright")
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", str(EXAMPLE)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    lines = {
        found["range"]["start"]["line"] + 1: found["message"]
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    }
    assert lines.keys() == EXPECTED.keys(), lines
