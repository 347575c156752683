from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core.retry import (
    Again,
    Attempt,
    Backoff,
    GiveUp,
    automatic_delay_s,
    backoff_s,
    decide_retry,
    retries_automatically,
)
from celeriac.model.errors import Ignore, MaxRetriesExceededError, Reject, Retry

factors = st.floats(0, 1e6, allow_nan=False)
chances = st.floats(0, 1, exclude_max=True)
counts = st.integers(0, 10_000)
limits_s = st.integers(0, 10**9)


@given(factors, counts, limits_s)
def test_the_delay_is_the_cut_factor_doubled_per_retry_and_capped(factor, retries, delay_max_s):
    expected = min(delay_max_s, int(max(1, factor)) * 2**retries)
    assert backoff_s(factor, retries, delay_max_s) == expected


@given(factors, counts, limits_s, chances)
def test_jitter_stays_between_nothing_and_the_whole_delay(factor, retries, delay_max_s, chance):
    assert 0 <= backoff_s(factor, retries, delay_max_s, chance) <= backoff_s(factor, retries, delay_max_s)


@given(factors, counts, limits_s)
def test_jitter_reaches_both_ends(factor, retries, delay_max_s):
    whole = backoff_s(factor, retries, delay_max_s)
    assert backoff_s(factor, retries, delay_max_s, 0.0) == 0
    assert backoff_s(factor, retries, delay_max_s, 1 - 2**-53) == whole


@given(st.integers(1, 6), st.integers(0, 8))
def test_every_whole_delay_is_as_likely_as_every_other(factor, retries):
    whole = min(600, factor * 2**retries)
    drawn = [backoff_s(factor, retries, 600, (step + 0.5) / (whole + 1)) for step in range(whole + 1)]
    assert drawn == list(range(whole + 1))


@given(factors, counts, st.integers(-1000, -1))
def test_the_delay_is_never_negative(factor, retries, delay_max_s):
    assert backoff_s(factor, retries, delay_max_s) == 0


@given(factors, st.integers(0, 200), limits_s)
def test_later_retries_never_wait_less(factor, retries, delay_max_s):
    assert backoff_s(factor, retries, delay_max_s) <= backoff_s(factor, retries + 1, delay_max_s)


@given(counts, chances, st.none() | st.floats(0, 1e6))
def test_without_back_off_the_countdown_holds_and_else_the_default(retries, chance, countdown_s):
    backoff = Backoff(countdown_s=countdown_s, default_delay_s=180)
    assert automatic_delay_s(backoff, retries, chance) == (180 if countdown_s is None else countdown_s)


@given(counts, chances)
def test_back_off_wins_over_a_countdown(retries, chance):
    backoff = Backoff(factor=2, countdown_s=7, jitter=False)
    assert automatic_delay_s(backoff, retries, chance) == backoff_s(2, retries)
    jittered = Backoff(factor=2, countdown_s=7)
    assert automatic_delay_s(jittered, retries, chance) == backoff_s(2, retries, 600, chance)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_limit_of_n_allows_n_retries(retries, limit):
    decided = decide_retry(Attempt("t", "id", retries, limit))
    assert isinstance(decided, Again if retries < limit else GiveUp)


@given(counts)
def test_no_limit_means_again_and_again(retries):
    assert decide_retry(Attempt("t", "id", retries, None)) == Again(180)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_countdown_wins_over_the_default(countdown_s, default_s):
    again = decide_retry(Attempt("t", "id", 0, 3), countdown_s=countdown_s, default_delay_s=default_s)
    assert again == Again(countdown_s)


def test_an_eta_wins_over_a_countdown():
    eta = datetime(2030, 1, 1, tzinfo=timezone.utc)
    again = decide_retry(Attempt("t", "id", 0, 3), countdown_s=5, eta=eta)
    assert isinstance(again, Again)
    assert again.when == eta


def test_used_up_retries_give_the_callers_exception_back_with_the_current_one_as_its_cause():
    current, given_error = KeyError("a"), ValueError("b")
    decided = decide_retry(Attempt("t", "id", 3, 3, current=current), given_error)
    assert isinstance(decided, GiveUp)
    assert (decided.error, decided.cause) == (given_error, current)
    same = decide_retry(Attempt("t", "id", 3, 3, current=current), current)
    assert isinstance(same, GiveUp)
    assert (same.error, same.cause) == (current, None)


def test_used_up_retries_without_an_exception_say_so():
    decided = decide_retry(Attempt("proj.add", "id-1", 3, 3, (2,), {"y": 3}))
    assert isinstance(decided, GiveUp)
    assert isinstance(decided.error, MaxRetriesExceededError)
    assert "proj.add[id-1]" in str(decided.error)
    assert decided.error.task_args == (2,)
    assert decided.error.task_kwargs == {"y": 3}


@pytest.mark.parametrize("error", [Ignore(), Retry("later")])
def test_what_a_task_raises_to_be_left_alone_is_not_retried(error):
    assert not retries_automatically(error, (Exception,))


def test_a_reject_is_retried_where_every_exception_is():
    assert retries_automatically(Reject("no"), (Exception,))


def test_subclasses_match_and_exclusions_win():
    assert retries_automatically(ConnectionResetError(), (OSError,))
    assert not retries_automatically(ConnectionResetError(), (OSError,), (ConnectionError,))
    assert retries_automatically(FileNotFoundError(), (OSError,), (ConnectionError,))
    assert not retries_automatically(ValueError(), (OSError,))
    assert not retries_automatically(ValueError(), ())
