"""Logging of a worker's processes, as its configuration says."""

from __future__ import annotations

from celeriac.worker.config import WorkerConfig
from celeriac.worker.logs import LogOptions, setup_logs


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
