"""The writers' gate: a file lock taken before each write transaction.

SQLite's own waiting sleeps in growing steps, so that a busy database makes unlucky writers wait a
second and its log is never reset. Writers that queue at a file lock are served within milliseconds.
Whoever writes without the gate (a shell) is still kept out by SQLite itself.
"""

from __future__ import annotations

import fcntl
import os
import time

from celeriac.stores.faults import StoreMisconfigured, StoreUnavailable

# From a fraction of a typical transaction up to a time that costs no CPU to speak of.
_FIRST_NAP_S = 0.00005
_LONGEST_NAP_S = 0.001


class Gate:
    """One holder's handle on the gate of a database. Not for use by two threads at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.fd = -1

    def open(self) -> None:
        """Open the file, making it if needed. Raises StoreMisconfigured. Idempotent."""
        if self.fd >= 0:
            return
        try:
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise StoreMisconfigured(
                f"cannot open {self._path!r}: {exc.strerror}; the directory and this file must be writable"
            ) from exc

    def queue(self, deadline: float) -> None:
        """Become the one writer. Raises StoreUnavailable when it is not our turn by `deadline` (monotonic)."""
        nap_s = _FIRST_NAP_S
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreUnavailable("other processes kept the database busy all the time; try again") from None
            else:
                return
            time.sleep(nap_s)
            nap_s = min(nap_s * 1.5, _LONGEST_NAP_S)

    def leave(self) -> None:
        """Let the next writer in."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file up. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
