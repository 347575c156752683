"""A real job on real files: `make demo`, or `python examples/demo.py [FOLDER]`.

For every file below a folder (Python's standard library unless you name another) a task computes digest, line and
word counts and language; all of them are one group. While two or more worker processes are at it, one of them is killed with SIGKILL. The
summary is checked against a plain sequential run: nothing lost, nothing counted twice. Exit code 0 says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from survey import Answer, Survey

HERE = Path(__file__).resolve().parent
KILL_AT = 0.3
"""The child is killed when this share of the files is done."""
LANGUAGES_SHOWN = 12
STOP_S = 20.0
"""How long the worker may take to stop before it is killed: its own grace is shorter."""

STDLIB = Path(sysconfig.get_path("stdlib"))
NOT_STDLIB = {"site-packages", "dist-packages"}

console = Console()


class DemoError(Exception):
    """The job could not be done; the text says why."""


@dataclass
class Run:
    """What came out of the workers."""

    answers: list[Answer] = field(default_factory=list)
    doubled: int = 0
    seconds: float = 0.0
    killed: int | None = None


def files_below(folder: Path) -> Iterator[str]:
    """Regular files below a folder, sorted; links are not followed, other kinds (pipes, sockets) not opened.

    What was installed beside the standard library does not belong to it.
    """
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if folder != STDLIB or name not in NOT_STDLIB)
        for name in sorted(names):
            path = Path(where, name)
            if stat.S_ISREG(path.lstat().st_mode):
                try:
                    str(path).encode()
                except UnicodeEncodeError:
                    continue  # a name that is no text cannot travel as JSON
                yield str(path)


def is_descendant(pid: int, ancestor: int) -> bool:
    """Whether a process belongs to the worker; only such a one may be killed."""
    for _ in range(10):
        if pid == ancestor:
            return True
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return False
        pid = int(fields[1])
    return False


def start_worker(folder: Path, concurrency: int) -> subprocess.Popen[bytes]:
    """A worker on the survey's tasks, its log in the folder."""
    # The tasks lie here; the package beside it serves a checkout that is not installed.
    path = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
    command = [sys.executable, "-m", "celeriac", "-A", "survey", "worker", "-c", str(concurrency), "-l", "info"]
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=subprocess.STDOUT
        )


def stop_worker(worker: subprocess.Popen[bytes]) -> None:
    """Ask it to finish, and make sure that it has."""
    if worker.poll() is None:
        worker.send_signal(signal.SIGTERM)
    try:
        worker.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait(timeout=STOP_S)


def answer_of(result: Any, worker: subprocess.Popen[bytes], ends_at: float) -> Answer:
    """Wait for one result, as long as the worker lives and time is left."""
    from celeriac.exceptions import TimeoutError as NotYet

    while True:
        try:
            answer: Answer = result.get(timeout=1.0)
        except NotYet:
            if worker.poll() is not None:
                raise DemoError(f"the worker ended with exit code {worker.returncode}") from None
            if time.monotonic() > ends_at:
                raise DemoError("the workers did not finish in time") from None
        else:
            return answer


def run_with_workers(paths: Sequence[str], worker: subprocess.Popen[bytes], ends_at: float) -> Run:
    """Send one group with a task per file, and collect the answers; kill a worker process on the way."""
    from survey import survey

    from celeriac import group

    run = Run()
    seen: set[str] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    began = time.monotonic()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("surveying", total=len(paths))
        results = group(survey.s(path) for path in paths).delay()
        for path, result in zip(paths, results, strict=True):
            answer = answer_of(result, worker, ends_at)
            if answer["path"] != path:
                raise DemoError(f"asked about {path}, answered about {answer['path']}")
            run.doubled += result.id in seen
            seen.add(result.id)
            run.answers.append(answer)
            progress.advance(bar)
            if run.killed is None and len(run.answers) >= KILL_AT * len(paths):
                run.killed = kill(answer["pid"], worker)
                progress.update(bar, description=f"process {run.killed} killed; surveying")
    run.seconds = time.monotonic() - began
    return run


