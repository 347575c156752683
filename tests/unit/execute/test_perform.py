from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time

import msgspec
import pytest

from celeriac.core.engine.effects import Final
from celeriac.model.call import Call
from celeriac.model.context import get_current_run
from celeriac.model.errors import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    WorkerLostError,
)
from celeriac.model.message import Ack, Bury, Message, Release
from celeriac.wire.protocol2 import decode_request
from celeriac.wire.records import decode_record
from celeriac.worker.perform import perform
from unit.execute.sample import SampleTask, message_of, run, seat_of


class RootError(BaseException):
    """Stands for the exceptions of libraries that do not derive from Exception."""


class Unpicklable(Exception):
    def __init__(self, lock):
        super().__init__(lock)

    def __reduce__(self):
        raise TypeError("never")


def raising(error):
    def body():
        raise error

    return body


def retrying(countdown=None, *, then=None, args=()):
    """A body that asks for a retry the way the front does it: a call on the run, then Retry."""

    def body():
        current = get_current_run()
        current.retry_calls.append(Call(id="id-1", task="sample", queue="celery", args=args, retries=1))
        raise then or Retry("later", KeyError("k"), countdown)

    return body


def test_a_value_becomes_a_success_record_and_the_message_is_acknowledged():
    task, performed, meta = run(lambda x, y: x + y, 2, 3)
    assert (performed.state, performed.verdict, performed.follow_ups) == ("SUCCESS", Ack(), ())
    assert (meta.task_id, meta.status, meta.result, meta.traceback) == ("id-1", "SUCCESS", 5, None)
    assert performed.runtime_s >= 0
    assert task.hooks == ["before_start", "body", "on_success", "after_return"]


def test_a_failure_is_recorded_with_its_exception_and_traceback():
    _, performed, meta = run(lambda: {}["key"])
    assert (performed.state, performed.verdict) == ("FAILURE", Ack())
    assert isinstance(meta.result, KeyError)
    assert meta.traceback.startswith("Traceback")
    assert meta.traceback.endswith("KeyError: 'key'\n")


@pytest.mark.parametrize("error", [RootError("x"), GeneratorExit(), asyncio.CancelledError()])
def test_exceptions_that_are_no_exception_subclasses_are_failures_too(error):
    _, performed, meta = run(raising(error))
    assert (performed.state, meta.status) == ("FAILURE", "FAILURE")


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_what_ends_the_process_leaves_perform(error):
    seat = seat_of()
    with pytest.raises(type(error)):
        run(raising(error), seat=seat)
    assert seat.run is None


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_an_exception_that_cannot_be_pickled_or_shown_is_recorded_all_the_same(serializer):
    _, performed, meta = run(raising(Unpicklable(threading.Lock())), seat=seat_of(serializer=serializer))
    assert performed.state == "FAILURE"
    assert meta.status == "FAILURE"
    assert "Unpicklable" in repr(meta.result) or "Unpicklable" in meta.traceback


def test_a_result_that_cannot_be_encoded_is_a_failure_that_says_what_and_calls_on_failure():
    task, performed, meta = run(lambda: {"a": [object()]})
    assert (performed.state, performed.verdict) == ("FAILURE", Ack())
    assert isinstance(meta.result, EncodeError)
    assert "object" in str(meta.result)
    assert task.hooks == ["before_start", "body", "on_failure", "after_return"]


def test_a_result_over_the_limit_is_a_failure_that_names_size_limit_and_setting():
    _, performed, meta = run(lambda: "x" * 5000, seat=seat_of(body_bytes_max=1000))
    assert performed.state == "FAILURE"
    assert isinstance(meta.result, EncodeError)
    text = str(meta.result)
    assert "1000" in text
    assert "task_body_bytes_max" in text
    assert len(performed.records[0].payload) < 5000


def test_a_huge_exception_is_recorded_shortened():
    _, performed, meta = run(raising(ValueError("x" * 100_000)), seat=seat_of(body_bytes_max=10_000))
    assert performed.state == "FAILURE"
    assert len(performed.records[0].payload) < 10_000
    assert isinstance(meta.result, ValueError)
    assert meta.traceback.endswith("x\n")


def test_a_record_carries_lifetime_group_parent_and_reply_address():
    seat = seat_of(expires_s=60.0)
    _, performed, meta = run(lambda: 1, seat=seat, group="g", parent_id="p", reply_to="client-1")
    assert (performed.records[0].expires_s, performed.records[0].reply_to) == (60.0, "client-1")
    assert (meta.group_id, meta.parent_id) == ("g", "p")


