"""Clocks."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    """POSIX seconds; may jump."""
    monotonic = staticmethod(time.monotonic)
    """Seconds since some start; never goes back."""


class ManualClock:
    """A clock that moves when told to; both hands start at the given values."""

    def __init__(self, wall: float = 1_700_000_000.0, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> float:
        """POSIX seconds."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both hands forward."""
        self._wall += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP does."""
        self._wall += seconds
