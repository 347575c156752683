"""Doorbells: how a process that waits hears of a commit at once.

One FIFO per bell in a private directory of this user and database; a ring is one byte. Whoever waits on a
bell with others is woken alone. Nothing depends on it: without the directory (another user, a container,
a read-only /tmp) every waiter polls.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import select
import stat
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

# A Unix socket's address holds 108 bytes; this leaves room for our own part.
_BASE_CHARS_MAX = 40
# How long a ringer trusts that a FIFO is there, or is not; meanwhile waiters poll.
_TRUST_S = 1.0
_ABSENT_S = 0.1
_READ_BYTES = 65536
# Tells whose bells these are, so that those of a deleted database can be removed.
_OWNER = "database"
_LOST_AFTER_S = 3600.0
_TIDY_MAX = 1000
# Bells a process keeps open; beyond it begins anew, so that thousands of queues cost no descriptors.
_OPEN_MAX = 256


def runtime_dir(path: str) -> str | None:
    """The private directory of this user for the database at `path`, made if needed; None if none can be had."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base or len(base) > _BASE_CHARS_MAX or not Path(base).is_dir():
        base = "/tmp"  # noqa: S108 - only below a directory that is checked to be ours
    mine = f"{base}/celeriac-{os.geteuid()}"
    place = f"{mine}/{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    try:
        for folder in (mine, place):
            with suppress(FileExistsError):
                Path(folder).mkdir(mode=0o700)
            found = os.lstat(folder)
            private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            if not private:
                return None
        owner = Path(place, _OWNER)
        if not owner.exists():
            owner.write_bytes(os.fsencode(path))
    except OSError:
        return None
    return place


def leave_folder(folder: str) -> None:
    """Remove what of a runtime directory nobody uses, and itself if that is all of it. Never raises."""
    with suppress(OSError):
        for path in Path(folder).iterdir():
            if path.name.startswith("q-") and not _is_heard(path):
                path.unlink()
        if [path.name for path in Path(folder).iterdir()] == [_OWNER]:
            Path(folder, _OWNER).unlink()
            Path(folder).rmdir()


