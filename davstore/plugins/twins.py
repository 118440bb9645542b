"""Nodes that announce a share that only one of them can have: each shows other files there."""

from __future__ import annotations

from davstore.config import Config, Consul
from davstore.plugins.consul import Agent
from davstore.plugins.tags import local_shares, local_shares_of


def twins(config: Config, consul: Consul, agent: Agent, own_id: str | None) -> list[str]:
    """One sentence for each local share that a healthy node with another id announces as well.

    A node that died does not count: it may be this one, before it lost its state folder.
    Raises AgentError.
    """
    mine = local_shares(config)
    if not mine:
        return []
    others: dict[str, list[str]] = {}
    for entry in agent.instances(consul.service, passing=True)[1]:
        if entry.service.id != own_id:
            where = f"{entry.service.address}:{entry.service.port}"
            for mount in mine.intersection(local_shares_of(entry.service.tags)):
                others.setdefault(mount, []).append(where)
    return [
        f"shares.{mount}: the node at {', '.join(sorted(nodes))} has a share of its own there as"
        f" well, in the service {consul.service!r}: clients see the files of the one or the other."
        " Mount it at another path, name another consul.service, or keep the share in MongoDB"
        for mount, nodes in sorted(others.items())
    ]
