"""What every host does: each job once, its outcome before the next, given back or begun."""

from __future__ import annotations

import os
import signal

import pytest

from celeriac.model.errors import EncodeError, WorkerLostError
from celeriac.wire.frames import Done, Keep, Resumes, Waits
from unit.pools.bodies import CLEANED, GO, HOOKS, LEFT, app, board
from unit.pools.conftest import CHILD, MODES, Mode


def test_every_job_runs_once_and_every_outcome_is_told_once(host, mode):
    hosting = host(mode)
    seqs = [seq for _ in range(10) for seq in hosting.jobs(30, "note")]
    assert hosting.ended(*seqs) == seqs
    assert [board[seq] for seq in seqs] == [1] * len(seqs)


def test_bodies_run_where_their_kind_belongs(host, mode):
    hosting = host(mode)
    assert hosting.ended(*hosting.jobs(8, "loop")) == [True] * 8


def test_as_many_run_at_once_as_there_are_slots_and_not_more(host, mode):
    hosting = host(mode)
    seqs = hosting.jobs(mode.slots + 3, "hold")
    hosting.begun(*seqs[: mode.slots])
    hosting.pump(0.1)
    assert [board[seq] for seq in seqs[mode.slots :]] == [0, 0, 0]
    assert hosting.running() == set(seqs[: mode.slots])
    hosting.go()
    assert hosting.ended(*seqs) == seqs


def test_jobs_begin_in_order(host, mode):
    hosting = host(mode, slots=1)
    seqs = hosting.jobs(30, "note")
    hosting.ended(*seqs)
    assert [frame.seq for frame in hosting.said(Done)] == seqs


def test_marks_show_what_runs_and_nothing_when_all_is_done(host, mode):
    hosting = host(mode)
    assert not hosting.running()
    seqs = hosting.jobs(mode.slots, "hold")
    hosting.begun(*seqs)
    told = hosting.pool.begun()
    assert {(child, seq) for child, seq, _ in told} == {(CHILD, seq) for seq in seqs}
    assert not hosting.pool.begun()
    hosting.go()
    hosting.ended(*seqs)
    hosting.until(lambda: not hosting.running())


def test_a_recall_during_bodies_returns_what_has_not_begun_and_only_that(host, mode):
    hosting = host(mode)
    seqs = hosting.jobs(mode.slots + 6, "hold")
    hosting.begun(*seqs[: mode.slots])
    assert hosting.recalled(seqs[: mode.slots + 3]) == set(seqs[mode.slots : mode.slots + 3])
    assert hosting.recalled(seqs[: mode.slots + 3]) == set()
    hosting.go()
    rest = seqs[: mode.slots] + seqs[mode.slots + 3 :]
    assert hosting.ended(*rest) == rest
    assert set(hosting.done()) == set(rest)
    assert [board[seq] for seq in seqs[mode.slots : mode.slots + 3]] == [0] * 3


def test_a_recall_is_answered_while_a_body_lets_nobody_else_run(host, mode):
    hosting = host(mode)
    first = hosting.job("spin")
    hosting.begun(first)
    seqs = hosting.jobs(mode.slots + 6, "hold")
    back = hosting.recalled(seqs)
    assert back >= set(seqs[-3:])
    assert not hosting.done()
    hosting.go()
    kept = [seq for seq in [first, *seqs] if seq not in back]
    assert hosting.ended(*kept) == kept


def test_told_to_leave_it_gives_back_finishes_what_runs_and_ends(host, mode):
    hosting = host(mode)
    seqs = hosting.jobs(mode.slots + 4, "hold")
    hosting.begun(*seqs[: mode.slots])
    hosting.pool.retire(CHILD)
    hosting.until(
        lambda: any(set(seqs[mode.slots :]) <= set(back.seqs) for back in hosting.frames if hasattr(back, "seqs"))
    )
    assert hosting.gone is None
    hosting.go()
    assert hosting.ended(*seqs[: mode.slots]) == seqs[: mode.slots]
    assert hosting.left().status == "exit code 0"