def test_extended_records_name_the_call():
    _, _, meta = run(lambda x: x, 2, seat=seat_of(extended=True), retries=1)
    assert (meta.name, meta.args, meta.worker, meta.retries, meta.queue) == ("sample", [2], "node@here", 1, "celery")


class Handle:
    def as_tuple(self):
        return [["other", None], None]


def test_a_returned_result_handle_is_recorded_as_its_tuple_and_children_too():
    def body():
        get_current_run().context.children.append(Handle())
        return Handle()

    _, _, meta = run(body)
    assert meta.result == [["other", None], None]
    assert meta.children == [[["other", None], None]]


@pytest.mark.parametrize(
    ("by_call", "by_task", "stored"),
    [(None, False, 1), (None, True, 0), (True, False, 0), (False, True, 1)],
)
def test_ignored_results_leave_no_record_and_the_call_overrides_the_task(by_call, by_task, stored):
    _, performed, _ = run(lambda: 1, options={"ignore_result": by_task}, ignore_result=by_call)
    assert len(performed.records) == stored


def test_ignored_results_may_be_of_any_kind():
    task, performed, _ = run(object, ignore_result=True)
    assert performed.state == "SUCCESS"
    assert "on_success" in task.hooks


def test_failures_of_ignored_tasks_are_recorded_only_on_request():
    assert run(raising(ValueError()), options={"ignore_result": True})[1].records == ()
    options = {"ignore_result": True, "store_errors_even_if_ignored": True}
    assert run(raising(ValueError()), options=options)[2].status == "FAILURE"
    assert run(lambda: 1, options=options)[1].records == ()


@pytest.mark.parametrize(
    ("body", "options", "state", "verdict", "status"),
    [
        (lambda: 1, {}, "SUCCESS", Ack(), "SUCCESS"),
        (lambda: 1, {"acks_on_failure": False}, "SUCCESS", Ack(), "SUCCESS"),
        (raising(ValueError("no")), {}, "FAILURE", Ack(), "FAILURE"),
        (raising(ValueError("no")), {"acks_late": True}, "FAILURE", Ack(), "FAILURE"),
        (raising(ValueError("no")), {"acks_on_failure": False}, "FAILURE", Bury("failed: ValueError('no')"), "FAILURE"),
        (raising(ValueError("no")), {"acks_on_failure": False, "acks_late": False}, "FAILURE", Ack(), "FAILURE"),
        (raising(Ignore()), {}, "IGNORED", Ack(), None),
        (raising(Reject("bad")), {}, "FAILURE", Bury("rejected: bad"), "FAILURE"),
        (raising(Reject("bad", requeue=True)), {}, "REJECTED", Release(), None),
        (raising(Reject("bad", requeue=True)), {"acks_late": False}, "FAILURE", Ack(), "FAILURE"),
        (raising(Reject("bad")), {"acks_late": False}, "FAILURE", Ack(), "FAILURE"),
        (retrying(), {}, "RETRY", Ack(), "RETRY"),
        (retrying(), {"acks_on_failure": False}, "RETRY", Ack(), "RETRY"),
    ],
)
def test_what_becomes_of_the_message_follows_the_table(body, options, state, verdict, status):
    _, performed, meta = run(body, options=options)
    assert (performed.state, performed.verdict) == (state, verdict)
    assert (meta and meta.status) == status


def test_a_retry_records_its_cause_and_sends_the_next_attempt_with_the_end():
    task, performed, meta = run(retrying(args=(7,)))
    assert isinstance(meta.result, KeyError)
    (message,) = performed.follow_ups
    fields = decode_request(message)
    assert (fields.id, fields.retries, list(fields.args)) == ("id-1", 1, [7])
    assert task.hooks == ["before_start", "body", "on_retry"]


def test_a_retry_that_did_not_leave_the_body_is_sent_beside_the_runs_own_outcome():
    _, performed, meta = run(retrying(then=ValueError("own")))
    assert isinstance(meta.result, ValueError)
    assert len(performed.follow_ups) == 1


def test_a_retry_that_cannot_be_encoded_is_a_failure_and_a_dead_letter():
    task, performed, meta = run(retrying(args=(object(),)))
    assert performed.state == "FAILURE"
    assert performed.follow_ups == ()
    assert isinstance(performed.verdict, Bury)
    assert isinstance(meta.result, EncodeError)
    assert "args[0]" in str(meta.result)
    assert "on_failure" in task.hooks


def test_a_retry_over_the_size_limit_is_a_failure_that_names_it():
    _, performed, meta = run(retrying(args=("x" * 5000,)), seat=seat_of(body_bytes_max=1000))
    assert performed.state == "FAILURE"
    assert "message of the retry" in str(meta.result)


