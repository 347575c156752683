"""The broker, opened for a tool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac.cli.banner import database_file
from celeriac.cli.failure import EXIT_CONFIG, EXIT_UNAVAILABLE, Failure
from celeriac.model.ports import BrokerAdmin
from celeriac.stores_of import broker_url

if TYPE_CHECKING:
    from celeriac.app import Celeriac


@contextmanager
def opened_admin(app: Celeriac) -> Iterator[BrokerAdmin]:
    """The app's broker, open, as what tools need. Raises Failure if it cannot serve them."""
    broker = app.make_broker()
    if not broker.facts.shared:
        raise Failure(
            f"The broker {broker.facts.name} lives inside one process: another program sees nothing of it.",
            "Use one that processes share, such as sqlite:///celeriac.db.",
            EXIT_CONFIG,
        )
    admin: object = broker
    if not isinstance(admin, BrokerAdmin):
        raise Failure(
            f"The broker {broker.facts.name} cannot be asked about its queues.",
            "Use the tools that come with that broker.",
            EXIT_UNAVAILABLE,
        )
    broker.open()
    try:
        yield admin
    finally:
        broker.close()


def missing_file(app: Celeriac) -> str | None:
    """The database that is not there yet, if the broker is a file. Looking at it would make it.

    A folder that is not there is an error, and the broker's to tell.
    """
    file = database_file(broker_url(app.conf))
    if file is None or Path(file).exists() or not Path(file).parent.is_dir():
        return None
    return file


def configured_queues(app: Celeriac, chosen: Sequence[str] | None, excluded: Sequence[str] | None) -> tuple[str, ...]:
    """The queues that a worker of this app would take from."""
    options = {name: value for name, value in (("queues", chosen), ("exclude_queues", excluded)) if value}
    return tuple(app.worker_config(**options).queues)
