"""Faults of the machine: memory that ends, clocks that jump, disks that fill, files that break."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from celeriac.exceptions import CeleriacError, WorkerLostError
from integration.worker.conftest import SCALE, Worker, eventually, is_alive

from .stage import Background, Stage, noted

_MEGABYTE = 1 << 20

# ---------------------------------------------------------------- memory


def the_kernel_kills_who_leaks(stage: Stage, *, room_mb: int) -> None:
    """In a control group with little memory a task leaks until the kernel kills: it takes the child, three times,
    then the task is a dead letter; node and main process live, other tasks run."""
    with _memory_group(room_mb) as group:
        worker = stage.start("-c", "1")
        for pid in worker.tree():
            (group / "cgroup.procs").write_text(str(pid))
        eventually(lambda: len(worker.children) == 1)
        (group / "cgroup.procs").write_text(str(worker.children[0]))
        _leak_is_buried(stage, worker)


def a_watcher_kills_who_leaks(stage: Stage, *, size_mb: int) -> None:
    """The same with a watcher in the kernel's place: it kills a child that has outgrown a size."""
    worker = stage.start("-c", "1")

    def look() -> None:
        for pid in worker.children:
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                if pages * resource.getpagesize() > size_mb * _MEGABYTE:
                    os.kill(pid, signal.SIGKILL)

    watcher = Background(look, lambda: 0.01)
    try:
        _leak_is_buried(stage, worker)
    finally:
        watcher.stop()


def _leak_is_buried(stage: Stage, worker: Worker) -> None:
    jobs = stage.jobs
    node, main = worker.node, worker.process.pid
    leaking = jobs.leak.delay(4096 * _MEGABYTE, "leaks")
    innocent = [jobs.add.delay(number, 1) for number in range(20)]
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        leaking.get(timeout=40 * SCALE)
    assert len(noted(stage.folder / "leaks")) == 3
    assert [result.get(timeout=10 * SCALE) for result in innocent] == [number + 1 for number in range(20)]
    assert (worker.node, worker.process.pid) == (node, main), stage.logs()
    assert stage.count("dead") == 1


@contextmanager
def _memory_group(room_mb: int) -> Iterator[Path]:
    """A control group of either version with this much memory; skips the test where none can be made."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"celeriac-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(room_mb * _MEGABYTE))
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            eventually(lambda group=group: _removed(group))
        return
    pytest.skip("no control group for memory can be made here (needs root)")


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def who_hits_a_memory_limit_is_buried(stage: Stage, *, room_mb: int) -> None:
    """Where the limit is on the address space of each process, the task that outgrows it ends its child, three times;
    then it is a dead letter, and others run."""
    worker = stage.start("-c", "1")
    (child,) = eventually(lambda: worker.children)
    for pid in (worker.process.pid, child):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + room_mb * _MEGABYTE
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    jobs = stage.jobs
    with pytest.raises((WorkerLostError, MemoryError)):
        jobs.leak.delay(4096 * _MEGABYTE, "leaks").get(timeout=30 * SCALE)
    assert jobs.add.delay(1, 1).get(timeout=10 * SCALE) == 2
    assert len(noted(stage.folder / "leaks")) <= 3


# ---------------------------------------------------------------- clocks

_CLOCK_C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* What the file CLOCK_OFFSET holds is added to the wall clock, and to it alone. */
static long offset(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    long value = read(fd, text, sizeof text - 1) > 0 ? atol(text) : 0;
    close(fd);
    return value;
}
int clock_gettime(clockid_t clock, struct timespec *out) {
    int answer = syscall(SYS_clock_gettime, clock, out);
    if (!answer && clock == CLOCK_REALTIME) out->tv_sec += offset();
    return answer;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


def clock_jumps_do_no_harm(stage: Stage, *, jumps: list[int], lease_s: float) -> None:
    """The wall clock of all workers jumps, hours forth and back, while they work: each task runs once, leases hold,
    what is due comes at the (new) time, and nobody hangs."""
    library = _clock_library(stage.folder)
    offset = stage.folder / "offset"
    offset.write_text("0")
    jobs = stage.jobs
    jobs.noop.delay()
    stage.open_book()
    environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    for _ in range(2):
        stage.start("-c", "2", settings=[f"worker_lease_s={lease_s}"], environment=environment)
    assert abs(jobs.wall.delay().get(timeout=10 * SCALE) - time.time()) < 5 * SCALE
    ids: list[str] = []
    for number, jump in enumerate(jumps):
        with jobs.app.batch():
            mine = [jobs.trace.delay(lease_s * 1.5) for _ in range(3)]
            mine += [jobs.trace.delay(0.01) for _ in range(20)]
        eventually(lambda count=number: len(stage.runs()) > 23 * count)
        offset.write_text(str(jump))
        ids += [each.id for each in mine]
        stage.await_final([each.id for each in mine], lease_s * 3 + 10)
        assert abs(jobs.wall.delay().get(timeout=10 * SCALE) - time.time() - jump) < 5 * SCALE
    offset.write_text("0")
    soon = jobs.trace.apply_async((0.0,), countdown=0.5)
    stage.await_final([*ids, soon.id], 10)
    assert {len(of_one) for of_one in stage.runs().values()} == {1}
    assert all(len(stage.finals()[task_id]) == 1 for task_id in ids)
    assert all(worker.process.poll() is None for worker in stage.workers)


def _clock_library(folder: Path) -> Path:
    """A library that lies about the wall clock to whoever preloads it; skips the test where none can be built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a clock that jumps; the store's and engine's own tests inject theirs")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_CLOCK_C)
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"],
        capture_output=True,
        text=True,
        timeout=30 * SCALE,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the C compiler cannot build a clock that jumps: {done.stderr[:200]}")
    return library


