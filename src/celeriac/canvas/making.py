"""Making signatures of names, tasks and mappings."""

# pyright: reportImportCycles=false

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from celeriac.calling import make_follow_up
from celeriac.canvas.later import later
from celeriac.canvas.signature import Signature, as_node
from celeriac.model.message import Message

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.task import Task

P = ParamSpec("P")
R = TypeVar("R")


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """A signature of a task or its name, as ``signature(task, args, kwargs, options)``; or of a mapping that stands for
    one, of whatever kind. A signature is cloned.

    Raises TypeError for what is no signature, NotImplementedError for a kind that comes in a later release.
    """
    app: Celeriac | None = kwargs.pop("app", None)
    if isinstance(varies, Signature):
        return Signature.of(varies.clone(*args, **kwargs).node, app if app is not None else varies._app)  # noqa: SLF001
    if isinstance(varies, Mapping):
        made = Signature.of(as_node(varies), app)
        return made.clone(*args, **kwargs) if args or kwargs else made
    made = Signature(varies, *args, **kwargs)
    return made if app is None else Signature.of(made.node, app)


subtask = signature
"""The same under its older name."""


@overload
def maybe_signature(d: None, app: Celeriac | None = None, clone: bool = False) -> None: ...
@overload
def maybe_signature(d: Mapping[str, Any], app: Celeriac | None = None, clone: bool = False) -> Signature[Any]: ...
def maybe_signature(
    d: Mapping[str, Any] | None, app: Celeriac | None = None, clone: bool = False
) -> Signature[Any] | None:
    """A signature of a mapping that may be one already; with `clone` always a new one. None stays None."""
    if d is None:
        return None
    if isinstance(d, Signature) and not clone:
        return d
    return signature(d, app=app)


class SignsByName:
    """What an app offers of workflows."""

    def signature(self: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A signature that this app sends; arguments as for `celeriac.signature`."""
        return signature(*args, **{"app": self, **kwargs})

    subtask = signature


class Signs(Generic[P, R]):
    """What a task offers of workflows."""

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """A signature: a call of this task that is not sent yet. In a chain, or as a callback, it gets the earlier
        result in front of these arguments."""
        return Signature(cast("Task[Any, R]", self), args, kwargs)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """An immutable signature: it ignores earlier results, and arguments given later."""
        return Signature(cast("Task[Any, R]", self), args, kwargs, immutable=True)

    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, *more: Any, **options: Any
    ) -> Signature[R]:
        """A signature with options, such as ``add.signature((2, 2), countdown=10)``; `immutable` may be among them."""
        if more:
            options = {**more[0], **options}
        immutable = options.pop("immutable", False)
        app = options.pop("app", None)
        return Signature(cast("Task[Any, R]", self), args, kwargs, options, immutable=immutable, app=app)

    subtask = signature

    def map(self, it: Iterable[Any]) -> NoReturn:
        """Comes with a later release. Raises NotImplementedError."""
        raise NotImplementedError(later("task.map(it)", "group(task.s(item) for item in it)"))

    def starmap(self, it: Iterable[Any]) -> NoReturn:
        """Comes with a later release. Raises NotImplementedError."""
        raise NotImplementedError(later("task.starmap(it)", "group(task.s(*items) for items in it)"))

    def chunks(self, it: Iterable[Any], n: int) -> NoReturn:
        """Comes with a later release. Raises NotImplementedError."""
        raise NotImplementedError(later("task.chunks(it, n)", "group(task.s(*items) for items in it)"))

    # what a worker asks for

    @property
    def takes_errors(self: Any) -> bool:
        """True if, as an error callback, it is called in place, with request, exception and traceback: its function is
        not bound and takes more than one argument. Others are sent, with the id of the failed task."""
        known: bool | None = self.__dict__.get("_takes_errors")
        if known is None:
            known = self.__dict__["_takes_errors"] = takes_several(self.run)
        return known

    def follow_up(
        self: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> Message:
        """The message of a call that follows from the present run. Raises as sending it would."""
        return make_follow_up(self.app, name, args, kwargs, options)


_SEVERAL_KINDS = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def takes_several(function: Any) -> bool:
    """True for a plain function (no method) that takes more than one argument by position."""
    if hasattr(function, "__func__"):
        return False
    try:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # built-in or compiled: nothing is known of it
        return False
    return Parameter.VAR_POSITIONAL in kinds or sum(kind in _SEVERAL_KINDS for kind in kinds) > 1
