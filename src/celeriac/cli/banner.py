"""What a worker prints when it is ready: who it is, what it runs, where its messages lie. Composed, not printed."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from msgspec import Struct

from celeriac.model.facts import Durability
from celeriac.model.urls import mask_url, parse_url
from celeriac.worker.config import WorkerConfig

WIDTH = 80
DEFAULT_ADDRESS = "sqlite:///celeriac.db"
"""Where messages lie when nothing is configured."""
_LABEL = 13
_INDENT = " " * 3

DURABILITY_IN_WORDS: dict[Durability, str] = {
    "none": "lives in this process alone; nothing outlives it",
    "process": "tasks survive kill -9 of every process; the last ones not a power cut",
    "power": "tasks survive kill -9 of every process, and a power cut",
    "replicas": "tasks survive the loss of a machine",
}


class Look(Struct, frozen=True):
    """How to write: with colours or without."""

    color: bool

    def bold(self, text: str) -> str:
        """The text, bold where there is colour."""
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def green(self, text: str) -> str:
        """The text, green where there is colour."""
        return f"\x1b[32m{text}\x1b[0m" if self.color else text

    def dim(self, text: str) -> str:
        """The text, faint where there is colour."""
        return f"\x1b[2m{text}\x1b[0m" if self.color else text


class BannerFacts(Struct, frozen=True):
    """What the banner says beside the worker's own options."""

    version: str
    app: str
    broker: str
    """Address; its password is hidden here."""
    durability: Durability | None
    """None if it is not known."""
    backend: str | None
    """Address; None: results are disabled; the broker's: they lie beside the messages."""
    tasks: Sequence[str]
    purged: int | None = None


def compose(config: WorkerConfig, facts: BannerFacts, look: Look) -> str:
    """The banner as text of at most 80 columns, but for an address or name that is longer by itself."""
    title = f"{look.green('●')} {look.bold(f'celeriac {facts.version}')}  {config.hostname}"
    lines = ["", f" {title}", ""]
    for label, value in _rows(config, facts, look):
        lines += _row(label, value, look)
    return "\n".join([*lines, ""])


def _rows(config: WorkerConfig, facts: BannerFacts, look: Look) -> Iterable[tuple[str, str]]:
    yield "app", facts.app
    yield "broker", mask_url(facts.broker)
    if facts.durability is not None:
        yield "", look.dim(DURABILITY_IN_WORDS[facts.durability])
    database = database_file(facts.broker)
    if database:
        yield "database", f"{database}{_size(database)}"
    yield "results", _results(facts)
    yield "concurrency", f"{config.policy.children * config.policy.slots_per_child} ({config.pool})"
    yield "queues", ", ".join(config.queues)
    if facts.purged is not None:
        yield "purged", f"{facts.purged:,} message{'' if facts.purged == 1 else 's'}"
    yield "tasks", _tasks(config.loglevel, facts.tasks)
    yield "log", _log(config, look)


def _row(label: str, value: str, look: Look) -> list[str]:
    width = WIDTH - len(_INDENT) - _LABEL
    # An address is left whole: half of one cannot be copied.
    lines = textwrap.wrap(value, width, break_long_words=False, break_on_hyphens=False) if "\x1b" not in value else []
    first, *rest = lines or [value]
    head = look.dim(f"{label:<{_LABEL}}") if label else " " * _LABEL
    return [f"{_INDENT}{head}{first}", *(f"{_INDENT}{' ' * _LABEL}{line}" for line in rest)]


def _results(facts: BannerFacts) -> str:
    if facts.backend is None:
        return "disabled"
    if facts.backend == facts.broker:
        return "beside the messages, in one commit with them"
    return mask_url(facts.backend)


def _tasks(loglevel: str, names: Sequence[str]) -> str:
    if not names:
        return "none: every message will be parked until a worker knows its task"
    if loglevel in {"DEBUG", "INFO"}:
        return ", ".join(names)
    return f"{len(names)}"


def _log(config: WorkerConfig, look: Look) -> str:
    where = f" to {config.logfile}" if config.logfile else ""
    if config.loglevel in {"DEBUG", "INFO"}:
        return f"{config.loglevel}{where}"
    return f"{config.loglevel}{where} {look.dim('(-l info shows every task)')}"


def database_file(address: str) -> str | None:
    """Where the file of a SQLite address is, as an absolute path; None for other addresses."""
    url = parse_url(address)
    if url.scheme != "sqlite" or not url.path:
        return None
    return os.path.abspath(url.path)  # noqa: PTH100 - no symbolic link is followed: this is how it was named


def _size(path: str) -> str:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - one call, at every start of a worker
    except OSError:
        return " (new)"
    for unit in ("bytes", "KB", "MB"):
        if size < 1024:
            return f" ({size} {unit})"
        size //= 1024
    return f" ({size} GB)"
