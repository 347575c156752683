"""One connection to a SQLite store: its lock, its place at the gate, and its errors translated."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from celeriac.model.shield import shield
from celeriac.stores.faults import StoreMisconfigured, StoreRejected, StoreUnavailable
from celeriac.stores.sqlite_gate import Gate
from celeriac.stores.sqlite_schema import MIGRATIONS, Migration, check_version, migrate

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_NAP_S = 0.002
# A file that was there a moment ago is taken for there: the look would cost as much as a small statement.
_TRUST_S = 0.05
# Pages in the log before somebody copies them back: rarer copies cost less, and 16 MB of log is bearable.
_CHECKPOINT_PAGES = 4000
_CACHE_KIB = 16 * 1024
_MMAP_BYTES = 256 * 1024 * 1024
# More statements than we have, so that none is ever parsed twice.
_STATEMENTS = 256
# A fork waits this long for transactions of other threads; then it goes on and the child forgets the handle.
_FORK_WAIT_S = 5.0

# Handles that a forked child inherited in the midst of a transaction. Closing them would meddle with the
# parent's locks, so they are kept, unused, for ever.
_never_close: list[sqlite3.Connection] = []

# Python 3.10 has no error codes on exceptions, so texts it is: they are SQLite's own and stable.
_MISCONFIGURED = {
    "file is not a database": "is no SQLite database; move it away, or name another file",
    "malformed": "is damaged; restore it from a backup, or move it away and start anew",
    "readonly": "cannot be written; the file and its directory must be writable by this user",
    "unable to open": "cannot be opened; the file and its directory must be readable and writable by this user",
}


class Link:
    """A connection and its lock. Opened at first use, closed before a fork, opened again afterwards.

    :param path: the database
    :param timeout_s: bound on the waiting of each call
    :param durable: whether each commit must survive the loss of power
    """

    def __init__(
        self, path: str, timeout_s: float, durable: bool, migrations: Sequence[Migration] = MIGRATIONS
    ) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.durable = durable
        self.generation = 0
        """Counts connections and rollbacks, so that what was learned meanwhile can be forgotten."""
        self._migrations = migrations
        self._lock = threading.RLock()
        self._gate = Gate(f"{path}-gate")
        self._conn: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._trusted_until = 0.0
        self._inside = False
        self._shut = False

    def write(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` as one write transaction: all of it is committed, or none of it and a StoreFault raised."""
        # Flat, and with the calls of others inside: this is on the way of every message.
        now = time.monotonic()
        deadline = now + self.timeout_s
        self._enter()
        try:
            conn = self._conn if now < self._trusted_until else self._connected(now, deadline)
            assert conn is not None
            try:
                # From here to the end whatever breaks in, and wherever, leaves neither lock nor transaction behind.
                try:
                    fcntl.flock(self._gate.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._gate.queue(deadline)
                try:
                    conn.execute("begin immediate")
                except sqlite3.OperationalError as exc:
                    _patiently(conn, "begin immediate", deadline, exc)
                result = work(conn, *args, **kwargs)
                conn.execute("commit")
                return result
            except BaseException:
                self.generation += 1
                with suppress(sqlite3.Error):
                    if conn.in_transaction:
                        conn.execute("rollback")
                raise
            finally:
                fcntl.flock(self._gate.fd, fcntl.LOCK_UN)
        except (sqlite3.Error, OverflowError, UnicodeError, OSError) as exc:
            raise self._fault(exc) from exc
        finally:
            self._leave()

    def read(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work`, which only reads. Raises StoreFault."""
        now = time.monotonic()
        deadline = now + self.timeout_s
        self._enter()
        try:
            while True:
                conn = self._conn if now < self._trusted_until else self._connected(now, deadline)
                assert conn is not None
                try:
                    return work(conn, *args, **kwargs)
                except sqlite3.OperationalError as exc:
                    now = time.monotonic()
                    if "locked" not in str(exc) or now >= deadline:
                        raise
                time.sleep(_BUSY_NAP_S)
        except (sqlite3.Error, OverflowError, UnicodeError) as exc:
            raise self._fault(exc) from exc
        finally:
            self._leave()

    def _enter(self) -> None:
        """Be the one thread in here, out of reach of time limits. Raises StoreUnavailable."""
        guard = shield.mine
        guard.enter()
        if not self._lock.acquire(timeout=self.timeout_s):
            guard.leave()
            raise StoreUnavailable("other threads kept the database busy all the time; try again")
        if self._inside:
            self._lock.release()
            guard.leave()
            raise StoreUnavailable("this thread is within the database already (a signal handler?); try again")
        self._inside = True

    def _leave(self) -> None:
        """Let others in; what was held back is raised now."""
        self._inside = False
        self._lock.release()
        guard = shield.mine
        guard.inside -= 1
        if guard.threat is not None:
            guard.out()

    def _connected(self, now: float, deadline: float) -> sqlite3.Connection:
        """The connection, opened if need be, on the file that is there; the answer holds for a moment."""
        conn = self._conn
        if conn is not None:
            try:
                found = Path(self.path).stat()
            except OSError:
                found = None
            if found is not None and (found.st_ino, found.st_dev) == self._file:
                self._trusted_until = now + _TRUST_S
                return conn
            self._disconnect()
            raise StoreUnavailable(
                f"{self.path!r} was removed or replaced while it was open; the next try opens what is there now"
            )
        if self._shut:
            raise StoreUnavailable(f"{self.path!r} was closed by another thread; call open() first")
        self._gate.open()
        self._gate.queue(deadline)
        try:
            conn = self._connect(deadline)
        finally:
            self._gate.leave()
        self._conn = conn
        self._trusted_until = now + _TRUST_S
        self.generation += 1
        return conn

    def _connect(self, deadline: float) -> sqlite3.Connection:
        conn = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
        )
        try:
            _patiently(conn, "pragma journal_mode=WAL", deadline)
            conn.execute(f"pragma synchronous={'FULL' if self.durable else 'NORMAL'}")
            conn.execute(f"pragma wal_autocheckpoint={_CHECKPOINT_PAGES}")
            conn.execute(f"pragma cache_size=-{_CACHE_KIB}")
            conn.execute(f"pragma mmap_size={_MMAP_BYTES}")
            conn.execute("pragma temp_store=MEMORY")
            if not check_version(conn, self._migrations):
                _patiently(conn, "begin immediate", deadline)
                migrate(conn, self._migrations)
                conn.execute("commit")
            stat = Path(self.path).stat()
        except BaseException:
            conn.close()
            raise
        self._file = (stat.st_ino, stat.st_dev)
        return conn

    def _fault(self, exc: BaseException) -> Exception:
        text = str(exc)
        if isinstance(exc, (sqlite3.DataError, OverflowError)) or "too big" in text:
            return StoreRejected(f"the database cannot hold a value of that size: {text}")
        if isinstance(exc, UnicodeError) or "binding parameter" in text:
            return StoreRejected(f"the database cannot hold a value of that kind: {text}")
        for sign, advice in _MISCONFIGURED.items():
            if sign in text:
                self._disconnect()
                return StoreMisconfigured(f"{self.path!r} {advice} (SQLite: {text})")
        if "locked" in text:
            return StoreUnavailable(
                f"{self.path!r} is locked by another program; end it, or try again (SQLite: {text})"
            )
        if "full" in text or "No space" in text:
            return StoreUnavailable(f"no room is left for {self.path!r}; free some disk space (SQLite: {text})")
        self._disconnect()
        return StoreUnavailable(f"{self.path!r} failed; the next try opens it anew (SQLite: {text})")

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        self._trusted_until = 0.0
        if conn is not None:
            with suppress(sqlite3.Error):
                conn.close()

    def unlock(self) -> None:
        """After a `close(for_good=True)`: let the link open again."""
        self._shut = False

    def close(self, *, for_good: bool = False) -> None:
        """Close the connection; the next use opens it again, unless it was for good. The last one out leaves a
        single clean file."""
        self._shut = for_good or self._shut
        if not self._lock.acquire(timeout=self.timeout_s):
            raise StoreUnavailable("other threads kept the database busy all the time; close again later")
        try:
            if not self._inside:
                self._disconnect()
                self._gate.close()
        finally:
            self._lock.release()

    def before_fork(self) -> bool:
        """Close, and keep everybody out until `after_fork_in_parent`; False if that was not possible in time."""
        if not self._lock.acquire(timeout=_FORK_WAIT_S):
            return False
        if self._inside:
            self._lock.release()
            return False
        self._disconnect()
        self._gate.close()
        return True

    def after_fork_in_parent(self) -> None:
        """Let everybody in again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew, whatever the other threads of the parent were at."""
        if self._conn is not None:
            _never_close.append(self._conn)
            self._conn = None
        self._trusted_until = 0.0
        self._gate.close()
        self._inside = False
        shield.mine.inside = 0
        self._lock = threading.RLock()


def _patiently(
    conn: sqlite3.Connection, statement: str, deadline: float, refused: sqlite3.OperationalError | None = None
) -> None:
    """Execute, waiting for programs that know no gate; `refused` is what a first try was told."""
    while True:
        if refused is not None:
            if "locked" not in str(refused) or time.monotonic() >= deadline:
                raise refused
            time.sleep(_BUSY_NAP_S)
        try:
            conn.execute(statement)
        except sqlite3.OperationalError as exc:
            refused = exc
        else:
            return
