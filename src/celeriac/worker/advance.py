"""The part of a run's end that belongs to its workflow: what follows is encoded, and committed with the end itself.

What follows from which end is decided in `core.workflow.advance`; here it becomes messages and records. Both go into
the one settlement of the run, so that a crash neither loses nor repeats a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import CoroutineType
from typing import Any, Protocol

from msgspec import Struct, field

from celeriac.core.workflow.advance import DerivedIds, Followed, Links, after_success, errback_sends
from celeriac.core.workflow.start import Handle, Send, options_of
from celeriac.model import states
from celeriac.model.call import RequestFields
from celeriac.model.canvas import Leaf, Node
from celeriac.model.context import Run, enter_run, leave_run
from celeriac.model.errors import CeleriacError, DecodeError, EncodeError
from celeriac.model.message import Message, Record
from celeriac.model.ports import Clock, Serializer
from celeriac.model.run import Outcome, ResultPolicy, Runnable
from celeriac.wire.exceptions import text_of
from celeriac.wire.records import RecordHead
from celeriac.wire.signatures import ids_named, node_of
from celeriac.worker import task_log
from celeriac.worker.coroutines import CoroutineRunner
from celeriac.worker.failures import failure_record

_PARENTS_MAX = 200
"""So many parents of a child are recorded: deeper than about twice that no serializer goes."""


class Around(Protocol):
    """What the workflows of one process share: `worker.env.Env` has it."""

    @property
    def results(self) -> ResultPolicy:
        """How results are written."""
        ...

    @property
    def serializer(self) -> Serializer:
        """That of results."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock."""
        ...


def is_linked(fields: RequestFields) -> bool:
    """True if something follows the task of this message."""
    return bool(fields.callbacks or fields.errbacks or fields.chain or fields.chord)


class Workflow(Struct, eq=False):
    """The place of one run in its workflow. Made before the body runs, so that links that cannot be understood fail
    the task before it has done anything.
    """

    env: Around
    tasks: Mapping[str, Runnable]
    run: Run
    fields: RequestFields
    links: Links
    messages: tuple[Message, ...] = ()
    """What follows, encoded."""
    records: tuple[Record, ...] = ()
    """Of the tasks that will not run, because this one has not ended well."""
    children: list[Any] = field(default_factory=list[Any])
    """What was added to the run's children for what follows."""

    def succeed(self, value: Any) -> None:
        """Encode what follows a success.

        Raises CeleriacError (EncodeError) that names what cannot be sent, NotImplementedError for what needs a later
        release. The task is a failure then: a step is never left out without a word.
        """
        run = self.run
        if run.retry_calls:  # the repetition carries the workflow on
            return
        followed: Followed = after_success(self.links, value, DerivedIds(self.fields.id, states.SUCCESS))
        self.messages = tuple(self._message(send) for send in followed.sends)
        for handle in followed.children:
            child = _tuple_of(handle)
            run.task.add_trail(child)
            self.children.append(child)

    def take_back(self) -> None:
        """The success that was encoded is none."""
        self.messages, self.records = (), ()
        if self.children:
            kept = self.run.context.children
            kept[:] = [child for child in kept if child not in self.children]
            self.children.clear()

    def end(self, outcome: Outcome) -> None:
        """Encode what follows any other end: for FAILURE, also of a task that was rejected for good, error callbacks are
        called or sent; it and REVOKED end the tasks behind this one in its chain. Raises nothing."""
        self.take_back()
        run = self.run
        state = states.FAILURE if outcome.state == states.REJECTED else outcome.state
        error = outcome.error
        if state not in states.PROPAGATE_STATES or error is None or run.retry_calls:
            return
        if run.ended_by is not None:  # the node knows better how it ended, and has that told in another run
            return
        self.records = tuple(self._ended(state, error, outcome.traceback))
        if state == states.FAILURE:
            token = enter_run(run)
            try:
                self.messages = tuple(self._failed(error, outcome.traceback))
            finally:
                leave_run(token)

    def _message(self, send: Send) -> Message:
        leaf = send.leaf
        try:
            return self.run.task.follow_up(leaf.task, leaf.args, leaf.kwargs, options_of(send))
        except Exception as exc:
            cls = EncodeError if isinstance(exc, EncodeError) else CeleriacError
            raise cls(f"{leaf.task}, which follows, cannot be sent: {text_of(exc)}") from exc

    def _ended(self, state: str, error: BaseException, traceback: str | None) -> Iterator[Record]:
        """Records of all that follows in the chain."""
        results, now = self.env.results, self.env.clock.wall()
        seen = {self.fields.id}
        for signature in self.fields.chain or ():
            for task_id, options in ids_named(signature):
                if task_id not in seen:
                    seen.add(task_id)
                    group, reply_to = options.get("group_id"), options.get("reply_to")
                    head = RecordHead(
                        task_id,
                        group if isinstance(group, str) else None,
                        expires_s=results.expires_s,
                        reply_to=reply_to if isinstance(reply_to, str) else "",
                        serializer=self.env.serializer,
                    )
                    yield failure_record(head, error, traceback, now, state, results.body_bytes_max)

    def _failed(self, error: BaseException, traceback: str | None) -> Iterator[Message]:
        """Call the error callbacks that are called in place; the messages of the others."""
        sent: list[Node] = []
        for errback in self.links.errbacks:
            task = self._called(errback)
            if task is not None and isinstance(errback, Leaf):
                self._call(task, errback, error, traceback)
            else:
                sent.append(errback)
        try:
            sends: Sequence[Send] = errback_sends(
                sent, self.fields.id, self.links, DerivedIds(self.fields.id, states.FAILURE)
            )
        except Exception as exc:  # noqa: BLE001 - told; the task has failed all the same
            task_log.errback_failed(self.fields, "all of them", exc)
            return
        for send in sends:
            try:
                message = self._message(send)
            except Exception as exc:  # noqa: BLE001 - as above; the others are sent
                task_log.errback_failed(self.fields, send.leaf.task, exc)
            else:
                yield message

    def calls_in_place(self) -> bool:
        """True if a failure has error callbacks that are called, not sent."""
        return any(self._called(errback) is not None for errback in self.links.errbacks)

    def _called(self, errback: Node) -> Runnable | None:
        """The task that is called for this error callback; None if it is sent."""
        task = self.tasks.get(errback.task) if isinstance(errback, Leaf) else None
        return task if task is not None and task.takes_errors else None

    def _call(self, task: Runnable, errback: Leaf, error: BaseException, traceback: str | None) -> None:
        given = () if errback.immutable else (self.run.context, error, traceback)
        try:
            value = task(*given, *errback.args, **errback.kwargs)
            if type(value) is CoroutineType:
                _run(value)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - user code; the task has failed already
            task_log.errback_failed(self.fields, errback.task, exc)


