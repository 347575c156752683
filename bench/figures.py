"""The figures: each function takes one of them once; `run.py` repeats and takes medians."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.processes import cpu_s, pss_mb, rss_mb, tree
from bench.stamp import Stamp
from bench.systems import ROOT, System

Values = dict[str, float]
START_S = 30.0
_THREADS = 10
SETTLE_S = 1.0
"""How long an idle worker is left alone before its memory is read."""


@dataclass(frozen=True)
class Sizes:
    """How many tasks a figure takes: many for a long look, few for a quick one."""

    ours: int
    celery: int

    def of(self, system: System) -> int:
        return self.ours if system.name == "celeriac" else self.celery


def drain(system: System, sizes: Sizes, kind: str, *options: str) -> Values:
    """A worker on a prefilled queue: rate between the first and the last body, CPU per task of each process."""
    n = sizes.of(system)
    system.reset()
    system.client(f"fill_{kind}", n)
    stamp = Stamp(system.stamp_path)
    stamp.reset()
    with system.worker(*options) as process:
        # The CPU of the middle: past starting up, before running dry.
        system.wait_for(stamp, n // 10, process, START_S)
        began, pids = stamp.count(), tree(process.pid)
        before = {pid: cpu_s(pid) for pid in pids}
        system.wait_for(stamp, n * 9 // 10, process, n / 100)
        ended = stamp.count()
        spent = {pid: cpu_s(pid) - before[pid] for pid in pids}
        system.wait_for(stamp, n, process, n / 100)
        count, first, last, child = stamp.read()
    per_task = {pid: seconds / (ended - began) * 1e6 for pid, seconds in spent.items()}
    others = [pid for pid in pids if pid not in {process.pid, child}]
    return {
        "tasks_per_s": (count - 1) / (last - first),
        "main_cpu_us": per_task[process.pid],
        "child_cpu_us": per_task.get(child, 0.0),
        "node_cpu_us": sum(per_task[pid] for pid in others),
    }


def drain_ignored(system: System, sizes: Sizes) -> Values:
    """No results."""
    return drain(system, sizes, "ignored")


def drain_stored(system: System, sizes: Sizes) -> Values:
    """Results stored."""
    return drain(system, sizes, "stored")


def drain_threads(system: System, sizes: Sizes) -> Values:
    """No results, on threads."""
    return drain(system, sizes, "ignored", "-P", "threads", "-c", str(_THREADS))


def drain_coroutines(system: System, sizes: Sizes) -> Values:
    """Coroutines, no results, on one loop."""
    return drain(system, sizes, "coroutine", "-P", "asyncio")


def awaits(system: System, sizes: Sizes) -> Values:
    """Waits of one second, as many at once as there are: from the first send to the end of the last."""
    n = sizes.of(system)
    system.reset()
    system.client("fill_coroutine", 1)
    stamp = Stamp(system.stamp_path)
    stamp.reset()
    with system.worker("-P", "asyncio", "--async-slots", str(n)) as process:
        system.wait_for(stamp, 1, process, START_S)
        (child,) = [stamp.read()[3]]
        pids = tree(process.pid)
        before = sum(cpu_s(pid) for pid in pids)
        began = system.client("naps", n)["began"]
        system.wait_for(stamp, 1 + n, process, START_S + n / 100)
        ended = stamp.read()[2]
        cpu_us = (sum(cpu_s(pid) for pid in pids) - before) / n * 1e6
        return {"seconds": ended - began, "worker_cpu_us": cpu_us, "child_rss_mb": rss_mb(child)}


def asend(system: System, sizes: Sizes) -> Values:
    """`await adelay()` from 200 coroutines at once, no worker running."""
    return _client(system, sizes, "asend")


def groups(system: System, sizes: Sizes) -> Values:
    """Groups of a thousand tasks, built and sent, no worker running."""
    return _client(system, sizes, "groups")


def _client(system: System, sizes: Sizes, command: str) -> Values:
    system.reset()
    took = system.client(command, sizes.of(system))
    return {"tasks_per_s": took["tasks"] / took["seconds"], "cpu_us": took["cpu_s"] / took["tasks"] * 1e6}


def send(system: System, sizes: Sizes) -> Values:
    """`delay()` one by one, no worker running."""
    return _client(system, sizes, "send")


def batch(system: System, sizes: Sizes) -> Values:
    """`delay()` in `app.batch()`; Celery has no such thing and sends one by one."""
    return _client(system, sizes, "batch")


def roundtrip(system: System, sizes: Sizes) -> Values:
    """`delay().get()` on an idle worker."""
    system.reset()
    with system.worker():
        return system.client("roundtrip", sizes.of(system))


def spawn(system: System, _sizes: Sizes) -> Values:
    """From starting the worker to the first task's body."""
    system.reset()
    system.client("fill_ignored", 1)
    stamp = Stamp(system.stamp_path)
    stamp.reset()
    began = time.monotonic()
    with system.worker() as process:
        system.wait_for(stamp, 1, process, START_S)
    return {"ms": (stamp.read()[1] - began) * 1e3}


def memory(system: System, _sizes: Sizes) -> Values:
    """Shared memory counted once: an idle worker with one child that has run a task."""
    system.reset()
    system.client("fill_ignored", 1)
    stamp = Stamp(system.stamp_path)
    stamp.reset()
    with system.worker() as process:
        system.wait_for(stamp, 1, process, START_S)
        time.sleep(SETTLE_S)
        pids = tree(process.pid)
        return {"pss_mb": sum(pss_mb(pid) for pid in pids), "processes": len(pids)}


