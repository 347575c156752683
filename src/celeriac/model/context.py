"""The running task: what it can read about its run (`Context`), and which run the current code is in (`Run`).

A context variable holds the innermost run; runs link to the one they were called from. So threads, greenlets
and coroutines each see their own run, and a task called as a plain function inside another one has a context
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from celeriac.model.call import Call, RequestFields, Signature
from celeriac.model.policy import TaskPolicy
from celeriac.model.run import Runnable
from celeriac.model.shield import Guard


class Place(Struct, frozen=True):
    """Where runs take place: what is the same for all of them in one process."""

    hostname: str = ""
    """Node name, such as ``celery@machine``."""
    loglevel: int = 30
    logfile: str | None = None
    time_limit_s: float | None = None
    """The worker's own limits, for tasks that have none."""
    soft_time_limit_s: float | None = None


class Context:
    """`task.request`: the call that is being run, with Celery's attribute names.

    Headers that the caller gave are attributes too, unless a name of ours hides them. It is the run's own
    copy: changing it changes nothing that was sent.
    """

    id: str | None
    task: str | None
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    origin: str | None
    retries: int
    """How often this task was retried before this run."""
    is_eager: bool
    eta: str | None
    """ISO 8601, as `expires`."""
    expires: str | None
    hostname: str | None
    delivery_info: Mapping[str, Any] | None
    """`exchange`, `routing_key`, `priority` and `redelivered` of the message."""
    reply_to: str | None
    correlation_id: str | None
    called_directly: bool
    """True if the task was called as a plain function."""
    timelimit: Sequence[float | None] | None
    """Hard and soft limit of the message, in this order."""
    time_limit: float | None
    """The hard limit that holds: the message's, else the task's, else the worker's."""
    soft_time_limit: float | None
    callbacks: Sequence[Signature] | None
    errbacks: Sequence[Signature] | None
    chain: Sequence[Signature] | None
    """What follows, in reverse order: the next task is the last item."""
    chord: Signature | None
    utc: bool
    headers: Mapping[str, Any] | None
    """Headers that the caller gave."""
    root_id: str | None
    parent_id: str | None
    group: str | None
    group_index: int | None
    properties: Mapping[str, Any] | None
    loglevel: int | None
    logfile: str | None
    replaced_task_nesting: int
    stamped_headers: Sequence[str] | None
    stamps: Mapping[str, Any] | None
    shadow: str | None
    ignore_result: bool | None
    argsrepr: str | None
    kwargsrepr: str | None
    lang: str | None
    children: list[Any]
    """Results of the tasks that this run has sent."""
    fields: RequestFields | None
    """All that the message said, typed; None if there was no message."""

    def __init__(self, *mappings: Mapping[str, Any], **values: Any) -> None:
        self.update(*mappings, **values)

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute `key`, or `default`."""
        return getattr(self, key, default)

    def update(self, *mappings: Mapping[str, Any], **values: Any) -> None:
        """Set attributes."""
        for mapping in mappings:
            self.__dict__.update(mapping)
        self.__dict__.update(values)

    def clear(self) -> None:
        """Set all attributes back to what a plain function call has."""
        self.__dict__.clear()

    def __getattr__(self, name: str) -> Any:
        # Reached for what was not set. Most runs read little of their request, so it is made when asked for.
        own = self.__dict__
        if name in _WITHOUT_MESSAGE:
            source: _Source | None = own.get("_source")
            if source is None:
                value = [] if name == "children" else _WITHOUT_MESSAGE[name]
            else:
                make = _FROM_MESSAGE.get(name)
                value = make(source) if make is not None else getattr(source.fields, name)
            own[name] = value
            return value
        if name[:2] != "__":
            headers = self.headers
            if headers and name in headers:
                return headers[name]
        raise AttributeError(f"the request of a task has no attribute and no header {name!r}")

    def __repr__(self) -> str:
        return f"<Context: task={self.task!r} id={self.id!r} retries={self.retries}>"


_WITHOUT_MESSAGE: Mapping[str, Any] = {
    "id": None,
    "task": None,
    "args": None,
    "kwargs": None,
    "origin": None,
    "retries": 0,
    "is_eager": False,
    "eta": None,
    "expires": None,
    "hostname": None,
    "delivery_info": None,
    "reply_to": None,
    "correlation_id": None,
    "called_directly": True,
    "timelimit": None,
    "time_limit": None,
    "soft_time_limit": None,
    "callbacks": None,
    "errbacks": None,
    "chain": None,
    "chord": None,
    "utc": True,
    "headers": None,
    "root_id": None,
    "parent_id": None,
    "group": None,
    "group_index": None,
    "properties": None,
    "loglevel": None,
    "logfile": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": None,
    "shadow": None,
    "ignore_result": None,
    "argsrepr": None,
    "kwargsrepr": None,
    "lang": None,
    "children": None,
    "fields": None,
}
"""The value of every attribute when there was no message."""


class _Source(Struct, frozen=True):
    """What a context is made from when there was a message."""

    fields: RequestFields
    policy: TaskPolicy
    place: Place
    redelivered: bool


def context_of(fields: RequestFields, policy: TaskPolicy, place: Place, redelivered: bool = False) -> Context:
    """The context of a run that a message asked for."""
    context = Context.__new__(Context)
    own = context.__dict__
    own["_source"] = _Source(fields, policy, place, redelivered)
    # Read in every run: cheaper set than made on demand.
    own["id"] = fields.id
    own["called_directly"] = False
    return context


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _first(*limits_s: float | None) -> float | None:
    return next((limit_s for limit_s in limits_s if limit_s is not None), None)


def _time_limit(source: _Source) -> float | None:
    return _first(source.fields.time_limit_s, source.policy.time_limit_s, source.place.time_limit_s)


def _soft_time_limit(source: _Source) -> float | None:
    return _first(source.fields.soft_time_limit_s, source.policy.soft_time_limit_s, source.place.soft_time_limit_s)


def _delivery_info(source: _Source) -> dict[str, Any]:
    return {
        "exchange": "",
        "routing_key": source.fields.queue,
        "priority": source.fields.priority,
        "redelivered": source.redelivered,
    }


def _properties(source: _Source) -> dict[str, Any]:
    fields = source.fields
    return {
        "correlation_id": fields.id,
        "reply_to": fields.reply_to,
        "content_type": fields.content_type,
        "content_encoding": fields.content_encoding,
        "priority": fields.priority,
        **fields.properties,
    }


_FROM_MESSAGE: Mapping[str, Callable[[_Source], Any]] = {
    "fields": lambda source: source.fields,
    "is_eager": lambda _: False,
    "called_directly": lambda _: False,
    "utc": lambda _: True,
    "children": lambda _: [],
    "correlation_id": lambda source: source.fields.id,
    "eta": lambda source: _iso(source.fields.eta),
    "expires": lambda source: _iso(source.fields.expires),
    "timelimit": lambda source: [source.fields.time_limit_s, source.fields.soft_time_limit_s],
    "time_limit": _time_limit,
    "soft_time_limit": _soft_time_limit,
    "delivery_info": _delivery_info,
    "properties": _properties,
    "hostname": lambda source: source.place.hostname,
    "loglevel": lambda source: source.place.loglevel,
    "logfile": lambda source: source.place.logfile,
}
"""How to make what the fields of a message do not hold under the same name."""


class Run(Struct, eq=False):
    """One run of one task."""

    task: Runnable
    context: Context
    """Its `task.request`."""
    collects: bool = False
    """True in a worker: what the task wants sent with its end (retries) is collected here and committed with the end
    of the run. False: the front sends or runs it by itself."""
    retry_calls: list[Call] = field(default_factory=list[Call])
    parent: Run | None = None
    """The run that this one was called from."""
    in_body: bool = False
    """True while the user's code runs: only then may a time limit break in."""
    broken_by: BaseException | None = None
    """What wanted to break in before the body began: it is raised as the body's first deed."""
    is_copy: bool = False
    """Its body has forked, and this is the copy: what becomes of the run is the original's business."""
    ended_by: BaseException | None = None
    """A hard limit or a termination that has broken in: whatever the body makes of it, only a success stands."""
    guard: Guard | None = None
    """That of the thread, where another thread may break in."""
    waiting: Callable[[], AbstractContextManager[None]] | None = None
    """To be entered around a wait for the result of another task: the slot is free for others meanwhile. It may be
    entered again inside, and in several coroutines or threads of one run at once. None outside of a worker."""


_current: ContextVar[Run | None] = ContextVar("celeriac_run", default=None)

get_current_run: Callable[[], Run | None] = _current.get
"""The innermost run that the calling code is in, or None."""


set_current_run: Callable[[Run | None], Token[Run | None]] = _current.set
"""Make this the current run, whose `parent` is set already; undo it with `leave_run`."""


def enter_run(run: Run) -> Token[Run | None]:
    """`run` is the current one from now on; undo it with `leave_run`."""
    run.parent = _current.get()
    return _current.set(run)


leave_run: Callable[[Token[Run | None]], None] = _current.reset
"""Go back to the run before."""


def get_worker_run() -> Run | None:
    """The innermost run that was asked for by a message (or eagerly), skipping plain function calls."""
    run = _current.get()
    while run is not None and run.context.called_directly:
        run = run.parent
    return run


def context_for(task: object) -> Context:
    """`task.request`: the context of the innermost run of `task`; outside of any, that of a plain call."""
    run = _current.get()
    while run is not None:
        if run.task is task:
            return run.context
        run = run.parent
    return Context()
