"""`shared_task`: a task for libraries, which know no app. Every app gets it."""

# A coroutine function is a function too; the narrower kind is asked for first.
# pyright: reportOverlappingOverload=false

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from celeriac.current import Proxy, get_current_app, share
from celeriac.task_class import check_task_options

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.decorating import BindingDecorator, Decorator
    from celeriac.task import CoroutineTask, Task

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...  # type: ignore[overload-overlap]
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], name: str | None = None, base: Any = None, **options: Any
) -> BindingDecorator: ...
@overload
def shared_task(
    *, bind: Literal[False] = False, name: str | None = None, base: Any = None, **options: Any
) -> Decorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of a function, in every app there is and will be; options as for `Celeriac.task`.

    What it returns stands for the task of the current app.
    """
    if len(args) > 1 or (args and not callable(args[0])):
        raise TypeError("@shared_task takes keyword arguments only, as in @shared_task(name='add')")
    check_task_options(options)

    def decorate(function: Callable[..., Any]) -> Any:
        def make(app: Celeriac) -> Task[Any, Any]:
            to_task: Any = app.task(**options)
            task: Task[Any, Any] = to_task(function)
            return task

        share(make)
        return Proxy(lambda: make(get_current_app()))

    return decorate(args[0]) if args else decorate