# ---------------------------------------------------------------- deaths at any moment


def any_death_at_any_moment(stage: Stage, *, victim: str, loaded: bool) -> None:
    """One victim, idle or under load: afterwards everything sent is done, once but for what was running."""
    jobs = stage.jobs
    jobs.noop.delay()
    stage.open_book()
    worker = stage.start("-c", "2")
    assert jobs.add.delay(1, 1).get(timeout=10 * SCALE) == 2
    ids: list[str] = []
    if loaded:
        with jobs.app.batch():
            ids = [jobs.trace.delay(1.5).id for _ in range(2)]
            ids += [jobs.trace.delay(0.02).id for _ in range(40)]
        eventually(lambda: len(stage.runs()) >= 2)
    tree = worker.tree()
    pids = {"child": worker.children[:1], "node": [worker.node], "main": [worker.process.pid], "all": tree}[victim]
    for pid in pids:
        stage.kill(pid)
    if victim in {"main", "all"}:
        worker.process.wait(10 * SCALE)
        eventually(lambda: not any(is_alive(pid) for pid in tree), 3)
        stage.start("-c", "2")
    ids.append(jobs.trace.delay().id)
    stage.await_final(ids, 12)
    stage.assert_never_two_at_a_time()
    repeated = [task_id for task_id, of_one in stage.runs().items() if len(of_one) > 1]
    assert len(repeated) <= 2, "more than the running tasks were repeated"
    assert all(len(stage.finals()[task_id]) == 1 for task_id in ids)
    assert stage.workers[-1].process.poll() is None


# ---------------------------------------------------------------- files and disks


