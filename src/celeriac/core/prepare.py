"""The whole send path, but for encoding and publishing: from what a caller said to a `Call`. Pure."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from types import CodeType
from typing import Any

from msgspec import Struct, structs

from celeriac.core.options import merge_options, properties_of
from celeriac.core.route import Router, queue_name
from celeriac.model.call import Call, RequestFields
from celeriac.model.canvas import listed
from celeriac.model.context import Context
from celeriac.model.errors import CeleriacWarning

_NONE: Mapping[str, Any] = {}


class SendDefaults(Struct, frozen=True):
    """What is the same for every call of one task from one process."""

    task: str
    options: Mapping[str, Any]
    """Call options of the settings, the static route and the task, in this order of growing weight."""
    router: Router
    queue: str
    """Where a call without options goes."""
    zone: tzinfo | None = timezone.utc
    """Zone of times without one; None is the machine's own."""
    inherit_priority: bool = False
    origin: str = ""
    reply_to: str = ""
    body_bytes_max: int | None = None


def prepare(
    defaults: SendDefaults,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    parent: Context | None,
    now: float,
    new_id: Callable[[], str],
) -> Call:
    """The call that these options mean, at POSIX time `now`, sent from within `parent` or from outside any task.

    Raises UnknownOption for a name that must be a typo, TypeError and ValueError naming the option that is wrong,
    QueueNotFound, NotImplementedError.
    """
    chosen = merge_options(defaults.options, options) if options else defaults.options
    get = chosen.get
    priority, root_id, parent_id = get("priority"), get("root_id"), get("parent_id")
    if parent is not None:
        parent_id = parent_id or parent.id
        root_id = root_id or parent.root_id or parent.id
        if priority is None and defaults.inherit_priority:
            priority = (parent.delivery_info or _NONE).get("priority")
    eta, expires, countdown = get("eta"), get("expires"), get("countdown")
    if countdown or eta is not None:
        eta = _eta(countdown, eta, now, defaults.zone)
    links = _links(chosen) if options and not _OF_WORKFLOWS.isdisjoint(chosen) else _NO_LINKS
    return Call(
        id=get("task_id") or new_id(),
        task=defaults.task,
        queue=defaults.router.queue_of(chosen) if options else defaults.queue,
        args=args,
        kwargs=kwargs,
        eta=eta,
        expires=None if expires is None else _expires(expires, now, defaults.zone),
        priority=priority,
        serializer=get("serializer", "json"),
        compression=get("compression"),
        retries=get("retries", 0),
        time_limit_s=get("time_limit"),
        soft_time_limit_s=get("soft_time_limit"),
        root_id=root_id,
        parent_id=parent_id,
        group=get("group_id"),
        group_index=get("group_index"),
        shadow=get("shadow"),
        argsrepr=get("argsrepr"),
        kwargsrepr=get("kwargsrepr"),
        origin=defaults.origin,
        ignore_result=get("ignore_result"),
        replaced_task_nesting=get("replaced_task_nesting", 0),
        stamped_headers=links.stamped_headers,
        stamps=links.stamps,
        headers=get("headers", _NONE),
        reply_to=get("reply_to", defaults.reply_to),
        callbacks=links.callbacks,
        errbacks=links.errbacks,
        chain=links.chain,
        properties=properties_of(chosen) if options else _NONE,
    )


def check_apart(options: Mapping[str, Any], now: float) -> None:
    """Raise what `prepare` will for options of a call that somebody sends later, but for what that one's settings say."""
    merged = merge_options({}, options)
    countdown, expires, queue = merged.get("countdown"), merged.get("expires"), merged.get("queue")
    if countdown:
        _after(now, countdown, "countdown")
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if expires is not None and not isinstance(expires, datetime):
        _after(now, expires, "expires")
    if queue is not None:
        queue_name(queue, "queue")


class _Links(Struct, frozen=True, gc=False):
    """What a call says about its workflow."""

    callbacks: Sequence[Any] | None = None
    errbacks: Sequence[Any] | None = None
    chain: Sequence[Any] | None = None
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = _NONE


_NO_LINKS = _Links()
_OF_WORKFLOWS = frozenset({"link", "link_error", "chain", "stamped_headers"})


def _links(chosen: Mapping[str, Any]) -> _Links:
    stamped = chosen.get("stamped_headers")
    return _Links(
        listed(chosen.get("link")) or None,
        listed(chosen.get("link_error")) or None,
        chosen.get("chain"),
        None if stamped is None else list(stamped),
        {name: chosen.get(name) for name in stamped} if stamped else _NONE,
    )


