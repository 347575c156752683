"""Records of exceptions, which must be told in any case."""

from __future__ import annotations

from celeriac.model.errors import EncodeError, UnpickleableExceptionWrapper
from celeriac.model.message import Record
from celeriac.wire.exceptions import name_of, text_of
from celeriac.wire.records import RecordHead, encode_failure

_TEXT_CHARS_MAX = 1000


def failure_record(
    head: RecordHead,
    error: BaseException,
    traceback: str | None,
    done_at: float,
    state: str,
    bytes_max: int | None = None,
) -> Record:
    """The record of an exception; shorter and bare if it cannot be told in full."""
    try:
        record = encode_failure(head, error, traceback, done_at, state)
        require_fit(len(record.payload), bytes_max, "the exception")
    except Exception:  # noqa: BLE001 - whatever its parts do when they are encoded
        module, name = name_of(type(error))
        short = UnpickleableExceptionWrapper(module, name, (), text_of(error)[:_TEXT_CHARS_MAX])
        bare = RecordHead(head.task_id, expires_s=head.expires_s, reply_to=head.reply_to)
        return encode_failure(bare, short, traceback[-_TEXT_CHARS_MAX:] if traceback else None, done_at, state)
    return record


def require_fit(size: int, size_max: int | None, what: str) -> None:
    """Raise EncodeError if `what` is larger than the setting allows."""
    if size_max is not None and size > size_max:
        raise EncodeError(
            f"{what} is {size} bytes, over the limit of {size_max} (setting task_body_bytes_max): "
            "store large data elsewhere and pass its address, or raise the limit"
        )