def test_an_idle_host_that_is_told_to_leave_ends(host, mode):
    hosting = host(mode)
    hosting.ended(*hosting.jobs(3, "note"))
    hosting.pool.retire(CHILD)
    assert hosting.left().status == "exit code 0"


def test_a_host_whose_node_is_gone_ends(host, mode):
    hosting = host(mode)
    hosting.ended(*hosting.jobs(3, "note"))
    hosting.pool.close()
    hosting.until(lambda: not hosting.spawner.pids or hosting.spawner.receive() or None)


def test_after_its_allowance_of_tasks_it_takes_no_more_and_ends(host, mode):
    hosting = host(mode, tasks_per_child_max=5)
    seqs = hosting.jobs(60, "note")
    assert hosting.left().status == "exit code 0"
    done, begun = hosting.done(), [seq for seq in seqs if board[seq]]
    assert set(done) == set(begun)
    assert 5 <= len(done) < 5 + mode.slots
    assert any(frame.retiring for frame in done.values())


def test_after_its_allowance_of_memory_it_ends(host, mode):
    hosting = host(mode, memory_per_child_max_kib=1)
    seqs = hosting.jobs(40, "note")
    assert hosting.left().status == "exit code 0"
    assert 1 <= len(hosting.done()) <= mode.slots
    assert set(hosting.done()) == {seq for seq in seqs if board[seq]}


def test_a_result_that_cannot_be_encoded_fails_its_job_alone(host, mode):
    hosting = host(mode)
    odd, good = hosting.job("odd"), hosting.job("note")
    error, value = hosting.ended(odd, good)
    assert isinstance(error, EncodeError)
    assert value == good


def test_no_run_inherits_the_variables_of_another(host, mode):
    hosting = host(mode)
    for _ in range(3):
        assert hosting.ended(*hosting.jobs(5, "variable")) == [0] * 5


def test_the_failure_of_a_run_elsewhere_is_concluded_without_a_body(host, mode):
    hosting = host(mode)
    seq = hosting.job("note", conclude=("FAILURE", "WorkerLostError", ("signal 9",)))
    (error,) = hosting.ended(seq)
    assert isinstance(error, WorkerLostError)
    assert board[seq] == 0


def test_starts_are_told_before_the_end(host, mode):
    app.conf.task_track_started = True
    try:
        hosting = host(mode)
        hosting.ended(hosting.job("note"))
    finally:
        app.conf.task_track_started = False
    kinds = [type(frame) for frame in hosting.frames if isinstance(frame, (Keep, Done))]
    assert kinds == [Keep, Done]


def test_a_job_that_waits_is_told_once_however_often_it_waits_and_lets_another_one_run(host, mode):
    hosting = host(mode)
    waiting = hosting.jobs(mode.slots, "wait")
    hosting.begun(*waiting)
    hosting.until(lambda: len(hosting.said(Waits)) == mode.slots)
    others = hosting.jobs(5, "note")
    if mode.slots > 1:
        # The child has room for as many more; where it has one slot, another child runs them.
        assert hosting.ended(*others) == others
        assert hosting.running() >= set(waiting)
    hosting.go()
    assert hosting.ended(*waiting, *others) == [*waiting, *others]
    told = [(type(frame), frame.seq) for frame in hosting.frames if isinstance(frame, (Waits, Resumes, Done))]
    for seq in waiting:
        assert [kind for kind, of in told if of == seq] == [Waits, Resumes, Done]


def test_what_has_no_slot_begins_when_another_one_waits(host, many):
    hosting = host(many)
    running = hosting.jobs(many.slots - 1, "hold")
    hosting.begun(*running)
    waiting, *others = hosting.mixed("wait", "note", "note", "note")
    assert hosting.ended(*others) == others
    hosting.go()
    assert hosting.ended(*running, waiting) == [*running, waiting]


