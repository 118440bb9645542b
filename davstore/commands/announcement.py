"""What a person is told about a running server: address, shares, who may enter."""

from __future__ import annotations

from davstore import __version__
from davstore.commands.wording import on_one_line
from davstore.config import Config, FolderShare, MongoShare, Share, is_loopback


def announcement(config: Config, port: int, admin_port: int | None = None) -> str:
    """The one line that is printed once davstore answers. The ports are those that were bound;
    `admin_port` is None when there is no admin listener."""
    line = (
        f"davstore {__version__} serves {describe_shares(config)} at {url(config, port)}"
        f" - {who_may_enter(config)}"
    )
    if config.admin is not None and admin_port is not None:
        line += f"; admin at http://{_in_url(config.admin.host)}:{admin_port}/"
    return on_one_line(line)


def url(config: Config, port: int) -> str:
    scheme = "https" if config.tls else "http"
    return f"{scheme}://{_in_url(config.listen.host)}:{port}/"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def describe_shares(config: Config) -> str:
    """Such as "/ (folder /srv/data), /tmp (memory, read-only)"."""
    return ", ".join(f"{path} ({_describe(share)})" for path, share in config.shares.items())


def _describe(share: Share) -> str:
    if isinstance(share, FolderShare):
        what = f"folder {share.root}"
    elif isinstance(share, MongoShare):
        what = "MongoDB"
    else:
        what = share.store
    return f"{what}, read-only" if share.read_only else what


def who_may_enter(config: Config) -> str:
    where = "on this machine" if is_loopback(config.listen.host) else "who can reach it"
    if config.auth.users is None:
        return f"anyone {where} may enter"
    users = f"the users in {config.auth.users}"
    return (
        f"anyone {where} may enter, and {users}" if config.auth.anonymous else f"{users} may enter"
    )
