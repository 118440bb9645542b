"""The settings of davstore as one service among others: admin listener, Consul, proxies."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from davstore.config.section import Section
from davstore.config.values import (
    CommaSeparated,
    Duration,
    Whole,
    http_url,
    ip_network,
    mounted_prefix,
    reachable_address,
)


class Admin(Section):
    """The listener for health, readiness and metrics. It asks nobody who they are."""

    host: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.:_-]+(%[0-9A-Za-z]+)?$")] = (
        "127.0.0.1"
    )
    #: 0 takes any free port.
    port: Whole = Field(ge=0, le=65535)


class Consul(Section):
    """Where this node is registered, so that others find it."""

    #: Of the agent on this machine: "http://127.0.0.1:8500".
    url: Annotated[str, BeforeValidator(http_url)]
    service: Annotated[
        str, StringConstraints(pattern=r"^[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?$")
    ] = "datastorage"
    token: SecretStr | None = None
    #: "host:port" or "host" at which others reach this node; None: found out.
    advertise: Annotated[str, AfterValidator(reachable_address)] | None = None
    #: Between two of the agent's checks of this node's readiness.
    interval: Duration = 10.0
    #: How long a node may be not ready before Consul forgets it. Long: an outage of the database
    #: must not empty the catalogue. Consul takes no less than a minute.
    deregister_after: Duration = Field(default=1800.0, ge=60)
    #: For each call of the agent.
    timeout: Duration = 5.0


class Proxy(Section):
    """What stands in front of davstore."""

    #: Addresses or networks whose Forwarded and X-Forwarded-* headers are believed.
    trusted: Annotated[tuple[Annotated[str, AfterValidator(ip_network)], ...], CommaSeparated] = ()
    #: The path below which the proxy shows davstore ("/drive"), when it takes that path away
    #: from what it passes on.
    prefix: Annotated[str, AfterValidator(mounted_prefix)] = ""