@contextmanager
def small_disk(room_kib: int) -> Iterator[Path]:
    """A file system of its own with little room; skips the test where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="celeriac-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room_kib}k", "celeriac-test", str(folder)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"no small file system can be mounted here (needs root): {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=10, check=True)
        folder.rmdir()


def a_full_disk_is_waited_out(stage: Stage, *, room_kib: int, tasks: int) -> None:
    """The disk of the database fills up under a running worker: senders get typed errors, the worker says so; when
    there is room again it goes on, and nothing is lost."""
    with small_disk(room_kib) as disk:
        worker = _worker_at(stage, disk / "celeriac.db")
        jobs = stage.jobs
        ids = [jobs.trace.delay().id]
        stage.await_final(ids, 10)
        node = worker.node
        ids += [jobs.large_trace.delay(0.4, 100_000).id for _ in range(tasks)]
        ballast = disk / "ballast"
        _fill(ballast)
        began_at = time.monotonic()
        refusals: list[str] = []
        while len(refusals) < 3:
            assert time.monotonic() - began_at < 20 * SCALE, "sending to a full disk is never refused"
            try:
                ids.append(jobs.large_trace.delay(0.0, 100_000).id)
            except CeleriacError as exc:
                refusals.append(str(exc))
        assert all("no room is left" in refusal for refusal in refusals), refusals
        eventually(lambda: "room" in worker.output(), 15)
        threading.Event().wait(1.0)
        ballast.unlink()
        stage.await_final(ids, 15)
        assert worker.node == node, stage.logs()
        assert jobs.trace.delay().get(timeout=10 * SCALE)
        assert "Traceback" not in worker.output(), stage.logs()
        stage.assert_sound()
        stage.jobs.app.close()
        assert worker.stop() == 0


def _fill(path: Path) -> None:
    """Take what room there is, to the last byte."""
    size = _MEGABYTE
    with path.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 4


def a_file_size_limit_is_waited_out(stage: Stage, *, tasks: int) -> None:
    """The same by a limit on the size of files, which the kernel reports as another error."""
    worker = _worker_at(stage, stage.folder / "celeriac.db")
    jobs = stage.jobs
    assert jobs.trace.delay().get(timeout=10 * SCALE)
    node = worker.node
    for _ in range(tasks):
        jobs.large_trace.delay(0.1, 100)
    pids = worker.tree()
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
    # Children may leave no notes under the limit, and the log is a file too: only the node's fate is looked at.
    threading.Event().wait(2.0)
    for pid in pids:
        if is_alive(pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: stage.waiting() == 0, 20)
    assert jobs.trace.delay().get(timeout=10 * SCALE)
    assert worker.node == node, stage.logs()
    stage.assert_sound()


def _worker_at(stage: Stage, database: Path) -> Worker:
    """A worker on a database at another place; stage and client follow."""
    url = f"sqlite:///{database}"
    stage.database = database
    stage.jobs.app.conf.update(broker_url=url, result_backend=url, broker_connection_timeout=1)
    return stage.start("-c", "1", environment={"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url})


def damage_under_a_running_worker_is_told(stage: Stage) -> None:
    """Somebody overwrites the database of a running worker: client and worker say that it is damaged, nobody hangs,
    and when a sound file is put there the worker goes on by itself."""
    database = stage.folder / "store" / "celeriac.db"
    database.parent.mkdir()
    worker = _worker_at(stage, database)
    jobs = stage.jobs
    assert jobs.trace.delay().get(timeout=10 * SCALE)
    jobs.app.close()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    sound = stage.folder / "sound.db"
    shutil.copy(database, sound)
    with database.open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * database.stat().st_size)
    with pytest.raises(CeleriacError, match=r"damaged|no SQLite database|another program"):
        _send_some(stage)
    eventually(lambda: "damaged" in worker.output() or "no SQLite database" in worker.output(), 15)
    assert worker.process.poll() is None, stage.logs()
    # In one step: a worker that looks in between would else make a new file, which a copy would then write over.
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    sound.replace(database)
    jobs.app.close()
    result = eventually(lambda: _sent(stage), 10)
    assert result.get(timeout=20 * SCALE)
    assert worker.process.poll() is None


def _send_some(stage: Stage) -> None:
    for _ in range(50):
        stage.jobs.trace.delay()


def _sent(stage: Stage) -> object:
    with suppress(CeleriacError):
        return stage.jobs.trace.delay()
    return None


def a_damaged_file_at_start_is_told(stage: Stage) -> None:
    """A worker that is started on a file that is no database ends with the reason, soon, and leaves the file alone."""
    stage.database.write_bytes(b"these are no pages" * 4000)
    worker = stage.begin("-c", "1")
    assert worker.process.wait(15 * SCALE) != 0
    assert "no SQLite database" in worker.output()
    assert "Traceback" not in worker.output()
    assert stage.database.read_bytes() == b"these are no pages" * 4000
