"""Standard streams that are missing: some service managers start programs with 0, 1 or 2 closed."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing_streams() -> None:
    """Open the null device on each of 0, 1 and 2 that is closed.

    Otherwise the next file or socket gets that number, and is written to by whoever prints.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the process's whole life
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
