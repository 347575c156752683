"""What a task's options and the app's settings come to: settled once, anew when one of them changed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from celeriac.core.options import check_options
from celeriac.core.prepare import SendDefaults
from celeriac.model.errors import NoEffectWarning
from celeriac.model.policy import TaskPolicy
from celeriac.model.ports import Serializer
from celeriac.pool_options import check_task_pool
from celeriac.task_options import TaskOptions
from celeriac.wire.serializers import serializer_named
from celeriac.worker.sender import NO_RETRIES, PublishRetries, publish_retries

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.task import Task

_TASK_CALL_OPTIONS = (
    "queue",
    "routing_key",
    "priority",
    "serializer",
    "compression",
    "expires",
    "time_limit",
    "soft_time_limit",
    "delivery_mode",
)
"""Attributes of a task that are defaults of its calls. `ignore_result` is not: the worker knows it from the task, and
only a call's own choice travels."""

FROM_SETTINGS: Mapping[str, str] = {
    "serializer": "task_serializer",
    "compression": "task_compression",
    "rate_limit": "task_default_rate_limit",
    "priority": "task_default_priority",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "ignore_result": "task_ignore_result",
    "store_eager_result": "task_store_eager_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
}
"""Task attributes that, when nobody set them, have the value of a setting."""


class Settled(Struct, frozen=True):
    """All that sending and running one task needs to know."""

    version: int
    send: SendDefaults
    policy: TaskPolicy
    retries: PublishRetries
    serializer: Serializer
    """That of a call without options."""
    always_eager: bool = False
    names_shadow: bool = False
    """True if the task's class has a `shadow_name` of its own."""
    trail: bool = True
    from_settings: Mapping[str, Any] = {}
    """What the task's attributes are where nobody set them."""


_NOT_YET = ("rate_limit", "pydantic")
"""Task options that are accepted, without effect in this version."""


def check_task(task: Task[Any, Any]) -> None:
    """Check the call options a task has as attributes. Raises TypeError or ValueError, with the task's name."""
    try:
        check_options({name: own_option(task, name) for name in _TASK_CALL_OPTIONS})
        if task.pool is not None:
            check_task_pool(task.pool)
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"task {task.name}: {exc}") from None
    silent = [name for name in _NOT_YET if own_option(task, name)]
    if silent:
        words = f"task {task.name}: option {silent[0]} has no effect in this version yet"
        warnings.warn(words, NoEffectWarning, stacklevel=5)


def error_classes(task: Task[Any, Any], name: str) -> tuple[type[BaseException], ...]:
    """The exception classes that an option of the task names: one or several. Raises TypeError for anything else."""
    value = own_option(task, name)
    classes = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise TypeError(f"task {task.name}: {name}={value!r} is no exception class and no tuple of them")
    return classes


_OF_WORKFLOWS = frozenset({"replace", "add_to_chord", "signature_from_request"})


def missing_attribute(task: Task[Any, Any], name: str) -> str:
    """What to say of an attribute that a task does not have."""
    said = f"task {task.__dict__.get('name') or type(task).__name__} has no attribute {name!r}"
    return f"{said}: it comes with a later release" if name in _OF_WORKFLOWS else said


def own_option(task: Task[Any, Any], name: str) -> Any:
    """The task's attribute as set on it or its classes; None where only settings would speak."""
    try:
        return object.__getattribute__(task, name)
    except AttributeError:
        return None


def settle(task: Task[Any, Any], app: Celeriac) -> Settled:
    """Settle one task. Raises TypeError and ValueError naming an option of the task that is wrong."""
    return _settle(app, task.name, task)


def settle_by_name(app: Celeriac, name: str) -> Settled:
    """Settle the sending of a task by its name; one registered here lends its options."""
    task = app.tasks.get(name)
    return _settle(app, name, None) if task is None else structs.replace(task.settled(), always_eager=False)


def _settle(app: Celeriac, name: str, task: Task[Any, Any] | None) -> Settled:
    send = _settle_send(app, name, task)
    return Settled(
        version=app.version(),
        send=send,
        policy=TaskPolicy(name) if task is None else task.policy,
        retries=_settle_retries(app),
        serializer=serializer_named(send.options["serializer"]),
        always_eager=task is not None and bool(app.conf["task_always_eager"]),
        names_shadow=task is not None and type(task).shadow_name is not TaskOptions.shadow_name,
        trail=task is None or task.trail,
        from_settings={attribute: app.conf[setting] for attribute, setting in FROM_SETTINGS.items()},
    )


def _settle_send(app: Celeriac, name: str, task: Task[Any, Any] | None) -> SendDefaults:
    """What is the same for every call of the task `name`; `task` is None when this process does not know it."""
    conf = app.conf
    own = {key: own_option(task, key) for key in _TASK_CALL_OPTIONS} if task is not None else {}
    own = {key: value for key, value in own.items() if value is not None}
    check_options(own)
    options: dict[str, Any] = {"serializer": conf["task_serializer"]}
    for key, setting in (("compression", "task_compression"), ("priority", "task_default_priority")):
        if conf[setting] is not None:
            options[key] = conf[setting]
    router = app.router()
    if router.is_static:
        options.update(router.route(name))
    options.update(own)
    return SendDefaults(
        task=name,
        options=options,
        router=router,
        queue=router.queue_of(options),
        zone=app.timezone,
        inherit_priority=bool(conf["task_inherit_parent_priority"]),
        origin=app.sender.origin,
        reply_to=app.watcher.address(),
        body_bytes_max=conf["task_body_bytes_max"],
    )


def _settle_retries(app: Celeriac) -> PublishRetries:
    """How sends are repeated while the broker is unavailable."""
    conf = app.conf
    if not conf["task_publish_retry"]:
        return NO_RETRIES
    return publish_retries(conf["task_publish_retry_policy"] or {}, conf.seconds("broker_connection_timeout") or 0.0)


def retries_of(options: Mapping[str, Any], settled: PublishRetries) -> PublishRetries:
    """What a call's own `retry` and `retry_policy` make of them."""
    if options.get("retry") is False:
        return NO_RETRIES
    policy = options.get("retry_policy")
    return settled if policy is None else publish_retries(policy, settled.patience_s)


def policy_of(task: Task[Any, Any], app: Celeriac) -> TaskPolicy:
    """What a worker decides by, as task and settings have it."""
    conf = app.conf

    def choose(name: str, setting: str) -> Any:
        value = own_option(task, name)
        return conf[setting] if value is None else value

    both = own_option(task, "acks_on_failure_or_timeout")
    both = conf["task_acks_on_failure_or_timeout"] if both is None else both
    failure = choose("acks_on_failure", "task_acks_on_failure")
    timeout = choose("acks_on_timeout", "task_acks_on_timeout")
    expires = own_option(task, "expires")
    return TaskPolicy(
        name=task.name,
        time_limit_s=own_option(task, "time_limit"),
        soft_time_limit_s=own_option(task, "soft_time_limit"),
        acks_late=choose("acks_late", "task_acks_late"),
        acks_on_failure=both if failure is None else failure,
        acks_on_timeout=both if timeout is None else timeout,
        reject_on_worker_lost=choose("reject_on_worker_lost", "task_reject_on_worker_lost"),
        ignore_result=bool(choose("ignore_result", "task_ignore_result")),
        track_started=choose("track_started", "task_track_started"),
        store_errors_even_if_ignored=bool(choose("store_errors_even_if_ignored", "task_store_errors_even_if_ignored")),
        expires_s=float(expires) if isinstance(expires, (int, float)) else None,
        pool=task.pool or ("asyncio" if inspect.iscoroutinefunction(task.run) else None),
    )
