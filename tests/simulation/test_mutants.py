"""The checkers are checked: an engine with one planted fault is caught within a bounded number of clusters."""

from __future__ import annotations

from math import inf

import msgspec
import pytest

from celeriac.core.engine import (
    arrive,
    aside,
    breaking,
    dispatch,
    drain,
    dying,
    hunger,
    prefetch,
    running,
    settling,
    step,
    waits,
)
from celeriac.core.engine.effects import Interrupt, Job, Run, Take
from celeriac.core.engine.events import (
    Cancelled,
    Confirmed,
    Delivered,
    Died,
    Finished,
    LeaseLost,
    Resize,
    Resumes,
    Started,
    Stop,
)
from celeriac.core.engine.state import State
from celeriac.model.message import Release
from celeriac.testing.simulator import simulate
from celeriac.testing.simulator_plan import MIXED_FROM

SEEDS_MAX = 400
"""A fault that hides in so many clusters is not caught."""


def nothing(*args, **kwargs):
    """In place of something that matters."""


def handle(patch, event, handler):
    """Put `handler(original, state, event, now, out)` in place of an event's handler."""
    original = step._HANDLERS[event]
    patch.setitem(step._HANDLERS, event, lambda *args: handler(original, *args))


def wrap(patch, module, name, wrapper):
    """Put `wrapper(original, *args)` in place of a function."""
    original = getattr(module, name)
    patch.setattr(module, name, lambda *args, **kwargs: wrapper(original, *args, **kwargs))


def policy(patch, **changes):
    original = step.new_state
    patch.setattr(step, "new_state", lambda given, tasks: original(msgspec.structs.replace(given, **changes), tasks))


def never_recalls(patch):
    patch.setattr(prefetch, "recall", nothing)


def counts_a_crash_for_what_never_began(patch):
    def everything(original, state, event, now, out):
        child = state.children.get(event.child)
        held = tuple(child.flights) if child is not None else ()
        original(state, msgspec.structs.replace(event, running=held), now, out)

    handle(patch, Died, everything)


def forgets_what_it_should_hand_back(patch):
    for module in (aside, settling, drain, dispatch):
        patch.setattr(module, "hand_back", nothing)


def runs_at_most_once_before_it_is_confirmed(patch):
    def at_once(original, state, child, flight, out):
        original(state, child, flight, out)
        out.effects.append(Run(child.id, (Job(flight.seq, flight.arrival),)))

    wrap(patch, dispatch, "_acknowledge_first", at_once)


def runs_what_was_confirmed_as_stale(patch):
    def all_is_fine(original, state, event, now, out):
        original(state, Confirmed(event.done + event.stale, ()), now, out)

    handle(patch, Confirmed, all_is_fine)


def ignores_the_crash_limit(patch):
    policy(patch, crash_limit=1_000_000, crash_delays_s=(0.0,))


def buries_at_the_first_crash(patch):
    policy(patch, crash_limit=1)


def acknowledges_what_it_should_bury(patch):
    def lenient(original, state, event, now, out):
        original(state, event, now, out)
        for place, item in enumerate(out.items):
            if not item.final and item.records and getattr(item.verdict, "reason", ""):
                out.items[place] = msgspec.structs.replace(item, verdict=settling.ACK)

    handle(patch, Finished, lenient)


def asks_for_more_while_it_stops(patch):
    def greedy(original, state, now, out):
        stopping, state.stopping = state.stopping, False
        try:
            original(state, now, out)
        finally:
            state.stopping = stopping

    wrap(patch, step, "hunger", greedy)


def asks_for_more_than_there_is_room_for(patch):
    def greedy(original, state, now, out):
        original(state, now, out)
        if out.take is not None and out.take.limit:
            state.asked = 128
            out.take = Take(128)

    wrap(patch, step, "hunger", greedy)


def asks_only_when_everything_is_idle(patch):
    def lazy(original, state, now, out):
        if all(not child.flights for child in state.children.values()):
            original(state, now, out)

    wrap(patch, step, "hunger", lazy)


def loses_what_children_give_back(patch):
    patch.setattr(running, "take_back", nothing)


def loses_what_a_dead_child_had_not_begun(patch):
    patch.setattr(dying, "take_back", nothing)


def runs_what_came_back_twice(patch):
    def twice(original, state, out, now, flights):
        flights = list(flights)
        original(state, out, now, flights)
        again = [msgspec.structs.replace(flight, seq=state.take_seq()) for flight in flights if not flight.lost]
        for flight in again:
            state.line_of(flight).append(flight)

    wrap(patch, running, "take_back", twice)
    wrap(patch, dying, "take_back", twice)


def sits_on_what_found_no_slot(patch):
    patch.setattr(step, "release_overdue", nothing)


def never_replaces_a_dead_child(patch):
    patch.setattr(step, "spawn_due", nothing)


def replaces_children_while_it_stops(patch):
    def eager(original, state, event, now, out):
        stopping, state.stopping = state.stopping, False
        try:
            original(state, event, now, out)
        finally:
            state.stopping = stopping

    handle(patch, Died, eager)


