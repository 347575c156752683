"""`app.control`: ask the workers, and tell them what to do. Names and return values are Celery's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.control.asking import Answers, ask, tell
from celeriac.control.words import Reply, Request
from celeriac.model.ports import BrokerAdmin, Bus
from celeriac.storing import revoke_marked, revoke_requests

if TYPE_CHECKING:
    from celeriac.app import Celeriac

TIMEOUT_S = 1.0
"""How long replies are waited for, as Celery has it. It is waited out only if a node that listens does not answer."""

Matcher = str | Callable[[str, str], bool]


class Control:
    """Remote control of the workers of one app.

    A request reaches the nodes that listen now; a node that stood still and wakes up later neither answers nor obeys.
    """

    def __init__(self, app: Celeriac) -> None:
        self.app = app

    def inspect(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = TIMEOUT_S,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: Matcher | None = None,
    ) -> Inspect:
        """Questions to these nodes, as an object with a method for each."""
        return Inspect(destination, timeout, callback, connection, self.app, limit, pattern, matcher)

    def ask(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        timeout: float = TIMEOUT_S,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        pattern: str | None = None,
        matcher: Matcher | None = None,
    ) -> Answers:
        """Say a command and gather what comes back; see `broadcast`. Returns as soon as all who can answer have."""
        request = self._request(command, arguments, destination, pattern, matcher)
        on_reply = None if callback is None else (lambda reply: callback(_as_dict(reply)))
        return ask(self._bus(), request, timeout, limit, on_reply)

    def broadcast(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: str | Sequence[str] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = TIMEOUT_S,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: Matcher | None = None,
        **extra: Any,
    ) -> list[dict[str, Any]] | None:
        """Say a command to all nodes, or to those that `destination` names or `pattern` matches.

        With `reply` it returns what they answer, as a list of ``{node: answer}``, after `timeout` seconds at the
        latest and at most `limit` answers; `callback` gets each as it comes. `matcher` says what a pattern is:
        ``glob`` (the default), ``pcre`` (a regular expression), or a function of a node's name and the pattern.

        Raises BrokerUnavailable, NotImplementedError if the broker carries no broadcast.
        """
        given = {**(arguments or {}), **extra}
        if reply:
            answers = self.ask(command, given, destination, timeout, limit, callback, pattern, matcher)
            return [_as_dict(one) for one in answers.replies]
        tell(self._bus(), self._request(command, given, destination, pattern, matcher))
        return None

    def ping(
        self, destination: str | Sequence[str] | None = None, timeout: float = TIMEOUT_S, **options: Any
    ) -> list[dict[str, Any]]:
        """Which nodes answer: a list of ``{node: {"ok": "pong"}}``."""
        return self.broadcast("ping", destination=destination, timeout=timeout, reply=True, **options) or []

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: str | Sequence[str] | None = None,
        terminate: bool = False,
        signal: str | int = "SIGTERM",
        **options: Any,
    ) -> list[dict[str, Any]] | None:
        """Tasks must not run, wherever they are; with `terminate` the nodes end those that run.

        They are marked in the store, so it holds for nodes that start later too, and `destination` only narrows who is
        told at once.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        replies: list[dict[str, Any]] = []

        def spread() -> None:
            for request in revoke_requests(ids, terminate, str(signal)):
                said = self.broadcast(request.command, dict(request.arguments), destination, **options)
                replies.extend(said or ())

        revoke_marked(self.app, ids, str(signal), spread)
        return replies if options.get("reply") else None

    def terminate(
        self,
        task_id: str | Sequence[str],
        destination: str | Sequence[str] | None = None,
        signal: str | int = "SIGTERM",
        **options: Any,
    ) -> list[dict[str, Any]] | None:
        """End tasks: `revoke` with ``terminate=True``."""
        return self.revoke(task_id, destination, True, signal, **options)

    def shutdown(self, destination: str | Sequence[str] | None = None, **options: Any) -> list[dict[str, Any]] | None:
        """End all workers, or those named: what runs may finish, the rest goes back to its queue."""
        return self.broadcast("shutdown", destination=destination, **options)

    def purge(self, connection: Any = None) -> int:
        """Delete what waits in the app's queues; how many messages that were.

        Raises NotImplementedError if the broker cannot.
        """
        broker: object = self.app.sender.broker()
        if not isinstance(broker, BrokerAdmin):
            raise NotImplementedError("this broker cannot be purged from here")
        return sum(broker.purge(queue) for queue in self.app.worker_config().queues)

    discard_all = purge

    def _bus(self) -> Bus:
        broker: object = self.app.sender.broker()
        if not isinstance(broker, Bus):
            raise NotImplementedError("this broker carries no broadcast, so nodes cannot be asked")
        return broker

    def _request(
        self,
        command: str,
        arguments: dict[str, Any] | None,
        destination: str | Sequence[str] | None,
        pattern: str | None,
        matcher: Matcher | None,
    ) -> Request:
        if destination is not None and not isinstance(destination, (str, list, tuple, set, frozenset)):
            raise ValueError(f"destination must be a list of names of nodes, not {destination!r}")
        names = (destination,) if isinstance(destination, str) else destination
        if pattern is None or names is not None:
            return Request(command, arguments or {}, None if names is None else tuple(names))
        if matcher is None or matcher == "glob":
            return Request(command, arguments or {}, pattern=pattern)
        # Others are not for nodes to compute: ask who is there, and choose.
        matches = _matches(pattern, matcher)
        there = [reply.node for reply in ask(self._bus(), Request("ping"), TIMEOUT_S).replies]
        return Request(command, arguments or {}, tuple(name for name in there if matches(name)))


