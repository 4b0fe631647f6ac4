"""What a server is: settings, who may do what, schema, watched rows; read, and read again."""

from agent.catalog.host_files import HostFiles
from agent.catalog.snapshot import all_queries, fingerprint, list_databases, take_snapshot
from agent.catalog.watched import Watched
from agent.catalog.watcher import SnapshotWatcher

__all__ = [
    "HostFiles",
    "SnapshotWatcher",
    "Watched",
    "all_queries",
    "fingerprint",
    "list_databases",
    "take_snapshot",
]