def test_when_all_that_waited_goes_on_no_more_than_the_slots_begin(host, many):
    hosting = host(many)
    waiting = hosting.jobs(many.slots, "wait")
    hosting.until(lambda: len(hosting.said(Waits)) == many.slots)
    hosting.go()
    hosting.ended(*waiting)
    board[GO] = 0
    seqs = hosting.jobs(many.slots + 2, "hold")
    hosting.begun(*seqs[: many.slots])
    hosting.pump(0.1)
    assert hosting.running() == set(seqs[: many.slots])
    hosting.go()
    assert hosting.ended(*seqs) == seqs


def test_functions_and_coroutines_share_a_child(host):
    for name in ("threads", "asyncio"):
        hosting = host(MODES[name])
        seqs = [seq for _ in range(40) for kind in ("sync", "async") for seq in hosting.jobs(3, f"note_{kind}")]
        assert hosting.ended(*seqs) == seqs
        assert [board[seq] for seq in seqs] == [1] * len(seqs)


def test_jobs_of_both_kinds_together_fill_the_slots_and_no_more(host):
    hosting = host(MODES["asyncio"])
    functions, coroutines = hosting.jobs(2, "hold_sync"), hosting.jobs(4, "hold_async")
    hosting.until(lambda: len(hosting.running()) == 4)
    hosting.pump(0.1)
    assert len(hosting.running()) == 4
    hosting.go()
    assert hosting.ended(*functions, *coroutines) == functions + coroutines


# How processes end.


@pytest.mark.parametrize("how", ["exit", "memory", "interrupt", "segfault", "kill", "close"])
def test_what_ends_the_process_shows_its_job_in_the_marks(host, mode, how):
    hosting = host(mode)
    before = hosting.jobs(3, "note")
    hosting.ended(*before)
    seq = hosting.job("end", how)
    gone = hosting.left(20)
    assert set(gone.running) - set(before) == {seq}
    assert gone.status != "exit code 0"
    assert seq not in hosting.done()


@pytest.mark.parametrize("how", ["exit", "memory", "interrupt"])
def test_neighbours_of_what_ends_the_process_orderly_may_finish_and_are_not_blamed(host, many, how):
    hosting = host(many)
    neighbours = hosting.jobs(2, "hold")
    hosting.begun(*neighbours)
    seq, after = hosting.job("end", how), hosting.job("note")
    hosting.begun(seq)
    hosting.pump(0.1)
    hosting.go()
    assert hosting.ended(*neighbours) == neighbours
    assert set(hosting.left(20).running) - set(hosting.done()) == {seq}
    assert after in hosting.done() or not board[after]


def test_a_killed_child_shows_all_that_ran_and_nothing_else(host, mode):
    hosting = host(mode)
    hosting.ended(*hosting.jobs(10, "note"))
    seqs = hosting.jobs(mode.slots + 5, "hold")
    hosting.begun(*seqs[: mode.slots])
    hosting.pool.kill(CHILD)
    gone = hosting.left()
    assert gone.status == f"signal {int(signal.SIGKILL)}"
    assert set(gone.running) - set(hosting.done()) == set(seqs[: mode.slots])


def test_outcomes_that_nobody_had_read_are_the_last_words(host, mode):
    hosting = host(mode)
    hosting.ended(hosting.job("note"))
    seqs = hosting.jobs(20, "note")
    while not all(board[seq] for seq in seqs):
        pass
    last = hosting.job("end", "kill")
    os.waitid(os.P_PID, hosting.pool.pids()[CHILD], os.WEXITED | os.WNOWAIT)
    gone = hosting.left()
    # Where several run at once, the last ones may not have told of their end.
    assert set(gone.running) - set(seqs) == {last}
    assert set(hosting.done()) | set(gone.running) == {1, *seqs, last}
    assert len(hosting.done()) > len(seqs) - mode.slots


def test_a_copy_that_a_task_has_forked_ends_when_it_comes_back(host, mode):
    hosting = host(mode)
    neighbour = hosting.job("hold") if mode.slots > 1 else None
    seq = hosting.job("fork")
    assert hosting.ended(seq) == [seq]
    after = hosting.jobs(5, "note")
    assert hosting.ended(*after) == after
    if mode.pool == "asyncio":
        assert board[LEFT] == 0  # not even its body goes on, on a loop that it shares with others
    hosting.go()
    if neighbour is not None:
        assert hosting.ended(neighbour) == [neighbour]
    assert [board[number] for number in (seq, *after)] == [1] * 6


