"""Says what to install where pytest is missing: every suite imports this first.

Hypothesis is needed by the model tests alone, and asked for when they run (`celeriac.testing.histories`).
"""

from __future__ import annotations

EXTRA = "celeriac[testing]"
"""The extra of this distribution that has all the suites need."""

try:
    import pytest
except ImportError as exc:
    raise ImportError(f"the suites of celeriac.testing need pytest: pip install '{EXTRA}'") from exc

PYTEST: str = pytest.__version__
"""The version of pytest that runs the suites."""
