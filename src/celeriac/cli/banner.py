"""What a worker prints when it is ready: who it is, what it runs, where its messages lie. Composed, not printed."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from msgspec import Struct

from celeriac.model.facts import Durability
from celeriac.model.policy import PoolPolicy
from celeriac.model.urls import mask_url, parse_url
from celeriac.worker.config import WorkerConfig

WIDTH = 80
_LABEL = 13
_INDENT = " " * 3

DURABILITY_IN_WORDS: dict[Durability, str] = {
    "none": "nothing outlives this process",
    "process": "survives kill -9; a power cut may cost the newest tasks",
    "power": "survives kill -9 and a power cut",
    "replicas": "survives the loss of a machine",
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
    database: str | None = None
    """The file that messages lie in, if they lie in one."""
    database_is_new: bool = False
    purged: int | None = None


class _Row(Struct, frozen=True):
    label: str
    text: str
    is_aside: bool = False
    """Written faintly: a remark on the row above."""


def compose(config: WorkerConfig, facts: BannerFacts, look: Look) -> str:
    """The banner as text of at most 80 columns, but for an address or name that is longer by itself."""
    title = f"{look.green('●')} {look.bold(f'celeriac {facts.version}')}  {config.hostname}"
    lines = ["", f" {title}", ""]
    for row in _rows(config, facts):
        lines += _lines(row, look)
    ready = f"{_INDENT}{look.green('ready')} for tasks; Ctrl-C lets those that run finish, then ends the worker"
    return "\n".join([*lines, "", ready, ""])


def _rows(config: WorkerConfig, facts: BannerFacts) -> Iterable[_Row]:
    yield _Row("app", facts.app)
    yield _Row("broker", mask_url(facts.broker))
    if facts.durability is not None:
        yield _Row("", DURABILITY_IN_WORDS[facts.durability], is_aside=True)
    if facts.durability == "process":
        yield _Row("", "(broker_durability='power' keeps those too)", is_aside=True)
    if facts.database:
        yield _Row("database", f"{facts.database} (new)" if facts.database_is_new else facts.database)
    yield _Row("results", _results(facts))
    yield _Row("concurrency", _concurrency(config.policy.pools))
    yield _Row("queues", ", ".join(config.queues))
    if facts.purged is not None:
        yield _Row("purged", f"{facts.purged:,} message{'' if facts.purged == 1 else 's'}")
    yield _Row("tasks", _tasks(config.loglevel, facts.tasks))
    yield _Row("log", _log(config))


def _lines(row: _Row, look: Look) -> list[str]:
    # An address is left whole: half of one cannot be copied.
    wrapped = textwrap.wrap(
        row.text, WIDTH - len(_INDENT) - _LABEL, break_long_words=False, break_on_hyphens=False
    ) or [""]
    texts = [look.dim(text) if row.is_aside else text for text in wrapped]
    heads = [look.dim(f"{row.label:<{_LABEL}}") if row.label else " " * _LABEL, *[" " * _LABEL] * (len(texts) - 1)]
    return [f"{_INDENT}{head}{text}" for head, text in zip(heads, texts, strict=True)]


def _concurrency(pools: Sequence[PoolPolicy]) -> str:
    parts: list[str] = []
    for pool in pools:
        asked = ", started when needed" if pool.on_demand else ""
        parts.append(f"{pool.children * pool.slots:,} ({pool.name}{asked})")
    return " + ".join(parts)


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


def _log(config: WorkerConfig) -> str:
    where = f" to {config.logfile}" if config.logfile else ""
    hint = "" if config.loglevel in {"DEBUG", "INFO"} else " (-l info shows every task)"
    return f"{config.loglevel}{where}{hint}"


def database_file(address: str) -> str | None:
    """Where the file of a SQLite address is, as an absolute path; None for other addresses."""
    url = parse_url(address)
    if url.scheme != "sqlite" or not url.path:
        return None
    return os.path.abspath(url.path)  # noqa: PTH100 - no symbolic link is followed: this is how it was named