def _is_heard(path: Path) -> bool:
    """Whether any process has the FIFO open for reading."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def forget_lost_databases(folder: str) -> None:
    """Remove the directories, beside `folder`, of databases that are gone for long. Never raises."""
    for other in list(Path(folder).parent.iterdir())[:_TIDY_MAX]:
        with suppress(OSError):
            is_old = time.time() - other.stat().st_mtime > _LOST_AFTER_S
            if is_old and not Path(os.fsdecode(Path(other, _OWNER).read_bytes())).exists():
                for left in other.iterdir():
                    left.unlink()
                other.rmdir()


@functools.lru_cache(maxsize=1024)
def bell_of(queue: str) -> str:
    """The file name of a queue's bell."""
    return "q-" + hashlib.blake2s(queue.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Bells:
    """The bells of one database, as this process rings them."""

    def __init__(self, folder: str | None, path: str) -> None:
        self.folder = folder
        self._path = path
        # Guards descriptors: a byte must never go to a number that another thread has closed meanwhile.
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, int, float]] = {}
        """name -> (descriptor or -1, inode, trusted until)"""
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()

    def ring(self, name: str) -> None:
        """Wake one that waits on this bell. Never blocks, never raises."""
        if self.folder is None:
            return
        now = time.monotonic()
        with self._lock:
            known = self._open.get(name)
            if known is None or known[2] < now:
                known = self._look(name, known, now)
            if known[0] >= 0:
                try:  # noqa: SIM105 - as hot as publishing
                    os.write(known[0], b"!")
                except OSError:
                    pass  # full: whoever listens has been rung for long

    def ring_once(self, name: str) -> None:
        """Ring a bell that is not worth remembering. Never blocks, never raises."""
        if self.folder is None:
            return
        with suppress(OSError):
            fd = _open_fifo(f"{self.folder}/{name}")
            try:
                os.write(fd, b"!")
            finally:
                os.close(fd)

    def is_abandoned(self, name: str) -> bool:
        """True if there is such a bell and no process listens to it: who did has died. Never blocks, never raises."""
        if self.folder is None:
            return False
        try:
            os.close(os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError as exc:
            return exc.errno == errno.ENXIO
        return False

    def _look(self, name: str, known: tuple[int, int, float] | None, now: float) -> tuple[int, int, float]:
        try:
            inode = os.stat(f"{self.folder}/{name}").st_ino  # noqa: PTH116 - as hot as publishing
        except OSError:
            inode = -1
        if known is not None and known[0] >= 0 and known[1] == inode:
            entry = (known[0], inode, now + _TRUST_S)
        else:
            if known is not None and known[0] >= 0:
                del self._open[name]  # first: nothing may ring by the number of a closed one
                os.close(known[0])
            if len(self._open) >= _OPEN_MAX:
                self._close_all()
            fd = -1
            if inode >= 0:
                with suppress(OSError):
                    fd = _open_fifo(f"{self.folder}/{name}")
            entry = (fd, inode, now + (_TRUST_S if fd >= 0 else _ABSENT_S))
        self._open[name] = entry
        return entry

    def listen(self, names: Sequence[str]) -> Listener | None:
        """An ear for these bells; None where there are none to be had."""
        if self.folder is None or not hasattr(select, "epoll"):
            return None
        paths = [f"{self.folder}/{name}" for name in names]
        try:
            listener = Listener(paths)
        except FileNotFoundError:
            # The last one out has just removed the directory.
            try:
                runtime_dir(self._path)
                listener = Listener(paths)
            except OSError:
                return None
        except OSError:
            return None
        self._listeners.add(listener)
        return listener

    def close(self) -> None:
        """Close all descriptors. Idempotent; ringing opens them again."""
        with self._lock:
            self._close_all()

    def _close_all(self) -> None:
        known, self._open = self._open, {}
        for fd, _, _ in known.values():
            if fd >= 0:
                os.close(fd)

    def forget(self) -> None:
        """In a forked child: close the copies of the parent's descriptors, whatever its threads were at."""
        self._lock = threading.Lock()
        self._close_all()
        for listener in list(self._listeners):
            listener.forget()


def _open_fifo(path: str) -> int:
    """For reading and writing, so that neither side ever sees the other leave."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path!r} is no FIFO")
    return fd


class Listener:
    """Waits on some bells; of several listeners to one bell, a ring wakes one."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._fds: list[int] = []
        self._epoll = select.epoll()
        try:
            for path in paths:
                with suppress(FileExistsError):
                    os.mkfifo(path, 0o600)
                self._fds.append(_open_fifo(path))
                self._epoll.register(self._fds[-1], select.EPOLLIN | select.EPOLLEXCLUSIVE)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """A descriptor that is readable when a bell was rung."""
        return self._epoll.fileno()

    def wait(self, wait_s: float) -> bool:
        """Whether a bell was rung within `wait_s`; clears it. False too when another thread closes us meanwhile."""
        try:
            rung = self._epoll.poll(wait_s, 1)
        except (ValueError, OSError):
            return False
        if rung:
            self.heard()
        return bool(rung)

    def heard(self) -> bool:
        """Clear the bells; False if another listener was faster."""
        rung = False
        # Not without the lock: the number of a descriptor just closed may be another file's by now.
        with self._lock:
            for fd in self._fds:
                try:
                    rung = bool(os.read(fd, _READ_BYTES)) or rung
                except OSError:
                    continue  # nothing in it
        return rung

    def close(self) -> None:
        """Listen no more. Idempotent."""
        with self._lock:
            self._epoll.close()
            fds, self._fds = self._fds, []
            for fd in fds:
                os.close(fd)

    def forget(self) -> None:
        """In a forked child: close the copies of the parent's descriptors, whatever its threads were at."""
        self._lock = threading.Lock()
        self.close()
