"""Signatures: the nodes of a workflow to the mappings that travel, and back.

A mapping has six keys, ``task, args, kwargs, options, subtask_type, immutable``. Chains and groups have their parts in
``kwargs["tasks"]``; callbacks are in the options ``link`` and ``link_error``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

from celeriac.model.canvas import E_NESTED, Chain, Group, Leaf, Node, applied, errlinked, linked, listed
from celeriac.model.errors import DecodeError, EncodeError

KEYS = ("task", "args", "kwargs", "options", "subtask_type", "immutable")
"""Of every signature, in this order."""

_NOT_OPTIONS = ("link", "link_error", "immutable")
"""What travels among the options and is none: callbacks, and a mark that newer senders leave on error callbacks."""

_PARTS_MAX = 1_000_000
"""So many parts of one signature are looked at: one that holds itself, as pickle can carry, has no end."""

_LATER = {
    "chord": "chords",
    "xmap": "map",
    "xstarmap": "starmap",
    "chunks": "chunks",
}


def mapping_of(node: Node) -> dict[str, Any]:
    """The mapping that stands for a node, of plain dictionaries and lists but for the user's own values.

    Raises EncodeError if it is nested too deeply.
    """
    try:
        return _mapping_of(node)
    except RecursionError:
        raise EncodeError(E_NESTED) from None


def _mapping_of(node: Node) -> dict[str, Any]:
    if isinstance(node, Leaf):
        options = dict(node.options)
        if node.links:
            options["link"] = [_mapping_of(link) for link in node.links]
        if node.errlinks:
            options["link_error"] = [_mapping_of(link) for link in node.errlinks]
        return _mapping(node.task, list(node.args), dict(node.kwargs), options, None, node.immutable)
    kind, parts = ("chain", node.steps) if isinstance(node, Chain) else ("group", node.members)
    tasks = {"tasks": [_mapping_of(part) for part in parts]}
    return _mapping(f"celery.{kind}", [], tasks, dict(node.options), kind, node.immutable)


def _mapping(*values: Any) -> dict[str, Any]:
    return dict(zip(KEYS, values, strict=True))


def plain(signature: Union[Node, Mapping[str, Any]]) -> Mapping[str, Any]:
    """A signature in whatever form as one that every serializer takes. A dictionary is taken as it is."""
    if isinstance(signature, (Leaf, Chain, Group)):
        return mapping_of(signature)
    if type(signature) is dict:
        return signature
    reduce = getattr(type(signature), "__json__", None)
    return dict(signature if reduce is None else reduce(signature))


def plain_list(signatures: Sequence[Union[Node, Mapping[str, Any]]] | None) -> list[Mapping[str, Any]] | None:
    """Signatures as every serializer takes them."""
    return None if signatures is None else [plain(signature) for signature in signatures]


def node_of(signature: object) -> Node:
    """The node that a mapping stands for.

    Raises DecodeError for what is no signature, NotImplementedError for a kind that comes in a later release.
    """
    node = getattr(signature, "node", None)
    if isinstance(node, (Leaf, Chain, Group)):
        return node
    try:
        return _node_of(signature)
    except RecursionError:
        raise DecodeError("a signature is nested too deeply") from None
    except (TypeError, ValueError) as exc:  # values of odd types within: only the message is wrong, not this process
        raise DecodeError(f"a signature cannot be understood: {exc}") from None


def _node_of(signature: object) -> Node:
    if not isinstance(signature, Mapping):
        raise DecodeError(f"a signature is a mapping with the key 'task', not a {type(signature).__name__}")
    kind = signature.get("subtask_type")
    if kind is not None and not isinstance(kind, str):
        raise DecodeError(f"a signature has the unknown type {str(kind)[:60]!r}")
    if kind in _LATER:
        raise NotImplementedError(f"a signature of the type {kind!r}: {_LATER[kind]} come in a later release")
    args, kwargs = _part(signature, "args", Sequence), _part(signature, "kwargs", Mapping)
    options = _part(signature, "options", Mapping)
    immutable = bool(signature.get("immutable"))
    own = {name: value for name, value in options.items() if name not in _NOT_OPTIONS}
    node: Node
    if kind is None:
        name = signature.get("task")
        if not isinstance(name, str) or not name:
            raise DecodeError(f"a signature has no name of a task under 'task', but {str(name)[:60]!r}")
        node = Leaf(name, tuple(args), kwargs, own, immutable)
    elif kind in ("chain", "group"):
        parts = tuple(node_of(part) for part in _part(kwargs, "tasks", Sequence))
        node = Chain(parts, own, immutable) if kind == "chain" else Group(parts, own, immutable)
        # Arguments that were given to the whole are those of its first step, or of its members.
        more = {name: value for name, value in kwargs.items() if name != "tasks"}
        if args or more:
            node = applied(node, tuple(args), more)
    else:
        raise DecodeError(f"a signature has the unknown type {str(kind)[:60]!r}")
    return _with_links(node, options) if own is not options and len(own) != len(options) else node


def _with_links(node: Node, options: Mapping[str, Any]) -> Node:
    for callback in listed(options.get("link")):
        node = linked(node, node_of(callback))
    for errback in listed(options.get("link_error")):
        node = errlinked(node, node_of(errback))
    return node


def _part(signature: Mapping[str, Any], name: str, kind: type) -> Any:
    value = signature.get(name)
    if value is None:
        return () if kind is Sequence else {}
    if not isinstance(value, kind) or isinstance(value, (str, bytes)):
        raise DecodeError(f"{name!r} of a signature is a {type(value).__name__}")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DecodeError(f"{name!r} of a signature have {str(key)[:60]!r} as a name, which is no text")
    return value


def ids_named(signature: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The ids of all tasks in a signature of any kind, known here or not, with the options of each: whoever waits for
    them can be told, even if the signature cannot be run."""
    waiting: list[Any] = [signature]
    seen = 0
    while waiting and seen < _PARTS_MAX:
        seen += 1
        part = waiting.pop()
        if isinstance(part, (list, tuple)):
            waiting.extend(reversed(part))
        elif isinstance(part, Mapping):
            options, kwargs = part.get("options"), part.get("kwargs")
            if part.get("subtask_type") is None:
                if isinstance(options, Mapping):
                    task_id = options.get("task_id")
                    if isinstance(task_id, str) and task_id:
                        yield task_id, options
            elif isinstance(kwargs, Mapping):
                waiting.extend(kwargs[name] for name in ("body", "header", "tasks") if name in kwargs)
