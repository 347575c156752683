"""A worker with one planted fault, for the proof to find: ``python broken_worker.py FAULT -A ... worker ...``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from celeriac.model.message import Claim, Settled, Settlement
from celeriac.stores import sqlite_settle
from celeriac.stores.sqlite import SqliteStore
from celeriac.stores.sqlite_nodes import Holder
from celeriac.stores.sqlite_sweep import Sweeper

_EACH = 10
_BETWEEN_S = 0.05
_count = 0


def _now_and_then() -> bool:
    global _count
    _count += 1
    return _count % _EACH == 0


def forgets_results() -> None:
    """Acknowledges a task without its result."""
    whole = sqlite_settle.write_records
    sqlite_settle.write_records = lambda conn, records: _now_and_then() or whole(conn, records)  # type: ignore[assignment]


def forgets_acknowledgements() -> None:
    """Stores a result without acknowledging its task; whoever comes by the task again runs it again."""
    whole = sqlite_settle.settle_acks

    def settle_acks(conn: Any, node: int, receipts: Any, any_cancelled: bool) -> None:
        whole(conn, node, [receipt for receipt in receipts if not _now_and_then()], any_cancelled)

    sqlite_settle.settle_acks = settle_acks


def stores_before_it_acknowledges() -> None:
    """Stores results in one transaction and acknowledges in the next: who dies in between leaves a task that is done
    and comes again."""
    whole = SqliteStore.settle

    def settle(
        self: SqliteStore, holder: Holder, settlements: Sequence[Settlement], then_take: Claim | None
    ) -> Settled:
        records = [record for one in settlements for record in one.records]
        if records:
            self.write_records(records)
            time.sleep(_BETWEEN_S)
        return whole(self, holder, [structs.replace(one, records=()) for one in settlements], then_take)

    SqliteStore.settle = settle  # type: ignore[method-assign]


def sweeps_nothing() -> None:
    """What dead nodes held never comes back."""
    Sweeper.sweep = lambda self: 0  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (forgets_results, forgets_acknowledgements, stores_before_it_acknowledges, sweeps_nothing)
}

if __name__ == "__main__":
    from celeriac.cli import main

    FAULTS[sys.argv.pop(1)]()
    sys.exit(main(prog_name="broken"))
