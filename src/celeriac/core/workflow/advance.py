"""What follows when a task of a workflow has ended. Pure: from its links and what became of it to what is sent.

| the task ended with | its callbacks | the rest of its chain | its error callbacks |
|---|---|---|---|
| SUCCESS | sent, with the result | the next step is sent, with the result | - |
| FAILURE, final REJECTED | - | every step is FAILURE, with the same exception | called or sent |
| REVOKED (cancelled, expired, terminated) | - | every step is REVOKED | - |
| RETRY, or a retry beside another end | with the repetition | with the repetition | with the repetition |
| back to its queue | with the next run | with the next run | with the next run |
| IGNORED | - | - | - |
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from celeriac.core.workflow.start import Follower, Handle, NewId, Send, freeze, handle_of, starts
from celeriac.model.canvas import Chain, Group, Node


class Links(Struct, frozen=True):
    """What a message says about what follows its task."""

    callbacks: tuple[Node, ...] = ()
    errbacks: tuple[Node, ...] = ()
    next_step: tuple[Node, ...] = ()
    """The next step of its chain; empty if it is in none, or the last."""
    rest: Sequence[Follower] | None = None
    """What follows the next step, in reverse order, as it came in."""
    reply_to: str = ""


class Followed(Struct, frozen=True):
    """What a success leads to."""

    sends: tuple[Send, ...] = ()
    children: tuple[Handle, ...] = ()
    """Results to record as children of the task."""


class DerivedIds:
    """Ids that depend on nothing but the task they follow from: when its run is repeated after a crash, the same ids
    are published again, and known as such. Their order is that of the task's own id.

    :param task_id: the task that has ended
    :param end: how it ended: one run may fail, and the next succeed
    """

    def __init__(self, task_id: str, end: str) -> None:
        self._task_id = task_id
        self._end = end
        self._count = 0

    def __call__(self) -> str:
        """The next id, as the text of a UUID of version 8, which leaves its content to us."""
        self._count += 1
        digest = blake2b(
            f"{self._task_id}/{self._end}/{self._count}".encode("utf-8", "surrogatepass"), digest_size=16
        ).hexdigest()
        head = self._task_id[:13]
        if len(self._task_id) != 36 or head[8:9] != "-" or not head.replace("-", "").isalnum():
            head = f"{digest[:8]}-{digest[8:12]}"
        return f"{head}-8{digest[13:16]}-{'89ab'[int(digest[16], 16) & 3]}{digest[17:20]}-{digest[20:]}"


def after_success(links: Links, value: Any, new_id: NewId) -> Followed:
    """What is sent when the task has returned `value`.

    A single callback leaves alone; several leave as one group, groups among them as groups of their own. Raises
    NotImplementedError for what needs a later release.
    """
    sends: list[Send] = []
    children: list[Handle] = []

    def begin(node: Node, rest: Sequence[Follower] | None = None) -> None:
        frozen = freeze(node, new_id, None, links.reply_to)
        sends.extend(starts(frozen, (value,), rest=rest))
        # The rest of a chain is found from its first step.
        child = handle_of(frozen.steps[0] if isinstance(frozen, Chain) and frozen.steps else frozen)
        if child is not None:
            children.append(child)

    together = [node for node in links.callbacks if not isinstance(node, Group)]
    for node in links.callbacks:
        if isinstance(node, Group) or len(together) == 1:
            begin(node)
    if len(together) > 1:
        begin(Group(tuple(together)))
    for step in links.next_step:
        begin(step, links.rest if links.rest is not None else ())
    return Followed(tuple(sends), tuple(children))


def errback_sends(errbacks: Sequence[Node], failed_id: str, links: Links, new_id: NewId) -> tuple[Send, ...]:
    """The error callbacks that are sent: as one group, with the id of the failed task in front."""
    if not errbacks:
        return ()
    group = freeze(Group(tuple(errbacks)), new_id, None, links.reply_to)
    return tuple(starts(group, (failed_id,)))
