"""One call of a task, before it is encoded and after it was decoded.

`Call` is what a sender means; `RequestFields` is what a worker read. Both are plain data: `wire`
turns a `Call` into a `Message`, and a `Message` into `RequestFields`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Union

from msgspec import Struct, field

from celeriac.model.canvas import Node
from celeriac.model.message import Priority

Signature = Mapping[str, Any]
"""A signature in its wire form: ``task, args, kwargs, options, subtask_type, immutable``."""

Linked = Union[Signature, Node]
"""What follows a call: encoding it brings nodes into their wire form."""


class Call(Struct, frozen=True, gc=False, kw_only=True):
    """Everything that one send says. Only `id`, `task` and `queue` are required.

    Times without a zone are read as UTC. The caller does not change `args`, `kwargs` and the other
    containers while the call is alive.
    """

    id: str
    task: str
    queue: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    eta: datetime | None = None
    expires: datetime | None = None
    priority: Priority = None
    serializer: str = "json"
    compression: str | None = None
    """Name or MIME type; None sends the body as it is."""
    retries: int = 0
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    root_id: str | None = None
    """First task of the workflow; None means this task itself."""
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    shadow: str | None = None
    argsrepr: str | None = None
    """Text for logs; None lets the encoder make it from `args`."""
    kwargsrepr: str | None = None
    origin: str = ""
    ignore_result: bool | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The caller's own headers; they travel beside ours and cannot replace `task`, `id` and `compression`."""
    reply_to: str = ""
    callbacks: Sequence[Linked] | None = None
    errbacks: Sequence[Linked] | None = None
    chain: Sequence[Linked] | None = None
    """What follows, in reverse order: the next task is the last item."""
    chord: Linked | None = None
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further message properties the caller gave."""


class RequestFields(Struct, frozen=True, gc=False, kw_only=True):
    """All that a message says about the run it asks for. Times have a zone (UTC where none was sent)."""

    id: str
    task: str
    queue: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    eta: datetime | None = None
    expires: datetime | None = None
    priority: Priority = None
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    compression: str | None = None
    """As the header had it: a MIME type, rarely a name."""
    retries: int = 0
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    shadow: str | None = None
    argsrepr: str = ""
    kwargsrepr: str = ""
    origin: str = ""
    ignore_result: bool | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Headers that are not ours: those that the caller gave."""
    reply_to: str = ""
    callbacks: Sequence[Signature] | None = None
    errbacks: Sequence[Signature] | None = None
    chain: Sequence[Signature] | None = None
    chord: Signature | None = None
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lang: str = ""
    """Language of the sender's library, as it says."""
    protocol: int = 2
    """Version of the message format it came in: 1 or 2."""
