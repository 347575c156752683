"""Requests and replies as values, and as the JSON words in which they travel over a `Bus`.

Brokers that other programs listen to carry the same requests in Celery's own format; only this module and
`control.asking` know ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Struct

CONTROL_TOPIC = "control"
"""The topic that every node listens to."""
REPLY_PREFIX = "reply."
"""How topics of replies begin: a node never says anything to another topic."""
WORD_BYTES_MAX = 1 << 20
"""Longer words are not read: reading one keeps all threads of a node waiting."""
PATTERN_CHARS_MAX = 255
_LATE_S = 2.0
"""How much later than its end a request is still obeyed: clocks of machines differ."""


class Malformed(ValueError):
    """A word that cannot be read. The text says why."""


class Request(Struct, frozen=True, omit_defaults=True):
    """A command with its arguments, and for whom it is."""

    command: str
    arguments: Mapping[str, Any] = {}
    destination: tuple[str, ...] | None = None
    """Names of nodes; None: all of them, or those that match `pattern`."""
    pattern: str | None = None
    """Names of nodes with ``*`` and ``?`` in it."""
    ticket: str = ""
    """Tells the replies to this request from others."""
    reply_to: str = ""
    """The topic that replies go to; "" if none are wanted."""
    expires_at: float | None = None
    """After this time (wall clock) nobody obeys or answers it any more."""

    def concerns(self, node: str) -> bool:
        """True if the node of this name is meant."""
        if self.destination is not None:
            return node in self.destination
        return self.pattern is None or fnmatchcase(node, self.pattern)

    def is_late(self, wall: float) -> bool:
        """True if it has expired: who wanted it has gone."""
        return self.expires_at is not None and wall > self.expires_at + _LATE_S


class Reply(Struct, frozen=True):
    """What one node answers."""

    ticket: str
    node: str
    answer: Any = None


_request_decoder = msgspec.json.Decoder(Request)
_reply_decoder = msgspec.json.Decoder(Reply)


def encode_request(request: Request) -> bytes:
    """As a word. Raises TypeError, ValueError if an argument is no JSON."""
    return msgspec.json.encode(request)


def decode_request(data: bytes) -> Request:
    """Raises Malformed."""
    if len(data) > WORD_BYTES_MAX:
        raise Malformed(f"it has {len(data):,} bytes, more than {WORD_BYTES_MAX:,}")
    request: Request = _decoded(_request_decoder, data)
    if request.reply_to and not request.reply_to.startswith(REPLY_PREFIX):
        raise Malformed(f"reply_to {request.reply_to[:80]!r} does not begin with {REPLY_PREFIX!r}")
    if request.pattern is not None and len(request.pattern) > PATTERN_CHARS_MAX:
        raise Malformed(f"its pattern has more than {PATTERN_CHARS_MAX} characters")
    return request


def encode_reply(reply: Reply) -> bytes:
    """As a word. Raises TypeError, ValueError if the answer cannot be written."""
    return msgspec.json.encode(reply, enc_hook=_as_text)


def decode_reply(data: bytes) -> Reply:
    """Raises Malformed."""
    reply: Reply = _decoded(_reply_decoder, data)
    return reply


def _decoded(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise Malformed(str(exc)) from exc


def _as_text(value: Any) -> str:
    """What JSON has no form for (a class, a function, a path) is shown as Python does."""
    return value if isinstance(value, str) else repr(value)
