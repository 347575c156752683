"""Takes the figures of the project, side by side with Celery on Redis in the same run.

Prints a table and writes `out/bench.json`. Figures on a busy machine are noise: the load is noted beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from rich.console import Console  # noqa: E402 - after the path
from rich.table import Table  # noqa: E402

from bench import systems  # noqa: E402
from bench.figures import FIGURES, Figure, Sizes, Values  # noqa: E402

console = Console(width=120 if not sys.stdout.isatty() else None)


def take(figure: Figure, system: systems.System, sizes: Sizes, repeat: int) -> dict[str, Any]:
    """Medians of a figure's values, with all of them beside, or why it could not be taken."""
    if figure.celery_lacks and system.name == "celery":
        return {"lacks": figure.celery_lacks}
    rounds: list[Values] = []
    try:
        rounds.extend(figure.take(system, sizes) for _ in range(repeat))
    except Exception as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}
    names = rounds[0].keys()
    medians = {name: statistics.median(values[name] for values in rounds) for name in names}
    return {"median": medians, "rounds": rounds}


def verdict(figure: Figure, values: dict[str, Any]) -> str:
    """Whether the goals were reached."""
    if "median" not in values:
        return "[red]not taken[/red]"
    said = []
    for name, sign, goal in figure.goals:
        value = values["median"][name]
        reached = value > goal if sign == ">" else value < goal
        said.append(f"[{'green' if reached else 'red'}]{name} {sign} {goal:,g}[/]")
    return ", ".join(said)


def shown(values: dict[str, Any] | None) -> str:
    """Values in one cell."""
    if values is None:
        return "-"
    if "lacks" in values:
        return f"[dim]has none: {values['lacks']}[/dim]"
    if "error" in values:
        return f"[red]{values['error'].splitlines()[-1][:60]}[/red]"
    return "\n".join(f"{name} {value:,.{0 if value >= 1000 else 2}f}" for name, value in values["median"].items())


def ratio(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> str:
    """How many times better, by the first value."""
    if not ours or not theirs or "median" not in ours or "median" not in theirs:
        return "-"
    (name, mine), (_, other) = next(iter(ours["median"].items())), next(iter(theirs["median"].items()))
    if not mine or not other or name == "tasks":
        return "-"
    return f"{mine / other if name.endswith('per_s') else other / mine:.1f}x"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when every figure of ours could be taken (reached or not)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks, one round: does it work, not how fast")
    parser.add_argument("--only", action="append", default=[], help="figures whose name contains this; may be repeated")
    parser.add_argument("--repeat", type=int, help="rounds per figure (five; one with --quick)")
    parser.add_argument("--no-celery", action="store_true", help="leave Celery out")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench.json")
    options = parser.parse_args(arguments)
    chosen = [figure for figure in FIGURES if not options.only or any(part in figure.name for part in options.only)]
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "load_before": load,
        "quick": options.quick,
        "figures": {},
    }
    with tempfile.TemporaryDirectory(prefix="celeriac-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        subjects = [systems.celeriac(folder)]
        if not options.no_celery:
            try:
                subjects.append(stack.enter_context(systems.celery(folder)))
            except systems.BenchError as exc:
                console.print(f"[yellow]without Celery: {exc}[/yellow]")
        report["versions"] = {system.name: system.version for system in subjects}
        table = Table(title=f"{report['machine']}, Python {report['python']}, load {load:.1f} before")
        for title in ("figure", *(f"{s.name} {s.version}" for s in subjects), "better by", "goals"):
            table.add_column(title)
        for figure in chosen:
            sizes = figure.quick if options.quick else figure.full
            repeat = options.repeat or (1 if options.quick else figure.repeat)
            console.print(f"taking: {figure.name}", style="dim")
            taken = {system.name: take(figure, system, sizes, repeat) for system in subjects}
            report["figures"][figure.name] = taken
            ours, theirs = taken["celeriac"], taken.get("celery")
            cells = [shown(taken[system.name]) for system in subjects]
            table.add_row(figure.name, *cells, ratio(ours, theirs), verdict(figure, ours), end_section=True)
        report["load_after"] = os.getloadavg()[0]
    console.print(table)
    for name, taken in report["figures"].items():
        for system_name, values in taken.items():
            if "error" in values:
                console.print(f"{name}, {system_name}: {values['error']}", style="red", markup=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written to {options.out}")
    return int(any("error" in taken["celeriac"] for taken in report["figures"].values()))


if __name__ == "__main__":
    sys.exit(main())
