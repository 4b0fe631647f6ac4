"""What a PostgreSQL cluster is: settings, who may do what, schema, and rows that steer programs."""

from dataclasses import dataclass
from enum import StrEnum


class CatalogKind(StrEnum):
    # Of the whole cluster.
    SETTING = "setting"
    HBA = "hba"
    IDENT = "ident"
    ROLE = "role"
    MEMBERSHIP = "membership"
    DATABASE = "database"
    TABLESPACE = "tablespace"
    SLOT = "slot"
    # Of the whole cluster (databases, settings, tablespaces) and of one database (all else).
    PRIVILEGE = "privilege"
    # Of one database.
    SCHEMA = "schema"
    TABLE = "table"
    """Tables, partitioned and foreign ones, views, materialized views."""
    SEQUENCE = "sequence"
    FUNCTION = "function"
    TYPE = "type"
    CAST = "cast"
    OPERATOR = "operator"
    POLICY = "policy"
    TRIGGER = "trigger"
    EVENT_TRIGGER = "event_trigger"
    EXTENSION = "extension"
    LANGUAGE = "language"
    FOREIGN_SERVER = "foreign_server"
    USER_MAPPING = "user_mapping"
    PUBLICATION = "publication"
    SUBSCRIPTION = "subscription"
    WATCHED = "watched"
    """A row of a watched configuration table or query."""


CLUSTER_KINDS = frozenset(
    (
        CatalogKind.SETTING, CatalogKind.HBA, CatalogKind.IDENT, CatalogKind.ROLE,
        CatalogKind.MEMBERSHIP, CatalogKind.DATABASE, CatalogKind.TABLESPACE, CatalogKind.SLOT,
        CatalogKind.PRIVILEGE,
    )
)  # fmt: skip
"""Kinds with items whose ``database`` is empty; PRIVILEGE has both."""
DATABASE_KINDS = frozenset(CatalogKind) - CLUSTER_KINDS | {CatalogKind.PRIVILEGE}
FORMAT = 3
"""Of what agents of this release tell of each kind: one more with each line or sort of item that
earlier ones did not tell, or told. What came with which is in collector/drift/formats.py."""
WATCHED_NAME = "watched"
"""Value of the item that names a watched table or query, beside those of its rows."""
OBJECT_KINDS = DATABASE_KINDS - {CatalogKind.PRIVILEGE, CatalogKind.WATCHED}
"""Their values are lines: ``owner: alice``, ``column tax_id: text not null``, each key once."""


@dataclass(frozen=True, slots=True, order=True)
class CatalogItem:
    """One fact of the catalog. ``name`` is the key within kind and database.

    setting: ``log_statement`` -> value; role: ``etl`` -> ``login=true superuser=false ...``;
    membership: ``analyst<-alice`` -> options; privilege: ``table:hr.salary<-analyst`` -> ``SELECT,
    INSERT``; table: ``hr.salary`` -> a line for each property; watched: ``public.flags[7]`` -> a
    line for each column. ``database`` is empty for what belongs to the whole cluster.
    """

    kind: CatalogKind
    database: str
    name: str
    value: str
    detail: str = ""
    """Where it comes from: ``configuration file postgresql.conf:12``, the grantor; of an object its
    number there: ``oid 16384; column 1-3``. Not compared: another server has other numbers."""


@dataclass(frozen=True, slots=True, order=True)
class CatalogKey:
    """An item that is gone."""

    kind: CatalogKind
    database: str
    name: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What could be read of the ``kinds``, from one consistent moment.

    Whole (``base_at_us`` 0): all items of these kinds. A change of an earlier one (``base_at_us``
    is its moment): ``items`` that are new or have another value, and what is ``removed``; what is
    not named is as it was.
    """

    at_us: int
    cluster: str
    database: str
    kinds: tuple[CatalogKind, ...]
    """Kinds that were read in full; a kind missing here says nothing about its items."""
    items: tuple[CatalogItem, ...]
    server_version: str = ""
    problems: tuple[str, ...] = ()
    """Why a kind is missing, a sentence each with the remedy; stays with the agent."""
    base_at_us: int = 0
    removed: tuple[CatalogKey, ...] = ()
    since_us: int = 0
    """When these kinds were looked at before, without these differences; 0: unknown."""
    cluster_wide: bool | None = None
    """Whether the whole cluster's share of PRIVILEGE is in it; None: if the roles are."""
    first_name: str = ""
    end_name: str = ""
    """It speaks of names from ``first_name`` up to and without ``end_name``, '' being no end: a
    kind too large for one message comes in ranges, each true by itself."""
    format: int = 0
    """See FORMAT; 0: of an agent that did not count them yet."""
    unwatched_from_us: int = 0
    """Of the last look before the agent began; 0: unknown."""
    unwatched_until_us: int = 0
    """When the agent began, before it captured anything; 0: unknown."""


class DriftChange(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Attribution(StrEnum):
    APPROVED = "approved"
    """A captured statement did it, and somebody had approved it."""
    ATTRIBUTED = "attributed"
    """A captured statement did it; nobody had approved it."""
    UNATTRIBUTED = "unattributed"
    """Nobody on the wire did it: a file edit, a restart, a restore, a capture gap."""
