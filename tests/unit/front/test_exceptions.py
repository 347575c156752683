"""The exceptions are those of `celeriac.exceptions`, wherever they are defined."""

from __future__ import annotations

import pickle
import traceback

import pytest

from celeriac import exceptions
from celeriac.model import errors

CLASSES = sorted(
    {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)},
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_exception_is_named_where_users_import_it_from(cls: type[BaseException]) -> None:
    assert cls.__module__ == "celeriac.exceptions"
    assert getattr(exceptions, cls.__name__) is cls


def test_a_traceback_and_a_pickle_name_the_public_module() -> None:
    shown = "".join(traceback.format_exception_only(exceptions.TimeoutError("too late")))
    assert shown == "celeriac.exceptions.TimeoutError: too late\n"
    data = pickle.dumps(exceptions.TaskRevokedError("revoked"))
    assert b"celeriac.exceptions" in data
    assert type(pickle.loads(data)) is exceptions.TaskRevokedError
