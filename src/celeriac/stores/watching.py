"""What a standing wait for records is after, and what came for it: the part that all stores share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from celeriac.model.message import Record
from celeriac.model.states import SUCCESS

_LOOK_MAX = 512
"""So many ids are looked up in the store at once, so that others get at it in between."""
_AGAIN_MAX = 4096
"""So many ids the safety net looks up at once; the others next time."""


class Wanted:
    """Ids that somebody waits for. Guarded by the lock of its store."""

    def __init__(self) -> None:
        self._told: dict[str, Record | None] = {}
        """By id what was told last."""
        self._unseen: deque[str] = deque()
        """What must be looked up: it may have been there before we listened."""
        self._round: list[str] = []
        """What is still to be looked up again in this round of the safety net."""
        self._news: dict[str, Record] = {}
        self.woken = False
        """Who waits is to return."""

    def add(self, ids: Iterable[str]) -> None:
        """Want these too; they are looked up once."""
        for task_id in ids:
            if task_id not in self._told:
                self._told[task_id] = None
                self._unseen.append(task_id)

    def discard(self, ids: Iterable[str]) -> None:
        """Want these no longer."""
        for task_id in ids:
            self._told.pop(task_id, None)
            self._news.pop(task_id, None)

    def take(self, record: Record) -> None:
        """A record was stored: it is news if it is wanted and differs from what was told."""
        if record.id not in self._told:
            return
        last = self._news.get(record.id) or self._told[record.id]
        # What two processes tell may be overtaken; a success is final all the same.
        if last is None or (last.state != SUCCESS and (last.state != record.state or last.payload != record.payload)):
            self._news[record.id] = record

    def look_at(self, task_id: str) -> None:
        """A record was stored that must be fetched."""
        if task_id in self._told:
            self._unseen.append(task_id)

    def look_again(self) -> None:
        """The safety net: look up what may have been missed, some of it each time."""
        if not self._round:
            self._round = list(reversed(self._told))
        self._unseen.extend(reversed(self._round[-_AGAIN_MAX:]))
        del self._round[-_AGAIN_MAX:]

    def has_unseen(self) -> bool:
        """True if something is to be looked up."""
        return bool(self._unseen)

    def unseen(self) -> Sequence[str]:
        """What to look up now."""
        if not self._unseen:
            return ()
        told = self._told
        found: list[str] = []
        while self._unseen and len(found) < _LOOK_MAX:
            task_id = self._unseen.popleft()
            if task_id in told:
                found.append(task_id)
        return found

    def news(self) -> list[Record]:
        """What came, each change once."""
        if not self._news:
            return []
        found = list(self._news.values())
        self._told.update(self._news)
        self._news.clear()
        return found

    def __len__(self) -> int:
        return len(self._told)
