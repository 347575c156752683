"""Breaking into one job: it hits the body of that job, or nothing."""

from __future__ import annotations

import random
import time

import pytest

from celeriac.model.errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.wire.frames import Done
from unit.pools.bodies import CAUGHT, INNER, WRITES, WRITTEN, board
from unit.pools.conftest import CHILD, LIMIT_S, MODES, Mode

ERRORS = {"soft": SoftTimeLimitExceeded, "hard": TimeLimitExceeded, "terminate": Terminated}


@pytest.fixture(params=["hold", "spin"])
def body(request: pytest.FixtureRequest) -> str:
    """A body that lets others run, and one that does not."""
    return request.param


def test_a_soft_break_in_ends_the_body_with_its_exception(host, mode, body):
    hosting = host(mode)
    seq = hosting.job(body)
    hosting.begun(seq)
    hosting.break_in(seq)
    (error,) = hosting.ended(seq)
    assert type(error) is SoftTimeLimitExceeded
    assert "SoftTimeLimitExceeded" in (hosting.done()[seq].records[0].payload.decode())
    assert hosting.ended(hosting.job("note"))


@pytest.mark.parametrize("how", ["hard", "terminate"])
def test_a_hard_break_in_ends_the_body_with_its_exception_and_no_neighbour(host, many, body, how):
    hosting = host(many)
    neighbours = hosting.jobs(2, "hold")
    hosting.begun(*neighbours)
    seq = hosting.job(body)
    hosting.begun(seq)
    hosting.break_in(seq, how)
    (error,) = hosting.ended(seq)
    assert type(error) is ERRORS[how]
    assert error.args == ((15,) if how == "terminate" else (LIMIT_S,))
    assert hosting.done()[seq].state == "FAILURE"
    assert set(hosting.done()) == {seq}
    hosting.go()
    assert hosting.ended(*neighbours) == neighbours


@pytest.mark.parametrize("how", ["hard", "terminate"])
def test_in_a_process_of_its_own_a_hard_break_in_ends_the_process(host, how):
    hosting = host(MODES["prefork"])
    seq = hosting.job("hold")
    hosting.begun(seq)
    hosting.break_in(seq, how)
    gone = hosting.left()
    assert gone.running == (seq,)
    assert gone.status in {"signal 9", "signal 15"}


def test_the_body_may_catch_a_soft_break_in_and_end_as_it_likes(host, mode):
    hosting = host(mode)
    seq = hosting.job("catch")
    hosting.begun(seq)
    hosting.break_in(seq)
    assert hosting.ended(seq) == ["cleaned up"]
    assert board[CAUGHT] == 1


def test_a_hard_break_in_is_never_retried(host, many):
    hosting = host(many)
    seq = hosting.job("retry")
    hosting.begun(seq)
    hosting.break_in(seq, "hard")
    (error,) = hosting.ended(seq)
    done = hosting.done()[seq]
    assert (done.state, done.follow_ups) == ("FAILURE", ())
    assert type(error) is TimeLimitExceeded


def test_soft_then_hard_is_hard(host, many):
    hosting = host(many)
    seq = hosting.job("retry")
    hosting.begun(seq)
    hosting.break_in(seq)
    hosting.break_in(seq, "hard")
    hosting.ended(seq)
    assert hosting.done()[seq].state in {"FAILURE", "RETRY"}  # RETRY: the soft one had ended it before
    seqs = hosting.jobs(8, "note")
    assert hosting.ended(*seqs) == seqs


def test_a_job_that_has_ended_or_was_never_given_is_not_broken_into(host, many):
    hosting = host(many)
    first = hosting.jobs(4, "note")
    hosting.ended(*first)
    running = hosting.jobs(2, "hold")
    hosting.begun(*running)
    for seq in (*first, 999_999):
        for how in ERRORS:
            hosting.break_in(seq, how)
    assert hosting.recalled(running) == set()  # heard after them
    hosting.pump(0.1)
    hosting.go()
    assert hosting.ended(*running) == running


def test_a_job_that_has_not_begun_is_not_broken_into(host, many):
    hosting = host(many)
    running = hosting.jobs(many.slots, "hold")
    hosting.begun(*running)
    waiting = hosting.job("note")
    hosting.break_in(waiting)
    assert hosting.recalled([]) == set()
    hosting.go()
    assert hosting.ended(*running, waiting) == [*running, waiting]


