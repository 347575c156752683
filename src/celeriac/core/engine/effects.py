"""What a node is asked to do. The shell carries effects out in the given order."""

from __future__ import annotations

from typing import Any, Literal, Union

from msgspec import Struct

from celeriac.core.engine.events import Arrival
from celeriac.model.message import Head, Message, Receipt, Record, Verdict


class Final(Struct, frozen=True, gc=False):
    """A final state that no child reported: the shell encodes the record.

    `error` is a name of `model.errors` (WorkerLostError, TimeLimitExceeded, TaskRevokedError, NotRegistered,
    DecodeError); `args` its arguments.
    """

    state: str
    error: str
    args: tuple[Any, ...]


class Job(Struct, frozen=True, gc=False):
    """One run of a task in a child; or, with `conclude`, the run of its failure path there: hooks, error
    callbacks, record, for a task whose own process is gone."""

    seq: int
    arrival: Arrival
    conclude: Final | None = None


class SettleItem(Struct, frozen=True, gc=False):
    """One settlement to commit. With `final`, the shell adds the record of that state for `head`."""

    receipt: Receipt | None
    verdict: Verdict
    records: tuple[Record, ...] = ()
    follow_ups: tuple[Message, ...] = ()
    final: Final | None = None
    head: Head | None = None
    reply_to: str = ""
    confirm: bool = False
    """Answer with `Confirmed` when it is committed."""


class Take(Struct, frozen=True, gc=False):
    """The node is hungry for so many messages. Replaces the Take before; 0 withdraws it. Deliveries that
    were under way all the same are accepted."""

    limit: int


class Spawn(Struct, frozen=True, gc=False):
    """Start a child of this pool; `ChildUp` or `Died` follows, however long its imports last."""

    child: int
    pool: str


class Run(Struct, frozen=True, gc=False):
    """Hand these jobs to a child; it runs them in order."""

    child: int
    jobs: tuple[Job, ...]


class Recall(Struct, frozen=True, gc=False):
    """Ask a child for those jobs it has not begun; it answers with `Returned`."""

    child: int
    seqs: tuple[int, ...]


class Interrupt(Struct, frozen=True, gc=False):
    """Break into one running job. `soft`: raise SoftTimeLimitExceeded in it. `hard` (time limit, lost lease)
    and `terminate`: end it; a pool of one slot per child may kill the child at once."""

    child: int
    seq: int
    how: Literal["soft", "hard", "terminate"]
    signal: str = "SIGTERM"


class Kill(Struct, frozen=True, gc=False):
    """End a child at once; `Died` follows."""

    child: int


class Retire(Struct, frozen=True, gc=False):
    """Ask an idle child to end; `Died` follows."""

    child: int


class Settle(Struct, frozen=True, gc=False):
    """Commit. The shell retries while the broker is away, and drops what has become stale."""

    items: tuple[SettleItem, ...]


class Note(Struct, frozen=True, gc=False):
    """Something people should read. `action` is a stable name; `fields` are structured."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    action: str
    text: str
    fields: dict[str, Any]


class Exit(Struct, frozen=True, gc=False):
    """All is settled and every child is gone: end the node with this code."""

    code: int


Effect = Union[Take, Spawn, Run, Recall, Interrupt, Kill, Retire, Settle, Note, Exit]