def test_a_hook_may_ask_for_a_retry():
    task = SampleTask(raising(ValueError()))

    def on_failure(*_):
        get_current_run().retry_calls.append(Call(id="id-1", task="sample", queue="celery", retries=1))

    task.on_failure = on_failure
    performed = perform({"sample": task}, message_of(), seat_of())
    assert (performed.state, len(performed.follow_ups)) == ("FAILURE", 1)


def test_a_retry_that_nobody_sent_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "celeriac"):
        _, performed, _ = run(raising(Retry("later")))
    assert performed.state == "RETRY"
    assert [record.action for record in caplog.records] == ["task.retry_not_sent"]


def test_a_started_record_is_written_before_the_body_when_tracked():
    seat, order = seat_of(track_started=True), []
    seat.env.on_started = lambda record: order.append(decode_record(record))
    run(lambda: order.append("body"), seat=seat)
    assert order[1:] == ["body"]
    assert (order[0].status, order[0].result) == ("STARTED", {"pid": os.getpid(), "hostname": "node@here"})


@pytest.mark.parametrize(("setting", "attribute", "reported"), [(True, False, 0), (False, True, 1), (True, None, 1)])
def test_the_task_decides_over_the_setting_whether_its_start_is_tracked(setting, attribute, reported):
    seat, records = seat_of(track_started=setting), []
    seat.env.on_started = records.append
    task = SampleTask(lambda: 1, track_started=attribute)
    perform({"sample": task}, message_of(), seat)
    assert len(records) == reported


def test_an_ignored_task_reports_no_start():
    seat, records = seat_of(track_started=True), []
    seat.env.on_started = records.append
    run(lambda: 1, seat=seat, ignore_result=True)
    assert records == []


def test_a_body_that_cannot_be_decoded_is_a_dead_letter_and_a_failure():
    message = msgspec.structs.replace(message_of(), body=b"\xff not json")
    performed = perform({"sample": SampleTask(lambda: 1)}, message, seat_of())
    assert performed.state == "FAILURE"
    assert isinstance(performed.verdict, Bury)
    assert "decoded" in performed.verdict.reason
    assert isinstance(decode_record(performed.records[0]).result, DecodeError)


def test_a_body_that_cannot_be_decoded_leaves_no_record_if_results_are_ignored():
    message = msgspec.structs.replace(message_of(ignore_result=True), body=b"?")
    assert perform({"sample": SampleTask(None)}, message, seat_of()).records == ()
    message = msgspec.structs.replace(message_of(), body=b"?")
    assert perform({"sample": SampleTask(None, ignore_result=True)}, message, seat_of()).records == ()
    options = {"ignore_result": True, "store_errors_even_if_ignored": True}
    assert len(perform({"sample": SampleTask(None, **options)}, message, seat_of()).records) == 1


def test_content_that_is_not_accepted_is_never_decoded():
    message = msgspec.structs.replace(message_of(), content_type="application/x-python-serialize", body=b"junk")
    performed = perform({"sample": SampleTask(lambda: 1)}, message, seat_of())
    assert isinstance(decode_record(performed.records[0]).result, ContentDisallowed)


def test_an_unknown_task_is_parked():
    performed = perform({}, message_of(), seat_of())
    assert isinstance(performed.verdict, Bury)
    assert performed.verdict.parked
    assert performed.records == ()


def test_wrong_arguments_are_a_failure():
    _, performed, meta = run(lambda x: x)
    assert performed.state == "FAILURE"
    assert isinstance(meta.result, TypeError)


def test_concluding_calls_the_hooks_with_the_rebuilt_exception_and_never_the_body():
    task = SampleTask(lambda: 1 / 0)
    final = Final("FAILURE", "WorkerLostError", ("signal 9 (SIGKILL)",))
    performed = perform({"sample": task}, message_of(args=(1,)), seat_of(), conclude=final)
    meta = decode_record(performed.records[0])
    assert performed.state == "FAILURE"
    assert isinstance(meta.result, WorkerLostError)
    assert meta.result.args == ("signal 9 (SIGKILL)",)
    assert task.hooks == ["on_failure", "after_return"]
    assert isinstance(task.calls[0][1], WorkerLostError)
    assert get_current_run() is None


def test_concluding_a_revoked_task_records_it_and_calls_no_hook():
    task = SampleTask(lambda: 1)
    final = Final("REVOKED", "TaskRevokedError", ("terminated",))
    performed = perform({"sample": task}, message_of(), seat_of(), conclude=final)
    meta = decode_record(performed.records[0])
    assert (meta.status, type(meta.result), task.hooks) == ("REVOKED", TaskRevokedError, [])


