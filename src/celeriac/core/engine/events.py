"""What can happen to a node. The shell feeds these to `step`, in batches, in the order it saw them."""

from __future__ import annotations

from typing import Union

from msgspec import Struct

from celeriac.model.message import Delivery, Head, Message, Receipt, Record, Verdict


class Now(Struct, frozen=True, gc=False):
    """The time of a step."""

    monotonic: float
    wall: float


class Arrival(Struct, frozen=True, gc=False):
    """A delivery with its decoded head, or with the reason why it cannot be decoded."""

    delivery: Delivery
    head: Head | None = None
    fault: str | None = None


class Delivered(Struct, frozen=True, gc=False):
    """What the broker gave. Answers the last `Take`, which is spent by it (also when empty)."""

    arrivals: tuple[Arrival, ...]


class ChildUp(Struct, frozen=True, gc=False):
    """A child has imported what it needs and takes work."""

    child: int
    slots: int


class Started(Struct, frozen=True, gc=False):
    """A child was seen inside this job's body since `at` (monotonic). Short jobs may finish unseen."""

    child: int
    seq: int
    at: float


class Finished(Struct, frozen=True, gc=False):
    """A job ended in its child. All that must be committed with it is encoded already."""

    child: int
    seq: int
    state: str
    verdict: Verdict
    runtime_s: float
    records: tuple[Record, ...] = ()
    follow_ups: tuple[Message, ...] = ()
    retiring: bool = False
    """The child takes nothing more and ends (tasks or memory per child); it returns what it has not begun."""


class Waits(Struct, frozen=True, gc=False):
    """A running job waits for the result of another task: until it resumes, its slot is free for others."""

    child: int
    seq: int


class Resumes(Struct, frozen=True, gc=False):
    """A job that waited goes on."""

    child: int
    seq: int


class Returned(Struct, frozen=True, gc=False):
    """Jobs that a child gave back without beginning them (answer to `Recall`, or at its end)."""

    child: int
    seqs: tuple[int, ...]


class Died(Struct, frozen=True, gc=False):
    """A child is gone and all it sent has been read. `running` are the jobs whose bodies it was in."""

    child: int
    running: tuple[int, ...]
    reason: str
    """For people: "signal 9 (SIGKILL)", "exit code 3", "could not import proj.tasks: ..."."""


class Confirmed(Struct, frozen=True, gc=False):
    """The fate of settlements that asked for it (`SettleItem.confirm`)."""

    done: tuple[Receipt, ...]
    stale: tuple[Receipt, ...]


class LeaseLost(Struct, frozen=True, gc=False):
    """These claims are no longer ours: others may run them."""

    receipts: tuple[Receipt, ...]


class Cancelled(Struct, frozen=True, gc=False):
    """Somebody cancelled these tasks; with `terminate`, running ones too."""

    ids: tuple[str, ...]
    terminate: bool = False
    signal: str = "SIGTERM"


class Resize(Struct, frozen=True, gc=False):
    """So many children from now on, in this pool. None: in the default one."""

    children: int
    pool: str | None = None


class Stop(Struct, frozen=True, gc=False):
    """End: finish what runs within `grace_s` (None: as long as it takes), hand back the rest, exit with
    `code`. A later Stop may shorten the grace, never lengthen it."""

    grace_s: float | None
    code: int = 0


class Tick(Struct, frozen=True, gc=False):
    """Time has passed."""


Event = Union[
    Delivered,
    ChildUp,
    Started,
    Finished,
    Waits,
    Resumes,
    Returned,
    Died,
    Confirmed,
    LeaseLost,
    Cancelled,
    Resize,
    Stop,
    Tick,
]
