from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click
import pytest

from celeriac.cli import fields


def convert(kind: click.ParamType, text: str) -> object:
    return kind.convert(text, None, None)


@pytest.mark.parametrize("text", ["[2, 3", '{"x": 1}', "2, 3", "", "[1,]"])
def test_positional_arguments_that_are_no_json_list_are_refused_with_an_example(text: str):
    with pytest.raises(click.BadParameter, match="-a '"):
        convert(fields.JSON_LIST, text)


def test_the_place_where_json_ends_is_pointed_at():
    with pytest.raises(click.BadParameter) as caught:
        convert(fields.JSON_LIST, '[1, "two]')
    lines = caught.value.message.splitlines()
    assert "column 5" in lines[0]
    assert lines[1].lstrip() == '[1, "two]'
    assert lines[2].index("^") == lines[1].index('"')


def test_a_long_json_text_is_shown_around_its_error_only():
    text = "[" + "1, " * 5000 + "x" + ", 1" * 5000 + "]"
    with pytest.raises(click.BadParameter) as caught:
        convert(fields.JSON_LIST, text)
    lines = caught.value.message.splitlines()
    assert max(map(len, lines)) < 120
    assert lines[1][lines[2].index("^")] == "x"


def test_arguments_by_name_are_an_object():
    assert convert(fields.JSON_OBJECT, '{"x": [1, null]}') == {"x": [1, None]}
    with pytest.raises(click.BadParameter, match="not an object"):
        convert(fields.JSON_OBJECT, "[1]")


def test_a_moment_has_a_zone_whether_or_not_one_is_written():
    assert convert(fields.MOMENT, "2030-01-01T08:00:00Z") == datetime(2030, 1, 1, 8, tzinfo=timezone.utc)
    assert convert(fields.MOMENT, "2030-01-01T08:00:00+02:00") == datetime(2030, 1, 1, 6, tzinfo=timezone.utc)
    local = convert(fields.MOMENT, "2030-01-01T08:00:00")
    assert isinstance(local, datetime)
    assert local.utcoffset() is not None
    assert local.replace(tzinfo=None) == datetime(2030, 1, 1, 8)  # noqa: DTZ001 - the local reading


def test_expires_is_seconds_or_a_moment():
    assert convert(fields.SECONDS_OR_MOMENT, "90.5") == pytest.approx(90.5)
    assert isinstance(convert(fields.SECONDS_OR_MOMENT, "2030-01-01"), datetime)
    for text in ("soon", "inf", "nan"):
        with pytest.raises(click.BadParameter, match="seconds"):
            convert(fields.SECONDS_OR_MOMENT, text)


def test_the_example_moment_is_itself_valid_and_in_the_future():
    with pytest.raises(click.BadParameter) as caught:
        convert(fields.MOMENT, "tomorrow")
    example = caught.value.message.rpartition(" ")[2]
    moment = fields.moment_of(example)
    assert moment is not None
    assert moment > datetime.now(timezone.utc) + timedelta(minutes=30)


def test_names_lose_blanks_doubles_and_empty_ones():
    assert convert(fields.NAMES, " a, b,,a ,") == ("a", "b")
    for text in ("", " , "):
        with pytest.raises(click.BadParameter, match="no name"):
            convert(fields.NAMES, text)


@pytest.mark.parametrize(
    ("text", "level"),
    [("info", "INFO"), ("WARN", "WARNING"), ("fatal", "CRITICAL"), ("10", "DEBUG"), ("15", "15")],
)
def test_log_levels_are_taken_by_name_and_number(text: str, level: str):
    assert convert(fields.LEVEL, text) == level


def test_a_mistyped_log_level_gets_the_near_one():
    with pytest.raises(click.BadParameter, match="Did you mean WARNING"):
        convert(fields.LEVEL, "waring")


def test_priorities_are_0_to_9_or_names():
    assert convert(fields.IMPORTANCE, "0") == 0
    assert convert(fields.IMPORTANCE, "HIGH") == "high"
    for text in ("10", "-1", "urgent", "1.5"):
        with pytest.raises(click.BadParameter, match="0 to 9"):
            convert(fields.IMPORTANCE, text)


def test_pools_are_taken_by_our_names_by_celerys_and_as_a_list():
    assert convert(fields.POOL_NAMES, "processes") == "prefork"
    assert convert(fields.POOL_NAMES, "prefork, asyncio") == "prefork,asyncio"
    assert convert(fields.POOL_NAMES, "celery.concurrency.thread:TaskPool") == "threads"


def test_pools_of_later_versions_are_refused_with_those_that_work():
    with pytest.raises(click.BadParameter, match=r"'gevent' is not there yet.*prefork.*solo"):
        convert(fields.POOL_NAMES, "gevent")
    with pytest.raises(click.BadParameter, match="Did you mean prefork"):
        convert(fields.POOL_NAMES, "preforc")
