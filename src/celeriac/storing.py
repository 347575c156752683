"""Writing records by hand: states of the user's, and revocation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.control.asking import tell
from celeriac.control.words import Request
from celeriac.model import states
from celeriac.model.context import Context
from celeriac.model.errors import TaskRevokedError
from celeriac.model.ports import Broker, BrokerAdmin, Bus
from celeriac.model.process_signals import signal_number
from celeriac.wire.records import Extended, RecordHead, encode_failure, encode_state
from celeriac.wire.serializers import serializer_named
from celeriac.worker.revoking import to_be_told

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_IDS_PER_WORD = 5000
"""So many ids are told at once: a word has a largest size, and an id is a text of any length up to about 200."""


def write_state(app: Celeriac, task_id: str, state: str, meta: Any, request: Context | None) -> None:
    """Write one record; an exception as `meta` is stored as Celery stores it."""
    head = _head(app, task_id, request)
    backend = app.backend
    if isinstance(meta, BaseException):
        backend.write([encode_failure(head, meta, None, time.time(), state)])
    else:
        backend.write([encode_state(head, state, meta, time.time())])


def _head(app: Celeriac, task_id: str, request: Context | None) -> RecordHead:
    conf = app.conf
    extended = None
    if request is not None and conf["result_extended"]:
        queue = (request.delivery_info or {}).get("routing_key")
        extended = Extended(
            str(request.task), request.args or (), request.kwargs or {}, request.hostname, request.retries, queue
        )
    return RecordHead(
        task_id,
        request.group if request is not None else None,
        request.parent_id if request is not None else None,
        extended=extended,
        expires_s=conf.seconds("result_expires"),
        reply_to=(request.reply_to or "") if request is not None else "",
        serializer=serializer_named(conf["result_serializer"]),
    )


def revoke_tasks(app: Celeriac, task_id: str | Sequence[str], terminate: bool, signal: str | None) -> None:
    """Mark tasks as cancelled in the store, tell all nodes, and write REVOKED for those that wait.

    Raises what `revoke_marked` raises.
    """
    broker: object = app.sender.broker()
    ids = [task_id] if isinstance(task_id, str) else list(task_id)

    def spread() -> None:
        if isinstance(broker, Bus):
            for request in revoke_requests(ids, terminate, signal):
                tell(broker, request)

    revoke_marked(app, ids, signal, spread)


def revoke_marked(app: Celeriac, ids: Sequence[str], signal: str | None, spread: Callable[[], object]) -> None:
    """Mark tasks as cancelled in the store, have `spread` tell the nodes, and write REVOKED for those that wait. Those
    that a node has end as it says.

    Raises ValueError for no signal, BrokerUnavailable, BackendUnavailable, NotImplementedError if the broker cannot
    keep cancellations.
    """
    if not ids:
        return
    if signal is not None:
        signal_number(signal)
    broker: Broker = app.sender.broker()
    if not isinstance(broker, BrokerAdmin):
        raise NotImplementedError(f"the {broker.facts.name} broker cannot keep cancellations")
    broker.cancel(ids)
    spread()
    _write_revoked(app, broker, ids)


def revoke_requests(ids: Sequence[str], terminate: bool, signal: str | None) -> Iterator[Request]:
    """What the nodes are told of tasks that are marked in the store already."""
    for start in range(0, len(ids), _IDS_PER_WORD):
        arguments = {"task_id": list(ids[start : start + _IDS_PER_WORD]), "terminate": terminate, "stored": True}
        yield Request("revoke", arguments if signal is None else {**arguments, "signal": str(signal)})


def _write_revoked(app: Celeriac, broker: BrokerAdmin, ids: Sequence[str]) -> None:
    try:
        backend = app.backend
    except NotImplementedError:  # results are disabled
        return
    error = TaskRevokedError("revoked")
    now = time.time()
    backend.write(
        [
            encode_failure(_head(app, task_id, None), error, None, now, states.REVOKED)
            for task_id in to_be_told(broker, backend, ids)
        ]
    )
