"""The documentation is true: its programs run, print what they say, and its settings are those of the source.

On each page, a Python block whose first line is a comment with a file name is a module; all other Python blocks are one
program, run beside a worker on the page's app. A comment behind a `print` is what it prints. In blocks marked
`console`, every `$ celeriac` line must exit with 0.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import celeriac

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")])
SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
RUN_S = 50 * SCALE

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
_PRINTS = re.compile(r"^\s*print\(.*\)\s+# (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

pytestmark = pytest.mark.skipif(not hasattr(celeriac, "Celeriac"), reason="the front is not there yet")


@dataclass
class Page:
    """The programs of one page."""

    modules: dict[str, str] = field(default_factory=dict)
    program: str = ""
    commands: list[str] = field(default_factory=list)

    @property
    def app_module(self) -> str | None:
        """The module that has the page's app."""
        return next((name[:-3] for name, text in self.modules.items() if "app = Celer" in text), None)


def _read(path: Path) -> Page:
    page = Page()
    for language, text in _BLOCK.findall(path.read_text(encoding="utf-8")):
        if language == "python":
            named = _FILE.match(text)
            if named:
                page.modules[named[1]] = text
            else:
                page.program += text
        elif language == "console":
            page.commands += [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return page


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


@contextmanager
def _worker(app: str, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celeriac", "-A", app, "worker", "-c", "2", "-Q", "celery,reports,main"]
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=log, stderr=log)
    try:
        # It says that it is ready, and from then on stops as asked.
        ends_at = time.monotonic() + 30 * SCALE
        while not (folder / "worker.log").stat().st_size and worker.poll() is None and time.monotonic() < ends_at:
            time.sleep(0.01)
        yield
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30 * SCALE) == 0, (folder / "worker.log").read_text()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait(timeout=10)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=RUN_S, check=False
    )
    log = folder / "worker.log"
    shown = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\nworker:\n{shown}"
    return done.stdout


@pytest.mark.parametrize("path", [p for p in PAGES if _read(p).modules], ids=lambda path: path.stem)
def test_the_programs_of_a_page_run_and_print_what_it_says(path: Path, tmp_path: Path):
    page = _read(path)
    for name, text in page.modules.items():
        (tmp_path / name).write_text(text)
    main = next((name for name, text in page.modules.items() if "__main__" in text), None)
    (tmp_path / "program.py").write_text(page.program)
    assert page.app_module
    with _worker(page.app_module, tmp_path):
        # A page without a program of its own has one in its module.
        name, source = ("program.py", page.program) if page.program else (str(main), page.modules[str(main)])
        printed = _run([sys.executable, name], tmp_path).splitlines()
        said = _PRINTS.findall(source)
        if page.program:
            assert printed == said
        for command in page.commands:
            words = shlex.split(command)
            if words[0] == "celeriac" and "worker" not in words:
                _run([sys.executable, "-m", *words], tmp_path)


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*.md")], ids=lambda path: path.stem)
def test_the_links_of_a_page_lead_somewhere(path: Path):
    targets = [target for target in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (path.parent / target).exists()]


def _settings_table() -> str:
    from celeriac.settings_table import SETTINGS

    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    for row in sorted(SETTINGS.values(), key=lambda row: row.name):
        if row.status == "used":
            meaning = row.meaning.replace("|", "\\|")
            lines.append(f"| `{row.name}` | `{row.default!r}` | {meaning} |")
    return "\n".join(lines)


def test_the_page_of_settings_lists_every_setting_that_has_an_effect():
    text = (ROOT / "docs/guides/settings.md").read_text(encoding="utf-8")
    start, end = text.index("\n", text.index("<!-- settings:")), text.index("<!-- end of settings")
    expected = _settings_table()
    assert text[start:end].strip() == expected, f"put this into docs/guides/settings.md:\n{expected}"
