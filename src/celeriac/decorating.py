"""Making tasks of functions and classes: what an app, or `shared_task`, offers as decorators."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

# A coroutine function is a function too; the narrower kind is asked for first.
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from celeriac.registry import TaskRegistry
from celeriac.settings_source import resolve
from celeriac.task import CoroutineTask, TaskBase
from celeriac.task import Task as BaseTask
from celeriac.task_class import check_task_options, task_class

if TYPE_CHECKING:
    from celeriac.app import Celeriac

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="TaskBase[Any, Any, Any]")


class Decorator(Protocol):
    """Makes a task of a function."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fun: Callable[P, R], /) -> BaseTask[P, R]: ...
    def __call__(self, fun: Any, /) -> Any:
        """The task whose body is `fun`."""
        ...


class BindingDecorator(Protocol):
    """Makes a task of a function whose first parameter is the task."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> BaseTask[P, R]: ...
    def __call__(self, fun: Any, /) -> Any:
        """The task whose body is `fun`."""
        ...


class MakesTasks:
    """What an app offers to define tasks."""

    main: str | None
    _task_cls: type[BaseTask[Any, Any]] | str | None
    _tasks: TaskRegistry

    @property
    def Task(self) -> type[BaseTask[Any, Any]]:  # noqa: N802 - Celery's public name
        """The base class of the app's tasks."""
        cls = self._task_cls
        if cls is None:
            return BaseTask
        if isinstance(cls, str):
            cls = self._task_cls = resolve(cls)
        assert isinstance(cls, type)
        return cls

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fun: Callable[P, R], /) -> BaseTask[P, R]: ...
    @overload
    def task(
        self, *, bind: Literal[True], name: str | None = None, base: Any = None, **options: Any
    ) -> BindingDecorator: ...
    @overload
    def task(
        self, *, bind: Literal[False] = False, name: str | None = None, base: Any = None, **options: Any
    ) -> Decorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(option=...)``.

        Options: name, bind (the function takes the task first), base, and every attribute of `Task`. Raises
        UnknownOption for a name that must be a typo; other names become attributes.
        """
        if len(args) > 1 or (args and not callable(args[0])):
            raise TypeError("@app.task takes keyword arguments only, as in @app.task(name='add')")
        check_task_options(options)
        if args:
            return self._task_of(args[0], **options)
        return lambda function: self._task_of(function, **options)

    def _task_of(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        base: type[BaseTask[Any, Any]] | None = None,
        bind: bool = False,
        **options: Any,
    ) -> BaseTask[Any, Any]:
        name = name or self.gen_task_name(getattr(function, "__name__", "task"), function.__module__)
        if name in self._tasks:  # the first definition stays
            return self._tasks[name]
        return self._register(task_class(function, name, base or self.Task, bind, options)())

    def register_task(self, task: T | type[T], **options: Any) -> T:
        """Register a class-based task, given as class or instance; returns the instance."""
        instance = task() if isinstance(task, type) else task
        check_task_options(options)
        for option, value in options.items():
            setattr(instance, option, value)
        if not getattr(instance, "name", None):
            cls = type(instance)
            instance.name = self.gen_task_name(cls.__name__, cls.__module__)
        self._register(instance)
        return instance

    def _register(self, task: T) -> T:
        task.bind(cast("Celeriac", self))
        self._tasks.register(cast("BaseTask[Any, Any]", task))
        return task

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task without one: module and function, with `main` in place of ``__main__``."""
        return f"{self.main if module == '__main__' and self.main else module}.{name}"
