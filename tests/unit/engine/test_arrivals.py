"""What becomes of a message on its arrival."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Final, Note
from celeriac.model.message import Ack, Bury, Receipt
from celeriac.model.states import FAILURE, REVOKED

WALL = 1_700_000_000.0


@pytest.fixture
def node(desk):
    made = desk(children=2)
    made.up(1, 2)
    return made


def test_an_unreadable_message_is_buried_with_a_final_failure_under_the_id_of_the_message(node):
    node.deliver("late", fault="not JSON")
    item = node.item()
    assert item.verdict == Bury("not JSON")
    assert item.final == Final(FAILURE, "DecodeError", ("not JSON",))
    assert item.head.id == "id1"
    assert item.reply_to == "me"
    assert not node.jobs()


def test_a_cancelled_message_is_acknowledged_as_revoked(node):
    node.deliver("late", cancelled=True)
    assert node.item().verdict == Ack()
    assert node.item().final == Final(REVOKED, "TaskRevokedError", ("revoked",))


def test_an_expired_message_is_acknowledged_as_revoked(node):
    node.deliver("late", expires_at=WALL + node.t)
    assert node.item().verdict == Ack()
    assert node.item().final == Final(REVOKED, "TaskRevokedError", ("expired",))


def test_a_message_that_has_not_expired_runs(node):
    assert node.deliver("late", expires_at=WALL + node.t + 0.001)


def test_a_message_of_unknown_name_is_parked_without_a_record_and_noted_once_a_minute(node):
    node.deliver("who", "who")
    assert [item.verdict.parked for item in node.items()] == [True, True]
    assert [item.final for item in node.items()] == [None, None]
    assert len(node.of(Note)) == 1
    node.t += 61
    node.deliver("who")
    assert len(node.of(Note)) == 1


def test_the_memory_of_unknown_names_is_bounded(node):
    for first in range(0, 3000, 100):
        node.deliver(*(f"who{number}" for number in range(first, first + 100)))
    assert len(node.state.unknown_noted) <= 1000


def test_a_message_of_unknown_name_fails_at_once_where_that_is_set(desk):
    node = desk(task_unknown="fail")
    node.up()
    node.deliver("who")
    assert node.item().verdict == Ack()
    assert node.item().final == Final(FAILURE, "NotRegistered", ("who",))


def test_a_message_that_has_crashed_too_often_is_concluded_and_buried(node):
    (job,) = node.deliver("late", crashes=3)
    assert job.conclude.error == "WorkerLostError"
    node.finished(job, child=1, state=FAILURE)
    assert isinstance(node.item().verdict, Bury), "the verdict reached before counts, not that of the job"
    assert node.item().records
    assert node.item().receipt == Receipt(1, 1)


@pytest.mark.parametrize(
    ("task", "cancelled", "kept"), [("quiet", True, False), ("late", True, True), ("errors", True, False)]
)
def test_a_revocation_is_stored_unless_the_result_is_ignored(node, task, cancelled, kept):
    node.deliver(task, cancelled=cancelled)
    assert (node.item().final is not None) is kept


@pytest.mark.parametrize(("task", "head", "kept"), [("quiet", False, True), ("late", True, False)])
def test_the_message_says_whether_its_result_is_ignored(node, task, head, kept):
    node.deliver(task, cancelled=True, ignore_result=head)
    assert (node.item().final is not None) is kept


def test_jobs_fill_idle_slots_first_and_evenly(node):
    node.deliver("late", "late")
    assert [len(node.jobs(1)), len(node.jobs(2))] == [1, 1]
