"""Results handed from the process that stores them to the process that waits, by datagram.

The datagram only shortens the wait: results are in the database before it is sent, and a waiter also
looks there. So it may be lost, come twice, or never be sent, and nothing is wrong but the delay.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from celeriac.model.message import Record
from celeriac.model.shield import shield
from celeriac.model.states import READY_STATES, SUCCESS
from celeriac.stores.watching import Wanted

# Larger ones are fetched from the database by the waiter: a datagram must fit the sender's socket buffer.
_DATAGRAM_BYTES_MAX = 32 * 1024
_ADDRESS = re.compile(r"[0-9a-f-]{36}")
# How often a waiter looks into the database when nothing arrives.
LOOK_FIRST_S = 0.05
LOOK_LAST_S = 1.0


class Note(msgspec.Struct, array_like=True):
    """One datagram: records, or ids whose records are too large to send."""

    records: list[Record]
    ids: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


_NOTHING = _encode(Note([], []))


def _pointer(records: Sequence[Record]) -> Note:
    """What may be told if the store kept an older SUCCESS instead of one of these: only what to look for."""
    return Note([], [record.id for record in records])


def _datagrams(records: Sequence[Record], all_kept: bool) -> list[bytes]:
    data = _encode(Note(list(records), []) if all_kept else _pointer(records))
    if len(data) <= _DATAGRAM_BYTES_MAX:
        return [data]
    if len(records) > 1:
        half = len(records) // 2
        return _datagrams(records[:half], all_kept) + _datagrams(records[half:], all_kept)
    return [_encode(Note([], [records[0].id]))]


class Post:
    """Sends results to the addresses their tasks named."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def send(self, records: Iterable[Record], own: str, all_kept: bool) -> None:
        """Tell every waiting process but this one. Never blocks, never raises."""
        if self._folder is None:
            return
        by_address: dict[str, list[Record]] = {}
        for record in records:
            if record.reply_to and record.reply_to != own:
                by_address.setdefault(record.reply_to, []).append(record)
        if not by_address:
            return
        with self._lock:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            for address, its_records in by_address.items():
                # The address came with a message: it must not lead out of our directory.
                if _ADDRESS.fullmatch(address):
                    try:
                        for data in _datagrams(its_records, all_kept):
                            self._socket.sendto(data, f"{self._folder}/r-{address}")
                    except OSError:
                        continue  # nobody waits there, or too much waits to be read: the database has it

    def close(self) -> None:
        """Close the socket. Idempotent; sending opens it again."""
        with self._lock:
            sender, self._socket = self._socket, None
            if sender is not None:
                sender.close()

    def forget(self) -> None:
        """In a forked child: close the copy of the parent's socket, whatever its threads were at."""
        self._lock = threading.Lock()
        self.close()


