"""Signals of the operating system, by name or number."""

from __future__ import annotations

import signal


def signal_number(name: str | int) -> int:
    """The number of a signal by name ("TERM", "SIGTERM") or number (15, "15").

    Raises ValueError for what is no signal of this system.
    """
    text = str(name).upper()
    for known in signal.valid_signals():
        # Real-time signals have a number only.
        known_name: str = getattr(known, "name", "")
        if text in {str(int(known)), known_name, known_name.removeprefix("SIG")} - {""}:
            return int(known)
    raise ValueError(f"{name!r} is no signal of this system; give a name such as SIGTERM, or its number")
