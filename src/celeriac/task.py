"""`Task`: a function or class that can be sent, run and retried.

What becomes of a task's message when a run ends is one table: see `celeriac.worker.perform`.
"""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from celeriac.calling import Calls
from celeriac.canvas.making import Signs
from celeriac.model.context import Context, Run, enter_run, get_current_run, leave_run
from celeriac.result import AsyncResult
from celeriac.task_running import RunningTask

if TYPE_CHECKING:
    from celeriac.app import Celeriac

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


class TaskBase(Calls[P, R], RunningTask, Signs[P, R], Generic[P, C, R]):
    """What all tasks are: `P` are the parameters of the body, `C` what calling it returns, `R` what its result is.

    There is one instance per app and name, so what you keep on `self` stays between runs of one process.
    """

    def run(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """The body. A class-based task defines it."""
        raise NotImplementedError(f"task {self.name} defines no run()")

    def bind(self, app: Celeriac) -> TaskBase[P, C, R]:
        """Belong to `app`; the app calls it. Raises TypeError or ValueError for an option that is wrong."""
        self._bind(app, self.run, None if type(self).__call__ is TaskBase.__call__ else self.__call__)
        return self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the body here and now, as a plain function."""
        run = get_current_run()
        if run is not None and run.task is self and self._calls_itself and not run.context.get("_entered"):
            # A class's own __call__ handed on to this one: still the run that the worker began.
            run.context.update(_entered=True)
            return self.run(*args, **kwargs)
        context = Context(args=args, kwargs=kwargs)
        token = enter_run(Run(self, context))
        try:
            return self.run(*args, **kwargs)
        finally:
            leave_run(token)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:  # noqa: N802 - Celery's public name
        """The handle of a result of this task."""
        return AsyncResult(task_id, app=self.app, task_name=self.name, **kwargs)


class Task(TaskBase[P, R, R]):
    """A unit of work with a name. `@app.task` makes one of a function; a class of your own defines `run`.

    ``Task[[int, str], bool]`` takes an int and a str and results in a bool.
    """


if TYPE_CHECKING:

    class CoroutineTask(TaskBase[P, Coroutine[Any, Any, R], R]):
        """A task whose body is a coroutine function: calling it gives a coroutine, its result is what that returns."""

else:
    CoroutineTask = Task
    """The same class: only types tell them apart."""
