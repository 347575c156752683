"""Asking nodes over a `Bus`: say the request, and gather replies until all have come or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from celeriac.control.words import CONTROL_TOPIC, REPLY_PREFIX, Malformed, Reply, Request, decode_reply, encode_request
from celeriac.model.errors import OperationalError
from celeriac.model.ids import random_id
from celeriac.model.ports import Bus

UNHEARD_LIFE_S = 10.0
"""How long a request that wants no reply may be obeyed: a node that stood still for longer has missed it."""
_RECEIVE_S = 1.0
"""Longest single wait for replies."""


class Answers(Struct, frozen=True):
    """What came back."""

    replies: tuple[Reply, ...]
    listeners: int | None
    """How many nodes heard the request; None if the broker cannot tell."""


def tell(bus: Bus, request: Request) -> int | None:
    """Say a request that wants no reply; how many nodes hear it, None if the broker cannot tell.

    Raises BrokerUnavailable, and TypeError or ValueError if an argument is no JSON.
    """
    said = replace(request, expires_at=time.time() + UNHEARD_LIFE_S)
    return bus.publish_topic(CONTROL_TOPIC, encode_request(said))


def ask(
    bus: Bus,
    request: Request,
    timeout_s: float,
    limit: int | None = None,
    on_reply: Callable[[Reply], object] | None = None,
) -> Answers:
    """Say a request and gather replies: all that can come, at most `limit`, for `timeout_s` at the longest.

    It returns early when every node that listens, or everyone named in `destination`, has answered. Raises what
    `tell` raises.
    """
    ticket = random_id()
    topic = f"{REPLY_PREFIX}{ticket}"
    deadline = time.monotonic() + timeout_s
    said = replace(request, ticket=ticket, reply_to=topic, expires_at=time.time() + timeout_s)
    word = encode_request(said)
    subscription = bus.subscribe([topic])
    try:
        listeners = bus.publish_topic(CONTROL_TOPIC, word)
        enough = [count for count in (limit, listeners) if count is not None]
        if request.destination is not None:
            enough.append(len(set(request.destination)))
        wanted = min(enough, default=None)
        replies: list[Reply] = []
        while wanted is None or len(replies) < wanted:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            for _, data in subscription.receive(min(left_s, _RECEIVE_S)):
                # Whoever writes nonsense here is no node.
                with suppress(Malformed):
                    reply = decode_reply(data)
                    if reply.ticket == ticket:
                        replies.append(reply)
                        if on_reply is not None:
                            on_reply(reply)
        return Answers(tuple(replies if limit is None else replies[:limit]), listeners)
    finally:
        # What cannot be deleted now expires.
        with suppress(OperationalError):
            subscription.close()
