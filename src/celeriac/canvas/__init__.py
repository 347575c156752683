"""Workflows: tasks to be combined before they are sent.

``add.s(2, 3)`` is a signature, a call that is not sent yet; ``a | b`` or `chain` runs tasks one after the other, `group`
side by side; `link` and `link_error` on a signature add what follows a success or a failure.
"""

from __future__ import annotations

from celeriac.canvas.composed import chain, group
from celeriac.canvas.later import chord, chunks, xmap, xstarmap
from celeriac.canvas.making import maybe_signature, signature, subtask
from celeriac.canvas.signature import Signature

__all__ = [
    "Signature",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
