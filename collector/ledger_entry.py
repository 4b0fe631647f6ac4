"""A line of the ledger: its types, how it is written, and how it is bound to the line before."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

GENESIS = "0" * 64
MERGED = "merged"
"""Reason of an entry whose ``removed`` segments live on in its ``files``."""
EXPIRED = "expired"
"""Of one whose ``removed`` segments were kept long enough; ``files`` have what of them is left."""


RETENTION = "retention"
"""Likewise, by ``collector.retention``."""
DAMAGED = "damaged"
"""Of one whose ``removed`` segments were missing or not what was sealed."""
RESTORED = "restored"
"""Of one whose ``files`` were removed so, and are there again as they were sealed."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One segment. ``path`` is relative to the data directory."""

    table: str
    path: str
    sha256: str
    rows: int
    bytes: int
    first_us: int
    last_us: int
    schema: int


@dataclass(frozen=True, slots=True)
class SourceRange:
    """Batches ``first`` to ``last`` of one agent's epoch are in this commit."""

    agent: str
    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class EventsRoot:
    """Merkle root over the security events (``security_events.py``) among the rows of a commit."""

    count: int
    root: str


Note = Mapping[str, Any]
"""What happened to the record or around it: ``kind``, and more as texts and integers."""
BATCHES_MISSING = "batches_missing"
"""Kind of a note: an agent was told that they are durable, and this record does not have them. They
are counted in ``losses`` and settled with that."""
EVENTS = "events"
"""Likewise: number and root of the security events of one table, where a commit has several. Rows
of one may go by age before those of another, which are proven by this then."""
SIGNED = "signed"
"""Kind of an entry's last note: in it stands the collector's signature over all the rest."""


@dataclass(frozen=True, slots=True)
class Signature:
    key: str
    """Its id."""
    sig: str
    """In base64."""


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at_us: int
    prev: str
    files: tuple[SealedFile, ...] = ()
    sources: tuple[SourceRange, ...] = ()
    removed: tuple[str, ...] = ()
    """Paths of earlier segments that hold no longer: damaged, or merged into ``files``."""
    reason: str = ""
    events: EventsRoot | None = None
    notes: tuple[Note, ...] = ()
    """Without the one of the signature."""
    signed: Signature | None = None
    """Earlier releases signed heads alone."""
    hash: str = field(default="", compare=False)


BAD_LINE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What ``decode`` raises for a line that is no entry."""


def entry_hash(entry: Entry) -> str:
    """SHA-256 over the previous hash and the entry's canonical JSON."""
    return hashlib.sha256((entry.prev + canonical(_fields(entry))).encode()).hexdigest()


def signed_digest(entry: Entry) -> bytes:
    """What is signed of an entry: all but its hash, and the signature itself."""
    fields = {**_fields(replace(entry, signed=None)), "notes": list(map(dict, entry.notes))}
    return hashlib.sha256((entry.prev + canonical(fields)).encode()).digest()


def encode(entry: Entry) -> bytes:
    """The entry as a line, with its end."""
    return canonical({**_fields(entry), "hash": entry.hash}).encode() + b"\n"


def decode(line: bytes) -> Entry:
    """Raises one of ``BAD_LINE``."""
    fields = json.loads(line)
    notes, signed = _notes(fields.get("notes", ()))
    return Entry(
        seq=int(fields["seq"]),
        at_us=int(fields["at_us"]),
        prev=str(fields["prev"]),
        files=tuple(sealed_file(item) for item in fields["files"]),
        sources=tuple(SourceRange(**item) for item in fields["sources"]),
        removed=tuple(map(str, fields["removed"])),
        reason=str(fields["reason"]),
        events=EventsRoot(**fields["events"]) if "events" in fields else None,
        notes=notes,
        signed=signed,
        hash=str(fields["hash"]),
    )


def sealed_file(item: dict[str, Any]) -> SealedFile:
    """Raises one of ``BAD_LINE``."""
    file = SealedFile(**item)
    if file.path.startswith("/") or ".." in Path(file.path).parts:
        raise ValueError(f"segment path {file.path!r} leaves the data directory")
    return file


def canonical(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _fields(entry: Entry) -> dict[str, Any]:
    """Without what older entries did not have and this one does not need: their hashes stay."""
    fields = asdict(entry)
    del fields["hash"]
    if (signed := fields.pop("signed")) is not None:
        # Among the notes, where earlier releases and verifiers take it as they take any.
        fields["notes"] = (*fields["notes"], {"kind": SIGNED, **signed})
    for name in ("events", "notes"):
        if not fields[name]:
            del fields[name]
    return fields


def _notes(items: list[dict[str, Any]]) -> tuple[tuple[Note, ...], Signature | None]:
    notes = tuple(map(dict, items))
    if not notes or notes[-1].get("kind") != SIGNED:
        return notes, None
    return notes[:-1], Signature(str(notes[-1]["key"]), str(notes[-1]["sig"]))
