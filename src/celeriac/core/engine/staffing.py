"""How many children a pool should have: as many as it was told to, and stand-ins for those whose jobs wait.

Where a child has one slot and its own process, a job that waits for the result of another one keeps the whole child.
Another child takes its place meanwhile; when the job goes on, one of them becomes spare: it is given nothing more, and
ends unless it is wanted again soon.
"""

from __future__ import annotations

from celeriac.core.engine.children import kill, leave_if_empty, rest, spawn
from celeriac.core.engine.dispatch import give_alone, not_begun, recall
from celeriac.core.engine.events import Now, Resize
from celeriac.core.engine.state import ALONE_MAX, LINGER_S, SPARE, Child, Out, Pool, State


def missing(state: State, pool: Pool) -> int:
    """How many children this pool has too few, negative if too many. Spare ones, and those that leave, count as none."""
    staying = waiting = 0
    for child in pool.hosts:
        if child.replace:
            staying += 1
            waiting += child.waits > 0
    coming = sum(1 for start in state.spawns if start.pool is pool and not start.alone)
    stand_ins = 0 if pool.shared else min(state.policy.extra_max, waiting)
    return pool.target + stand_ins - staying - coming


def staff(state: State, pool: Pool, now: Now, out: Out) -> None:
    """Put children in place of those whose jobs wait, or make those spare that are too many."""
    if state.stopping:
        return
    # What a spare one runs may wait, too: then it is no help.
    while pool.spares and missing(state, pool) > 0:
        pool.hosts.append(pool.spares.pop())
    lacking = missing(state, pool)
    for _ in range(lacking):
        spawn(state, out, pool)
    if lacking >= 0:
        return
    lacking += _call_off(state, pool, -lacking)
    # Who has least to do goes first; a job that waits holds its child.
    idle_first = sorted(
        (child for child in pool.hosts if child.replace and not child.waits), key=lambda child: len(child.flights)
    )
    for child in idle_first[: max(0, -lacking)]:
        pool.hosts.remove(child)
        pool.spares.append(child)
        rest(state, child, now)
        flights = not_begun(child)
        if flights:
            recall(child, flights, out)


def relieve(state: State, child: Child, now: Now) -> None:
    """A child has nothing to do, while a spare one of its pool does: it becomes the spare one, so that not more run
    than should."""
    pool = child.home
    busy = next((spare for spare in pool.spares if spare.flights and not spare.waits), None)
    if busy is None or child not in pool.hosts or child.leaving or not child.replace:
        return
    pool.spares.remove(busy)
    pool.hosts.remove(child)
    pool.hosts.append(busy)
    pool.spares.append(child)
    rest(state, child, now)


def _call_off(state: State, pool: Pool, most: int) -> int:
    """Drop starts of children that are not needed any more; how many."""
    dropped = 0
    for start in [start for start in state.spawns if start.pool is pool and not start.alone][:most]:
        state.spawns.remove(start)
        dropped += 1
    return dropped


def retire_spare(state: State, child: Child, now: Now, out: Out) -> None:
    """A child may have had no purpose for long enough: then it goes."""
    child.resting = False
    if child not in child.home.spares and not child.alone:
        return
    goes_at = max(child.progress_at, child.rests_from) + LINGER_S
    if child.flights or not child.up or goes_at > now.monotonic:
        child.resting = True
        state.alarm(goes_at if goes_at > now.monotonic else now.monotonic + LINGER_S, SPARE, child.id)
    else:
        child.replace = False
        child.leaving = True
        leave_if_empty(state, child, now, out)


def on_resize(state: State, event: Resize, now: Now, out: Out) -> None:
    """Start more children, or let the idle ones go first and the others when they have nothing left."""
    pool = state.home if event.pool is None else state.pools.get(event.pool)
    if pool is None:
        return
    pool.target = max(0, event.children)
    if state.stopping or pool.dormant:
        return
    lacking = missing(state, pool)
    if lacking >= 0:
        staff(state, pool, now, out)
        return
    lacking += _call_off(state, pool, -lacking)
    staying = [child for child in pool.hosts if child.replace and not child.waits]
    staying.sort(key=lambda child: (child.up, len(child.flights)))
    for child in staying[: max(0, -lacking)]:
        child.replace = False
        child.leaving = True
        flights = not_begun(child)
        if not child.up:
            kill(child, out)
        elif flights:
            recall(child, flights, out)
        leave_if_empty(state, child, now, out)


def awaken(state: State, pool: Pool, now: Now, out: Out) -> None:
    """Start a pool that waited for its first task."""
    pool.dormant = False
    pool.started_at = now.monotonic
    for _ in range(pool.target):
        spawn(state, out, pool)


def fill_alone(state: State, pool: Pool, now: Now, out: Out) -> None:
    """Give each suspect a child to itself; start some, but few."""
    suspects = pool.suspects
    for child in pool.alone:
        if suspects and child.up and not child.leaving and not child.flights:
            give_alone(state, child, suspects.popleft(), now, out)
    if not suspects or state.stopping or not pool.target:
        return
    # One whose job waits is not counted: what it waits for may be a suspect, too.
    waiting = min(state.policy.extra_max, sum(1 for child in pool.alone if child.waits))
    there = sum(1 for child in pool.alone if not child.leaving) - waiting
    there += sum(1 for start in state.spawns if start.pool is pool and start.alone)
    busy = sum(1 for child in pool.alone if child.flights and not child.waits)
    for _ in range(min(ALONE_MAX, busy + len(suspects)) - there):
        spawn(state, out, pool, alone=True)
