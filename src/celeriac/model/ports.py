"""Every boundary, as a protocol of at most eight methods.

A technology is one class that has these methods; no inheritance is asked for. The contract of each method is its
docstring; `celeriac.testing` holds one suite per port, which reads the declared facts and proves contract and facts.

Errors: foreign exceptions never escape. An adapter raises `BrokerUnavailable` (try again later),
`BrokerRejected` (this will never work), or `BrokerMisconfigured` (fix the configuration); backends
likewise with `Backend...`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from celeriac.model.facts import BackendFacts, BrokerFacts, PoolFacts
from celeriac.model.message import (
    Claim,
    DeadLetter,
    Delivery,
    Depth,
    Message,
    Receipt,
    Record,
    Settled,
    Settlement,
    Waiting,
    WaitingState,
)
from celeriac.model.watch import Watch


@runtime_checkable
class Broker(Protocol):
    """Where messages wait. One object per process; its methods may be called from any thread."""

    @property
    def facts(self) -> BrokerFacts:
        """What this broker can do. Known before `open`."""
        ...

    def open(self) -> None:
        """Connect, create or check what must be there. Idempotent.

        Raises BrokerUnavailable, or BrokerMisconfigured (bad address, refused file system, newer
        schema); never waits longer than the configured connect timeout.
        """
        ...

    def close(self) -> None:
        """Release connections, descriptors and threads. Claims stay with this holder until their lease
        ends, unless settled before. Idempotent; after it, `open` works again."""
        ...

    def publish(self, messages: Sequence[Message]) -> None:
        """Return when the broker has accepted all messages at the durability of its facts, else raise.

        Queues are declared on first use. A message with `eta_at` is kept until it is due. Takers that
        wait are woken.

        Raises BrokerUnavailable (nothing was stored if `facts.batch_is_atomic`), BrokerRejected.
        """
        ...

    def take(self, queues: Sequence[str], limit: int, wait_s: float) -> Sequence[Delivery]:
        """Claim up to `limit` messages; return as soon as there is one, or empty after about `wait_s`.

        Claim and lease are one atomic step. Within a queue: higher priority first, then the order of
        publishing where `facts.ordered`. Paused queues give nothing. Over several queues, none is
        starved. ``wait_s=0`` looks once.
        """
        ...

    def settle(self, settlements: Sequence[Settlement], then_take: Claim | None = None) -> Settled:
        """Commit verdicts with their records and follow-ups; name the stale ones.

        One transaction where `facts.atomic_commit` (then records go to the backend with the same
        `store_id`); other brokers refuse settlements with records or follow-ups (BrokerRejected): the
        caller publishes, writes and acks in that order. Prompt, even while another thread is blocked
        in `take`. `then_take` is honoured if `facts.claims_in_settle`, else ignored.
        """
        ...

    def extend(self, receipts: Sequence[Receipt], lease_s: float) -> Sequence[Receipt]:
        """Renew the lease on everything this holder has, and return those of `receipts` that are no
        longer held. One write, whatever the number. Also prompt while another thread is in `take`."""
        ...


@runtime_checkable
class BrokerAdmin(Protocol):
    """What tools do to queues. Optional; an adapter has all of it or none."""

    def depth(self, queues: Sequence[str] = ()) -> Sequence[Depth]:
        """Counts per queue; all known queues when none is named. Sorted by name."""
        ...

    def peek(self, queue: str, limit: int, state: WaitingState | None = None) -> Sequence[Waiting]:
        """The next messages in the order of delivery (ready, delayed by due time, claimed), or those of one state."""
        ...

    def purge(self, queue: str) -> int:
        """Delete what waits (ready and delayed); return how many. Claimed and dead ones stay."""
        ...

    def dead(self, queue: str | None, limit: int) -> Sequence[DeadLetter]:
        """Dead and parked letters, newest first; of all queues when `queue` is None."""
        ...

    def revive(self, ids: Sequence[str] = (), *, parked_tasks: Sequence[str] = ()) -> int:
        """Put dead letters back on their queues with crashes forgotten; return how many.

        By task id, or all parked ones whose task name is in `parked_tasks`. Where broker and backend
        share a store, the failure record is deleted in the same step, so that the task is PENDING again.
        """
        ...

    def drop(self, ids: Sequence[str]) -> int:
        """Delete dead letters for good; return how many."""
        ...

    def pause(self, queue: str, paused: bool) -> None:
        """Stop or resume deliveries from a queue. Kept in the store, so it outlives every process."""
        ...

    def cancel(self, ids: Sequence[str], keep_s: float = 86400.0) -> None:
        """Mark tasks as cancelled: later deliveries of them carry ``cancelled=True``. Kept until `keep_s` after the
        message left the store (or now, if there is none). Parked letters of theirs are ready again, to be ended."""
        ...


@runtime_checkable
class Pollable(Protocol):
    """A broker that needs no thread to wait: a node polls its descriptor beside its other sockets.

    Optional. Operations of such a broker are short (local), and run on the node's own thread.
    """

    def listen(self, queues: Sequence[str]) -> int | None:
        """Wake me for these queues: return a descriptor that becomes readable when something was
        published (empty `queues`: stop listening). None if no bell can be had: then poll alone."""
        ...

    def heard(self) -> bool:
        """Clear the descriptor; call it before looking. False if another listener was faster: nothing to
        look for."""
        ...

    def changed(self) -> bool:
        """Cheap look, without claiming, whether the store changed since the last call; the safety net
        for writers that cannot ring."""
        ...

    def next_due_at(self, queues: Sequence[str]) -> float | None:
        """When the next delayed message becomes due (wall clock), or None."""
        ...

    def ring(self, queue: str) -> None:
        """Wake another listener: something is there that this one cannot take."""
        ...


@runtime_checkable
class Nodes(Protocol):
    """A broker that knows its holders one by one, and so can tell a death at once. Optional."""

    def join(self, marks_bytes: int) -> int | None:
        """Register this process as a holder, whose death others see; return a descriptor of `marks_bytes`
        shared bytes that outlive the process (child marks, see `pools.marks`), or None. They begin at the
        attribute `marks_offset` of this broker; the descriptor stays the broker's own to close."""
        ...

    def is_joined(self) -> bool:
        """False if others can no longer see this holder live (its files were removed or replaced): they take what
        it holds for lost, so it must end and join anew. True before `join`."""
        ...

    def sweep(self) -> int:
        """Take back what dead holders had claimed, and expire what is due to expire, in a small batch;
        return how many messages came back. What the marks show as running is counted as a crash;
        everything else returns without penalty. One process at a time does it; others return 0."""
        ...