def kill(pid: int, worker: subprocess.Popen[bytes]) -> int:
    """SIGKILL to the process that gave the latest answer."""
    if not is_descendant(pid, worker.pid):
        raise DemoError(f"process {pid} answered, but is no descendant of the worker {worker.pid}")
    os.kill(pid, signal.SIGKILL)
    return pid


def digest_of(surveys: Sequence[Survey]) -> str:
    """One digest over everything that was found out, in the order of the files."""
    digest = hashlib.sha256()
    for one in surveys:
        values = (one["path"], one["sha256"], one["bytes"], one["lines"], one["words"], one["language"])
        digest.update(repr(values).encode())
    return digest.hexdigest()


def table_of(surveys: Sequence[Survey]) -> Table:
    """Totals by language, the largest first."""
    totals: dict[str, list[int]] = {}
    for one in surveys:
        row = totals.setdefault(one["language"], [0, 0, 0, 0])
        for place, value in enumerate((1, one["lines"], one["words"], one["bytes"])):
            row[place] += value
    rows = sorted(totals.items(), key=lambda item: (-item[1][0], item[0]))
    shown, rest = rows[:LANGUAGES_SHOWN], rows[LANGUAGES_SHOWN:]
    if rest:
        shown.append((f"{len(rest)} others", [sum(row[place] for _, row in rest) for place in range(4)]))
    table = Table(show_footer=True)
    table.add_column("language", footer="all")
    for place, title in enumerate(("files", "lines", "words", "bytes")):
        footer = f"{sum(row[place] for _, row in rows):,}"
        table.add_column(title, footer=footer, justify="right")
    for language, row in shown:
        table.add_row(language, *(f"{value:,}" for value in row))
    return table


def report(paths: Sequence[str], run: Run) -> bool:
    """Show what came out, and whether it is what a plain loop finds."""
    from survey import survey_file

    began = time.monotonic()
    plain = [survey_file(path) for path in paths]
    plain_s = time.monotonic() - began
    same = digest_of(run.answers) == digest_of(plain)
    lost = len(paths) - len(run.answers)
    processes = len({answer["pid"] for answer in run.answers})
    console.print(table_of(run.answers))
    console.print(f"{len(paths):,} files in {run.seconds:.2f} s: [bold]{len(paths) / run.seconds:,.0f} files/s[/bold]")
    console.print(f"{processes} processes took part; process {run.killed} was killed with SIGKILL on the way")
    console.print(f"a plain loop in one process took {plain_s:.2f} s")
    console.print(f"lost: {lost}, counted twice: {run.doubled}")
    verdict = "[green]equal[/green]" if same else "[red]DIFFERENT[/red]"
    console.print(f"compared with the plain loop, file by file: {verdict} (sha256 {digest_of(plain)[:16]}...)")
    return same and lost == 0 and run.doubled == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when every file was counted exactly once, as a plain loop counts it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("folder", nargs="?", type=Path, default=STDLIB)
    parser.add_argument("-c", "--concurrency", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which the demo gives up")
    parser.add_argument("--limit", type=int, default=None, help="look at the first N files only")
    options = parser.parse_args(arguments)
    paths = list(files_below(options.folder))[: options.limit]
    if not paths:
        parser.error(f"there is no file below {options.folder}")
    console.print(f"{len(paths):,} files, {options.concurrency} worker processes: {options.folder}", soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="celeriac-demo-") as name:
        folder = Path(name)
        os.environ["SURVEY_STORE"] = f"sqlite:///{folder / 'survey.db'}"
        sys.path.insert(0, str(HERE))
        worker = start_worker(folder, options.concurrency)
        try:
            run = run_with_workers(paths, worker, time.monotonic() + options.timeout)
        except DemoError as exc:
            console.print(f"[red]{exc}[/red]; the end of the worker's log:")
            console.print((folder / "worker.log").read_text(errors="replace")[-4000:], markup=False)
            return 1
        finally:
            stop_worker(worker)
        return 0 if report(paths, run) else 1


if __name__ == "__main__":
    sys.exit(main())
