"""From a forked copy of the main process to a running node."""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from celeriac.model.clock import SystemClock
from celeriac.model.errors import ImproperlyConfigured
from celeriac.model.policy import EnginePolicy, PoolPolicy
from celeriac.model.run import Runnable
from celeriac.pools.hosted import HostedPool
from celeriac.pools.kinds import facts_of, records_of
from celeriac.pools.marks import RECORD_BYTES, Marks
from celeriac.worker.child import map_marks
from celeriac.worker.config import UNREACHABLE, UNREACHABLE_HINT, Home, WorkerConfig
from celeriac.worker.log_setup import setup_logging
from celeriac.worker.node import Node, marks_descriptor, revive_known
from celeriac.worker.patience import open_stores, patiently
from celeriac.worker.process import die_with_parent, name_process, raise_descriptor_limit
from celeriac.worker.reception import make_reception
from celeriac.worker.tree import TreeSpawner

log = logging.getLogger("celeriac.worker")

EXIT_FATAL = 78
"""The node ends with it when only a person can help; if it is the first one, its worker ends with it, too."""
_MARKS_UNIT_BYTES = 65536
"""Room for the marks of 1024 slots; a multiple of every page size."""
_PLACES_PER_CHILD = 4
"""Children that end slowly stand beside their replacements, which may end slowly too."""
_PLACES_PER_LARGE_CHILD = 12
"""One of many slots may wait six seconds for its neighbours, and be replaced each second meanwhile; four more may run
jobs alone that have killed such children before."""
_GC_THRESHOLD = 20_000
"""Messages in flight are many and make no cycles: looking for some after each 700 would only cost."""


def node_main(
    home: Home, config: WorkerConfig, tasks: Mapping[str, Runnable], sock: socket.socket, parent_pid: int
) -> int:
    """Be the node; its exit code."""
    die_with_parent(parent_pid)
    name_process("celeriac-node")
    raise_descriptor_limit()
    setup_logging(config, "Node")
    # The main process passes on what concerns us.
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    spawner = TreeSpawner(sock)
    clock = SystemClock()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        broker: Any = home.make_broker()
        backend = home.make_backend()
        if not broker.facts.shared:
            raise ImproperlyConfigured(f"{UNREACHABLE}. {UNREACHABLE_HINT}")
        patiently(lambda: open_stores(broker, backend))
    except ImproperlyConfigured as exc:
        log.critical("%s", exc, extra={"action": "misconfigured"})
        return EXIT_FATAL
    try:
        kinds = {pool.name: facts_of(pool) for pool in config.policy.pools}
        marks = patiently(lambda: _share_marks(broker, spawner, records_needed(config.policy)))
        patiently(lambda: revive_known(broker, tasks))
        pool = HostedPool(spawner, marks, selectors.DefaultSelector(), kinds)
        policies = {name: task.policy for name, task in tasks.items()}
        reception = make_reception(config, home, tasks, broker, backend, clock, partial(_end_worker, parent_pid))
        node = Node(config, broker, backend, policies, pool, clock, reception)
        spawner.ready()
        return node.run()
    finally:
        broker.close()
        if backend is not None:
            backend.close()


def _end_worker(main_pid: int) -> None:
    """Begin the warm end of the worker: it is the main process that ends it, and starts no new node then."""
    if os.getppid() == main_pid:
        os.kill(main_pid, signal.SIGTERM)


def records_needed(policy: EnginePolicy) -> int:
    """How many slots' marks the children of a worker's pools may need at once."""
    return sum(_places(pool, policy) * records_of(facts_of(pool)) for pool in policy.pools)


def _places(pool: PoolPolicy, policy: EnginePolicy) -> int:
    if not facts_of(pool).by_signal:
        return pool.children * _PLACES_PER_LARGE_CHILD
    return pool.children * _PLACES_PER_CHILD + policy.extra_max


def _share_marks(broker: Any, spawner: TreeSpawner, records: int) -> Marks:
    size = _MARKS_UNIT_BYTES * -(-records * RECORD_BYTES // _MARKS_UNIT_BYTES)
    kept = marks_descriptor(broker, size)
    if kept is None:
        fd, offset = os.memfd_create("celeriac-marks"), 0
        os.ftruncate(fd, size)
    else:
        fd, offset = kept
    spawner.share_marks(fd, offset, size)
    marks = map_marks(fd, offset, size)
    if kept is None:
        os.close(fd)
    assert marks.records >= records
    return marks
