"""What a task is before anybody calls it: bound to an app, with its options settled."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from celeriac.core.options import TASK_OPTIONS
from celeriac.core.prepare import ArgumentCheck
from celeriac.model.context import Context, context_for
from celeriac.model.policy import TaskPolicy
from celeriac.settled import (
    FROM_SETTINGS,
    Settled,
    check_task,
    error_classes,
    missing_attribute,
    settle,
)
from celeriac.task_options import HOOKS, TaskOptions

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.task import Task


class BoundTask(TaskOptions):
    """A task of an app, under a name."""

    app: Celeriac
    name: str
    _settled: Settled | None
    _policy: tuple[int, TaskPolicy] | None
    _calls_itself: bool
    """True if its class defines what calling it does."""
    _body: Callable[..., Any]
    _check_arguments: ArgumentCheck
    _checks_arguments: bool
    _autoretry_for: tuple[type[BaseException], ...]
    _dont_autoretry_for: tuple[type[BaseException], ...]

    @classmethod
    def on_bound(cls, app: Celeriac) -> None:
        """Called once when the task gets its app."""

    def _bind(self, app: Celeriac, body: Callable[..., Any], call: Callable[..., Any] | None) -> None:
        """Belong to `app`. `call` is what calling it does, if its class says so. Raises TypeError or ValueError for an
        option that is wrong."""
        self.app = app
        self._settled = None
        self._policy = None
        task = cast("Task[Any, Any]", self)
        check_task(task)
        self._calls_itself = call is not None
        self._body = call or body
        function = getattr(body, "__func__", body)
        # A method's first parameter is the task, and no argument of the call.
        self._check_arguments = ArgumentCheck(function, self.name, skip_first=function is not body)
        checks = app.strict_typing if self.typing is None else self.typing
        self._checks_arguments = checks and not self._calls_itself
        self._autoretry_for = error_classes(task, "autoretry_for")
        self._dont_autoretry_for = error_classes(task, "dont_autoretry_for")
        self.throws = error_classes(task, "throws")
        self._find_hooks()
        self.on_bound(app)

    own_hooks: frozenset[str] = frozenset()
    """The hooks that this task or its class defines. They are looked for when the task is bound and when an attribute
    is set on it: one that is put on a class later is not called, unless it replaces another."""

    def _find_hooks(self) -> None:
        own = {name for name in HOOKS if getattr(getattr(self, name), "__func__", None) is not vars(TaskOptions)[name]}
        object.__setattr__(self, "own_hooks", frozenset(own))

    def settled(self) -> Settled:
        """The options of this task as they hold now. Raises TypeError or ValueError for a wrong one."""
        settled, app = self._settled, self.app
        if settled is None or settled.version != app.conf.version + app.sender.generation:
            settled = settle(cast("Task[Any, Any]", self), app)
            object.__setattr__(self, "_settled", settled)
        return settled

    @property
    def request(self) -> Context:
        """The run this task is in: id, args, retries and so on. Outside of one, that of a plain call."""
        return context_for(self)

    @property
    def backend(self) -> Any:
        """The app's result backend, opened."""
        return self.app.backend

    if not TYPE_CHECKING:  # what there is, is declared: to type checkers any other name is a slip

        def __getattr__(self, name: str) -> Any:
            return self._from_settings(name)

    def _from_settings(self, name: str) -> Any:
        if name not in FROM_SETTINGS:
            raise AttributeError(missing_attribute(cast("Task[Any, Any]", self), name))
        settled, app = self._settled, self.app
        if settled is None or settled.version != app.conf.version + app.sender.generation:
            settled = self.settled()
        return settled.from_settings[name]

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in TASK_OPTIONS:
            object.__setattr__(self, "_settled", None)
            object.__setattr__(self, "_policy", None)
        elif name in HOOKS:
            self._find_hooks()

    def __reduce__(self) -> tuple[Any, ...]:
        from celeriac.current import task_named

        return (task_named, (self.name,))

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app.main or 'celeriac'}>"
