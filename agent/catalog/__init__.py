"""What a server is: settings, hba rules, roles, memberships and privileges, read and watched."""

from agent.catalog.snapshot import fingerprint, list_databases, take_snapshot
from agent.catalog.watcher import SnapshotWatcher

__all__ = ["SnapshotWatcher", "fingerprint", "list_databases", "take_snapshot"]