def _matches(pattern: str, matcher: Matcher) -> Callable[[str], bool]:
    if callable(matcher):
        return lambda name: bool(matcher(name, pattern))
    if matcher == "pcre":
        found = re.compile(pattern)
        return lambda name: found.match(name) is not None
    raise ValueError(f"matcher={matcher!r} is unknown; give 'glob', 'pcre' or a function")


def _as_dict(reply: Reply) -> dict[str, Any]:
    return {reply.node: reply.answer}


class Inspect:
    """Questions to nodes. Each method returns ``{node: answer}``, the answer alone if `destination` is one name, or
    None if nobody answered."""

    def __init__(
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = TIMEOUT_S,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: Any = None,
        app: Any = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def _ask(self, command: str, **arguments: Any) -> Any:
        answers = self.app.control.ask(
            command,
            {name: value for name, value in arguments.items() if value is not None},
            self.destination,
            self.timeout,
            self.limit,
            self.callback,
            self.pattern,
            self.matcher,
        )
        if not answers.replies:
            return None
        found = {reply.node: reply.answer for reply in answers.replies}
        return found.get(self.destination) if isinstance(self.destination, str) else found

    def ping(self, destination: str | Sequence[str] | None = None) -> Any:
        """Who is there: ``{"ok": "pong"}``."""
        if destination:
            self.destination = destination
        return self._ask("ping")

    def active(self, safe: bool | None = None) -> Any:
        """Tasks that run now."""
        return self._ask("active", safe=safe)

    def reserved(self, safe: bool | None = None) -> Any:
        """Tasks that nodes hold and have not begun."""
        return self._ask("reserved", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:
        """Tasks that wait for their time in the nodes' queues; all nodes of a queue show the same ones."""
        return self._ask("scheduled", safe=safe)

    def revoked(self) -> Any:
        """Ids of tasks whose revocation the node has heard of, the newest 10,000."""
        return self._ask("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """Names of the tasks that nodes can run, with these attributes of theirs."""
        return self._ask("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def stats(self) -> Any:
        """Numbers of nodes: tasks done, processes, pool, memory, uptime."""
        return self._ask("stats")

    def active_queues(self) -> Any:
        """The queues that nodes take from."""
        return self._ask("active_queues")

    def query_task(self, *ids: Any) -> Any:
        """What nodes do with these tasks: ``{id: [state, info]}``."""
        if len(ids) == 1 and isinstance(ids[0], (list, tuple)):
            ids = tuple(ids[0])
        return self._ask("query_task", ids=list(ids))

    def report(self) -> Any:
        """Versions and settings of nodes: ``{"ok": text}``."""
        return self._ask("report")

    def conf(self, with_defaults: bool = False) -> Any:
        """The settings of nodes, without secrets."""
        return self._ask("conf", with_defaults=with_defaults)