def tells_the_soft_limit_twice(patch):
    def twice(original, state, now, out):
        before = len(out.effects)
        original(state, now, out)
        out.effects.extend(e for e in out.effects[before:] if isinstance(e, Interrupt) and e.how == "soft")

    wrap(patch, step, "ring", twice)


def never_enforces_the_soft_limit(patch):
    wrap(patch, breaking, "limits_of", lambda original, state, flight: (None, original(state, flight)[1]))


def never_enforces_the_hard_limit(patch):
    patch.setattr(running, "over_hard_limit", nothing)


def never_kills_what_does_not_obey(patch):
    patch.setattr(running, "condemn", nothing)


def blames_the_neighbours_of_what_it_broke_off(patch):
    wrap(patch, dying, "_crash", lambda original, *args, innocent: original(*args, innocent=False))


def forgets_what_ran_in_a_dead_child(patch):
    patch.setattr(dying, "_crash", nothing)


def never_ends(patch):
    patch.setattr(drain, "leave_if_empty", nothing)


def ignores_the_grace(patch):
    handle(patch, Stop, lambda original, state, event, now, out: original(state, Stop(None), now, out))


def settles_what_it_has_lost(patch):
    handle(patch, LeaseLost, nothing)


def runs_what_was_cancelled_while_it_waited(patch):
    def blind(original, state, event, now, out):
        arrivals = tuple(
            msgspec.structs.replace(arrival, delivery=msgspec.structs.replace(arrival.delivery, cancelled=False))
            for arrival in event.arrivals
        )
        original(state, Delivered(arrivals), now, out)

    handle(patch, Delivered, blind)


def does_not_hear_of_cancellations(patch):
    handle(patch, Cancelled, nothing)


def revokes_what_nobody_cancelled(patch):
    def confused(original, state, event, now, out):
        original(state, event, now, out)
        for child in state.children.values():
            for flight in child.flights.values():
                flight.cancel = ""

    handle(patch, Started, confused)


def never_concludes(patch):
    for module in (arrive, dying):
        patch.setattr(module, "conclude", nothing)


def parks_what_it_knows(patch):
    def shy(original, state, event, now, out):
        tasks, state.tasks = state.tasks, {name: task for name, task in state.tasks.items() if name != "quiet"}
        try:
            original(state, event, now, out)
        finally:
            state.tasks = tasks

    handle(patch, Delivered, shy)


def drops_deliveries_that_come_while_it_stops(patch):
    def deaf(original, state, event, now, out):
        if not state.stopping:
            original(state, event, now, out)

    handle(patch, Delivered, deaf)


def forgets_how_to_wake(patch):
    patch.setattr(step, "_next_wake", lambda state: state.ends_at if state.ends_at < inf else None)


def lets_a_full_pool_block_the_others(patch):
    patch.setattr(hunger, "bound", lambda state, now, total, least, surplus, hungry: min(total, least))


def lets_a_full_pool_be_asked_for_ever(patch):
    def endless(state, now):
        state.aside, state.aside_at = state.policy.aside_max / 2, now.monotonic
        return state.aside

    patch.setattr(aside, "refill", endless)
    patch.setattr(aside, "_REST_S", 0.0)


def forgets_when_the_budget_is_there_again(patch):
    def once(original, state, now, *args, **kwargs):
        state.aside_at = now.monotonic
        return original(state, now, *args, **kwargs)

    wrap(patch, hunger, "bound", once)


def never_asks_again_for_the_others_once_that_brought_nothing(patch):
    def gives_up(original, state, now, total, least, surplus, hungry):
        return min(total, least) if state.rest_at > -inf else original(state, now, total, least, surplus, hungry=hungry)

    wrap(patch, hunger, "bound", gives_up)


def puts_off_what_finds_no_room(patch):
    def release(original, state, flight, now, out, *, alone):
        before = len(out.items)
        original(state, flight, now, out, alone=alone)
        out.items[before:] = [msgspec.structs.replace(item, verdict=Release(0.5)) for item in out.items[before:]]

    wrap(patch, aside, "_release", release)


def never_starts_a_pool_on_demand(patch):
    patch.setattr(step, "awaken", nothing)


def runs_everything_in_the_default_pool(patch):
    patch.setattr(State, "pool_of", lambda state, task: state.home)


def replaces_children_in_the_default_pool(patch):
    def elsewhere(original, state, event, now, out):
        before = len(state.spawns)
        original(state, event, now, out)
        state.spawns[before:] = [start._replace(pool=state.home) for start in state.spawns[before:]]

    handle(patch, Died, elsewhere)


def resizes_the_default_pool_alone(patch):
    handle(patch, Resize, lambda original, state, event, now, out: original(state, Resize(event.children), now, out))


def lets_tasks_that_wait_keep_their_child(patch):
    patch.setattr(waits, "staff", nothing)


def lets_tasks_that_wait_keep_their_slot(patch):
    patch.setattr(waits, "_widen", nothing)


def never_hears_that_they_go_on(patch):
    handle(patch, Resumes, nothing)


def keeps_who_stood_in(patch):
    patch.setattr(running, "retire_spare", nothing)