def _run(coroutine: CoroutineType[Any, Any, Any]) -> None:
    runner = CoroutineRunner()
    try:
        runner(coroutine)
    finally:
        runner.close()


def read_workflow(env: Around, tasks: Mapping[str, Runnable], run: Run, fields: RequestFields) -> Workflow:
    """What a message says about what follows its task.

    Raises DecodeError for what cannot be understood, NotImplementedError for what needs a later release.
    """
    return Workflow(env, tasks, run, fields, _links(fields))


def hopeless_workflow(env: Around, tasks: Mapping[str, Runnable], run: Run, fields: RequestFields) -> Workflow:
    """The same for links that cannot be read: what waits for the tasks behind this one is told as far as it can be."""
    return Workflow(
        env, tasks, run, fields, Links(errbacks=tuple(_readable(fields.errbacks)), reply_to=fields.reply_to)
    )


def _links(fields: RequestFields) -> Links:
    if fields.chord:
        raise NotImplementedError(
            "the message belongs to a chord, and this release does not join results; revive it under one that does"
        )
    chain = fields.chain or ()
    return Links(
        tuple(node_of(signature) for signature in fields.callbacks or ()),
        tuple(node_of(signature) for signature in fields.errbacks or ()),
        tuple(node_of(signature) for signature in chain[-1:]),
        chain[:-1],
        fields.reply_to,
    )


def _readable(signatures: Sequence[Any] | None) -> Iterator[Node]:
    for signature in signatures or ():
        try:
            yield node_of(signature)
        except (DecodeError, NotImplementedError):
            continue


def _tuple_of(handle: Handle) -> tuple[Any, Any]:
    """A result as it is recorded among children, with the nearest of its parents: their form nests."""
    line = [handle]
    while line[-1].parent is not None and len(line) <= _PARENTS_MAX:
        line.append(line[-1].parent)
    told: tuple[Any, Any] | None = None
    for one in reversed(line):
        members = None if one.members is None else [_tuple_of(member) for member in one.members]
        told = (one.id, told), members
    assert told is not None
    return told