@runtime_checkable
class Bus(Protocol):
    """Broadcast: every subscriber of a topic gets every message published while it listens."""

    def publish_topic(self, topic: str, data: bytes) -> int | None:
        """Send to all present subscribers; how many there are, None where nobody knows. Raises BrokerUnavailable."""
        ...

    def subscribe(self, topics: Sequence[str]) -> Subscription:
        """From now on collect what is published to `topics`."""
        ...


class Subscription(Protocol):
    """An open ear on a bus."""

    def receive(self, wait_s: float) -> Sequence[tuple[str, bytes]]:
        """(topic, data) pairs in order of publishing; empty after about `wait_s`."""
        ...

    def close(self) -> None:
        """Stop listening. Idempotent."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Where results are kept. One object per process, any thread."""

    @property
    def facts(self) -> BackendFacts:
        """What this backend can do. Known before `open`."""
        ...

    def open(self) -> None:
        """Connect. Raises BackendUnavailable or BackendMisconfigured. Idempotent."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent; `open` works again."""
        ...

    def write(self, records: Sequence[Record]) -> None:
        """Store records, the last one of an id wins, but nothing replaces a SUCCESS. Waiters are woken.
        Raises BackendUnavailable, BackendRejected."""
        ...

    def read(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """The records of `ids` in that order; None for unknown or expired ones."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Delete records. Unknown ids are ignored."""
        ...


@runtime_checkable
class Waiter(Protocol):
    """A backend that can wait. Optional: others are polled with backoff."""

    @property
    def address(self) -> str:
        """The `reply_to` that makes results of messages reach this process at once ("" if none can)."""
        ...

    def wait(self, ids: Sequence[str], wait_s: float, final: bool = False) -> Sequence[Record]:
        """Block until at least one of `ids` has a record, with `final` one in a state of `READY_STATES`, and return
        all such records that are there; empty after about `wait_s`. Any thread; several may wait at once."""
        ...

    def watch(self) -> Watch:
        """A standing wait, for many records and as they change. It costs no thread."""
        ...


@runtime_checkable
class Kv(Protocol):
    """Keys and values with a lifetime: enough to make a backend of. One object per process, any thread.

    A key is text that is not empty, a value is bytes. A lifetime `ttl_s` runs from the call, on the store's clock, so
    that no step of a process's wall clock ends it early; None keeps the key for ever. A key whose lifetime is over is
    absent for every verb at once, though its memory may be freed later. Every verb is one round trip and is seen by
    all users of the store when it returns.

    Raises BackendUnavailable, or BackendRejected, naming the argument, for what no store of this kind can hold: an
    empty key, a value that is not bytes, a lifetime that is not above zero.
    """

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values in the order of `keys`; None for absent ones."""
        ...

    def set(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """Give `key` this value and this lifetime, whatever it had."""
        ...

    def delete_many(self, keys: Sequence[str]) -> None:
        """Make `keys` absent. Absent ones are ignored."""
        ...

    def scan(self, prefix: str) -> Iterator[str]:
        """Each present key that begins with `prefix`, once, in any order; all keys for an empty one. Read in pieces:
        a key that comes or goes meanwhile may or may not be among them, and nobody else has to wait."""
        ...


@runtime_checkable
class KvAtomic(Kv, Protocol):
    """Keys with atomic verbs: enough for joins, locks, leader leases, tokens and flags.

    Of any number of callers, in threads or processes, each verb is one step: nothing comes between its look and its
    change. A verb that was answered with BackendUnavailable may have been carried out.
    """

    def add_if_absent(self, key: str, value: bytes, ttl_s: float | None) -> bool:
        """Set `key` if it is absent; False, and neither value nor lifetime touched, if it is there."""
        ...

    def incr(self, key: str, by: int, ttl_s: float | None) -> int:
        """Add `by`, which may be negative, to the number at `key` and return the sum.

        An absent key counts as 0 and begins its lifetime `ttl_s` now; one that is there keeps the lifetime it has. The
        value is the number in decimal digits, as `get_many` shows it and `set` may prepare it. Raises BackendRejected,
        and changes nothing, if the value is no number or the sum does not fit 64 bits.
        """
        ...

    def compare_and_set(self, key: str, old: bytes | None, new: bytes | None, ttl_s: float | None) -> bool:
        """If `key` has exactly the value `old` (None: is absent), give it the value `new` (None: make it absent) with
        this lifetime and return True; else change nothing and return False. The same value as old and new renews the
        lifetime; a lock is freed by who holds it with ``new=None``."""
        ...


class Pool(Protocol):
    """What runs tasks: children with slots. It never sees a broker; its methods are called on the node's thread and
    never block.

    What children tell comes over descriptors that the pool registers with the node's selector.
    """

    kinds: Mapping[str, PoolFacts]
    """By the name of the pool."""

    def start(self, child: int, pool: str) -> None:
        """Ask for a child of this pool; it says hello when it has imported everything, however long that takes."""
        ...

    def submit(self, child: int, jobs: Sequence[Any]) -> bool:
        """Hand encoded jobs to a child, which begins them in order; False if it is gone."""
        ...

    def recall(self, child: int, seqs: Sequence[int]) -> None:
        """Ask for jobs that have not begun; the child answers with those it gives back, unless it dies first."""
        ...

    def retire(self, child: int) -> None:
        """Ask a child to end when its present jobs are done."""
        ...

    def interrupt(self, child: int, seq: int, how: Literal["soft", "hard", "terminate"], signal_name: str) -> None:
        """Break into one running job: `soft` by SoftTimeLimitExceeded in its body, the others to end it. A job that
        has ended meanwhile is left alone, and so is the one after it."""
        ...

    def kill(self, child: int) -> None:
        """End a child at once, whatever it is at."""
        ...

    def begun(self) -> Sequence[tuple[int, int, float]]:
        """(child, job, monotonic start) of each job seen inside its body and not told before."""
        ...

    def close(self) -> None:
        """Let go of all children; they end when they see it."""
        ...


class Serializer(Protocol):
    """Turns values into bytes and back."""

    name: str
    content_type: str
    content_encoding: str

    def dumps(self, value: Any) -> bytes:
        """Raises EncodeError naming what cannot be encoded."""
        ...

    def loads(self, data: bytes) -> Any:
        """Raises DecodeError."""
        ...


class Clock(Protocol):
    """Time, passed in, so that tests own it."""

    def wall(self) -> float:
        """POSIX seconds; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class StoreOptions(Protocol):
    """What the catalogue hands to an adapter's constructor: ``Adapter(url, options)``.

    `options` is `broker_transport_options` or `result_backend_transport_options`, with ``lease_s``,
    ``connect_timeout_s`` and ``durability`` filled in from the settings.
    """

    def __call__(self, url: str, options: Mapping[str, Any]) -> Any:
        """A new, closed adapter. Raises ...Misconfigured for an address or option that cannot work."""
        ...
