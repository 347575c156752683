"""What can be wrong with a store. Adapters turn these into the errors of their own port."""

from __future__ import annotations

from celeriac.model.errors import (
    BackendMisconfigured,
    BackendRejected,
    BackendUnavailable,
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
)


class StoreFault(Exception):
    """Base. The message says what to do next; `as_broker` and `as_backend` are what users see."""

    as_broker: type[Exception] = BrokerUnavailable
    as_backend: type[Exception] = BackendUnavailable


class StoreUnavailable(StoreFault):
    """Not now; trying again may work."""


class StoreRejected(StoreFault):
    """This will never work."""

    as_broker = BrokerRejected
    as_backend = BackendRejected


class StoreMisconfigured(StoreFault):
    """Somebody must change the configuration or the file."""

    as_broker = BrokerMisconfigured
    as_backend = BackendMisconfigured
