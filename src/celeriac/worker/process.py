"""What the processes of a worker ask of the kernel. Each call does nothing where the system lacks it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_OOM_SCORE_CHILD = 300
"""Of all processes of a worker, the kernel shall take the one that runs a task when memory ends."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent dies; end now if that has happened already."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def name_process(name: str) -> None:
    """Show this name (at most 15 bytes) in process listings."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def prefer_for_oom() -> None:
    """Make this process the kernel's first choice among its relatives when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_CHILD), encoding="ascii")
    except OSError:
        return


def thread_names() -> list[str]:
    """Names of the threads other than the calling one; native threads that Python does not know of count too."""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    try:
        native = len(os.listdir("/proc/self/task")) - 1
    except OSError:
        native = len(names)
    names.extend(f"native thread {number}" for number in range(1, native - len(names) + 1))
    return names
