"""Records of ends that no child reported: lost processes, hard limits, expiry, revocation, bad messages."""

from __future__ import annotations

from celeriac.core.engine.effects import Final
from celeriac.model import errors
from celeriac.model.message import Head, Record
from celeriac.model.run import ResultPolicy
from celeriac.wire.records import RecordHead, encode_failure
from celeriac.wire.serializers import serializer_named


def exception_of(final: Final) -> BaseException:
    """The exception that a final names."""
    cls = getattr(errors, final.error)
    exc: BaseException = cls(*final.args)
    return exc


def final_record(final: Final, head: Head, reply_to: str, results: ResultPolicy, wall: float) -> Record:
    """The encoded record of `final` for the task of `head`."""
    record_head = RecordHead(
        task_id=head.id,
        group_id=head.group,
        parent_id=head.parent_id,
        children=None,
        expires_s=results.expires_s,
        reply_to=reply_to,
        serializer=serializer_named(results.serializer),
    )
    return encode_failure(record_head, exception_of(final), None, wall, final.state)
