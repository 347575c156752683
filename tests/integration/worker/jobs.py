"""The app that the workers under test run; its database is ``celeriac.db`` in the working directory."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from celeriac import Celeriac, Task
from celeriac.exceptions import Ignore, Reject, SoftTimeLimitExceeded

app = Celeriac("jobs")


def note(name: str, text: object = "") -> None:
    """Append one line to a file that the test reads; one write call, so that lines stay whole."""
    line = f"{text}\n".encode()
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(ignore_result=True)
def noop() -> None:
    return None


@app.task
def record(name: str, text: str = "") -> str:
    """Leave a trace of having run."""
    note(name, text)
    return text


@app.task
def sleep(seconds: float, name: str = "") -> float:
    """Sleep; leaves traces of beginning and end."""
    if name:
        note(name, "begin")
    time.sleep(seconds)
    if name:
        note(name, "end")
    return seconds


@app.task
def kill_self(name: str = "") -> None:
    """Die as the kernel's out-of-memory killer would have it."""
    if name:
        note(name, "begin")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def kill_self_once(name: str) -> str:
    """Die at the first run, end well at the second."""
    first = not Path(name).exists()
    note(name, "begin")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(acks_late=False)
def at_most_once(name: str) -> None:
    """Die; acknowledged at its start, it must not run again."""
    note(name, "begin")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def exit_with(code: int) -> None:
    sys.exit(code)


@app.task
def crash_in_c() -> None:
    """Read address zero."""
    ctypes.string_at(0)


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


class Unpicklable(Exception):
    """Cannot be pickled, printed or compared."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)
        self.lock = __import__("threading").Lock()

    def __str__(self) -> str:
        raise RuntimeError("no text either")

    __repr__ = __str__


@app.task
def fail_badly() -> None:
    raise Unpicklable(object(), object())


@app.task
def close_stdout() -> str:
    for descriptor in (1, 2):
        with suppress(OSError):
            os.close(descriptor)
    print("nobody hears this")
    return "closed"


@app.task
def fork_and_return() -> str:
    """Fork and let both copies return."""
    os.fork()
    return "forked"


@app.task
def large(size: int) -> str:
    return "x" * size


@app.task(soft_time_limit=0.3)
def soft_limited(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "slept"


@app.task(time_limit=0.5)
def hard_limited(seconds: float) -> None:
    time.sleep(seconds)


@app.task(soft_time_limit=0.02)
def soft_limited_at_once(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@app.task(soft_time_limit=0.3)
def send_until_limited() -> str:
    """Be broken into while sending."""
    try:
        while True:
            noop.delay()
    except SoftTimeLimitExceeded:
        return "limited"


@app.task
def ignore_term(seconds: float, name: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(name, "begin")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)


@app.task
def busy(seconds: float, name: str) -> None:
    """Hold the interpreter without a pause."""
    note(name, f"{os.getpid()}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def retry_until(self: Task[..., int], wins_at: int, name: str) -> int:
    note(name, self.request.retries)
    if self.request.retries < wins_at:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(KeyError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def autoretry(self: Task[..., int], wins_at: int) -> int:
    if self.request.retries < wins_at:
        raise KeyError(wins_at)
    return int(self.request.retries)


@app.task
def reject(requeue: bool) -> None:
    raise Reject("not mine", requeue=requeue)


@app.task
def ignore() -> None:
    raise Ignore


@app.task(bind=True)
def progress(self: Task[..., str], name: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    note(name, "told")
    while not Path(name + ".go").exists():
        time.sleep(0.01)
    return "done"


@app.task
def scribble(name: str) -> str:
    """Write to every socket of this process, as a stray write to a wrong descriptor does."""
    note(name, "begin")
    for descriptor in range(3, 64):
        with suppress(OSError):
            if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("socket:"):
                os.write(descriptor, b"\xff\xff\xff\x7f")
    return "scribbled"


@app.task
def pid() -> int:
    return os.getpid()


@app.task
async def coroutine(value: int) -> int:
    await asyncio.sleep(0)
    return value + 1


@app.task(bind=True)
def request_of(self: Task[..., dict[str, object]]) -> dict[str, object]:
    request = self.request
    return {
        "id": request.id,
        "retries": request.retries,
        "redelivered": request.delivery_info["redelivered"],
        "queue": request.delivery_info["routing_key"],
        "hostname": request.hostname,
        "headers": dict(request.headers or {}),
    }


@app.task(bind=True)
def trace(self: Task[..., str], seconds: float = 0.0, name: str = "runs") -> str:
    """Note beginning and end of each run, with id, time and process."""
    note(name, f"begin {self.request.id} {time.time():.6f} {os.getpid()}")
    if seconds:
        time.sleep(seconds)
    note(name, f"end {self.request.id} {time.time():.6f} {os.getpid()}")
    return f"{os.getpid()} {time.monotonic_ns()}"


@app.task(bind=True)
def large_trace(self: Task[..., str], seconds: float, size: int) -> str:
    """The same with a large result."""
    note("runs", f"begin {self.request.id} {time.time():.6f} {os.getpid()}")
    time.sleep(seconds)
    note("runs", f"end {self.request.id} {time.time():.6f} {os.getpid()}")
    return "x" * size


@app.task(ignore_result=True)
def tick() -> None:
    """A task that takes a little of the processor, so that who runs it is seen to move."""
    sum(range(2000))


@app.task
def fatal_unless(repaired: str, text: str) -> str:
    """Die, until somebody has put a file there."""
    note("fatal", text)
    if not Path(repaired).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return text


@app.task
def leak(bytes_max: int, name: str) -> int:
    """Take memory and never give it back, up to a bound that no test reaches."""
    note(name, os.getpid())
    held: list[bytearray] = []
    while len(held) < bytes_max >> 20:
        held.append(bytearray(b"x" * (1 << 20)))
        time.sleep(0.001)
    return len(held)


@app.task
def wall() -> float:
    """The wall clock as this process sees it."""
    return time.time()


if os.environ.get("JOBS_IMPORT_S"):
    time.sleep(float(os.environ["JOBS_IMPORT_S"]))

if os.environ.get("JOBS_FILES_MAX"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ["JOBS_FILES_MAX"]),) * 2)