class Mailbox:
    """Where the threads of this process wait for results. One of them reads the socket for all.

    :param read: fetches records from the database
    """

    def __init__(self, folder: str | None, read: Callable[[Sequence[str]], list[Record | None]]) -> None:
        self._folder = folder
        self.read = read
        # Entered by itself, not by way of the condition, whose own steps could be broken into with the lock held.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._socket: socket.socket | None = None
        self._nudger: socket.socket | None = None
        """Wakes the thread that reads the socket."""
        self._path = ""
        self._reading = False
        self._wanted: dict[str, int] = {}
        self._arrived: dict[str, Record | None] = {}
        """None: it is in the database, too large to have been sent."""
        self._watches: list[Wanted] = []

    def deliver(self, records: Sequence[Record], all_kept: bool) -> None:
        """What this very process has stored: its own waiters need no datagram."""
        if self._wanted or self._watches:
            self._sort(Note(list(records), []) if all_kept else _pointer(records))
            self._wake_reader()

    def _sort(self, note: Note) -> None:
        with self.lock:
            for record in note.records:
                # Datagrams of two processes may overtake each other; a SUCCESS is final all the same.
                old = self._arrived.get(record.id)
                if record.id in self._wanted and (old is None or old.state != SUCCESS):
                    self._arrived[record.id] = record
                for wanted in self._watches:
                    wanted.take(record)
            for task_id in note.ids:
                if task_id in self._wanted:
                    self._arrived[task_id] = None
                for wanted in self._watches:
                    wanted.look_at(task_id)
            self.changed.notify_all()

    def wait(self, address: str, ids: Sequence[str], wait_s: float, final: bool) -> list[Record]:
        """Records of `ids` (with `final`: in their last state) as soon as there is one; empty after about `wait_s`."""
        deadline = time.monotonic() + wait_s
        # No time limit breaks into the books of who waits for what; but into the waiting.
        guard = shield.mine
        guard.enter()
        is_wanted = False
        try:
            self.bind(address)
            with self.lock:
                for task_id in ids:
                    self._wanted[task_id] = self._wanted.get(task_id, 0) + 1
                is_wanted = True
            # Only now: what is stored from here on finds us listening.
            look_s = LOOK_FIRST_S
            while True:
                found = [record for record in self.read(ids) if record is not None]
                if final and found:
                    found = [record for record in found if record.state in READY_STATES]
                left_s = deadline - time.monotonic()
                if found or left_s <= 0:
                    return found
                found = self.until(lambda: self._here(ids, final), min(left_s, look_s))
                if found:
                    return found
                look_s = min(look_s * 2, LOOK_LAST_S)
        finally:
            if is_wanted:
                self._unwant(ids)
            guard.leave()

    def _unwant(self, ids: Sequence[str]) -> None:
        with self.lock:
            for task_id in ids:
                count = self._wanted[task_id] - 1
                if count:
                    self._wanted[task_id] = count
                else:
                    del self._wanted[task_id]
                    self._arrived.pop(task_id, None)

    def _here(self, ids: Sequence[str], final: bool) -> list[Record] | None:
        """What has arrived for `ids`; empty if the database must be asked, None if nothing is there."""
        arrived = self._arrived
        if not arrived:
            return None
        # Records stay for other threads that wait for them, until nobody does.
        here = [task_id for task_id in ids if task_id in arrived]
        records = [arrived[task_id] or arrived.pop(task_id) for task_id in here]
        found = [record for record in records if record is not None and (not final or record.state in READY_STATES)]
        return found if found or None in records else None

    def until(self, here: Callable[[], list[Record] | None], wait_s: float) -> list[Record]:
        """What `here` finds, as soon as it is not None; empty after `wait_s`. It is asked with the lock held, again
        whenever something has arrived. The caller's thread is inside the shield."""
        deadline = time.monotonic() + wait_s
        guard = shield.mine
        while True:
            if guard.threat is not None:
                guard.opened(bool)
            with self.lock:
                found = here()
                if found is not None:
                    return found
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return []
                if self._reading or self._socket is None:
                    self.changed.wait(left_s)
                    continue
                self._reading = True
            try:
                self._receive(left_s)
            finally:
                with self.lock:
                    self._reading = False
                    self.changed.notify_all()

    def _receive(self, wait_s: float) -> None:
        receiver = self._socket
        if receiver is None:
            return
        try:
            receiver.settimeout(max(wait_s, 0.001))
            data = shield.mine.opened(lambda: receiver.recv(_DATAGRAM_BYTES_MAX * 2))
        except OSError:
            return  # timed out, or closed meanwhile: the caller looks into the database
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            self._sort(_decode(data))

    # ---------------------------------------------------------------- standing waits

    def watch(self, address: str) -> SqliteWatch:
        """A standing wait."""
        self.bind(address)
        return SqliteWatch(self)

    def begin(self, wanted: Wanted) -> None:
        """Tell a standing wait what arrives, from now on."""
        with self.lock:
            self._watches.append(wanted)

    def end(self, wanted: Wanted) -> None:
        """Tell it nothing any more."""
        with self.lock, suppress(ValueError):
            self._watches.remove(wanted)

    def nudge(self) -> None:
        """Have those who wait look at what they wait for; the caller holds the lock."""
        self.changed.notify_all()
        self._wake_reader()

    def _wake_reader(self) -> None:
        nudger = self._nudger
        if nudger is not None and self._reading:
            with suppress(OSError):  # full: then the reader wakes anyway; gone: it looks in time
                nudger.sendto(_NOTHING, self._path)

    # ---------------------------------------------------------------- the socket

    def bind(self, address: str) -> None:
        """Make the socket, unless there is one."""
        if self._folder is None:
            return
        with self.lock:
            if self._socket is not None:
                return
            path = f"{self._folder}/r-{address}"
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                with suppress(FileNotFoundError):
                    Path(path).unlink()
                receiver.bind(path)
            except OSError:
                receiver.close()  # no bell: the waiter looks into the database
                return
            self._socket, self._path = receiver, path
            self._nudger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def close(self) -> None:
        """Remove the socket; waiters go on by looking. Idempotent."""
        with self.lock:
            receiver, self._socket = self._socket, None
            nudger, self._nudger = self._nudger, None
            if receiver is not None:
                receiver.close()
                with suppress(OSError):
                    Path(self._path).unlink()
            if nudger is not None:
                nudger.close()

    def forget(self) -> None:
        """In a forked child: close the copy of the parent's socket, and leave its file alone."""
        for inherited in (self._socket, self._nudger):
            if inherited is not None:
                inherited.close()
        self._socket = self._nudger = None
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._reading = False
        self._wanted = {}
        self._arrived = {}
        self._watches = []


