"""The tasks behind a dead letter in its chain: they were told its failure, and a revival takes that back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from celeriac.cli.letters import portions
from celeriac.model.errors import DecodeError
from celeriac.model.message import DeadLetter, Message
from celeriac.model.states import FAILURE
from celeriac.wire.protocol2 import decode_head, decode_request
from celeriac.wire.signatures import ids_named

if TYPE_CHECKING:
    from celeriac.app import Celeriac


def forget_failures(app: Celeriac, letters: Sequence[DeadLetter]) -> None:
    """Delete the failures of the tasks behind these letters, so that they are PENDING again like the letters' own.

    To be called before the letters are revived: until then none of those tasks can have run, and what is recorded of
    them is nothing but the failure of the letter. Raises BackendUnavailable.
    """
    accept = frozenset(app.conf["accept_content"])
    behind = [task_id for letter in letters if not letter.parked for task_id in _ids_behind(letter.message, accept)]
    if not behind:
        return
    try:
        backend = app.backend
    except NotImplementedError:  # results are disabled
        return
    for ids in portions(behind):
        records = backend.read(ids)
        failed = [record.id for record in records if record is not None and record.state == FAILURE]
        if failed:
            backend.forget(failed)


def _ids_behind(message: Message, accept: frozenset[str]) -> Iterator[str]:
    """The ids of the tasks behind that of a message; none if it cannot be read, for then it fails again."""
    try:
        if not decode_head(message, accept).linked:
            return
        chain = decode_request(message, accept).chain
    except DecodeError:
        return
    for signature in chain or ():
        for task_id, _ in ids_named(signature):
            if task_id != message.id:
                yield task_id
