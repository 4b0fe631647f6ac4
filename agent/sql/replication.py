"""What a walsender is asked for: a command of the replication protocol, or SQL. Pure."""

from __future__ import annotations

import re

_COMMAND = re.compile(
    rb"\s*(?:identify_system|base_backup|show|read_replication_slot|create_replication_slot"
    rb"|drop_replication_slot|alter_replication_slot|start_replication|timeline_history"
    rb"|upload_manifest)(?![a-z0-9_$\x80-\xff])",
    re.IGNORECASE,
)
"""Its first word decides, in every version, and its grammar knows no comments."""


def is_replication_command(text: bytes) -> bool:
    return _COMMAND.match(text) is not None
