"""What tools do to the queues of a memory store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from celeriac.model.message import DeadLetter, Depth, Waiting, WaitingState
from celeriac.stores.memory import Buried, Flag, Held, MemoryStore
from celeriac.stores.memory_bells import MemoryBell


def depth(store: MemoryStore, queues: Sequence[str]) -> list[Depth]:
    """Counts of the named queues, or of all, sorted by name."""
    with store.lock:
        store.return_expired()
        claimed = Counter(held.message.queue for held, _ in store.claimed.values())
        dead = Counter((buried.held.message.queue, buried.parked) for buried in store.dead.values())
        counts = []
        for name in sorted(set(queues) or store.lines):
            line = store.lines.get(name)
            if line is not None:
                store.promote(line)
            counts.append(
                Depth(
                    queue=name,
                    ready=len(line.ready) if line else 0,
                    delayed=len(line.delayed) if line else 0,
                    claimed=claimed[name],
                    dead=dead[name, False],
                    parked=dead[name, True],
                    paused=line.paused if line else False,
                )
            )
        return counts


def peek(store: MemoryStore, queue: str, limit: int, state: WaitingState | None = None) -> list[Waiting]:
    """The next messages in the order of delivery; those of one state if `state` names it."""
    with store.lock:
        store.return_expired()
        line = store.lines.get(queue)
        if line is None:
            return []
        store.promote(line)
        held = [store.waiting[key] for _, key in sorted(line.ready) + sorted(line.delayed)]
        views = [
            Waiting(one.message, "ready" if one.due_at is None else "delayed", one.due_at, one.attempt, one.crashes)
            for one in held
        ]
        for key in sorted(store.claimed):
            one = store.claimed[key][0]
            if one.message.queue == queue:
                views.append(Waiting(one.message, "claimed", None, one.attempt, one.crashes))
        wanted = views if state is None else [view for view in views if view.state == state]
        return wanted[: max(limit, 0)]


def purge(store: MemoryStore, queue: str) -> int:
    """Delete what waits in a queue."""
    with store.lock:
        line = store.lines.get(queue)
        if line is None:
            return 0
        keys = [key for _, key in line.ready] + [key for _, key in line.delayed]
        line.ready.clear()
        line.delayed.clear()
        for key in keys:
            store.left(store.waiting.pop(key))
        return len(keys)


def dead(store: MemoryStore, queue: str | None, limit: int) -> list[DeadLetter]:
    """Dead and parked letters, newest first."""
    with store.lock:
        return [
            DeadLetter(one.held.message, one.reason, one.at, one.held.crashes, one.parked)
            for one in reversed(store.dead.values())
            if queue is None or one.held.message.queue == queue
        ][: max(limit, 0)]


def revive(store: MemoryStore, ids: Sequence[str], parked_tasks: Sequence[str]) -> int:
    """Put dead letters back, their crashes and their failure forgotten."""
    by_id, tasks = frozenset(ids), frozenset(parked_tasks)

    def wanted(one: Buried) -> bool:
        return one.held.message.id in by_id or (one.parked and one.held.message.task in tasks)

    with store.lock:
        held = _place_again(store, [key for key, one in store.dead.items() if wanted(one)])
        for one in held:
            store.results.forget_failure(one.message.id)
        return len(held)


def drop(store: MemoryStore, ids: Sequence[str]) -> int:
    """Delete dead letters for good."""
    by_id = frozenset(ids)
    with store.lock:
        held = _dig_out(store, [key for key, one in store.dead.items() if one.held.message.id in by_id])
        for one in held:
            store.left(one)
        return len(held)


def _dig_out(store: MemoryStore, keys: Sequence[int]) -> list[Held]:
    return [store.dead.pop(key).held for key in keys]


def _place_again(store: MemoryStore, keys: Sequence[int]) -> list[Held]:
    held = _dig_out(store, keys)
    for one in held:
        one.crashes = 0
        store.place(one, None)
    if held:
        store.wake()
    return held


def pause(store: MemoryStore, queue: str, paused: bool) -> None:
    """Stop or resume deliveries from a queue, known or not."""
    with store.lock:
        store.line(queue).paused = paused
        store.wake()


def cancel(store: MemoryStore, ids: Sequence[str], keep_s: float) -> None:
    """Flag tasks as cancelled, and put back their parked letters."""
    by_id = frozenset(ids)
    with store.lock:
        store.expire_flags()
        until_at = store.clock.wall() + keep_s
        for task_id in ids:
            store.flags[task_id] = Flag(until_at, keep_s, store.last_key)
        _place_again(store, [key for key, one in store.dead.items() if one.parked and one.held.message.id in by_id])


def listen(store: MemoryStore, queues: Sequence[str]) -> MemoryBell:
    """A bell for these queues."""
    bell = MemoryBell(queues)
    with store.lock:
        store.bells.add(bell)
    return bell


def unlisten(store: MemoryStore, bell: MemoryBell) -> None:
    """Give a bell up."""
    with store.lock:
        store.bells.discard(bell)
        bell.close()


def ring(store: MemoryStore, queue: str) -> None:
    """Have those look that wait for this queue."""
    with store.lock:
        store.woken.notify_all()
        for bell in store.bells:
            if queue in bell.queues:
                bell.ring()


def next_due_at(store: MemoryStore, queues: Sequence[str]) -> float | None:
    """When the next delayed message of these queues becomes due."""
    with store.lock:
        lines = [store.lines.get(name) for name in queues]
        return min((one.delayed[0][0] for one in lines if one is not None and one.delayed), default=None)


def version(store: MemoryStore) -> int:
    """Grows whenever a taker could find something new; what ended leases held has come back before."""
    with store.lock:
        store.return_expired()
        return store.version
