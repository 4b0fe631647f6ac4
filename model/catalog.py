"""What a PostgreSQL cluster is: settings, roles, memberships, privileges."""

from dataclasses import dataclass
from enum import StrEnum


class CatalogKind(StrEnum):
    SETTING = "setting"
    HBA = "hba"
    ROLE = "role"
    MEMBERSHIP = "membership"
    PRIVILEGE = "privilege"


@dataclass(frozen=True, slots=True, order=True)
class CatalogItem:
    """One fact of the catalog. ``name`` is the key within kind and database.

    setting: ``log_statement`` -> value; role: ``etl`` -> ``login=true superuser=false ...``;
    membership: ``analyst<-alice`` -> options; privilege: ``table:hr.salary<-analyst`` -> ``SELECT,
    INSERT``. ``database`` is empty for what belongs to the whole cluster.
    """

    kind: CatalogKind
    database: str
    name: str
    value: str
    detail: str = ""
    """Where it comes from: ``configuration file postgresql.conf:12``, the grantor."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All items of the ``kinds`` that could be read, from one consistent moment."""

    at_us: int
    cluster: str
    database: str
    kinds: tuple[CatalogKind, ...]
    """Kinds that were read in full; a kind missing here says nothing about its items."""
    items: tuple[CatalogItem, ...]
    server_version: str = ""
    problems: tuple[str, ...] = ()
    """Why a kind is missing, a sentence each with the remedy; stays with the agent."""


class DriftChange(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Attribution(StrEnum):
    ATTRIBUTED = "attributed"
    UNATTRIBUTED = "unattributed"
    """Nobody on the wire did it: a file edit, a restart, a capture gap."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the accepted baseline and what is."""

    cluster: str
    kind: CatalogKind
    database: str
    name: str
    change: DriftChange
    desired: str
    observed: str
    detected_at_us: int
    attribution: Attribution = Attribution.UNATTRIBUTED
    statement_id: int = 0
    actor: str = ""
