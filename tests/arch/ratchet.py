"""Today's exceptions from the size budgets. This file only shrinks: an entry that is no longer needed fails the test,
and a number may be lowered, never raised. Each entry says why it is here."""

from __future__ import annotations

MODULE_LINES: dict[str, int] = {}
"""Module name -> lines allowed, where it is more than 400."""

FUNCTION_LINES: dict[str, int] = {}
"""`module:function` -> lines allowed, where it is more than 60."""

PARAMETERS: dict[str, int] = {
    # A simulated store's answer is one event with many facts; a value for it would be used once.
    "celeriac.testing.simulator_node:SimNode._tell": 8,
}
"""`module:function` -> parameters allowed, where it is more than 7."""

UNDOCUMENTED: dict[str, str] = {}
"""`module:name` -> why it has no docstring."""
