"""What a node does about each remote command. Handlers run on the desk's thread, never on the node's own.

Each takes the settled arguments and returns the answer, in Celery's shape.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeriac.core.engine.effects import Final
from celeriac.core.engine.events import Cancelled
from celeriac.model.message import Head
from celeriac.model.ports import Backend, BrokerAdmin
from celeriac.model.process_signals import signal_number
from celeriac.model.run import Runnable
from celeriac.model.states import REVOKED
from celeriac.wire.protocol2 import decode_head
from celeriac.worker.config import Home, WorkerConfig
from celeriac.worker.finals import final_record
from celeriac.worker.revoking import to_be_told
from celeriac.worker.sight import (
    SHOWN_MAX,
    Sight,
    broker_facts,
    pool_facts,
    query,
    queue_record,
    registered_lines,
    scheduled_info,
    task_info,
    usage,
)

log = logging.getLogger("celeriac.worker")

REVOKED_MAX = 10_000
"""So many revoked ids are remembered, the newest; what must not be forgotten is in the store."""

Arguments = Mapping[str, Any]


class Commands:
    """Answers for one node."""

    def __init__(
        self,
        config: WorkerConfig,
        home: Home,
        tasks: Mapping[str, Runnable],
        broker: Any,
        backend: Backend | None,
    ) -> None:
        self._config = config
        self._home = home
        self._tasks = tasks
        self._broker = broker
        self._backend = backend
        self._began_at = time.monotonic()
        self._revoked: OrderedDict[str, None] = OrderedDict()
        self.post: Callable[[Any], object] = lambda _: None
        """Leaves an event in the node's mailbox."""
        self._handlers: dict[str, Callable[[Arguments, Sight], Any]] = {
            "ping": lambda _, __: {"ok": "pong"},
            "active": lambda _, sight: self._infos(sight, sight.running),
            "reserved": lambda _, sight: self._infos(sight, sight.waiting),
            "scheduled": self._scheduled,
            "revoked": lambda _, __: list(self._revoked),
            "registered": self._registered,
            "stats": self._stats,
            "active_queues": lambda _, __: [queue_record(name) for name in config.queues],
            "query_task": lambda arguments, sight: query(sight, arguments["ids"], config.hostname),
            "report": lambda _, __: {"ok": home.bugreport()},
            "conf": lambda arguments, _: home.conf.table(with_defaults=arguments["with_defaults"]),
            "shutdown": lambda _, __: {"ok": "shutting down"},
            "revoke": self._revoke,
            "terminate": lambda arguments, sight: self._revoke({**arguments, "terminate": True}, sight),
        }

    def answer(self, command: str, arguments: Arguments, sight: Sight) -> Any:
        """Do what is asked. Raises whatever goes wrong; KeyError for a command that no node has."""
        return self._handlers[command](arguments, sight)

    def _infos(self, sight: Sight, helds: Sequence[Any]) -> list[dict[str, Any]]:
        return [task_info(held, self._config.hostname, sight.now) for held in helds]

    def _scheduled(self, _arguments: Arguments, _sight: Sight) -> list[dict[str, Any]]:
        broker = self._broker
        if not isinstance(broker, BrokerAdmin):
            return []
        shown: list[dict[str, Any]] = []
        accept = self._config.results.accept
        for queue in self._config.queues:
            for waiting in broker.peek(queue, SHOWN_MAX - len(shown), "delayed"):
                try:
                    head = decode_head(waiting.message, accept)
                except Exception:  # noqa: BLE001 - whatever is wrong with it, it is shown by its id
                    head = Head(waiting.message.id, waiting.message.task)
                shown.append(scheduled_info(waiting, head, self._config.hostname))
            if len(shown) >= SHOWN_MAX:
                break
        return shown

    def _registered(self, arguments: Arguments, _sight: Sight) -> list[str]:
        return list(registered_lines(self._tasks, arguments["taskinfoitems"], arguments["builtins"]))

    def _stats(self, _arguments: Arguments, sight: Sight) -> dict[str, Any]:
        config, facts = self._config, self._broker.facts
        return {
            "total": sight.totals,
            "active": sight.running_count,
            "reserved": sight.waiting_count,
            "pid": sight.pid,
            "clock": "0",
            "uptime": int(time.monotonic() - self._began_at),
            "pool": pool_facts(config.policy, sight, config.tasks_per_child_max),
            "broker": broker_facts(facts.name, facts.store_id),
            "prefetch_count": sight.room,
            "queues": list(config.queues),
            "rusage": usage(),
        }

    # What changes something.

    def _revoke(self, arguments: Arguments, sight: Sight) -> dict[str, str]:
        ids: list[str] = arguments["task_id"]
        signal_number(arguments["signal"])
        if not arguments["stored"]:
            self._cancel_in_store(ids, sight)
            self.post(Cancelled(tuple(ids), arguments["terminate"], arguments["signal"]))
        self.note_revoked(ids)
        if not arguments["terminate"]:
            return {"ok": f"tasks {set(ids)} flagged as revoked"}
        wanted = set(ids)
        here = [held.head.id for held in sight.running if held.head.id in wanted]
        return {"ok": f"terminate: {', '.join(here) or 'tasks unknown'}"}

    def note_revoked(self, ids: Sequence[str]) -> None:
        """Remember that these were revoked."""
        for task_id in ids:
            self._revoked[task_id] = None
            self._revoked.move_to_end(task_id)
        while len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)

    def _cancel_in_store(self, ids: Sequence[str], sight: Sight) -> None:
        """What our own client has done before it tells; others only tell."""
        broker = self._broker
        if not isinstance(broker, BrokerAdmin):
            return
        broker.cancel(ids)
        backend = self._backend
        if backend is None:
            return
        here = {held.head.id for held in (*sight.running, *sight.waiting)}
        wall = time.time()
        final = Final(REVOKED, "TaskRevokedError", ("revoked",))
        backend.write(
            [
                final_record(final, Head(task_id, ""), "", self._config.results, wall)
                for task_id in to_be_told(broker, backend, [task_id for task_id in ids if task_id not in here])
            ]
        )
