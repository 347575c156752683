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
from celeriac.model.states import SUCCESS

# Larger ones are fetched from the database by the waiter: a datagram must fit the sender's socket buffer.
_DATAGRAM_BYTES_MAX = 32 * 1024
_ADDRESS = re.compile(r"[0-9a-f-]{36}")
# How often a waiter looks into the database when nothing arrives.
_LOOK_FIRST_S = 0.05
_LOOK_LAST_S = 1.0


class Note(msgspec.Struct, array_like=True):
    """One datagram: records, or ids whose records are too large to send."""

    records: list[Record]
    ids: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


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
        self._read = read
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._path = ""
        self._reading = False
        self._wanted: dict[str, int] = {}
        self._arrived: dict[str, Record | None] = {}
        """None: it is in the database, too large to have been sent."""

    def deliver(self, records: Sequence[Record], all_kept: bool) -> None:
        """What this very process has stored: its own waiters need no datagram."""
        if self._wanted:
            self._sort(Note(list(records), []) if all_kept else _pointer(records))

    def _sort(self, note: Note) -> None:
        with self._changed:
            for record in note.records:
                # Datagrams of two processes may overtake each other; a SUCCESS is final all the same.
                old = self._arrived.get(record.id)
                if record.id in self._wanted and (old is None or old.state != SUCCESS):
                    self._arrived[record.id] = record
            for task_id in note.ids:
                if task_id in self._wanted:
                    self._arrived[task_id] = None
            self._changed.notify_all()

    def wait(self, address: str, ids: Sequence[str], wait_s: float) -> list[Record]:
        """Records of `ids` as soon as there is one; empty after about `wait_s`."""
        deadline = time.monotonic() + wait_s
        self._bind(address)
        with self._changed:
            for task_id in ids:
                self._wanted[task_id] = self._wanted.get(task_id, 0) + 1
        try:
            # Only now: what is stored from here on finds us listening.
            look_s = _LOOK_FIRST_S
            while True:
                found = [record for record in self._read(ids) if record is not None]
                left_s = deadline - time.monotonic()
                if found or left_s <= 0:
                    return found
                found = self._listen(ids, min(left_s, look_s))
                if found:
                    return found
                look_s = min(look_s * 2, _LOOK_LAST_S)
        finally:
            self._unwant(ids)

    def _unwant(self, ids: Sequence[str]) -> None:
        with self._changed:
            for task_id in ids:
                count = self._wanted[task_id] - 1
                if count:
                    self._wanted[task_id] = count
                else:
                    del self._wanted[task_id]
                    self._arrived.pop(task_id, None)

    def _listen(self, ids: Sequence[str], wait_s: float) -> list[Record]:
        """What arrives for `ids` within `wait_s`; returns early, empty, if the database must be asked."""
        deadline = time.monotonic() + wait_s
        while True:
            with self._changed:
                here = [task_id for task_id in ids if task_id in self._arrived] if self._arrived else []
                if here:
                    # Records stay for other threads that wait for them, until nobody does.
                    records = [self._arrived[task_id] or self._arrived.pop(task_id) for task_id in here]
                    return [record for record in records if record is not None]
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return []
                if self._reading or self._socket is None:
                    self._changed.wait(left_s)
                    continue
                self._reading = True
            try:
                self._receive(left_s)
            finally:
                with self._changed:
                    self._reading = False
                    self._changed.notify_all()

    def _receive(self, wait_s: float) -> None:
        receiver = self._socket
        if receiver is None:
            return
        try:
            receiver.settimeout(max(wait_s, 0.001))
            data = receiver.recv(_DATAGRAM_BYTES_MAX * 2)
        except OSError:
            return  # timed out, or closed meanwhile: the caller looks into the database
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            self._sort(_decode(data))

    def _bind(self, address: str) -> None:
        if self._folder is None:
            return
        with self._changed:
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

    def close(self) -> None:
        """Remove the socket; waiters go on by looking. Idempotent."""
        with self._changed:
            receiver, self._socket = self._socket, None
            if receiver is not None:
                receiver.close()
                with suppress(OSError):
                    Path(self._path).unlink()

    def forget(self) -> None:
        """In a forked child: close the copy of the parent's socket, and leave its file alone."""
        receiver, self._socket = self._socket, None
        if receiver is not None:
            receiver.close()
        self._changed = threading.Condition()
        self._reading = False
        self._wanted = {}
        self._arrived = {}
