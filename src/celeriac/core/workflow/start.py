"""From a workflow to what is sent for it now: its ids first, so that its results are known before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

from msgspec import Struct
from msgspec.structs import replace

from celeriac.core.workflow.build import chain_of, flat_members
from celeriac.model.call import Signature
from celeriac.model.canvas import Chain, Group, Leaf, Node, applied

NewId = Callable[[], str]

Follower = Union[Node, Signature]
"""What follows a call: a node, or the form in which it came in and travels on unread."""


class Send(Struct, frozen=True):
    """One call to send now."""

    leaf: Leaf
    rest: Sequence[Follower] | None = None
    """What follows in its chain, in reverse order; None if it is in none."""


class Handle(Struct, frozen=True):
    """The result that a node will have: of one task, or of a group."""

    id: str
    task: str | None = None
    parent: Handle | None = None
    members: tuple[Handle, ...] | None = None
    """None for one task."""


def freeze(node: Node, new_id: NewId, task_id: str | None = None, reply_to: str = "") -> Node:
    """The node with an id for every task and group in it; ids that are there are kept. `task_id` is the last step's, or
    the group's. The members of a group are numbered, groups within groups made one.
    """
    if isinstance(node, Leaf):
        options = {**node.options, "task_id": task_id or node.options.get("task_id") or new_id()}
        if reply_to:
            options.setdefault("reply_to", reply_to)
        return replace(node, options=options)
    if isinstance(node, Chain):
        chosen = task_id or node.options.get("task_id")
        steps = [freeze(step, new_id, None, reply_to) for step in node.steps[:-1]]
        steps += (freeze(step, new_id, chosen, reply_to) for step in node.steps[-1:])
        return replace(node, steps=tuple(steps), options=_without_id(node.options))
    members = tuple(
        _in_group(freeze(member, new_id, None, reply_to), {"group_index": index})
        for index, member in enumerate(flat_members(node))
    )
    # Members have been told what was said of the group.
    options = {"task_id": task_id or node.options.get("task_id") or new_id(), "root_id": None, "parent_id": None}
    return Group(members, options)


def _without_id(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in options.items() if name != "task_id"} if "task_id" in options else options


def _in_group(member: Node, place: Mapping[str, Any]) -> Node:
    """The member knowing its place: in a chain it is the last step that belongs to the group. A group at its end has
    members with places of their own."""
    if isinstance(member, Leaf):
        return replace(member, options={**member.options, **place})
    if isinstance(member, Chain) and member.steps:
        return replace(member, steps=(*member.steps[:-1], _in_group(member.steps[-1], place)))
    return member


def handle_of(node: Node, parent: Handle | None = None) -> Handle | None:
    """The result of a frozen node; None for an empty chain."""
    if isinstance(node, Leaf):
        return Handle(node.options["task_id"], node.task, parent)
    if isinstance(node, Group):
        members = [handle_of(member) for member in node.members]
        return Handle(node.options["task_id"], None, parent, tuple(member for member in members if member is not None))
    handle = parent
    for step in node.steps:
        handle = handle_of(step, handle)
    return handle if node.steps else None


def starts(
    node: Node,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    rest: Sequence[Follower] | None = None,
) -> Iterator[Send]:
    """What is to be sent so that a frozen node begins, with these arguments in front. `options` are for the first step
    of a chain and for every member of a group. `rest` follows the node.

    Raises NotImplementedError for a group that something follows.
    """
    node = applied(node, args, kwargs, options)
    if isinstance(node, Leaf):
        yield Send(node, rest)
    elif isinstance(node, Chain):
        chain = chain_of((node,))
        if chain.steps:
            later = (*(rest or ()), *reversed(chain.steps[1:]))
            yield from starts(chain.steps[0], rest=later if later or rest is not None else None)
    else:
        if rest:
            raise NotImplementedError("a group that something follows needs a chord, which comes in a later release")
        group_id = node.options["task_id"]
        for member in flat_members(node):
            yield from starts(_in_group(member, {"group_id": group_id}))


def options_of(send: Send) -> dict[str, Any]:
    """The call options that say all of a call but its arguments."""
    leaf = send.leaf
    options: dict[str, Any] = dict(leaf.options)
    if leaf.links:
        options["link"] = leaf.links
    if leaf.errlinks:
        options["link_error"] = leaf.errlinks
    if send.rest is not None:
        options["chain"] = send.rest
    return options