def test_a_copy_that_a_task_has_forked_ends_before_its_hooks(host, mode):
    hosting = host(mode)
    seq = hosting.job("fork_hooked")
    assert hosting.ended(seq) == [seq]
    assert board[HOOKS] == 1


# Coroutines alone.


@pytest.fixture(params=["asyncio", "prefork, coroutines", "threads, coroutines"])
def looped(request: pytest.FixtureRequest) -> Mode:
    """Hosts that run coroutines."""
    return MODES[request.param]


def test_a_coroutine_that_cancels_itself_has_failed_and_the_next_one_runs(host, looped):
    hosting = host(looped)
    seqs = [hosting.job("cancel_itself"), hosting.job("note_async")]
    error, value = hosting.ended(*seqs)
    assert type(error).__name__ == "CancelledError"
    assert value == seqs[1]


def test_a_coroutine_that_cancels_itself_at_its_end_has_returned(host):
    hosting = host(MODES["asyncio"])
    seq = hosting.job("cancel_at_end")
    assert hosting.ended(seq) == [seq]


@pytest.mark.parametrize("how", ["task", "generator"])
def test_what_coroutines_leave_on_the_loop_is_ended_with_the_host(host, looped, how):
    hosting = host(looped)
    assert hosting.ended(hosting.job("leave_behind", how))
    assert board[CLEANED] == 0
    hosting.pool.retire(CHILD)
    assert hosting.left().status == "exit code 0"
    assert board[CLEANED] == (0 if looped.pool == "prefork" else 1)


def test_whoever_cancels_all_tasks_of_the_loop_costs_no_place_and_no_job_that_has_not_begun(host):
    hosting = host(MODES["asyncio"])
    for _ in range(3):
        seqs = hosting.mixed(*["cancel_all", "note_async"] * 20)
        assert hosting.ended(*seqs) == seqs
    held = hosting.jobs(4, "hold")
    hosting.begun(*held)  # as many as ever
    hosting.go()
    assert hosting.ended(*held) == held


def test_a_factory_that_a_task_has_set_is_for_what_tasks_start(host, looped):
    hosting = host(looped)
    seqs = [hosting.job("set_factory"), hosting.job("note_async"), hosting.job("note_sync")]
    assert hosting.ended(*seqs) == seqs
    held = hosting.job("hold_async")
    hosting.begun(held)
    hosting.break_in(held)
    assert [type(end).__name__ for end in hosting.ended(held)] == ["SoftTimeLimitExceeded"]
    hosting.pool.retire(CHILD)
    assert hosting.left().status == "exit code 0"


def test_what_is_left_on_the_loop_may_take_its_time_to_end_also_when_others_had_to_finish(host):
    hosting = host(MODES["asyncio"])
    held = hosting.job("hold")
    assert hosting.ended(hosting.job("leave_behind", "slow task"))
    hosting.begun(held)
    hosting.pool.retire(CHILD)
    hosting.recalled([hosting.job("note")])  # it has heard that it is to leave
    hosting.go()
    assert hosting.left().status == "exit code 0"
    assert board[CLEANED] == 1


@pytest.mark.parametrize("how", ["exit", "error"])
def test_trouble_of_what_was_left_on_the_loop_ends_nothing(host, how):
    hosting = host(MODES["asyncio"])
    hosting.ended(hosting.job("leave_behind", how))
    seqs = hosting.jobs(5, "note")
    assert hosting.ended(*seqs) == seqs


def test_many_coroutines_sleep_at_once(host):
    hosting = host(Mode("asyncio", "async", 1000))
    seqs = hosting.jobs(1000, "hold")
    hosting.begun(*seqs)
    assert len(hosting.pool.begun()) == 1000
    hosting.go()
    assert hosting.ended(*seqs) == seqs
