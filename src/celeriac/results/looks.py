"""What the handle of one task shows of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celeriac.current import get_current_app
from celeriac.model import states
from celeriac.results.base import ResultBase, rebuilt
from celeriac.results.tree import ResultTree
from celeriac.wire.records import Meta

if TYPE_CHECKING:
    from celeriac.app import Celeriac


class ResultLooks(ResultTree):
    """The attributes of a result, as it is now."""

    __slots__ = ()

    id: str
    _app: Celeriac | None
    _name: str | None

    def _meta(self) -> Meta:
        """The record as it is now."""
        raise NotImplementedError

    @property
    def app(self) -> Celeriac:
        """The app whose backend is asked."""
        return self._app if self._app is not None else get_current_app()

    @property
    def backend(self) -> Any:
        """That backend, opened."""
        return self.app.backend

    @property
    def task_id(self) -> str:
        """Same as `id`."""
        return self.id

    @property
    def state(self) -> str:
        """The state now; PENDING if nothing is known."""
        return self._meta().status

    status = state

    @property
    def result(self) -> Any:
        """What the task returned or raised, or the data of the state it is in."""
        return self._meta().result

    info = result

    @property
    def traceback(self) -> str | None:
        """The worker's traceback as text, if something was raised."""
        return self._meta().traceback

    def ready(self) -> bool:
        """True if the task has ended: SUCCESS, FAILURE or REVOKED."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """True if it returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """True if it raised."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """True if anything is recorded for this id."""
        return self.app.watcher.read(self.id) is not None

    @property
    def children(self) -> list[ResultBase] | None:
        """Handles of the tasks and groups that this one sent, known at its end."""
        children = self._meta().children
        return None if children is None else [rebuilt(child, self._app) for child in children]

    @property
    def name(self) -> str | None:
        """The task's name (with `result_extended`, or if this process sent it)."""
        return self._meta().name or self._name

    task_name = name

    @property
    def args(self) -> Any:
        """Its arguments (with `result_extended`)."""
        return self._meta().args

    @property
    def kwargs(self) -> Any:
        """Its keyword arguments (with `result_extended`)."""
        return self._meta().kwargs

    @property
    def worker(self) -> str | None:
        """The node that ran it (with `result_extended`)."""
        return self._meta().worker

    @property
    def retries(self) -> int | None:
        """How often it was retried (with `result_extended`)."""
        return self._meta().retries

    @property
    def queue(self) -> str | None:
        """Where it waited (with `result_extended`)."""
        return self._meta().queue

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        text = self._meta().date_done
        if not text:
            return None
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
