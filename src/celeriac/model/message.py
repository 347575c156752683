"""The values that travel: messages, deliveries, settlements and result records.

All are frozen `msgspec.Struct`s. They are plain data: a broker, a backend or the engine can be
written knowing this file and `ports` alone.

Times that end in ``_at`` are POSIX seconds on the wall clock (``time.time()``) unless the name says
otherwise; durations end in ``_s``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Union

from msgspec import Struct

PriorityName = Literal["high", "normal", "low"]
"""Names mean the same on every broker; bare numbers keep each broker's own sense."""

Priority = Union[int, PriorityName, None]
"""0 to 9, a name, or nothing. On the memory and SQLite brokers the larger number goes first and a
message without a priority stands at ``normal``."""


class Message(Struct, frozen=True, gc=False, array_like=True):
    """One encoded task message, as a broker stores and hands it over.

    A broker never looks inside `headers` and `body`. What it needs to place the message stands
    beside them: `queue`, `priority` and `eta_at`.
    """

    id: str
    """Task id, unique among live messages by convention (time-ordered when we made it)."""
    task: str
    """Registered task name."""
    queue: str
    headers: bytes
    """UTF-8 JSON object: the headers of Celery's protocol 2 (empty object for protocol 1)."""
    body: bytes
    """The serialized, maybe compressed, body."""
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    priority: Priority = None
    eta_at: float | None = None
    """Earliest start; the broker does not deliver before it. None: at once."""
    reply_to: str = ""
    """Address of the process that waits for the result; a backend that can push uses it."""
    properties: bytes = b""
    """UTF-8 JSON object of further message properties the caller gave; empty when there are none."""


class Receipt(NamedTuple):
    """Proof of a claim. `attempt` grows with each delivery of a message, so that a settlement of an
    earlier delivery is recognised and ignored."""

    key: int | str
    """The broker's own key of the message."""
    attempt: int


class Delivery(Struct, frozen=True, gc=False):
    """A message that this node has claimed and must settle."""

    message: Message
    receipt: Receipt
    crashes: int = 0
    """How many runs of this message ended with the death of the process that ran it."""
    redelivered: bool = False
    """True if it was delivered before."""
    cancelled: bool = False
    """True if somebody cancelled the task: it must not run."""


class Ack(Struct, frozen=True, gc=False, tag="ack", array_like=True):
    """Done with: the message leaves the broker."""


class Release(Struct, frozen=True, gc=False, tag="release", array_like=True):
    """Back to its queue, deliverable after `after_s` seconds; `crashed` counts one crash."""

    after_s: float = 0.0
    crashed: bool = False


class Bury(Struct, frozen=True, gc=False, tag="bury", array_like=True):
    """To the dead letters, with a reason.

    `parked` marks a message that waits for code that knows its task name: it is not failed, and is
    revived by name (`BrokerAdmin.revive`). `crashed` counts one crash, the last one.
    """

    reason: str
    parked: bool = False
    crashed: bool = False


Verdict = Union[Ack, Release, Bury]


class Record(Struct, frozen=True, gc=False, array_like=True):
    """One result record, encoded, for a backend to keep under the task id.

    A record in state SUCCESS is final: a backend ignores later writes for that id until it is
    forgotten.
    """

    id: str
    state: str
    payload: bytes
    """The whole encoded record in the result serializer (JSON object of Celery's result meta)."""
    expires_s: float | None = None
    """Lifetime from now; None keeps it for ever."""
    reply_to: str = ""
    """Whom to tell, if the backend can push: the `reply_to` of the task's message."""
    content_type: str = "application/json"


class Settlement(Struct, frozen=True, gc=False):
    """What becomes of one delivery, and what must be committed with it.

    With ``receipt=None`` there is nothing to settle (the message was acknowledged at its start):
    records and follow-ups are written all the same.

    If the receipt is stale, all of it is dropped: no record is written, no follow-up is published.
    """

    receipt: Receipt | None
    verdict: Verdict
    records: tuple[Record, ...] = ()
    follow_ups: tuple[Message, ...] = ()


class Settled(Struct, frozen=True, gc=False):
    """The answer to `Broker.settle`."""

    stale: tuple[Receipt, ...] = ()
    """Receipts that were no longer held; their settlements had no effect."""
    deliveries: tuple[Delivery, ...] = ()
    """What `settle(..., then_take=...)` claimed in the same step."""


class Claim(Struct, frozen=True, gc=False):
    """A wish to take: from which queues, and how many at most."""

    queues: tuple[str, ...]
    limit: int


class Depth(Struct, frozen=True, gc=False):
    """How many messages a queue holds, by what they wait for."""

    queue: str
    ready: int = 0
    delayed: int = 0
    claimed: int = 0
    dead: int = 0
    parked: int = 0
    paused: bool = False


class DeadLetter(Struct, frozen=True, gc=False):
    """A buried or parked message."""

    message: Message
    reason: str
    buried_at: float
    crashes: int = 0
    parked: bool = False


WaitingState = Literal["ready", "delayed", "claimed"]


class Waiting(Struct, frozen=True, gc=False):
    """One message as `BrokerAdmin.peek` shows it; peeking claims nothing."""

    message: Message
    state: WaitingState
    due_at: float | None = None
    attempt: int = 0
    crashes: int = 0


class Head(Struct, frozen=True, gc=False):
    """What a node must know of a message without decoding its body."""

    id: str
    task: str
    shadow: str | None = None
    expires_at: float | None = None
    retries: int = 0
    time_limit_s: float | None = None
    soft_time_limit_s: float | None = None
    ignore_result: bool | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    argsrepr: str = ""
    kwargsrepr: str = ""
    linked: bool = False
    """It may carry callbacks, errbacks, a chain or a chord: how it ends concerns others, too."""
