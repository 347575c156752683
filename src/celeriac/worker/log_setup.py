"""Logging of a worker's processes, as its configuration says."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from celeriac.worker.config import WorkerConfig
from celeriac.worker.logs import LogOptions, setup_logs

log = logging.getLogger("celeriac.worker")


def setup_logging(config: WorkerConfig, process: str, index: int = 0) -> None:
    """Configure logging in this process, which log lines call `process`.

    :param index: 0 for main process and node, the number of a child, for ``%i`` in the log file's name
    """
    setup_logs(
        LogOptions(
            level=config.loglevel,
            file=config.logfile,
            format=config.log_format,
            task_format=config.task_log_format,
            color=config.log_color,
            json=config.log_json,
            redirect_stdouts=config.redirect_stdouts,
            redirect_stdouts_level=config.redirect_stdouts_level,
            hijack_root=config.hijack_root_logger,
            hostname=config.hostname,
            process=process,
            index=index,
        )
    )


def name_in_log(pool: str, place: int) -> str:
    """What log lines call a child: ``Worker-2`` for a process, else the pool with the number."""
    return f"{'Worker' if pool == 'prefork' else pool.capitalize()}-{place + 1}"


def greet(config: WorkerConfig) -> None:
    """Print the banner, past the redirection of what tasks print, and log that the worker is ready."""
    if config.banner and not config.quiet and sys.__stderr__ is not None:
        with suppress(OSError, ValueError):
            sys.__stderr__.write(config.banner.rstrip("\n") + "\n")
            sys.__stderr__.flush()
    log.info("%s ready", config.hostname, extra={"action": "ready"})
