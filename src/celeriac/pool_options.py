"""Which pools a worker has: the words of ``-P`` and `worker_pool`, Celery's names for them, and what they come to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celeriac.core.options import nearest
from celeriac.model.errors import ImproperlyConfigured
from celeriac.model.policy import PoolPolicy

if TYPE_CHECKING:
    from celeriac.settings import Settings

TASK_POOLS = ("prefork", "threads", "asyncio")
"""What the `pool` option of a task may say."""

_ALIASES = {
    "prefork": "prefork",
    "processes": "prefork",
    "threads": "threads",
    "asyncio": "asyncio",
    "solo": "solo",
    "celery.concurrency.prefork:TaskPool": "prefork",
    "celery.concurrency.thread:TaskPool": "threads",
    "celery.concurrency.solo:TaskPool": "solo",
}
_NOT_YET = {
    "gevent": "gevent",
    "eventlet": "eventlet",
    "celery.concurrency.gevent:TaskPool": "gevent",
    "celery.concurrency.eventlet:TaskPool": "eventlet",
}
_IN_WORDS = (
    "prefork (a process per slot), threads, asyncio (coroutines on one loop), solo (one process, one task at a time)"
)
_SLOTS_MAX = 20_000
"""Of one child: twice what a loop keeps moving, and its marks stay below 8 MB."""


def check_task_pool(name: Any) -> None:
    """Raise ValueError, with the names there are, if this can be no task's `pool`."""
    if name in TASK_POOLS:
        return
    meant = nearest(name, TASK_POOLS) if isinstance(name, str) else None
    hint = f"did you mean {meant!r}? " if meant else ""
    raise ValueError(f"pool={name!r} is no pool of a task: {hint}there are {', '.join(map(repr, TASK_POOLS))}")


def pools_named(words: str) -> tuple[str, ...]:
    """Our names for the pools of a comma list, the default one first. Raises ImproperlyConfigured."""
    names = tuple(dict.fromkeys(_pool_named(word.strip()) for word in words.split(",") if word.strip()))
    if not names:
        raise ImproperlyConfigured(f"no pool is named. There are: {_IN_WORDS}")
    if "solo" in names and len(names) > 1:
        raise ImproperlyConfigured(
            "solo runs every task in the worker's one process, so that no other pool can stand beside it: name it alone"
        )
    return names


def _pool_named(word: str) -> str:
    # With a dot or a colon before the class, as Celery takes both.
    path = f"{word[: -len('.TaskPool')]}:TaskPool" if word.endswith(".TaskPool") else word
    key = path if ":" in path else path.lower()
    if key in _ALIASES:
        return _ALIASES[key]
    if key in _NOT_YET:
        name = _NOT_YET[key]
        raise ImproperlyConfigured(
            f"the pool {name!r} is not there yet. For many tasks that wait, write them as `async def` and use asyncio, "
            f"or use threads. There are: {_IN_WORDS}"
        )
    if key == "custom":
        raise ImproperlyConfigured(f"a pool of your own making cannot be plugged in. There are: {_IN_WORDS}")
    meant = nearest(key, [name for name in _ALIASES if ":" not in name])
    hint = f" Did you mean {meant}?" if meant else ""
    raise ImproperlyConfigured(f"there is no pool {word!r}.{hint} There are: {_IN_WORDS}")


class ChosenPools:
    """The pools of one worker.

    :param pool: what ``-P`` said; None: what `worker_pool` says
    :param concurrency: what ``-c`` said
    :param async_slots: what ``--async-slots`` said
    """

    def __init__(self, conf: Settings, pool: str | None, concurrency: int | None, async_slots: int | None) -> None:
        own = conf.without_defaults()
        self.adds = pool is None and "worker_pool" not in own
        """True if nobody chose: pools that tasks ask for are added."""
        names = pools_named(str(pool or conf["worker_pool"]))
        chosen: int | None = conf["worker_concurrency"] if concurrency is None else concurrency
        if chosen is not None and chosen < 1:
            raise ImproperlyConfigured(f"worker_concurrency {chosen}: at least 1 slot is needed")
        self.slots = chosen or os.cpu_count() or 1
        """Of prefork and threads."""
        self.async_slots: int = conf["worker_async_slots"] if async_slots is None else async_slots
        if names == ("asyncio",) and async_slots is None and chosen is not None:
            self.async_slots = chosen
        for option, slots in (("worker_concurrency", self.slots), ("worker_async_slots", self.async_slots)):
            if not 1 <= slots <= _SLOTS_MAX:
                raise ImproperlyConfigured(f"{option} {slots}: from 1 to {_SLOTS_MAX}; for more, start more workers")
        self.pools = tuple(self._pool(name) for name in names)

    def _pool(self, name: str) -> PoolPolicy:
        if name == "prefork":
            return PoolPolicy("prefork", children=self.slots)
        if name == "threads":
            return PoolPolicy("threads", slots=self.slots, kills=False)
        if name == "asyncio":
            return PoolPolicy("asyncio", slots=self.async_slots, kills=False)
        return PoolPolicy("solo", kills=False)
