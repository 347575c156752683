"""How a message's priority becomes one of ten levels, the same in every store of ours."""

from __future__ import annotations

from celeriac.model.errors import BrokerRejected
from celeriac.model.message import Message, Priority

LEVELS = 10
NORMAL = 5
_NAMED = {"low": 2, "normal": NORMAL, "high": 8}
_ALLOWED = "an integer from 0 to 9, or 'low', 'normal' or 'high'"


def level_of(priority: Priority) -> int:
    """The level, 0 to 9, larger first. Raises BrokerRejected for anything that names none."""
    if priority is None:
        return NORMAL
    if isinstance(priority, str):
        level = _NAMED.get(priority)
        if level is None:
            raise BrokerRejected(f"priority={priority!r} is unknown; use {_ALLOWED}")
        return level
    if type(priority) is not int or not 0 <= priority < LEVELS:
        raise BrokerRejected(f"priority={priority!r} is out of range; use {_ALLOWED}")
    return priority


def check_placeable(message: Message) -> int:
    """The message's level. Raises BrokerRejected, naming the field, if it has no place in a store."""
    if not message.queue:
        raise BrokerRejected(f"message {message.id!r}: queue is empty; name the queue to publish to")
    return level_of(message.priority)