def delayed(system: System, sizes: Sizes) -> Values:
    """A worker beside tasks due next week: memory and start-up against an empty store, and whether it runs any."""
    n = sizes.of(system)
    empty_ms, empty_mb, _ = _start_and_settle(system, 0)
    full_ms, full_mb, ran = _start_and_settle(system, n)
    # What Celery's workers hold has left the queue; there it cannot be counted from outside.
    left = {"left_store": n - system.delayed()} if system.name == "celeriac" else {}
    return {
        "tasks": n,
        "rss_growth_mb": full_mb - empty_mb,
        "start_ms": full_ms,
        "start_empty_ms": empty_ms,
        "left_early": ran - 1,
        **left,
    }


def _start_and_settle(system: System, n: int) -> tuple[float, float, int]:
    system.reset()
    if n:
        system.client("fill_eta", n)
    system.client("fill_ignored", 1)
    stamp = Stamp(system.stamp_path)
    stamp.reset()
    began = time.monotonic()
    with system.worker() as process:
        # Celery takes every delayed task into its memory before it comes to the one that is due.
        system.wait_for(stamp, 1, process, START_S + n / 500)
        started_ms = (stamp.read()[1] - began) * 1e3
        time.sleep(3.0)
        memory_mb = sum(rss_mb(pid) for pid in tree(process.pid))
    return started_ms, memory_mb, stamp.count()


def import_time(system: System, _sizes: Sizes) -> Values:
    """Importing the app class, inside a fresh process: `import celery` alone loads nothing yet."""
    code = f"import time; t = time.perf_counter(); from {system.name} import Celery; print(time.perf_counter() - t)"
    done = subprocess.run(
        [system.python, "-c", code], env=system.env(), capture_output=True, text=True, timeout=60, check=True
    )
    return {"ms": float(done.stdout) * 1e3}


def help_time(system: System, _sizes: Sizes) -> Values:
    """`celeriac --help`, the whole process."""
    began = time.perf_counter()
    subprocess.run(
        [system.python, "-m", system.name, "--help"],
        env=system.env(),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return {"ms": (time.perf_counter() - began) * 1e3}


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    name: str
    take: Callable[[System, Sizes], Values]
    full: Sizes
    quick: Sizes
    goals: tuple[tuple[str, str, float], ...]
    """(value, `<` or `>`, goal) for Celeriac."""
    repeat: int = 5
    celery_lacks: str = ""
    """What Celery would need for it and does not have."""


FIGURES = (
    Figure(
        "worker, results ignored",
        drain_ignored,
        Sizes(100_000, 8_000),
        Sizes(20_000, 2_000),
        (("tasks_per_s", ">", 25_000), ("node_cpu_us", "<", 15)),
    ),
    Figure(
        "worker, results stored",
        drain_stored,
        Sizes(100_000, 8_000),
        Sizes(20_000, 2_000),
        (("tasks_per_s", ">", 20_000),),
    ),
    Figure(
        "worker, threads, results ignored",
        drain_threads,
        Sizes(100_000, 8_000),
        Sizes(20_000, 2_000),
        (("tasks_per_s", ">", 15_000),),
    ),
    Figure(
        "worker, asyncio, results ignored",
        drain_coroutines,
        Sizes(100_000, 0),
        Sizes(20_000, 0),
        (("tasks_per_s", ">", 15_000),),
        celery_lacks="coroutine tasks",
    ),
    Figure(
        "10,000 waits of a second at once",
        awaits,
        Sizes(10_000, 0),
        Sizes(2_000, 0),
        (("seconds", "<", 15),),
        repeat=3,
        celery_lacks="coroutine tasks",
    ),
    Figure("delay() one by one", send, Sizes(30_000, 5_000), Sizes(5_000, 1_000), (("tasks_per_s", ">", 15_000),)),
    Figure("app.batch()", batch, Sizes(100_000, 5_000), Sizes(20_000, 1_000), (("tasks_per_s", ">", 60_000),)),
    Figure(
        "await adelay(), 200 senders",
        asend,
        Sizes(40_000, 0),
        Sizes(10_000, 0),
        (("tasks_per_s", ">", 15_000),),
        celery_lacks="sending from a loop",
    ),
    Figure(
        "groups of 1,000, sent",
        groups,
        Sizes(50_000, 5_000),
        Sizes(5_000, 1_000),
        (),
    ),
    Figure(
        "idle round trip", roundtrip, Sizes(2_000, 1_000), Sizes(300, 200), (("p50_ms", "<", 0.5), ("p99_ms", "<", 3.0))
    ),
    Figure("spawn to first body", spawn, Sizes(1, 1), Sizes(1, 1), (("ms", "<", 250),)),
    Figure("idle memory, one child", memory, Sizes(1, 1), Sizes(1, 1), (("pss_mb", "<", 45),)),
    Figure(
        "tasks due next week",
        delayed,
        Sizes(1_000_000, 20_000),
        Sizes(20_000, 2_000),
        (("rss_growth_mb", "<", 5), ("left_early", "<", 1), ("left_store", "<", 1)),
        repeat=1,
    ),
    Figure("import", import_time, Sizes(1, 1), Sizes(1, 1), (("ms", "<", 60),)),
    Figure("--help", help_time, Sizes(1, 1), Sizes(1, 1), (("ms", "<", 150),)),
)
