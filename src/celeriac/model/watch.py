"""The port of a standing wait, which a backend that can wait hands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.model.message import Record


class Watch(Protocol):
    """A standing wait for records. One thread calls `wait`; the other methods may be called from any."""

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these too, whether their records are there already or come later; also while `wait` blocks."""
        ...

    def discard(self, ids: Sequence[str]) -> None:
        """Wait for these no longer. Unknown ids are ignored."""
        ...

    def wait(self, wait_s: float) -> Sequence[Record]:
        """Block until there is news and return it: records that were not returned before, or have changed since; of
        two changes that come together the last one. Empty after about `wait_s`, or early after `wake`.

        Raises BackendUnavailable; what is waited for stays the same.
        """
        ...

    def wake(self) -> None:
        """Have `wait` return soon, also the next one if none is under way."""
        ...

    def close(self) -> None:
        """Wait for nothing any more; `wait` returns. Idempotent."""
        ...
