"""What can be wrong with a store that is broker and backend at once: each fault is the error of both ports,
so that none has to be translated on its way out. The message says what to do next."""

from __future__ import annotations

from celeriac.model.errors import (
    BackendMisconfigured,
    BackendRejected,
    BackendUnavailable,
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
)


class StoreUnavailable(BrokerUnavailable, BackendUnavailable):
    """Not now; trying again may work."""


class StoreRejected(BrokerRejected, BackendRejected):
    """This will never work."""


class StoreMisconfigured(BrokerMisconfigured, BackendMisconfigured):
    """Somebody must change the configuration or the file."""


StoreFault = (StoreUnavailable, StoreRejected, StoreMisconfigured)
"""All of them, for `except`."""
