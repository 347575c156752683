"""Names with parts to fill in, and settings after `--`."""

from __future__ import annotations

import click
import pytest

from celeriac.cli.extra_settings import read_settings
from celeriac.cli.node_name import node_name

HOST = "george.example.com"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "celery@george.example.com"),
        ("w1", "w1@george.example.com"),
        ("w1@%h", "w1@george.example.com"),
        ("w1@%n", "w1@george"),
        ("w1@%d", "w1@example.com"),
        ("w1@%%h", "w1@%h"),
        ("%n.w", "george.w@george.example.com"),
        ("@box", "celery@box"),
        ("odd%x@%h", "odd%x@george.example.com"),
        ("end%", "end%@george.example.com"),
    ],
)
def test_a_node_name_is_filled_in(template: str | None, name: str):
    assert node_name(template, HOST) == name


def test_what_was_filled_in_is_not_read_again():
    assert node_name("w@%h", "%n") == "w@%n"


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("worker.prefetch_multiplier=8", "worker_prefetch_multiplier", 8),
        ("worker_prefetch_multiplier=(int)8", "worker_prefetch_multiplier", 8),
        (".prefetch_multiplier=8", "worker_prefetch_multiplier", 8),
        ("task.acks_late=true", "task_acks_late", True),
        ("task_acks_late=(bool)no", "task_acks_late", False),
        ("task_acks_late=False", "task_acks_late", False),
        ("task_default_queue=mail", "task_default_queue", "mail"),
        ("task_default_queue=(str)8", "task_default_queue", "8"),
        ("result_expires=1.5", "result_expires", 1.5),
        ('imports=["a", "b"]', "imports", ["a", "b"]),
        ('imports=(tuple)["a"]', "imports", ("a",)),
        ("timezone=null", "timezone", None),
        ("broker_url=sqlite:///a=b.db", "broker_url", "sqlite:///a=b.db"),
        ("task_default_queue=", "task_default_queue", ""),
    ],
)
def test_a_setting_is_read_with_its_type(word: str, name: str, value: object):
    found = read_settings([word])
    assert found == {name: value}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize("word", ["foo", "=8", "..=8", "x=(colour)red", "x=(int)red", "x=(json){"])
def test_a_word_that_is_no_setting_is_named(word: str):
    with pytest.raises(click.UsageError) as caught:
        read_settings([word])
    assert word in caught.value.message
