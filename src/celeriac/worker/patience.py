"""Waiting for a server that is away while a worker starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from celeriac.model.errors import OperationalError
from celeriac.model.ports import Backend, Broker

T = TypeVar("T")

log = logging.getLogger("celeriac.worker")

_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 2.0


def patiently(act: Callable[[], T]) -> T:
    """Do it, trying again while a server is away, for as long as that takes: a stop ends the process that waits.

    Raises at once what only a person can mend.
    """
    pause_s, told = _RETRY_FIRST_S, ""
    while True:
        try:
            return act()
        except OperationalError as exc:
            if str(exc) != told:
                told = str(exc)
                log.warning("cannot start yet, trying again: %s", told, extra={"action": "broker_away"})
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _RETRY_MAX_S)


def open_stores(broker: Broker, backend: Backend | None) -> None:
    """Open both. Raises what opening them raises."""
    broker.open()
    if backend is not None:
        backend.open()
