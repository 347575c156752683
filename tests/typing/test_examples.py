"""What users write is judged by both type checkers as it should be: right lines pass, wrong ones do not."""

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
EXAMPLES = sorted((HERE / "examples").glob("*.py"))
WRONG_MIN = 60
pytestmark = pytest.mark.slow  # two type checkers start from nothing

_WRONG = re.compile(r"# E: \[([\w, -]+)\]$")

EXPECTED = {
    (path.name, number): set(match.group(1).split(", "))
    for path in EXAMPLES
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if (match := _WRONG.search(line))
}
"""File and line -> what mypy calls the errors of it."""


def test_there_are_many_wrong_lines_and_every_example_has_some():
    assert len(EXPECTED) >= WRONG_MIN
    assert {name for name, _ in EXPECTED} == {path.name for path in EXAMPLES}


def test_mypy_refuses_wrong_lines_and_nothing_else():
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes", *map(str, EXAMPLES)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found: dict[tuple[str, int], set[str]] = {}
    for line in done.stdout.splitlines():
        match = re.search(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", line)
        if match:
            found.setdefault((match.group(1), int(match.group(2))), set()).add(match.group(3))
    assert found == EXPECTED, _difference(found.keys()) + done.stdout + done.stderr


def test_pyright_refuses_wrong_lines_and_nothing_else():
    pytest.importorskip("basedpyright")
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", *map(str, EXAMPLES)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert found.keys() == EXPECTED.keys(), f"{_difference(found.keys())}{found}"


def _difference(found: object) -> str:
    lines = set(found)  # type: ignore[call-overload]
    return f"not refused: {sorted(EXPECTED.keys() - lines)}\nrefused: {sorted(lines - EXPECTED.keys())}\n"
