"""Tables of nodes and their tasks. Loads `rich`, so only verbs that print tables load it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from celeriac.cli.show import Page, count, short, span, table

_CALL_MAX = 80
"""So many characters of a call are shown; ``--json`` has it whole."""


def show_nodes(to: Page, nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """A line per node."""
    rows = table(
        ("node", False),
        ("pid", True),
        ("up", True),
        ("pool", False),
        ("running", True),
        ("held", True),
        ("done", True),
        ("queues", False),
    )
    for name, node in nodes.items():
        if "error" in node:
            rows.add_row(Text(name), "", "", Text(str(node["error"]), style="red"))
            continue
        rows.add_row(
            Text(name, style="bold"),
            Text(str(node["pid"])),
            Text(span(node["uptime_s"] or 0)),
            Text(_pools(node)),
            count(node["active"] or 0),
            count(node["reserved"] or 0),
            count(node["done"]),
            Text(", ".join(short(queue) for queue in node["queues"] or ())),
        )
    to.console.print(rows)


def _pools(node: Mapping[str, Any]) -> str:
    pools = node.get("pools") or [{"name": node["pool"], "children": node["concurrency"], "slots": 1}]
    return " + ".join(f"{pool['name']} {pool['children'] * pool['slots']}" for pool in pools)


def show_tasks(to: Page, tasks: Iterable[Mapping[str, Any]], running: bool) -> None:
    """A line per task; those that run with their age and process."""
    rows = table(("node", False), ("id", False), ("task", False), ("queue", False), *_since(running))
    for task in tasks:
        begun = task.get("time_start")
        age = [Text(span(to.now - begun) if begun else "-"), Text(str(task.get("worker_pid") or "-"))]
        queue = str((task.get("delivery_info") or {}).get("routing_key", ""))
        cells = [Text(str(task["hostname"])), Text(str(task["id"]), no_wrap=True), _call(task), Text(short(queue))]
        rows.add_row(*cells, *(age if running else ()))
    to.console.print(rows)


def _since(running: bool) -> tuple[tuple[str, bool], ...]:
    return (("since", True), ("pid", True)) if running else ()


def show_scheduled(to: Page, entries: Iterable[Mapping[str, Any]]) -> None:
    """A line per delayed task, the next one first."""
    rows = table(("due", True), ("id", False), ("task", False), ("queue", False))
    for entry in entries:
        task = entry["request"]
        due_s = datetime.fromisoformat(str(entry["eta"])).timestamp() - to.now
        queue = str((task.get("delivery_info") or {}).get("routing_key", ""))
        when = f"in {span(due_s)}" if due_s > 0 else "now"
        rows.add_row(Text(when), Text(str(task["id"]), no_wrap=True), _call(task), Text(short(queue)))
    to.console.print(rows)


def _call(task: Mapping[str, Any]) -> Text:
    args, kwargs = str(task.get("args") or ""), str(task.get("kwargs") or "")
    text = args if kwargs in {"", "{}"} else f"{args} {kwargs}"
    return Text(f"{task['name']}{text if len(text) <= _CALL_MAX else text[:_CALL_MAX] + '...'}")
