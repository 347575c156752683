"""`Signature`: a call that is not sent yet, maybe with arguments missing, as a value to pass around and combine."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false
# ruff: noqa: PYI019 - typing has Self from 3.11 only

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, overload

from msgspec.structs import replace

from celeriac.canvas.frozen import FrozenDict
from celeriac.canvas.handles import result_of
from celeriac.canvas.sending import aapply_node, apply_node, send_node
from celeriac.core.workflow.build import chained
from celeriac.core.workflow.start import NewId, freeze, handle_of
from celeriac.current import get_current_app
from celeriac.model.canvas import Leaf, Node, applied, errlinked, linked, listed, set_immutable
from celeriac.model.errors import DecodeError
from celeriac.model.ids import new_id
from celeriac.result import AsyncResult
from celeriac.wire.signatures import KEYS, mapping_of, node_of

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.canvas.composed import chain
    from celeriac.task import Task

R_co = TypeVar("R_co", covariant=True)
R2 = TypeVar("R2")
S = TypeVar("S", bound="Signature[Any]")
C = TypeVar("C", bound="Signature[Any] | Mapping[str, Any]")


class Signature(Mapping[str, Any], Generic[R_co]):
    """A call to make later: a task's name, arguments and options.

    It is a mapping with the keys ``task, args, kwargs, options, subtask_type, immutable``, which can be sent as an
    argument and read back by `signature`. Combining and cloning make new ones; `set`, `set_immutable`, `link`,
    `link_error` and `on_error` change this one alone, never one that it was made from or is part of.

    :param task: a task, its name, or a signature as a mapping
    :param immutable: True: an earlier result, or arguments given later, are ignored
    """

    __slots__ = ("__weakref__", "_app", "node")

    node: Node
    """What it says, as a frozen value."""

    _class_of: ClassVar[dict[type[Any], type[Signature[Any]]]] = {}

    def __init__(
        self,
        task: str | Task[Any, Any] | Mapping[str, Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002 - Celery's public name
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Celeriac | None = None,
        **more: Any,
    ) -> None:
        if isinstance(task, Mapping):
            given: dict[str, Any] = dict(task)
            self._app = app if app is not None else getattr(task, "_app", None)
        else:
            source = type if type is not None else task
            name = task if isinstance(task, str) else task.name
            given = dict(zip(KEYS, (name, args, kwargs, options, subtask_type, immutable), strict=True))
            self._app = app if app is not None or isinstance(source, str) else source.app
        if more:
            before: Mapping[str, Any] = given.get("options") or {}
            given["options"] = {**before, **more}
        self.node = as_node(given)

    def __init_subclass__(cls, node: type[Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if node is not None:
            Signature._class_of[node] = cls

    @classmethod
    def of(cls, node: Node, app: Celeriac | None = None) -> Signature[Any]:
        """The signature that says what `node` says, of the class for its kind."""
        made: Signature[Any] = object.__new__(Signature._class_of.get(type(node), Signature))
        made.node = node
        made._app = app
        return made

    # what it says

    @property
    def app(self) -> Celeriac:
        """The app that sends it."""
        return self._app if self._app is not None else get_current_app()

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self["task"])

    name = task

    @property
    def type(self) -> Any:
        """The task. Raises NotRegistered if this process does not know it."""
        return self.app.tasks[self.task]

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments that are there already."""
        return tuple(self["args"])

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments that are there already."""
        return FrozenDict(self["kwargs"])

    @property
    def options(self) -> Mapping[str, Any]:
        """Call options; change them with `set`."""
        return FrozenDict(self["options"])

    @property
    def subtask_type(self) -> str | None:
        """None for a task, ``chain`` or ``group``."""
        kind: str | None = self["subtask_type"]
        return kind

    @property
    def immutable(self) -> bool:
        """True if it ignores an earlier result."""
        return self.node.immutable

    @property
    def id(self) -> str | None:
        """The id it will have, if it has been frozen or was given one."""
        return self.node.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task it will be sent from, if that was set."""
        return self.node.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of its workflow, if that was set."""
        return self.node.options.get("root_id")

    # calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now, as a plain function."""
        node = applied(self._leaf(), args, kwargs)
        assert isinstance(node, Leaf)
        return self.type(*node.args, **node.kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send it, with `args` in front of its own arguments and `kwargs` over its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[R_co]:
        """Send it; `args`, `kwargs` and `options` are merged with its own, later ones win.

        Raises like `Task.apply_async`; nothing was sent then.
        """
        result: AsyncResult[R_co] = send_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Like `delay`, without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R_co]:
        """Like `apply_async`, without blocking the event loop."""
        result: AsyncResult[R_co] = await aapply_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R_co]:
        """Run it in this process, as a worker would, with all that follows."""
        result: AsyncResult[R_co] = apply_node(self.node, self.app, args or (), kwargs or {}, options)
        return result

    def __invert__(self) -> R_co:
        """``~signature`` sends it and waits for its result."""
        return self.apply_async().get()

    # making others of it

    def clone(self: S, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> S:
        """Another one, with these arguments in front, these keyword arguments and options over its own."""
        return self._like(_with_options(applied(self.node, tuple(args or ()), kwargs), options))

    partial = clone

    def replace(
        self: S,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> S:
        """Another one, with other arguments or options in place of its own."""
        given = self.__json__()
        given.update({k: v for k, v in (("args", args), ("kwargs", kwargs), ("options", options)) if v is not None})
        return self._like(as_node(given))

    @overload
    def __or__(self, other: Signature[R2]) -> chain[R2]: ...
    @overload
    def __or__(self, other: Mapping[str, Any]) -> chain[Any]: ...
    def __or__(self, other: Any) -> Any:
        """A chain: `other` after this, with the result of this."""
        if not isinstance(other, Mapping):
            return NotImplemented
        app = self._app if self._app is not None else getattr(other, "_app", None)
        return Signature.of(chained(self.node, as_node(other)), app)

    # changing it

    def set(self: S, immutable: bool | None = None, **options: Any) -> S:
        """Set options of this one; returns itself."""
        node = self.node if immutable is None else set_immutable(self.node, immutable)
        self.node = _with_options(node, options, anew=True)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether an earlier result, and arguments given later, are ignored."""
        self.node = set_immutable(self.node, immutable)

    def link(self, callback: C) -> C:
        """Let `callback` run after a success, with the result in front of its arguments; returns it.

        A chain runs it after its last task, a group after its first member, without the result.
        """
        self.node = linked(self.node, as_node(callback))
        return callback

    def link_error(self, errback: C) -> C:
        """Let `errback` run after a failure; returns it. In a chain or group, after that of any task in it."""
        self.node = errlinked(self.node, as_node(errback))
        return errback

    def on_error(self: S, errback: Mapping[str, Any]) -> S:
        """Like `link_error`; returns this signature."""
        self.node = errlinked(self.node, as_node(errback))
        return self

    def flatten_links(self) -> list[Signature[Any]]:
        """This one and all its success callbacks, and theirs."""
        found: list[Signature[Any]] = [self]
        for link in self.node.links if isinstance(self.node, Leaf) else ():
            found.extend(Signature.of(link, self._app).flatten_links())
        return found

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> AsyncResult[R_co]:
        """Give it, and every part of it, the ids it will be sent with; returns its future result."""
        place = {"group_id": group_id, "root_id": root_id, "parent_id": parent_id, "group_index": group_index}
        make: NewId = new_id
        node = applied(self.node, options={name: value for name, value in place.items() if value is not None})
        self.node = freeze(node, make, _id)
        return cast("AsyncResult[R_co]", result_of(handle_of(self.node), self.app))

    # as a mapping

    def __json__(self) -> dict[str, Any]:
        """The mapping of plain dictionaries and lists that stands for it on the wire."""
        return mapping_of(self.node)

    def __getitem__(self, key: str) -> Any:
        return self.__json__()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(KEYS)

    def __len__(self) -> int:
        return len(KEYS)

    def keys(self) -> Any:
        """The six names."""
        return dict.fromkeys(KEYS).keys()

    def items(self) -> Any:
        """Names and values."""
        return self.__json__().items()

    def values(self) -> Any:
        """The six values."""
        return self.__json__().values()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Signature):
            return bool(self.node == other.node)
        return self.__json__() == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self: S) -> S:
        return self._like(self.node)

    def __deepcopy__(self: S, memo: dict[int, Any]) -> S:
        return self._like(deepcopy(self.node, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickled, (self.__json__(),))

    def __repr__(self) -> str:
        leaf = self._leaf()
        words = [repr(arg) for arg in leaf.args]
        words += (f"{name}={value!r}" for name, value in leaf.kwargs.items())
        return f"{leaf.task}({', '.join(words)})"

    def _leaf(self) -> Leaf:
        assert isinstance(self.node, Leaf)
        return self.node

    def _like(self: S, node: Node) -> S:
        return cast("S", Signature.of(node, self._app))


def as_node(signature: Any) -> Node:
    """What a signature, or the mapping of one, says. Raises TypeError for something else, NotImplementedError for a
    kind that comes in a later release."""
    try:
        return node_of(signature)
    except DecodeError as exc:
        raise TypeError(f"no signature: {exc}") from None


def _with_options(node: Node, options: Mapping[str, Any], *, anew: bool = False) -> Node:
    """The node with options; callbacks among them are added, with `anew` they replace those of a task."""
    if not options:
        return node
    own = dict(options)
    callbacks, errbacks = own.pop("link", None), own.pop("link_error", None)
    node = applied(node, options=own)
    if anew and isinstance(node, Leaf):
        node = replace(
            node,
            links=node.links if callbacks is None else (),
            errlinks=node.errlinks if errbacks is None else (),
        )
    for callback in listed(callbacks):
        node = linked(node, as_node(callback))
    for errback in listed(errbacks):
        node = errlinked(node, as_node(errback))
    return node


def _unpickled(mapping: Mapping[str, Any]) -> Signature[Any]:
    return Signature.of(node_of(mapping))