def gives_work_to_who_stood_in(patch):
    patch.setattr(running, "relieve", nothing)
    wrap(patch, waits, "staff", lambda original, state, pool, *args: original(state, pool, *args) or fold(pool))

    def fold(pool):
        pool.hosts.extend(pool.spares)
        pool.spares.clear()


def runs_suspects_among_others(patch):
    patch.setattr(State, "is_suspect", lambda state, flight, pool: False)


def never_runs_suspects(patch):
    patch.setattr(step, "fill_alone", nothing)


def reckons_with_suspects_that_wait(patch):
    def none_waits(original, state, pool, now, out):
        before = [(child, child.waits) for child in pool.alone]
        for child, _ in before:
            child.waits = 0
        original(state, pool, now, out)
        for child, number in before:
            child.waits = number

    wrap(patch, step, "fill_alone", none_waits)


def blames_nobody_for_a_crash(patch):
    wrap(patch, dying, "_crash", lambda original, *args, innocent: original(*args, innocent=True))


def lets_a_run_that_was_ended_say_how_it_ended(patch):
    patch.setattr(running, "_CUT_SHORT", frozenset())


def tells_nobody_of_the_end_of_what_is_linked(patch):
    for module in (settling, dying):
        patch.setattr(module, "is_owed", lambda flight: False)


def concludes_no_linked_message_that_never_ran(patch):
    def bare(original, state, event, now, out):
        arrivals = tuple(
            arrival if arrival.head is None else msgspec.structs.replace(arrival, head=unlinked(arrival.head))
            for arrival in event.arrivals
        )
        original(state, Delivered(arrivals), now, out)

    def unlinked(head):
        return msgspec.structs.replace(head, linked=False)

    handle(patch, Delivered, bare)


MUTANTS = [
    never_recalls,
    counts_a_crash_for_what_never_began,
    forgets_what_it_should_hand_back,
    runs_at_most_once_before_it_is_confirmed,
    runs_what_was_confirmed_as_stale,
    ignores_the_crash_limit,
    buries_at_the_first_crash,
    acknowledges_what_it_should_bury,
    asks_for_more_while_it_stops,
    asks_for_more_than_there_is_room_for,
    asks_only_when_everything_is_idle,
    loses_what_children_give_back,
    loses_what_a_dead_child_had_not_begun,
    runs_what_came_back_twice,
    sits_on_what_found_no_slot,
    never_replaces_a_dead_child,
    replaces_children_while_it_stops,
    tells_the_soft_limit_twice,
    never_enforces_the_soft_limit,
    never_enforces_the_hard_limit,
    never_kills_what_does_not_obey,
    blames_the_neighbours_of_what_it_broke_off,
    forgets_what_ran_in_a_dead_child,
    never_ends,
    ignores_the_grace,
    settles_what_it_has_lost,
    runs_what_was_cancelled_while_it_waited,
    does_not_hear_of_cancellations,
    revokes_what_nobody_cancelled,
    never_concludes,
    parks_what_it_knows,
    drops_deliveries_that_come_while_it_stops,
    forgets_how_to_wake,
    lets_a_full_pool_block_the_others,
    lets_a_full_pool_be_asked_for_ever,
    forgets_when_the_budget_is_there_again,
    never_asks_again_for_the_others_once_that_brought_nothing,
    puts_off_what_finds_no_room,
    never_starts_a_pool_on_demand,
    runs_everything_in_the_default_pool,
    replaces_children_in_the_default_pool,
    resizes_the_default_pool_alone,
    lets_tasks_that_wait_keep_their_child,
    lets_tasks_that_wait_keep_their_slot,
    never_hears_that_they_go_on,
    keeps_who_stood_in,
    gives_work_to_who_stood_in,
    runs_suspects_among_others,
    never_runs_suspects,
    reckons_with_suspects_that_wait,
    blames_nobody_for_a_crash,
    lets_a_run_that_was_ended_say_how_it_ended,
    tells_nobody_of_the_end_of_what_is_linked,
    concludes_no_linked_message_that_never_ran,
]


FIRST_SEED = {
    never_recalls: 46,
    runs_what_was_confirmed_as_stale: 308,
    blames_the_neighbours_of_what_it_broke_off: 1000092,
    ignores_the_grace: 264,
    does_not_hear_of_cancellations: 65,
    drops_deliveries_that_come_while_it_stops: 70,
    runs_what_was_cancelled_while_it_waited: 34,
    reckons_with_suspects_that_wait: 1000156,
    tells_nobody_of_the_end_of_what_is_linked: 1000117,
    never_hears_that_they_go_on: 1000069,
    forgets_when_the_budget_is_there_again: 1000041,
    lets_a_run_that_was_ended_say_how_it_ended: 33,
}
"""Where to look first for the faults that only few clusters show: it only saves time."""


@pytest.mark.parametrize("plant", MUTANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    seeds = (seed for number in range(SEEDS_MAX) for seed in (number, MIXED_FROM + number))
    for seed in (FIRST_SEED.get(plant, 0), *seeds):
        if simulate(seed).violations:
            return
    pytest.fail(f"{plant.__name__} went unnoticed in {SEEDS_MAX} clusters")
