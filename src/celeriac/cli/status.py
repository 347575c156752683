"""``celeriac status``: the nodes that are there."""

from __future__ import annotations

import time
from typing import Any

import click

from celeriac.cli.invocation import Invocation, load_app
from celeriac.cli.remote import Heard, asked, asking_of, asking_options, print_json, tell_missing
from celeriac.cli.verb import Verb

_EPILOG = """
\b
Examples:
  celeriac -A proj status
  celeriac -A proj status --json
  celeriac -A proj status -d w1@box -t 5

\b
pool     the kind of pool, and how many tasks it runs at a time
running  tasks that run now
held     reserved for its next free slots
done     finished since the node began

\b
Exit code: 0, or 69 if no nodes replied.
"""


@click.command(cls=Verb, epilog=_EPILOG)
@asking_options
@click.pass_obj
def status(invocation: Invocation, /, **words: Any) -> int:
    """Show the nodes that are online, and what they are at."""
    asking = asking_of(words)
    app = load_app(invocation)
    heard = asked(app, "stats", {}, asking)
    nodes = Heard({node: _node(stats) for node, stats in heard.answers.items()}, heard.replies, heard.listeners)
    if asking.wants_json:
        print_json(nodes)
    else:
        from celeriac.cli.show import page
        from celeriac.cli.show_nodes import show_nodes

        show_nodes(page(invocation, time.time()), nodes.answers)
        if not invocation.quiet:
            count = len(nodes.answers)
            click.echo(f"\n{count} node{'' if count == 1 else 's'} online.")
    tell_missing(invocation, nodes, asking)
    return nodes.exit_code


def _node(stats: Any) -> dict[str, Any]:
    """Of the numbers of a node, those that tell how it is. Keys stay as they are."""
    if not isinstance(stats, dict) or "pid" not in stats:
        return {"error": str(stats.get("error", stats)) if isinstance(stats, dict) else str(stats)}
    pool = stats.get("pool") or {}
    return {
        "ok": "pong",
        "pid": stats["pid"],
        "uptime_s": stats.get("uptime"),
        "pool": str(pool.get("implementation", "")).rpartition(":")[2],
        "concurrency": pool.get("max-concurrency"),
        "pools": pool.get("pools"),
        "active": stats.get("active"),
        "reserved": stats.get("reserved"),
        "done": sum((stats.get("total") or {}).values()),
        "queues": stats.get("queues"),
    }
