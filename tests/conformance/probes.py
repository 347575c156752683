"""What counts the round trips of the embedded stores, without their knowledge."""

import threading


class SqliteProbe:
    """Transactions of all connections of a store, as SQLite itself traces them: a statement outside of one is one."""

    def __init__(self, adapter):
        self._count = 0
        for link in (adapter._store.main, adapter._store.beat):
            self._watch(link)

    def count(self):
        return self._count

    def _watch(self, link):
        connect = link._connect

        def connect_and_trace(deadline):
            conn = connect(deadline)
            conn.set_trace_callback(self._tracer())
            return conn

        link._connect = connect_and_trace
        if link._conn is not None:
            link._conn.set_trace_callback(self._tracer())

    def _tracer(self):
        inside = False

        def trace(statement):
            nonlocal inside
            word = statement.split(None, 1)[0].lower()
            if word in ("commit", "rollback"):
                inside = False
            elif not inside and word != "--":
                self._count += 1
                inside = word == "begin"

        return trace


class CountingLock:
    """A reentrant lock that counts how often it was taken by who did not have it."""

    def __init__(self):
        self._lock = threading.RLock()
        self._depth = 0
        self.count = 0

    def acquire(self, *wait):
        got = self._lock.acquire(*wait)
        if got:
            self._depth += 1
            self.count += self._depth == 1
        return got

    def release(self):
        self._depth -= 1
        self._lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()

    # What `threading.Condition` asks of a reentrant lock; a waiter that wakes up takes it again.

    def _release_save(self):
        depth, self._depth = self._depth, 0
        return depth, self._lock._release_save()

    def _acquire_restore(self, saved):
        self._lock._acquire_restore(saved[1])
        self._depth = saved[0]
        self.count += 1

    def _is_owned(self):
        return self._lock._is_owned()


class MemoryProbe:
    """How often the lock of a memory store was taken."""

    def __init__(self, adapter):
        store = adapter._store
        self._lock = CountingLock()
        store.lock = self._lock
        store.woken = threading.Condition(self._lock)
        store.results._arrived = threading.Condition(self._lock)
        store.topics._arrived = threading.Condition(self._lock)
        store.kv._lock = self._lock

    def count(self):
        return self._lock.count