class SqliteWatch:
    """A standing wait for records of a SQLite store."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._wanted = Wanted()
        self._pause_s = LOOK_FIRST_S
        self._look_at = time.monotonic() + LOOK_FIRST_S
        """When to look into the database for what nobody told."""
        mailbox.begin(self._wanted)

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these too."""
        mailbox = self._mailbox
        with mailbox.lock:
            self._wanted.add(ids)
            mailbox.nudge()

    def discard(self, ids: Sequence[str]) -> None:
        """Wait for these no longer."""
        with self._mailbox.lock:
            self._wanted.discard(ids)

    def wait(self, wait_s: float) -> list[Record]:
        """What is new, each change once; empty after about `wait_s`, or after `wake`."""
        guard = shield.mine
        guard.enter()
        try:
            return self._wait(time.monotonic() + wait_s)
        finally:
            guard.leave()

    def _wait(self, deadline: float) -> list[Record]:
        mailbox, wanted = self._mailbox, self._wanted
        while True:
            with mailbox.lock:
                unseen = wanted.unseen()
            if unseen:
                self._look(unseen)
            now = time.monotonic()
            found = mailbox.until(self._here, min(deadline, self._look_at) - now)
            now = time.monotonic()
            with mailbox.lock:
                if found or wanted.woken or now >= deadline:
                    wanted.woken = False
                    if found:
                        # Much arrives: then much may be lost, for the buffer of a socket is small.
                        self._pause_s = LOOK_FIRST_S
                    return found
                if now >= self._look_at:
                    wanted.look_again()
                    self._pause_s = min(self._pause_s * 2, LOOK_LAST_S)
                    self._look_at = now + self._pause_s

    def _look(self, unseen: Sequence[str]) -> None:
        began_at = time.monotonic()
        try:
            records = self._mailbox.read(unseen)
        except BaseException:
            with self._mailbox.lock:
                for task_id in unseen:
                    self._wanted.look_at(task_id)
            raise
        with self._mailbox.lock:
            for record in records:
                if record is not None:
                    self._wanted.take(record)
        now = time.monotonic()
        # Looking takes a tenth of the time at most, however many there are.
        self._look_at = max(self._look_at, now + 10 * (now - began_at))

    def _here(self) -> list[Record] | None:
        """News; empty if there is something to look at first."""
        wanted = self._wanted
        found = wanted.news()
        return found if found or wanted.woken or wanted.has_unseen() else None

    def wake(self) -> None:
        """Have the one who waits return."""
        with self._mailbox.lock:
            self._wanted.woken = True
            self._mailbox.nudge()

    def close(self) -> None:
        """Wait for nothing any more. Idempotent."""
        self._mailbox.end(self._wanted)
        self.wake()
