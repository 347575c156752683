"""The result backend on the same shelf."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.model.facts import BackendFacts
from celeriac.model.message import Record
from celeriac_shelf.shelf import Shelf, ShelfUnavailable, is_over, keep_records


class ShelfBackend:
    """A `Backend` on a folder. Option: ``connect_timeout_s``."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._shelf = Shelf(url, float(options.get("connect_timeout_s", 4.0)))
        self._is_open = False
        self.facts = BackendFacts(
            name="shelf",
            shared=True,
            durability="process",
            expires=True,
            pushes=False,
            store_id=f"shelf://{self._shelf.path}",
        )

    def open(self) -> None:
        """Make the folder."""
        self._shelf.open()
        self._is_open = True

    def close(self) -> None:
        """Nothing is kept open."""
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise ShelfUnavailable("the shelf is closed; call open() first")

    def write(self, records: Sequence[Record]) -> None:
        """Keep records; nothing replaces a SUCCESS."""
        self._check_open()
        with self._shelf.changing() as state:
            keep_records(state, records)

    def read(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """The records in the order of `ids`."""
        self._check_open()
        kept, now = self._shelf.read().records, time.time()
        found = [kept.get(task_id) for task_id in ids]
        return [None if each is None or is_over(each, now) else each.record for each in found]

    def forget(self, ids: Sequence[str]) -> None:
        """Delete records."""
        self._check_open()
        with self._shelf.changing() as state:
            for task_id in ids:
                state.records.pop(task_id, None)
