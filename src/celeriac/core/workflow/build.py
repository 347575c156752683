"""Building workflows: every function returns a new node and leaves its arguments as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celeriac.model.canvas import E_NESTED, Chain, Group, Leaf, Node, applied, set_immutable
from celeriac.model.errors import EncodeError

E_NEEDS_CHORD = (
    "a group followed by a task needs a chord, which comes in a later release; until then start that task yourself "
    "when the results are there: result = group(...).delay(); task.delay(result.get())"
)

_OF_THE_END = frozenset({"task_id", "group_id", "group_index"})
"""Options of a chain that belong to its last step; all others are for the first."""


def chain_of(nodes: Iterable[Node]) -> Chain:
    """The nodes as one chain: chains among them are flattened, groups of one replaced by their member, empty ones left
    out. Raises NotImplementedError where a group is followed by something."""
    steps: list[Node] = []
    for node in nodes:
        for step in _as_steps(node):
            if steps and isinstance(steps[-1], Group):
                raise NotImplementedError(E_NEEDS_CHORD)
            steps.append(step)
    return Chain(tuple(steps))


def chained(left: Node, right: Node) -> Chain:
    """`right` after `left`; raises like `chain_of`."""
    if isinstance(left, Chain) and isinstance(right, Leaf) and not left.options and not left.immutable:
        steps = left.steps
        if steps and isinstance(steps[-1], Leaf):  # so that a long chain can be built step by step
            return Chain((*steps, right))
    return chain_of((left, right))


def _as_steps(node: Node) -> tuple[Node, ...]:
    """What the node is as a part of a chain."""
    if isinstance(node, Leaf):
        return (node,)
    if isinstance(node, Group):
        members = flat_members(node)
        return (node,) if len(members) > 1 else tuple(step for member in members for step in _as_steps(member))
    if not node.steps:
        return ()
    # What was said of the chain as a whole holds on in a longer one.
    first = {name: value for name, value in node.options.items() if name not in _OF_THE_END}
    last = {name: value for name, value in node.options.items() if name in _OF_THE_END}
    steps = (applied(node.steps[0], options=first), *node.steps[1:])
    if node.immutable:
        steps = (set_immutable(steps[0], True), *steps[1:])
    return (*steps[:-1], applied(steps[-1], options=last))


def _with_options(member: Node, options: Mapping[str, Any]) -> Node:
    """A member with what was said of its group; the group's own id is not the member's."""
    said = {name: value for name, value in options.items() if name not in _OF_THE_END and value is not None}
    return applied(member, options=said)


def flat_members(group: Group) -> tuple[Node, ...]:
    """The members of a group, those of groups within it in their place, each with what was said of its group.

    A chain of nothing but a group counts as that group; empty parts are left out. Raises EncodeError if they are nested
    too deeply.
    """
    try:
        return _flat_members(group)
    except RecursionError:
        raise EncodeError(E_NESTED) from None


def _flat_members(group: Group) -> tuple[Node, ...]:
    found: list[Node] = []
    for member in group.members:
        node = _with_options(member, group.options) if group.options else member
        if isinstance(node, Chain):
            node = chain_of((node,))
            if len(node.steps) <= 1:
                if not node.steps:
                    continue
                node = node.steps[0]
        if isinstance(node, Group):
            found.extend(_flat_members(node))
        else:
            found.append(node)
    return tuple(found)
