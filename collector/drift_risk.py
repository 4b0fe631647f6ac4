"""How bad a difference is, and how a person would say it."""

from __future__ import annotations

import re

from collector.baseline import HBA_ORDER, Difference
from model.catalog import CatalogKind, DriftChange
from model.verdict import Severity

LADDER = tuple(Severity)
"""From informational to critical."""

Risk = tuple[str, str, Severity]
"""Patterns for name and observed value, and the severity of the first row that matches both."""

SETTINGS: tuple[Risk, ...] = (
    (r"^(fsync|full_page_writes)(@|$)", r"^off", Severity.CRITICAL),
    (r"^(pgaudit\.log|log_statement)(@|$)", r"^(none|)$", Severity.CRITICAL),
    (r"^(pgaudit\.|log_(statement|connections|disconnections|destination|directory|filename"
     r"|line_prefix|min_error_statement|min_messages|min_duration)|logging_collector)", "",
     Severity.HIGH),
    (r"_preload_libraries|_command(@|$)|^dynamic_library_path", "", Severity.HIGH),
    (r"^(password_encryption|ssl|ssl_.*|krb_.*|listen_addresses|hba_file|ident_file"
     r"|data_directory|allow_system_table_mods|row_security|session_replication_role"
     r"|zero_damaged_pages|ignore_checksum_failure|primary_conninfo)(@|$)", "", Severity.HIGH),
    (r"^(synchronous_commit|search_path|default_transaction_read_only|max_connections)(@|$)", "",
     Severity.MEDIUM),
)  # fmt: skip
HBA: tuple[Risk, ...] = (
    ("", r"^(trust|error)", Severity.CRITICAL),
    ("", r"^password\b", Severity.HIGH),
    (r"0\.0\.0\.0/0|::/0|\ball(/|$)", "", Severity.HIGH),
)
MEMBERSHIPS: tuple[Risk, ...] = (
    (r"^pg_(execute_server_program|write_server_files|write_all_data)<-", ".", Severity.CRITICAL),
    (r"^pg_(read_server_files|read_all_data|signal_backend|checkpoint)<-", ".", Severity.HIGH),
    ("", "admin", Severity.HIGH),
)
PRIVILEGES: tuple[Risk, ...] = (
    (r"<-PUBLIC$", r"^(?!\(revoked\)).", Severity.HIGH),
    (r"^(function|procedure|column|table):(pg_catalog\.)", ".", Severity.HIGH),
    (r"^default:", ".", Severity.HIGH),
    ("", r"\*", Severity.HIGH),
)
ROLES: tuple[Risk, ...] = (
    ("", r"superuser=true", Severity.CRITICAL),
    ("", r"(replication|bypassrls|createrole)=true", Severity.HIGH),
)
TABLES: dict[CatalogKind, tuple[Risk, ...]] = {
    CatalogKind.SETTING: SETTINGS,
    CatalogKind.HBA: HBA,
    CatalogKind.ROLE: ROLES,
    CatalogKind.MEMBERSHIP: MEMBERSHIPS,
    CatalogKind.PRIVILEGE: PRIVILEGES,
}


def severity(kind: CatalogKind, difference: Difference, *, attributed: bool) -> Severity:
    """What nobody on the wire did is a step more severe than what somebody did."""
    found = _of_table(kind, difference)
    if attributed:
        return found
    return LADDER[min(LADDER.index(found) + 1, len(LADDER) - 1)]


def _of_table(kind: CatalogKind, difference: Difference) -> Severity:
    observed = difference.observed
    if kind is CatalogKind.ROLE:
        observed = " ".join(_news(difference))
    if _takes_away(kind, difference):
        return Severity.LOW
    for name, value, found in TABLES[kind]:
        if re.search(name, difference.name) and re.search(value, observed):
            return found
    return Severity.LOW if kind is CatalogKind.SETTING else Severity.MEDIUM


def _takes_away(kind: CatalogKind, difference: Difference) -> bool:
    """Fewer rights harm at most availability, except where a refusal itself was removed."""
    if difference.change is not DriftChange.REMOVED or kind is CatalogKind.SETTING:
        return False
    return not re.match(r"reject|\(revoked\)", difference.desired)


def _news(difference: Difference) -> list[str]:
    """Attributes of a role that differ: ``superuser=true``."""
    old = {*difference.desired.split()}
    return [word for word in difference.observed.split() if word not in old]


def describe(kind: CatalogKind, difference: Difference) -> str:
    """One clause: ``analyst may SELECT on table hr.salaries``."""
    return _CLAUSES[kind](difference)


def _setting(d: Difference) -> str:
    if d.change is DriftChange.CHANGED:
        return f"setting {d.name} is {d.observed or 'empty'}, was {d.desired or 'empty'}"
    if d.change is DriftChange.ADDED:
        return f"setting {d.name} is {d.observed or 'empty'}, was not set"
    return f"setting {d.name} is no longer set, was {d.desired or 'empty'}"


def _hba(d: Difference) -> str:
    if d.name == HBA_ORDER:
        return "the order of the hba rules changed"
    if d.change is DriftChange.CHANGED:
        return f"hba rule '{d.name}' is {d.observed}, was {d.desired}"
    word = "was added" if d.change is DriftChange.ADDED else "was removed"
    return f"hba rule '{d.name}' ({d.observed or d.desired}) {word}"


def _role(d: Difference) -> str:
    if d.change is DriftChange.REMOVED:
        return f"role {d.name} was dropped"
    if d.change is DriftChange.CHANGED:
        return f"role {d.name} became {' '.join(_news(d)) or d.observed}"
    given = [word.removesuffix("=true") for word in d.observed.split() if word.endswith("=true")]
    return f"role {d.name} was created ({' '.join(given)})"


def _membership(d: Difference) -> str:
    group, _, member = d.name.partition("<-")
    if d.change is DriftChange.REMOVED:
        return f"{member} is no longer a member of {group}"
    return f"{member} is now {'an admin' if 'admin' in d.observed else 'a member'} of {group}"


def _privilege(d: Difference) -> str:
    target, _, grantee = d.name.rpartition("<-")
    what = target.replace(":", " ", 1)
    if "(revoked)" in (d.desired, d.observed):
        word = "no longer" if d.observed else "again"
        return f"{grantee} may {word} EXECUTE on {what}"
    if d.change is DriftChange.REMOVED:
        return f"{grantee} may no longer {d.desired} on {what}"
    was = f", was {d.desired}" if d.desired else ""
    return f"{grantee} may {d.observed} on {what}{was}"


_CLAUSES = {
    CatalogKind.SETTING: _setting,
    CatalogKind.HBA: _hba,
    CatalogKind.ROLE: _role,
    CatalogKind.MEMBERSHIP: _membership,
    CatalogKind.PRIVILEGE: _privilege,
}
