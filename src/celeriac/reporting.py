"""What a bug report needs of an app, as text without secrets."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from celeriac.app import Celeriac


def bugreport(app: Celeriac) -> str:
    """Versions, platform, and the settings that somebody has set."""
    settings = app.conf.humanize(with_defaults=False, censored=True) or "all as by default"
    version = sys.modules["celeriac"].__version__  # the package imports us
    return "\n".join(
        (
            f"software -> celeriac:{version} msgspec:{msgspec.__version__} py:{platform.python_version()}",
            f"platform -> {platform.platform()} {platform.python_implementation()} ({sys.executable})",
            f"app -> {app.main or 'default'}",
            "settings ->",
            *(f"  {line}" for line in settings.splitlines()),
        )
    )
