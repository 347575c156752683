"""Sending a workflow: all ids first, then what begins now, as one batch."""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.calling import make_follow_up
from celeriac.canvas.handles import result_of
from celeriac.core.prepare import check_apart
from celeriac.core.workflow.start import Send, freeze, handle_of, options_of, starts
from celeriac.model.canvas import E_NESTED, Chain, Group, Leaf, Node, applied, errlinked, linked, listed, merged
from celeriac.model.context import get_worker_run
from celeriac.model.errors import CeleriacWarning, EncodeError
from celeriac.model.ids import new_id
from celeriac.on_loops import frames_of_ours, notice, notice_send, run_beside
from celeriac.wire.compression import compression_named
from celeriac.wire.serializers import serializer_named
from celeriac.wire.signatures import node_of

if TYPE_CHECKING:
    from celeriac.app import Celeriac

_STEPS_MANY = 200
"""A chain of more steps is worth a word: its cost grows with the square of their number."""

_OF_THE_WHOLE = frozenset({"task_id", "link", "link_error", "add_to_parent"})
"""Options of a send that are for the workflow as a whole."""


def send_node(
    node: Node, app: Celeriac, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Send what begins a workflow; return the handle of its result, None for an empty chain.

    Raises like `Task.apply_async`; nothing was sent then.
    """
    if isinstance(node, Leaf):
        leaf = with_links(node, options)
        assert isinstance(leaf, Leaf)
        return send_leaf(app, Send(leaf), args, kwargs, without(options, "link", "link_error"))
    if app.conf["task_always_eager"]:
        return apply_node(node, app, args, kwargs, options)
    if notice.is_on:
        notice_send()
    frozen = frozen_for(node, app, options)
    handle = handle_of(frozen)
    if handle is None:
        return None
    sends = list(starts(frozen, tuple(args), kwargs, without(options, *_OF_THE_WHOLE)))
    with app.batch():
        sent = [send_leaf(app, send, (), {}, {"add_to_parent": False}) for send in sends]
    result = result_of(handle, app)
    # The rest of a chain is found from its first task.
    _adopt(sent[0] if isinstance(node, Chain) and sent and len(sends) == 1 else result, options)
    return result


async def aapply_node(
    node: Node, app: Celeriac, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """`send_node` for coroutines: the loop goes on meanwhile, and what others send at the same time leaves together."""

    def send() -> Any:
        return send_node(node, app, args, kwargs, options)

    return await (run_beside(send) if app.conf["task_always_eager"] else app.sender.sending(send))


def apply_node(
    node: Node, app: Celeriac, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Run a workflow in this process, with all that follows; None for an empty chain.

    With `throw` (default: setting `task_eager_propagates`) the first exception of a task is raised in the end. Raises
    NotRegistered for a task that this process does not know.
    """
    from celeriac.eager import run_all_eagerly

    throw = options.get("throw")
    options = without(options, "throw")
    if isinstance(node, Leaf):
        leaf = applied(node, tuple(args), kwargs, options)
        assert isinstance(leaf, Leaf)
        return app.tasks[leaf.task].apply(leaf.args, dict(leaf.kwargs), throw=throw, **options_of(Send(leaf)))
    frozen = frozen_for(node, app, options)
    handle = handle_of(frozen)
    if handle is None:
        return None
    sends = starts(frozen, tuple(args), kwargs, without(options, *_OF_THE_WHOLE))
    messages = [
        make_follow_up(app, send.leaf.task, send.leaf.args, send.leaf.kwargs, options_of(send)) for send in sends
    ]
    return result_of(handle, app, run_all_eagerly(app, messages, throw))


def frozen_for(node: Node, app: Celeriac, options: Mapping[str, Any]) -> Node:
    """The workflow with its ids and the callbacks of this send. Raises UnknownOption, TypeError, ValueError and EncodeError for an
    option that is wrong, anywhere in it: not when its turn comes in a worker."""
    if isinstance(node, Group) and options.get("link"):
        raise TypeError("link: a group has no result of its own that a callback could get; link to its members")
    try:
        frozen = freeze(with_links(node, options), new_id, options.get("task_id"), app.watcher.address())
        check(frozen)
    except RecursionError:
        raise EncodeError(E_NESTED) from None
    return frozen


def with_links(node: Node, options: Mapping[str, Any]) -> Node:
    """The node with the callbacks of one send."""
    for callback in listed(options.get("link")):
        node = linked(node, node_of(callback))
    for errback in listed(options.get("link_error")):
        node = errlinked(node, node_of(errback))
    return node


def without(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The options but for some."""
    return {name: value for name, value in options.items() if name not in names}


class LongChains:
    """Says once per process what long chains cost."""

    is_on = True

    def look(self, chain: Chain) -> None:
        """Warn if it is a long one."""
        if len(chain.steps) > _STEPS_MANY and self.is_on:
            self.is_on = False
            warnings.warn(
                f"a chain of {len(chain.steps)} steps: all that is left of a chain travels in each of its messages, so "
                f"the cost grows with the square of its length. Over {_STEPS_MANY} steps, let the last task of a part "
                "send the next part, or do several steps in one task. This is said once",
                CeleriacWarning,
                stacklevel=frames_of_ours() + 1,
            )


long_chains = LongChains()
"""Those of this process."""


def check(node: Node) -> None:
    """Check the options of every part of a workflow: a mistake is the caller's, not of the worker whose turn it is.

    Raises as `Task.apply_async` does, but for what the settings of the worker say.
    """
    options = node.options
    check_apart(options, time.time())
    serializer, compression = options.get("serializer"), options.get("compression")
    if serializer is not None:
        serializer_named(serializer)
    if compression:
        compression_named(compression)
    if isinstance(node, Leaf):
        parts: Sequence[Node] = (*node.links, *node.errlinks)
    elif isinstance(node, Chain):
        parts = node.steps
        long_chains.look(node)
    else:
        parts = node.members
    for part in parts:
        check(part)


def send_leaf(
    app: Celeriac, send: Send, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Send one call, by its task if this process knows it."""
    leaf, chosen = send.leaf, merged(options_of(send), options)
    if not leaf.immutable:
        args, kwargs = (*args, *leaf.args), {**leaf.kwargs, **kwargs}
    else:
        args, kwargs = leaf.args, leaf.kwargs
    task = app.tasks.get(leaf.task)
    if task is None:
        return app.send_task(leaf.task, args, kwargs, **chosen)
    return task.apply_async(args, kwargs, **chosen)


def _adopt(result: Any, options: Mapping[str, Any]) -> None:
    """What was sent is a child of the run it was sent from, if there is one and nobody objects."""
    run = get_worker_run()
    if run is not None and options.get("add_to_parent", True) and getattr(run.task, "trail", True):
        run.context.children.append(result)
