"""Of tasks that are cancelled: who is told now, and who by the node that holds the task."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.model.message import Record
from celeriac.model.ports import Backend, BrokerAdmin
from celeriac.model.states import READY_STATES

_CLAIMED_MAX = 10_000
"""So many claimed messages of a queue are looked at; with more, the nodes tell all who wait."""


def to_be_told(broker: BrokerAdmin, backend: Backend, ids: Sequence[str]) -> list[str]:
    """Those of tasks that are cancelled already whose end is known by that: no node has them, and they have not ended.

    What a node has may be running, and ends as it ends; what it has only reserved, it ends itself. Since they are
    cancelled, nothing that is in nobody's hands can begin any more, and an end is in the backend when its claim is
    gone: so first the claims, then the records.
    """
    wanted = set(ids)
    for depth in broker.depth():
        if not depth.claimed:
            continue
        claimed = broker.peek(depth.queue, _CLAIMED_MAX, "claimed")
        if len(claimed) >= _CLAIMED_MAX:
            return []
        wanted.difference_update(waiting.message.id for waiting in claimed)
    left = [task_id for task_id in ids if task_id in wanted]
    records: Sequence[Record | None] = backend.read(left) if left else ()
    return [
        task_id
        for task_id, record in zip(left, records, strict=True)
        if record is None or record.state not in READY_STATES
    ]