def test_concluding_an_ignored_task_leaves_no_record():
    final = Final("FAILURE", "WorkerLostError", ("x",))
    performed = perform({"sample": SampleTask(None)}, message_of(ignore_result=True), seat_of(), conclude=final)
    assert performed.records == ()


def test_concluding_an_unknown_task_records_why_it_ended():
    performed = perform({}, message_of(), seat_of(), conclude=Final("FAILURE", "WorkerLostError", ("x",)))
    assert isinstance(decode_record(performed.records[0]).result, WorkerLostError)


def test_concluding_what_cannot_be_decoded_records_why_it_ended():
    message = msgspec.structs.replace(message_of(), body=b"?")
    final = Final("FAILURE", "WorkerLostError", ("x",))
    performed = perform({"sample": SampleTask(None)}, message, seat_of(), conclude=final)
    assert isinstance(decode_record(performed.records[0]).result, WorkerLostError)


@pytest.fixture
def seat():
    """The surroundings of one process, whose event loop is closed at the end."""
    seat = seat_of()
    yield seat
    seat.run_coroutine.close()


def test_a_coroutine_task_runs_on_a_loop_that_is_kept(seat):
    loops = []

    async def body(x):
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        assert get_current_run() is seat.run
        return x

    assert run(body, 1, seat=seat)[2].result == 1
    assert run(body, 2, seat=seat)[2].result == 2
    assert loops[0] is loops[1]


def test_a_coroutine_that_raises_is_a_failure(seat):
    async def body():
        await asyncio.sleep(0)
        raise ValueError("no")

    assert isinstance(run(body, seat=seat)[2].result, ValueError)


def test_a_coroutine_that_ends_the_process_leaves_perform(seat):
    async def body():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(body, seat=seat)


@pytest.fixture
def soft_limit(request):
    """Break into what `seat` runs, by a signal after a short while."""

    def arm(seat, after_s=0.1):
        signal.signal(signal.SIGALRM, lambda *_: seat.break_in(SoftTimeLimitExceeded()))
        signal.setitimer(signal.ITIMER_REAL, after_s)

    before = signal.getsignal(signal.SIGALRM)
    yield arm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def forever():
    while True:
        time.sleep(10)


async def forever_awaiting():
    await asyncio.sleep(60)


async def forever_computing():
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        pass


@pytest.mark.parametrize("body", [forever, forever_awaiting, forever_computing])
def test_a_soft_limit_breaks_into_the_body_which_fails(body, soft_limit, seat):
    soft_limit(seat)
    task, performed, meta = run(body, seat=seat)
    assert performed.state == "FAILURE"
    assert isinstance(meta.result, SoftTimeLimitExceeded)
    assert "on_failure" in task.hooks


def test_a_coroutine_may_clean_up_after_a_soft_limit_and_the_next_one_runs(soft_limit, seat):
    async def body():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "cleaned up"

    async def after():
        return "next"

    soft_limit(seat)
    assert run(body, seat=seat)[2].result == "cleaned up"
    assert run(after, seat=seat)[2].result == "next"


def test_a_soft_limit_in_a_hook_after_the_body_breaks_nothing():
    seat = seat_of()
    task = SampleTask(lambda: 1)
    task.on_success = lambda *_: seat.break_in(SoftTimeLimitExceeded())
    performed = perform({"sample": task}, message_of(), seat)
    assert performed.state == "SUCCESS"


def test_a_soft_limit_that_is_over_before_the_body_begins_is_its_first_deed():
    seat = seat_of()
    seat.break_in(SoftTimeLimitExceeded())
    begun = []
    performed = perform({"sample": SampleTask(lambda: begun.append(1))}, message_of(), seat)
    assert performed.state == "FAILURE"
    assert begun == []


@pytest.mark.parametrize(
    ("body", "throws", "level", "action", "text"),
    [
        (lambda: "value", (), "INFO", "task.succeeded", "succeeded in"),
        (raising(ValueError("no")), (), "ERROR", "task.raised", "raised unexpected: ValueError('no')\nTraceback"),
        (raising(ValueError("no")), (ValueError,), "INFO", "task.raised_expected", "raised expected: ValueError('no')"),
        (retrying(5), (), "INFO", "task.retry", "retry: later"),
        (raising(Ignore()), (), "INFO", "task.ignored", "ignored"),
        (raising(Reject("bad")), (), "WARNING", "task.rejected", "rejected: "),
    ],
)
def test_the_log_says_how_each_run_ended(body, throws, level, action, text, caplog):
    task = SampleTask(body)
    task.throws = throws
    with caplog.at_level(logging.INFO, "celeriac"):
        perform({"sample": task}, message_of(), seat_of())
    (record,) = caplog.records
    assert (record.levelname, record.action) == (level, action)
    assert text in record.getMessage()
    assert record.getMessage().startswith("Task sample[id-1] ")
    assert (record.data["id"], record.data["name"]) == ("id-1", "sample")
    assert record.exc_info is None


