"""What the spool's SQLite file holds."""

import secrets
import time
from dataclasses import dataclass, field

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE batch (
  sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL,
  rows INTEGER NOT NULL
) STRICT;
CREATE TABLE quarantine (
  sequence INTEGER, epoch INTEGER, reason TEXT, body BLOB, at INTEGER
) STRICT;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class Spooled:
    sequence: int
    body: bytes = field(repr=False)
    rows: int
    """Facts in it, as ``Payload.facts`` counts them."""


def new_epoch() -> int:
    """Microseconds since 1970 plus ten random bits: ascending, and fits SQLite's integers."""
    return (time.time_ns() // 1000) << 10 | secrets.randbits(10)
