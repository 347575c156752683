"""The same stage as the small forms have."""

from __future__ import annotations

from integration.worker.conftest import folder, jobs

from .stage import empty_stage

__all__ = ["empty_stage", "folder", "jobs"]
