"""What the processes of a worker ask of the kernel. Each call does nothing where the system lacks it."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from celeriac.model.errors import ImproperlyConfigured

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_OOM_SCORE_CHILD = 300
"""Of all processes of a worker, the kernel shall take the one that runs a task when memory ends."""

_DESCRIPTORS_NODE = 48
"""Open files of a node without children and doorbells: about thirty, and some to spare."""
_DESCRIPTORS_CHILD = 2

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

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


def reaped(pid: int) -> int | None:
    """The wait status of a child process that has ended, or None; 0 for one that is not known any more."""
    if not pid:
        return None
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if done else None


def thread_names() -> list[str]:
    """Names of the threads other than the calling one; native threads that Python does not know of count too."""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    try:
        native = len(os.listdir("/proc/self/task")) - 1
    except OSError:
        native = len(names)
    names.extend(f"native thread {number}" for number in range(1, native - len(names) + 1))
    return names


def require_descriptors(children: int) -> None:
    """Raise ImproperlyConfigured if a node cannot have the open files that so many children take."""
    needed = _DESCRIPTORS_NODE + _DESCRIPTORS_CHILD * children
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise ImproperlyConfigured(
            f"a process may have {most} open files here (RLIMIT_NOFILE), and a worker of {children} slots needs {needed}: "
            "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of a service), or give fewer slots with -c"
        )


def ignore_stops() -> None:
    """From now on only the end of this process is left: one more signal must not change its exit code, as it would
    while the interpreter ends, when Python's own handlers are gone."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may: sockets of children and doorbells of queues take one each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def why(error: BaseException) -> str:
    """An error in words; where the system has run out of something, with the limit to raise."""
    text = str(error) or type(error).__name__
    number = getattr(error, "errno", None)
    if number == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"{text}: a process may have {soft} open files here (RLIMIT_NOFILE); raise that limit with `ulimit -n`"
    if number == errno.EAGAIN:
        return f"{text}: the limit on processes (`ulimit -u`, or pids.max of a control group) may be reached"
    return text