def test_an_expected_exception_is_logged_without_its_traceback(caplog):
    task = SampleTask(raising(ValueError("no")))
    task.throws = (ValueError,)
    with caplog.at_level(logging.INFO, "celeriac"):
        perform({"sample": task}, message_of(), seat_of())
    assert "Traceback" not in caplog.records[0].getMessage()


def test_the_log_shows_the_shadow_name_and_a_bounded_result(caplog):
    task = SampleTask(lambda: "x" * 10_000)
    task.resultrepr_maxsize = 20
    with caplog.at_level(logging.INFO, "celeriac"):
        perform({"sample": task}, message_of(shadow="other"), seat_of())
    text = caplog.records[0].getMessage()
    assert text.startswith("Task other[id-1]")
    assert len(text) < 120


class Unshowable:
    shown = 0

    def __repr__(self):
        Unshowable.shown += 1
        return "shown"


def test_a_result_is_put_into_words_only_if_the_level_is_on(caplog):
    with caplog.at_level(logging.WARNING, "celeriac"):
        run(Unshowable, ignore_result=True)
    assert Unshowable.shown == 0
    with caplog.at_level(logging.INFO, "celeriac"):
        run(Unshowable, ignore_result=True)
    assert Unshowable.shown == 1


def test_a_failing_hook_is_logged_and_the_task_stands(caplog):
    task = SampleTask(lambda: 1)
    task.on_success = lambda *_: 1 / 0
    with caplog.at_level(logging.ERROR, "celeriac"):
        performed = perform({"sample": task}, message_of(), seat_of())
    assert performed.state == "SUCCESS"
    assert [record.action for record in caplog.records] == ["task.hook_failed"]
    assert "on_success" in caplog.records[0].getMessage()


def test_a_broken_log_handler_costs_no_task():
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("disk full")

    logger = logging.getLogger("celeriac.worker.task")
    handler = Broken()
    logger.addHandler(handler)
    try:
        assert run(raising(ValueError()))[1].state == "FAILURE"
    finally:
        logger.removeHandler(handler)


def test_the_same_exception_object_raised_again_and_again_does_not_grow():
    error = ValueError("one object")
    lengths = {len(run(raising(error))[2].traceback) for _ in range(5)}
    assert len(lengths) == 1
    assert error.__traceback__ is None


def test_a_message_of_protocol_1_is_run_too():
    body = b'{"task": "sample", "id": "id-1", "args": [2], "kwargs": {}, "retries": 0}'
    message = Message("id-1", "sample", "celery", b"{}", body)
    performed = perform({"sample": SampleTask(lambda x: x + 1)}, message, seat_of())
    assert decode_record(performed.records[0]).result == 3


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ({"chord": {"task": "body"}}, "chord"),
        ({"callbacks": [{"task": "celery.chord", "subtask_type": "chord"}]}, "chords come in a later release"),
        ({"errbacks": [{"args": []}]}, "no name of a task"),
        ({"chain": [{"task": "x", "subtask_type": "braid"}]}, "unknown type 'braid'"),
    ],
)
def test_a_task_is_not_run_when_what_follows_it_is_not_understood(links, words):
    task, performed, meta = run(lambda: 1, **links)
    assert (performed.state, meta.status, task.hooks) == ("FAILURE", "FAILURE", [])
    assert isinstance(performed.verdict, Bury)
    assert words in performed.verdict.reason


def test_the_empty_rest_of_a_chain_is_no_workflow():
    assert run(lambda: 1, chain=[], callbacks=[])[1].state == "SUCCESS"


def handled():
    try:
        raise KeyError(1)
    except KeyError as error:
        raise Retry("later", error) from error


async def returning():
    return 1


async def failing():
    raise ValueError("no")


@pytest.mark.parametrize(
    "body", [lambda: 1, raising(ValueError("no")), raising(Reject("no")), handled, object, returning, failing]
)
def test_a_run_leaves_nothing_for_the_garbage_collector(body, seat):
    task = SampleTask(body)
    for hook in ("on_success", "on_failure", "on_retry", "after_return"):
        setattr(task, hook, lambda *_: None)
    tasks, message = {"sample": task}, message_of()
    perform(tasks, message, seat)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            perform(tasks, message, seat)
        assert gc.collect() == 0
    finally:
        gc.enable()
