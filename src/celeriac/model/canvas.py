"""A workflow as data: what runs, with what, and what follows. Frozen values; building one never changes another.

`wire.signatures` has their form in messages; `core.workflow` decides what they mean. The front's `Signature` holds one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

from msgspec import Struct, field
from msgspec.structs import replace

E_NESTED = (
    "callbacks within callbacks (link, link_error), or groups and chains within each other, are nested too deeply; nest "
    "fewer, and let the last task send what follows it"
)


class Leaf(Struct, frozen=True):
    """One call of one task, maybe with arguments missing in front: those that an earlier result fills."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Call options, `task_id` among them once the workflow is frozen; never `link` and `link_error`."""
    immutable: bool = False
    """True: earlier results and later arguments are ignored."""
    links: tuple[Node, ...] = ()
    """What runs when it has succeeded, with its result in front."""
    errlinks: tuple[Node, ...] = ()
    """What runs when it has failed."""


class Chain(Struct, frozen=True):
    """Steps, one after the other; each gets the result of the one before. Steps are no chains themselves, and a group
    is the last one."""

    steps: tuple[Node, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For the first step; `task_id` is the last one's."""
    immutable: bool = False


class Group(Struct, frozen=True):
    """Members that run side by side."""

    members: tuple[Node, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For every member; `task_id` is the group's own id."""
    immutable: bool = False


Node = Union[Leaf, Chain, Group]

_KEPT = frozenset({"group_id"})
"""Options that a node keeps once it has them: later ones do not replace them."""
_RIVALS = {"eta": "countdown", "countdown": "eta", "queue": "routing_key", "routing_key": "queue"}
"""Pairs that answer the same question: the later answer holds."""


def merged(options: Mapping[str, Any], later: Mapping[str, Any]) -> Mapping[str, Any]:
    """`later` over `options`; the group that a node is in, and its stamps, are kept."""
    if not later:
        return options
    kept = _KEPT.union(options.get("stamped_headers") or ())
    rivals = {_RIVALS[name] for name, value in later.items() if name in _RIVALS and value is not None}
    chosen = {name: value for name, value in options.items() if name not in rivals}
    chosen.update((name, value) for name, value in later.items() if name not in kept or name not in options)
    return chosen


def applied(
    node: Node,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Node:
    """The node with `args` in front of its own, and `kwargs` and `options` over its own. An immutable one takes
    options alone. A chain's arguments are those of its first step, a group's those of every member."""
    if options:
        node = replace(node, options=merged(node.options, options))
    if node.immutable or not (args or kwargs):
        return node
    if isinstance(node, Leaf):
        return replace(node, args=(*args, *node.args), kwargs={**node.kwargs, **kwargs} if kwargs else node.kwargs)
    if isinstance(node, Chain):
        return replace(node, steps=(*(applied(step, args, kwargs) for step in node.steps[:1]), *node.steps[1:]))
    return replace(node, members=tuple(applied(member, args, kwargs) for member in node.members))


def set_immutable(node: Node, immutable: bool) -> Node:
    """The node with the flag set; in a group also on every member."""
    if isinstance(node, Group):
        members = tuple(set_immutable(member, immutable) for member in node.members)
        return replace(node, immutable=immutable, members=members)
    return replace(node, immutable=immutable)


def linked(node: Node, callback: Node) -> Node:
    """The node with one more success callback; one that it has already is not added again.

    A chain passes it to its last step, a group to its first member, as an immutable one: it is told that this member
    is done, not with what. Raises ValueError for an empty chain or group.
    """
    if isinstance(node, Leaf):
        return node if callback in node.links else replace(node, links=(*node.links, callback))
    _require_parts(node)
    if isinstance(node, Chain):
        at = max(index for index, step in enumerate(node.steps) if not is_empty(step))
        return replace(node, steps=_exchanged(node.steps, at, linked(node.steps[at], callback)))
    at = min(index for index, member in enumerate(node.members) if not is_empty(member))
    first = linked(node.members[at], set_immutable(callback, True))
    return replace(node, members=_exchanged(node.members, at, first))


def errlinked(node: Node, errback: Node) -> Node:
    """The node with one more error callback, in a chain on every step, in a group on every member.

    Raises ValueError for an empty chain or group.
    """
    if isinstance(node, Leaf):
        return node if errback in node.errlinks else replace(node, errlinks=(*node.errlinks, errback))
    _require_parts(node)
    parts = node.steps if isinstance(node, Chain) else node.members
    parts = tuple(part if is_empty(part) else errlinked(part, errback) for part in parts)
    return replace(node, steps=parts) if isinstance(node, Chain) else replace(node, members=parts)


def is_empty(node: Node) -> bool:
    """True if there is no task in it."""
    if isinstance(node, Leaf):
        return False
    return all(is_empty(part) for part in (node.steps if isinstance(node, Chain) else node.members))


def _require_parts(node: Chain | Group) -> None:
    if is_empty(node):
        what = "chain" if isinstance(node, Chain) else "group"
        raise ValueError(f"an empty {what} runs nothing, so a callback on it would never be called; add tasks first")


def _exchanged(parts: tuple[Node, ...], at: int, part: Node) -> tuple[Node, ...]:
    return (*parts[:at], part, *parts[at + 1 :])


def listed(value: Any) -> tuple[Any, ...]:
    """The signatures of an option that is nothing, one signature or several."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
