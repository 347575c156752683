"""What differs between technologies, declared. The conformance suites prove each fact both ways."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Durability = Literal["none", "process", "power", "replicas"]
"""What an accepted message survives: nothing (it dies with the process), the death of every process,
the loss of power, the loss of a machine. Each includes the ones before it."""


class BrokerFacts(Struct, frozen=True):
    """Facts of a broker."""

    name: str
    lease: Literal["timed", "connection"]
    """`timed`: back in the queue seconds after its holder died, unless renewed by `extend`.
    `connection`: back when the connection dies."""
    durability: Durability
    shared: bool
    """True if other processes reach the same queues."""
    ordered: bool
    """True if messages of one queue and priority are delivered in the order of publishing."""
    priorities: int
    """How many levels of priority are kept apart; 1 means none."""
    delays: bool
    """True if the broker itself keeps messages with an ETA until they are due."""
    batch_is_atomic: bool
    """True if a `publish` of many messages is one transaction: all or none."""
    atomic_commit: bool
    """True if `settle` commits verdicts, follow-ups, and records of the backend with the same
    `store_id`, as one transaction."""
    claims_in_settle: bool
    """True if `settle(..., then_take=claim)` claims in the same step."""
    counts_crashes: bool
    cancels: bool
    """True if `BrokerAdmin.cancel` is kept by the broker and shown on deliveries."""
    store_id: str
    """Names the store; a backend with the same id shares transactions with this broker."""
    body_bytes_max: int | None = None
    """The largest body the technology takes, or None."""


class BackendFacts(Struct, frozen=True):
    """Facts of a result backend."""

    name: str
    shared: bool
    durability: Durability
    expires: bool
    """True if records are removed after their lifetime without anybody's help."""
    pushes: bool
    """True if `wait` wakes at once when a record arrives, at least in the process that sent the task."""
    store_id: str


class PoolFacts(Struct, frozen=True):
    """Facts of a pool."""

    name: str
    slots_per_child: int
    kills: bool
    """True if a hard limit can end one task without touching its neighbours."""
    by_signal: bool = True
    """True if interrupts reach a task as signals to its process; else they are frames to the child."""
