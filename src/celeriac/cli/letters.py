"""Dead letters: choosing among them, and handling thousands in bounded portions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from celeriac.cli.admin import opened_admin
from celeriac.model.message import DeadLetter, Message
from celeriac.model.ports import BrokerAdmin

if TYPE_CHECKING:
    from celeriac.app import Celeriac

LETTERS_MAX = 1_000_000
"""So many letters are looked at at most: what a terminal and the memory of a tool can bear."""
PORTION = 500
"""So many ids in one step, so that no transaction holds up the workers for long."""


class Selection(Struct, frozen=True):
    """Which dead letters. Empty fields choose all."""

    queue: str | None = None
    task: str | None = None
    search: str | None = None

    @property
    def is_everything(self) -> bool:
        """True if nothing narrows it."""
        return self.queue is None and self.task is None and self.search is None

    def takes(self, letter: DeadLetter) -> bool:
        """True if the letter is one of those; the text is searched for in ids, names, reasons and arguments."""
        if self.queue is not None and letter.message.queue != self.queue:
            return False
        if self.task is not None and letter.message.task != self.task:
            return False
        return self.search is None or self.search.lower() in _text(letter)


def _text(letter: DeadLetter) -> str:
    message = letter.message
    return "\n".join((message.id, message.task, letter.reason, arguments(message))).lower()


class _Reprs(Struct, frozen=True):
    argsrepr: str | None = None
    kwargsrepr: str | None = None


def arguments(message: Message) -> str:
    """The arguments as the sender described them, ``(2, 3)``; nothing if it did not."""
    try:
        reprs = msgspec.json.decode(message.headers, type=_Reprs)
    except msgspec.MsgspecError:
        return ""
    args, kwargs = reprs.argsrepr or "", reprs.kwargsrepr or ""
    if kwargs in {"", "{}"}:
        return args
    return f"{args} {kwargs}" if args not in {"", "()", "[]"} else kwargs


def chosen(broker: BrokerAdmin, selection: Selection, limit: int = LETTERS_MAX) -> list[DeadLetter]:
    """The letters of the selection, newest first, at most `limit`."""
    # Without a filter of ours the broker need not hand over more than is shown.
    narrows = selection.task is not None or selection.search is not None
    letters = broker.dead(selection.queue, LETTERS_MAX if narrows else limit)
    return [letter for letter in letters if selection.takes(letter)][:limit]


def find_letter(app: Celeriac, task_id: str) -> DeadLetter | None:
    """The dead letter of one task, if there is one and the broker can be asked."""
    broker = app.make_broker()
    if not (broker.facts.shared and isinstance(broker, BrokerAdmin)):
        return None
    with opened_admin(app) as admin:
        return next((letter for letter in admin.dead(None, LETTERS_MAX) if letter.message.id == task_id), None)


def portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in steps of bounded size."""
    for start in range(0, len(ids), PORTION):
        yield ids[start : start + PORTION]


def in_portions(act: Callable[[Sequence[str]], int], ids: Iterable[str]) -> int:
    """Do it to all ids, each once; return the sum of what it says."""
    unique = list(dict.fromkeys(ids))
    return sum(act(part) for part in portions(unique))
