"""The broker and the backend that settings name."""

from __future__ import annotations

from typing import Any

from celeriac.catalogue import can_keep_results, open_backend_class, open_broker_class
from celeriac.model.errors import BrokerMisconfigured
from celeriac.model.ports import Backend, Broker
from celeriac.settings import Settings

DEFAULT_URL = "sqlite:///celeriac.db"
"""Where an app without any configuration keeps messages and results: a file in the working directory."""


def broker_url(conf: Settings, for_writing: bool = False) -> str:
    """The address of the broker, for consuming or for publishing."""
    url = conf["broker_write_url" if for_writing else "broker_read_url"] or conf["broker_url"] or DEFAULT_URL
    if isinstance(url, (list, tuple)) or ";" in url:
        urls = list(url) if isinstance(url, (list, tuple)) else url.split(";")
        if len(urls) != 1:
            raise BrokerMisconfigured("broker_url: several addresses (failover) come in a later version; give one")
        url = urls[0]
    return str(url)


def backend_url(conf: Settings) -> Any:
    """The address of the result backend; follows the broker where it can keep results, too."""
    backend = conf["result_backend"]
    if backend is not None:
        return backend
    url = broker_url(conf)
    return url if can_keep_results(url) else "disabled"


def make_broker(conf: Settings, for_writing: bool = False) -> Broker:
    """A new, closed broker. Raises BrokerMisconfigured."""
    return open_broker_class(broker_url(conf, for_writing), {**_options(conf), **conf["broker_transport_options"]})


def make_backend(conf: Settings) -> Backend | None:
    """A new, closed backend; None when results are disabled. Raises BackendMisconfigured."""
    options = {**_options(conf), **conf["result_backend_transport_options"]}
    return open_backend_class(backend_url(conf), options, conf["override_backends"] or {})


def _options(conf: Settings) -> dict[str, Any]:
    return {
        "lease_s": conf.seconds("worker_lease_s"),
        "connect_timeout_s": conf.seconds("broker_connection_timeout") or 4.0,
        "durability": conf["broker_durability"],
        "result_expires_s": conf.seconds("result_expires"),
        "dead_expires_s": conf.seconds("dead_letter_expires_s"),
    }
