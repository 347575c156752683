"""The book of a SQLite store: it tells of every claim and of every record that was committed, kept or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.model.message import Ack, Message, Record, Release, Settlement
from celeriac.stores.sqlite_book import SqliteBook

_MARK = "proof-1-"


def _message(task_id: str) -> Message:
    return Message(task_id, "t", "q", b"{}", b"[]", "application/json", "utf-8")


def _success(task_id: str, payload: bytes) -> Record:
    return Record(task_id, "SUCCESS", payload, 60.0, "")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(f"sqlite:///{tmp_path}/book.db", {})
    broker.open()
    yield broker
    broker.close()


@pytest.fixture
def book(broker: SqliteBroker, tmp_path: Path) -> Iterator[SqliteBook]:
    book = SqliteBook(f"{tmp_path}/book.db", _MARK, len(_MARK) + 1)
    book.open()
    yield book
    book.close()


def _take(broker: SqliteBroker, count: int = 1):
    deliveries = broker.take(("q",), count, 2.0)
    assert len(deliveries) == count
    return deliveries


def test_claims_and_their_ends_are_told_in_order(broker: SqliteBroker, book: SqliteBook):
    broker.publish([_message(f"{_MARK}a"), _message("another")])
    assert book.waiting() == 1
    first, other = _take(broker, 2)
    broker.settle([Settlement(first.receipt, Release())])
    (again,) = _take(broker)
    broker.settle([Settlement(again.receipt, Ack()), Settlement(other.receipt, Ack())])
    entries = book.claims()
    assert {entry.id for entry in entries} == {f"{_MARK}a"}
    assert [entry.node is not None for entry in entries] == [True, False, True, False]
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert book.waiting() == 0


def test_a_second_success_that_the_store_does_not_keep_is_told(broker: SqliteBroker, book: SqliteBook):
    task_id = f"{_MARK}a"
    broker.publish([_message(task_id), _message(task_id)])
    for number, delivery in enumerate(_take(broker, 2)):
        broker.settle([Settlement(delivery.receipt, Ack(), records=(_success(task_id, b"%d" % number),))])
    assert [(entry.id, entry.state, entry.payload) for entry in book.records()] == [
        (task_id, "SUCCESS", b"0"),
        (task_id, "SUCCESS", b"1"),
    ]
    assert book.completed() == 2


def test_what_a_late_settlement_carried_is_not_told_for_it_was_not_committed(broker: SqliteBroker, book: SqliteBook):
    task_id = f"{_MARK}a"
    broker.publish([_message(task_id)])
    (late,) = _take(broker)
    broker.settle([Settlement(late.receipt, Release())])
    (current,) = _take(broker)
    settled = broker.settle([Settlement(late.receipt, Ack(), records=(_success(task_id, b"late"),))])
    assert settled.stale
    broker.settle([Settlement(current.receipt, Ack(), records=(_success(task_id, b"good"),))])
    assert [entry.payload for entry in book.records()] == [b"good"]


def test_what_others_do_is_not_told(broker: SqliteBroker, book: SqliteBook):
    broker.publish([_message("another")])
    (delivery,) = _take(broker)
    broker.settle([Settlement(delivery.receipt, Ack(), records=(_success("another", b"1"),))])
    assert (book.claims(), book.records()) == ([], [])


def test_erased_it_leaves_nothing_of_its_own_and_everything_of_others(broker: SqliteBroker, book: SqliteBook):
    broker.publish([_message(f"{_MARK}a"), _message(f"{_MARK}b"), _message("c")])
    _take(broker, 1)
    book.erase("other")
    assert [one.message.id for one in broker.peek("q", 10)] == ["c"]
    broker.publish([_message(f"{_MARK}a")])
    assert len(broker.peek("q", 10)) == 2


def test_one_that_an_earlier_proof_has_left_gives_way(broker: SqliteBroker, book: SqliteBook, tmp_path: Path):
    newer = SqliteBook(f"{tmp_path}/book.db", "proof-2-", 9)
    newer.open()
    broker.publish([_message(f"{_MARK}a"), _message("proof-2-a")])
    assert newer.waiting() == 1
    newer.close()


def test_the_file_is_found_whole(book: SqliteBook):
    assert book.damage() == ""


def test_a_mark_that_could_be_more_than_text_is_refused(tmp_path: Path):
    for mark in ("", "a'b-c", "A-B-C", "x*y-z"):
        with pytest.raises(ValueError, match="mark="):
            SqliteBook(f"{tmp_path}/book.db", mark, 10)
