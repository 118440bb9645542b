"""Settings: what they are called, where they come from, and everything that is wrong with them.

`load_config` is what programs call; the models say which settings there are.
"""

from davstore.config.load import load_config, read_config
from davstore.config.model import (
    Auth,
    Config,
    Dav,
    FolderShare,
    Limits,
    Listen,
    Log,
    MemoryShare,
    MongoShare,
    Share,
    Tls,
    is_loopback,
)
from davstore.config.rest import Rest
from davstore.config.service import Admin, Consul, Proxy

__all__ = [
    "Admin",
    "Auth",
    "Config",
    "Consul",
    "Dav",
    "FolderShare",
    "Limits",
    "Listen",
    "Log",
    "MemoryShare",
    "MongoShare",
    "Proxy",
    "Rest",
    "Share",
    "Tls",
    "is_loopback",
    "load_config",
    "read_config",
]
