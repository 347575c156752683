"""Holders of claims in SQLite: their leases, the kernel locks that tell their death, and the sweep.

One row per holder carries the lease of everything it has claimed, on a clock that no operator sets. A holder that joined also keeps a lock on a region of the file ``<database>-nodes``; the kernel drops
the lock at the instant the process dies. The region itself holds the marks of the holder's children.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from celeriac.stores.faults import StoreUnavailable

# Regions start at multiples of this, which is a multiple of every page size in use, so that they can be mapped.
UNIT_BYTES = 64 * 1024
_RECORD_BYTES = 64
_FLOCK = struct.Struct("hhqqi4x")
# A lock beyond all regions: whoever has it sweeps.
_SWEEPER_AT = 1 << 60
_UNITS_MAX = 1 << 20


def lease_now() -> float:
    """Seconds on the clock of leases: one for all processes of the machine, set by nobody, begun anew at each
    start of the machine, and at rest while the machine sleeps: nobody can renew a lease then."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def boot_id() -> str:
    """Names this run of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


BOOT_ID = boot_id()


def try_lock(fd: int, start: int, length: int) -> bool:
    """Take a lock that belongs to this open file, not to the process; False if another has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_locked(fd: int, start: int, length: int) -> bool:
    """Whether another open file has a lock there."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    kind: int = _FLOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK


def open_nodes(path: str) -> int:
    """A new open file of the nodes file of the database at `path`; locks belong to it alone. Raises
    StoreUnavailable."""
    try:
        return os.open(f"{path}-nodes", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise StoreUnavailable(
            f"cannot open '{path}-nodes': {exc.strerror}; the file and its directory must be there and writable"
        ) from exc


def lock_sweeper(fd: int) -> bool:
    """Become the one that sweeps, until `fd` is closed."""
    return try_lock(fd, _SWEEPER_AT, 1)


class Holder:
    """One broker object as a holder of claims. Its methods that take a connection run inside a write transaction."""

    def __init__(self, path: str, lease_s: float, oid: str) -> None:
        self.lease_s = lease_s
        self.oid = oid
        self.is_open = False
        self.node = 0
        """Our row, 0 before there is one."""
        self.region = -1
        self.units = 0
        self._path = path
        self._lock_fd = -1
        self._marks_fd = -1

    def ensure(self, conn: sqlite3.Connection) -> int:
        """Our row's number, with at least half a lease left; made anew if it was swept away."""
        now = lease_now()
        row = conn.execute("select lease_until from node where id=?", (self.node,)).fetchone()
        if row is None:
            self._register(conn, now)
        elif row[0] < now + self.lease_s / 2:
            self.renew(conn, self.lease_s)
        return self.node

    def _register(self, conn: sqlite3.Connection, now: float) -> None:
        region = self.region if self.region >= 0 else None
        row = (BOOT_ID, now + self.lease_s, region, self.units, self.oid)
        self.node = (
            conn.execute("insert into node(boot_id, lease_until, region, units, oid) values(?,?,?,?,?)", row).lastrowid
            or 0
        )

    def renew(self, conn: sqlite3.Connection, lease_s: float) -> bool:
        """Begin a new lease; False, and a new row, if the old one was swept away."""
        now = lease_now()
        done = conn.execute("update node set lease_until=? where id=?", (now + lease_s, self.node)).rowcount
        if not done:
            self._register(conn, now)
        return bool(done)

    def join(self, conn: sqlite3.Connection, marks_bytes: int) -> int:
        """Lock a free region of at least `marks_bytes`, zeroed; return a descriptor that carries no lock."""
        if self._lock_fd < 0:
            units = max(1, -(-marks_bytes // UNIT_BYTES))
            lock_fd = open_nodes(self._path)
            try:
                region = self._free_region(conn, lock_fd, units)
                # Written, not left sparse: a full disk must fail here and not kill who writes a mark.
                os.pwrite(lock_fd, bytes(units * UNIT_BYTES), region * UNIT_BYTES)
                self._marks_fd = open_nodes(self._path)
            except BaseException:
                os.close(lock_fd)
                raise
            self._lock_fd, self.region, self.units = lock_fd, region, units
        self.ensure(conn)
        conn.execute("update node set region=?, units=? where id=?", (self.region, self.units, self.node))
        return self._marks_fd

    def is_joined(self) -> bool:
        """False if others look at another file than the one in which we hold a lock.

        While there is none they cannot look: it comes back with its directory, or whoever looks next makes a new one.
        """
        if self._lock_fd < 0:
            return True
        try:
            found, held = Path(f"{self._path}-nodes").stat(), os.fstat(self._lock_fd)
        except OSError:
            return True
        return (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev)

    @staticmethod
    def _free_region(conn: sqlite3.Connection, lock_fd: int, units: int) -> int:
        start = 0
        rows = conn.execute("select region, units from node where region is not null order by region").fetchall()
        for region, its_units in [*rows, (_UNITS_MAX, 0)]:
            # A row may be gone whose process still lives and writes there: the lock has the last word.
            while start + units <= region:
                if try_lock(lock_fd, start * UNIT_BYTES, units * UNIT_BYTES):
                    return start
                start += 1
            start = max(start, region + its_units)
        raise OSError(f"no free region for the marks of a node; remove what is stale in {_UNITS_MAX} regions")

    def leave(self, conn: sqlite3.Connection) -> None:
        """An orderly end: without claims no trace is left; with claims, their lease still runs."""
        conn.execute(
            "delete from node where id=? and not exists(select 1 from claimed where claimed.node=node.id)", (self.node,)
        )
        conn.execute("update node set region=null where id=?", (self.node,))

    def drop_files(self) -> None:
        """Close our descriptors; the lock goes with them, unless another process shares them after a fork."""
        for fd in (self._lock_fd, self._marks_fd):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self._lock_fd = self._marks_fd = self.region = -1
        self.units = 0

    def forget(self, oid: str) -> None:
        """Be a new holder, in a forked child: what the parent claimed is the parent's."""
        self.drop_files()
        self.node = 0
        self.oid = oid


class Gone(NamedTuple):
    """A holder that seems to be gone."""

    node: int
    region: int | None
    units: int
    surely: bool
    """Its process is dead; otherwise only its lease is over, and it may be about to renew it."""


def gone_holders(conn: sqlite3.Connection, fd: int) -> list[Gone]:
    """Holders that are gone: by their lock, their boot id or their lease."""
    now = lease_now()
    gone: list[Gone] = []
    for node, boot, lease_until, region, units in conn.execute(
        "select id, boot_id, lease_until, region, units from node union all "
        # Cannot be, but if it were, nobody would ever give these claims back.
        "select distinct node, '', 0, null, 0 from claimed where node not in (select id from node)"
    ).fetchall():
        dead = boot != BOOT_ID or (region is not None and not is_locked(fd, region * UNIT_BYTES, units * UNIT_BYTES))
        if dead or lease_until < now:
            gone.append(Gone(node, region, units, dead))
    return gone


def marked_keys(fd: int, region: int, units: int) -> set[int]:
    """Keys of the messages that were running, by the marks of a region."""
    data = os.pread(fd, units * UNIT_BYTES, region * UNIT_BYTES)
    keys = {struct.unpack_from("=Q", data, at)[0] for at in range(0, len(data) - 7, _RECORD_BYTES)}
    keys.discard(0)
    return keys
