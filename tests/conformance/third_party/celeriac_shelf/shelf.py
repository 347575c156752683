"""The store: a folder with the file of all state, a lock for who changes it, and bells for who waits."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Union

import msgspec

from celeriac.model.errors import (
    BackendMisconfigured,
    BackendRejected,
    BackendUnavailable,
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
)
from celeriac.model.ids import random_id
from celeriac.model.message import Message, Record
from celeriac.model.urls import mask_url, parse_url

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
_NAP_S = 0.0005


# Broker and backend share this store, so what is wrong with it is an error of both ports.


class ShelfUnavailable(BrokerUnavailable, BackendUnavailable):
    """Not now; trying again may work."""


class ShelfRejected(BrokerRejected, BackendRejected):
    """This will never work."""


class ShelfMisconfigured(BrokerMisconfigured, BackendMisconfigured):
    """Somebody must change the address or the folder."""


class Held(msgspec.Struct):
    """One message on the shelf, with what changes about it."""

    message: Message
    level: int
    due_at: float
    attempt: int = 0
    crashes: int = 0
    holder: str = ""
    """Who has claimed it; nobody."""
    buried: str = ""
    """Why it is a dead letter; it is none."""


class Kept(msgspec.Struct):
    """One result record."""

    record: Record
    expires_at: Union[float, None]


class State(msgspec.Struct):
    """All there is. Keys of messages grow in the order of publishing."""

    boot_id: str = BOOT_ID
    last_key: int = 0
    messages: dict[int, Held] = {}
    leases: dict[str, float] = {}
    """Holder -> end of its lease, on the clock of this boot."""
    records: dict[str, Kept] = {}


class Shelf:
    """The folder of an address. Its methods may be called from any thread and any process."""

    def __init__(self, url: str, timeout_s: float) -> None:
        path = parse_url(url).path
        if not path.startswith("/"):
            raise ShelfMisconfigured(f"{mask_url(url)!r} names no folder; write shelf:////absolute/path")
        self.path = path
        self.trips = 0
        """How often the file was read or changed: what a verb costs here."""
        self._timeout_s = timeout_s

    def open(self) -> None:
        """Make the folder. Raises ShelfMisconfigured. Idempotent."""
        try:
            Path(self.path, "bells").mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ShelfMisconfigured(f"cannot make {self.path!r}: {exc.strerror}; name a folder of yours") from exc

    def read(self) -> State:
        """What is there now. The file is always whole: it is only ever replaced."""
        self.trips += 1
        return self._load()

    def _load(self) -> State:
        try:
            data = Path(self.path, "state").read_bytes()
        except FileNotFoundError:
            return State()
        except OSError as exc:
            raise ShelfUnavailable(f"cannot read {self.path!r}: {exc.strerror}") from exc
        try:
            state = msgspec.msgpack.decode(data, type=State)
        except msgspec.DecodeError as exc:
            raise ShelfMisconfigured(f"{self.path}/state is damaged ({exc}); move it away") from exc
        if state.boot_id != BOOT_ID:  # the clock of leases has begun anew, and nobody from before lives
            state.boot_id = BOOT_ID
            for held in state.messages.values():
                held.holder = ""
            state.leases.clear()
        return state

    @contextmanager
    def changing(self) -> Iterator[State]:
        """The state, alone; what was changed is stored at the end as a whole, unless an error ends it."""
        self.trips += 1
        lock = self._lock()
        try:
            state = self._load()
            yield state
            try:
                fresh = Path(self.path, "state.new")
                fresh.write_bytes(msgspec.msgpack.encode(state))
                fresh.replace(Path(self.path, "state"))
            except OSError as exc:
                raise ShelfUnavailable(f"cannot write to {self.path!r}: {exc.strerror}") from exc
        finally:
            os.close(lock)  # and the lock goes with it, also when the process is killed

    def _lock(self) -> int:
        deadline = time.monotonic() + self._timeout_s
        try:
            lock = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise ShelfUnavailable(f"cannot open {self.path}/lock: {exc.strerror}") from exc
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise ShelfUnavailable(f"others kept {self.path!r} busy all the time; try again") from None
                time.sleep(_NAP_S)
            else:
                return lock

    # ---------------------------------------------------------------- waiting

    @contextmanager
    def bell(self) -> Iterator[int]:
        """A descriptor that becomes readable when somebody rings, from now on."""
        name = random_id()
        new, listed = f"{self.path}/{name}", f"{self.path}/bells/{name}"
        os.mkfifo(new)
        descriptor = os.open(new, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Listed only now: a bell that nobody has open is taken for a dead one's.
            Path(new).rename(listed)
            yield descriptor
        finally:
            os.close(descriptor)
            Path(listed).unlink(missing_ok=True)

    def ring(self) -> None:
        """Wake all who wait, here and in other processes; what a dead one left is removed."""
        bells = f"{self.path}/bells"
        with suppress(FileNotFoundError):
            for name in os.listdir(bells):
                try:
                    descriptor = os.open(f"{bells}/{name}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue
                except OSError:
                    Path(bells, name).unlink(missing_ok=True)
                    continue
                with suppress(BlockingIOError):  # it is full of rings already
                    os.write(descriptor, b"!")
                os.close(descriptor)


def hear(bell: int, wait_s: float) -> None:
    """Wait until the bell rings, at most so long."""
    poller = select.poll()
    poller.register(bell, select.POLLIN)
    if poller.poll(wait_s * 1000):
        os.read(bell, 4096)


# ---------------------------------------------------------------- rules of what is on it


def keep_records(state: State, records: Sequence[Record]) -> None:
    """Keep records; nothing replaces a SUCCESS that is not over."""
    now = time.time()
    for record in records:
        kept = state.records.get(record.id)
        if kept is None or kept.record.state != "SUCCESS" or is_over(kept, now):
            state.records[record.id] = Kept(record, None if record.expires_s is None else now + record.expires_s)
    for task_id in [task_id for task_id, kept in state.records.items() if is_over(kept, now)]:
        del state.records[task_id]


def is_over(kept: Kept, now: float) -> bool:
    """Whether a record's lifetime is over."""
    return kept.expires_at is not None and kept.expires_at <= now


def lease_now() -> float:
    """Seconds on the clock of leases: one for all processes of the machine, which nobody sets."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