def _eta(countdown: float | None, eta: datetime | None, now: float, zone: tzinfo | None) -> datetime:
    if eta is not None:
        return _zoned(eta, zone)
    assert countdown is not None
    return _after(now, countdown, "countdown")


def _expires(expires: float | datetime | timedelta, now: float, zone: tzinfo | None) -> datetime:
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if not isinstance(expires, datetime):
        return _after(now, expires, "expires")
    moment = _zoned(expires, zone)
    if moment.timestamp() <= now:
        warnings.warn(
            f"expires={expires.isoformat()} is in the past: the task will be revoked instead of run",
            CeleriacWarning,
            stacklevel=5,
        )
    return moment


def _zoned(moment: datetime, zone: tzinfo | None) -> datetime:
    return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(timezone.utc)


def _after(now: float, seconds: float, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(now, timezone.utc) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise ValueError(f"{name}={seconds!r} seconds lies beyond the year 9999") from None


def prepare_again(
    fields: RequestFields,
    router: Router,
    serializer: str,
    options: Mapping[str, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    now: float,
) -> Call:
    """The call that repeats the one of `fields`: same id and place in its workflow, one retry more.

    `options` (with `countdown` or `eta`) win over what the first call said. Raises like `prepare`.
    """
    kept = {
        "task_id": fields.id,
        "priority": fields.priority,
        "queue": fields.queue,
        "serializer": serializer,
        "compression": fields.compression,
        "expires": fields.expires,
        "time_limit": fields.time_limit_s,
        "soft_time_limit": fields.soft_time_limit_s,
        "root_id": fields.root_id or fields.id,
        "parent_id": fields.parent_id,
        "group_id": fields.group,
        "group_index": fields.group_index,
        "shadow": fields.shadow,
        "ignore_result": fields.ignore_result,
        "replaced_task_nesting": fields.replaced_task_nesting,
        "headers": {name: value for name, value in fields.headers.items() if not name.startswith("x-")},
        **fields.properties,
    }
    kept = {name: value for name, value in kept.items() if value is not None}
    defaults = SendDefaults(fields.task, kept, router, fields.queue, origin=fields.origin, reply_to=fields.reply_to)
    call = prepare(defaults, args, kwargs, options, None, now, lambda: fields.id)
    return structs.replace(
        call,
        id=fields.id,
        retries=fields.retries + 1,
        stamped_headers=fields.stamped_headers,
        stamps=fields.stamps,
        callbacks=call.callbacks if "link" in options else fields.callbacks,
        errbacks=call.errbacks if "link_error" in options else fields.errbacks,
        chain=fields.chain,
        chord=fields.chord,
    )


class ArgumentCheck:
    """The signature of one task's function.

    :param function: what the worker will call
    :param name: the task's name, for errors
    :param skip_first: True if the first parameter is the task itself
    """

    def __init__(self, function: Callable[..., Any], name: str, skip_first: bool = False) -> None:
        self._function = function
        self._name = name
        self._skip = int(skip_first)
        self._signature: inspect.Signature | None = None
        code: CodeType | None = getattr(function, "__code__", None)
        is_plain = not hasattr(function, "__wrapped__") and not hasattr(function, "__signature__")
        self._is_plain = False
        if code is not None and is_plain and not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            defaults = getattr(function, "__defaults__", None) or ()
            only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            self._names: tuple[str, ...] = code.co_varnames[self._skip : code.co_argcount]
            self._required = code.co_argcount - len(defaults) - self._skip
            self._is_plain = self._required >= 0 and not only and not code.co_posonlyargcount

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Return if the function can be called so. Raises TypeError that names the task and what is wrong."""
        if self._is_plain:
            given = len(args)
            if not kwargs:
                if self._required <= given <= len(self._names):
                    return
            elif given <= len(self._names) and self._names_fit(given, kwargs):
                return
        self._check_fully(args, kwargs)

    def _names_fit(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        free = self._names[given:]
        return all(name in free for name in kwargs) and all(
            name in kwargs for name in self._names[given : self._required]
        )

    def _check_fully(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        signature = self._signature
        if signature is None:
            try:
                signature = inspect.signature(self._function)
            except (TypeError, ValueError):  # built-in or compiled: there is nothing to check against
                return
            if self._skip:
                signature = signature.replace(parameters=list(signature.parameters.values())[1:])
            self._signature = signature
        try:
            signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self._name}{signature}: {exc}") from None