def test_a_blocked_thread_is_broken_into_when_its_call_returns(host):
    hosting = host(MODES["threads"])
    seq = hosting.job("hold")
    hosting.begun(seq)
    hosting.break_in(seq, "hard")
    (error,) = hosting.ended(seq)
    assert type(error) is TimeLimitExceeded


def test_what_a_coroutine_awaits_is_cancelled_with_it(host):
    for name in ("asyncio", "prefork, coroutines", "threads, coroutines"):
        hosting = host(MODES[name])
        seq = hosting.job("inner_tasks")
        hosting.begun(seq)
        hosting.break_in(seq)
        (error,) = hosting.ended(seq)
        assert type(error) is SoftTimeLimitExceeded
        hosting.until(lambda: board[INNER] == 1)


class Volley:
    """Gives many short jobs and breaks into some of them at random times, many of them too late."""

    def __init__(self, hosting, seed: int, body: str) -> None:
        self.hosting = hosting
        self.random = random.Random(seed)
        self.body = body
        self.asked: dict[int, set[str]] = {}

    def fire(self, rounds: int) -> dict[int, Done]:
        """Outcomes of all jobs, when they have ended."""
        hosting, seqs = self.hosting, []
        for _ in range(rounds):
            batch = hosting.jobs(4, self.body, self.random.uniform(0.002, 0.010))
            seqs += batch
            for seq in batch:
                self._await(lambda seq=seq: board[seq], 0.02)
                ends_at = time.monotonic() + self.random.uniform(0, 0.011)
                self._await(lambda ends_at=ends_at: time.monotonic() > ends_at, 0.02)
                self._break_in(seq)
                if self.random.random() < 0.3:
                    self._break_in(self.random.choice(batch))
            hosting.pump(0)
        hosting.until(lambda: hosting.gone or set(seqs) <= set(hosting.done()), 20)
        return hosting.done()

    @staticmethod
    def _await(condition, within_s: float) -> None:
        """Without hearing the child, so that the moment can be chosen."""
        deadline = time.monotonic() + within_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0)

    def _break_in(self, seq: int) -> None:
        how = self.random.choice(tuple(ERRORS))
        self.asked.setdefault(seq, set()).add(ERRORS[how].__name__)
        self.hosting.break_in(seq, how)


def _fire(hosting, seed: int, body: str, break_ins: int, within_s: float) -> None:
    volley = Volley(hosting, seed, body)
    deadline = time.monotonic() + within_s
    done: dict[int, Done] = {}
    states: set[str] = set()
    while (sum(map(len, volley.asked.values())) < break_ins or len(states) < 2) and time.monotonic() < deadline:
        done = volley.fire(10)
        states = {frame.state for frame in done.values()}
    assert hosting.gone is None
    for seq, frame in done.items():
        if frame.state == "SUCCESS":
            continue
        assert frame.state == "FAILURE", frame
        text = frame.records[0].payload.decode()
        assert any(f'"{name}"' in text for name in volley.asked.get(seq, ())), (seq, volley.asked.get(seq), text)
    # Some hit, some came too late; what is written together is.
    assert states == {"SUCCESS", "FAILURE"}
    assert board[WRITES] == board[WRITTEN]
    after = hosting.jobs(20, "note")
    assert hosting.ended(*after) == after


@pytest.mark.parametrize("body", ["short", "store"])
def test_break_ins_near_the_end_hit_only_the_job_they_name(host, many, body):
    _fire(host(many), 7, body, 150, 20)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("body", ["short", "store"])
def test_a_thousand_break_ins_hit_only_the_job_they_name(host, many, body, seed):
    _fire(host(many), seed, body, 1000, 40)


def test_break_ins_at_the_end_of_coroutines_in_one_process_hit_no_other(host):
    hosting = host(Mode("prefork", "async", 1))
    rng = random.Random(3)
    asked, seqs = set(), []
    for _ in range(150):
        seqs.append(hosting.job("short", rng.uniform(0, 0.002)))
        hosting.pump(rng.choice((0, 0.001)))
        if rng.random() < 0.7:
            asked.add(seqs[-1])
            hosting.break_in(seqs[-1])
    hosting.until(lambda: set(seqs) <= set(hosting.done()))
    failed = {seq for seq, frame in hosting.done().items() if frame.state != "SUCCESS"}
    assert failed <= asked
    hosting.pool.retire(CHILD)
    assert hosting.left().status == "exit code 0"
