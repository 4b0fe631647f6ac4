"""What makes a difference dangerous, one row each. Data; ``risk`` looks it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collector.drift.weaker import (
    asks_no_certificate,
    audits_less,
    audits_nothing,
    logs_fewer_durations,
    logs_less,
    logs_not_more,
    lower_number,
    lower_protocol,
    weaker_ciphers,
    wider_mode,
    wider_path,
)
from model.catalog import CatalogKind, DriftChange
from model.verdict import Severity

ADDED, REMOVED, CHANGED = DriftChange.ADDED, DriftChange.REMOVED, DriftChange.CHANGED
CRITICAL, HIGH, MEDIUM, LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW
_SEARCH_PATH = "set search_path:"
OFF = r"^(off|false|no|0)\b"


@dataclass(frozen=True)
class Risk:
    """All given patterns must be found. Several rows may match: the worst one counts."""

    severity: Severity
    why: str
    name: str = ""
    """Of the item."""
    part: str = ""
    """The whole line key, attribute or privilege; empty: the item as a whole."""
    before: str = ""
    after: str = ""
    change: tuple[DriftChange, ...] = ()
    """None: any."""
    weaker: Callable[[str, str], bool] | None = None
    """Says from the old and the new value whether the row counts."""


def _named(names: str) -> str:
    """Settings of the server and of a role or database (``log_statement@alice``)."""
    return rf"^({names})(@|$)"


SETTINGS = (
    Risk(CRITICAL, "a crash may destroy the data", _named("fsync|full_page_writes"), after=OFF),
    Risk(CRITICAL, "statements are no longer audited", _named(r"pgaudit\.log|log_statement"),
         weaker=audits_nothing),
    Risk(HIGH, "fewer statements are audited", _named("log_statement"), weaker=logs_less),
    Risk(HIGH, "fewer statements are audited", _named(r"pgaudit\.log"), weaker=audits_less),
    Risk(HIGH, "what is logged, or where, changed",
         r"^(pgaudit\.|log_(destination|directory|filename|line_prefix|min_error_statement"
         r"|min_messages|statement_))"),
    Risk(HIGH, "the duration of fewer statements is logged", _named(r"log_min_duration_\w+"),
         weaker=logs_fewer_durations),
    Risk(HIGH, "less is logged, or what is logged changed",
         _named("log_statement|log_connections|log_disconnections|logging_collector"),
         weaker=logs_not_more),
    Risk(CRITICAL, "the server no longer loads pgaudit", _named("shared_preload_libraries"),
         before="pgaudit", weaker=lambda _, after: "pgaudit" not in after),
    Risk(HIGH, "write-ahead log is no longer archived", _named("archive_mode"), after=OFF),
    Risk(HIGH, "write-ahead log is no longer archived",
         _named("archive_command|archive_library"),
         after=r"^(|\(disabled\)|((/usr)?/bin/)?true|:|exit 0)$"),
    Risk(HIGH, "code that the server loads or runs changed",
         r"_preload_libraries|_command(@|$)|_library(@|$)|^dynamic_library_path"),
    Risk(CRITICAL, "clients may connect without TLS", _named("ssl"), after=OFF),
    Risk(CRITICAL, "a broken version of TLS is let in", _named("ssl_min_protocol_version"),
         after=r"(?i)^(tlsv1|tlsv1\.1|)$", weaker=lower_protocol),
    Risk(HIGH, "an older version of TLS is let in", _named("ssl_min_protocol_version"),
         weaker=lower_protocol),
    Risk(CRITICAL, "weak ciphers are let in", _named("ssl_ciphers|ssl_tls13_ciphers"),
         weaker=weaker_ciphers),
    Risk(CRITICAL, "new passwords are stored as MD5", _named("password_encryption"),
         after="^(md5|on)$"),
    Risk(HIGH, "new passwords are easier to guess from their hashes", _named("scram_iterations"),
         weaker=lower_number),
    Risk(HIGH, "too little is written to restore or to replicate", _named("wal_level"),
         after="^minimal"),
    Risk(CRITICAL, "system catalogs can be changed by hand", _named("allow_system_table_mods"),
         after="^on"),
    Risk(CRITICAL, "damaged data is overlooked",
         _named("zero_damaged_pages|ignore_checksum_failure|ignore_system_indexes"), after="^on"),
    Risk(HIGH, "everybody may read and change large objects", _named("lo_compat_privileges"),
         after="^on"),
    Risk(HIGH, "more accounts of the host reach the server", _named("unix_socket_permissions"),
         weaker=wider_mode),
    Risk(HIGH, "triggers and foreign keys do not fire", _named("session_replication_role"),
         after="^replica"),
    Risk(HIGH, "event triggers do not fire", _named("event_triggers"), after=OFF),
    Risk(HIGH, "row security raises errors instead of filtering, or not at all",
         _named("row_security"), after=OFF),
    Risk(HIGH, "who may connect, and how, changed",
         _named(r"password_encryption|ssl|ssl_.*|krb_.*|gss_.*|listen_addresses|hba_file"
                r"|ident_file|data_directory|primary_conninfo|db_user_namespace"
                r"|allow_system_table_mods|row_security|session_replication_role"
                r"|zero_damaged_pages|ignore_checksum_failure|createrole_self_grant")),
    Risk(MEDIUM, "it takes writes of its own now", r"^\(recovery\)$", change=(REMOVED,)),
    Risk(MEDIUM, "", _named("synchronous_commit|search_path|default_transaction_read_only"
                            "|max_connections|wal_level|archive_.*|data_checksums")),
)  # fmt: skip
HBA = (
    Risk(CRITICAL, "clients are let in without proof", after=r"^(trust|error)\b"),
    Risk(HIGH, "passwords travel in clear text", after=r"^password\b"),
    Risk(HIGH, "a client's own machine says who it is", r"^host", after=r"^ident\b"),
    Risk(HIGH, "passwords are proven with MD5", after=r"^md5\b"),
    Risk(
        HIGH,
        "wherever clients come from",
        after=r"^(?!reject).",
        name=r"^host\S* \S+ .*\S (all|\S+/(0|0\.0\.0\.0|::))( #\d+)?$",
    ),
    Risk(HIGH, "connections without TLS are let in", r"^hostnossl", after=r"^(?!reject)."),
    Risk(HIGH, "replication is let in", r"^\S+ (\S+,)?replication(,\S+)? ", after=r"^(?!reject)."),
    Risk(HIGH, "what was refused is no longer", before=r"^reject"),
    Risk(HIGH, "a client needs no certificate any more", weaker=asks_no_certificate),
)
IDENTS = (
    Risk(HIGH, "an outside name may log in as somebody else", change=(ADDED, CHANGED)),
    Risk(CRITICAL, "an outside name may log in as superuser", r"\bpostgres\b",
         change=(ADDED, CHANGED)),
)  # fmt: skip
WATCHES_LESS = "who watches the server may see less of it"
ROLES = (
    Risk(CRITICAL, "a superuser passes every check", part="superuser", after="true"),
    Risk(CRITICAL, "row level security does not hold for it", part="bypassrls", after="true"),
    Risk(HIGH, "it may copy the whole cluster", part="replication", after="true"),
    Risk(HIGH, "it may make roles", part="createrole", after="true"),
    Risk(MEDIUM, "its end changed", part="valid_until", change=(CHANGED,)),
)  # fmt: skip
MEMBERSHIPS = (
    Risk(CRITICAL, "as good as a superuser", after=".",
         name=r"^pg_(execute_server_program|write_server_files|write_all_data)<-"),
    Risk(HIGH, "reads or steers what is not its own", after=".",
         name=r"^pg_(read_server_files|read_all_data|signal_\w+|checkpoint|maintain"
              r"|create_subscription|use_reserved_connections)<-"),
    Risk(HIGH, "it may give the role to others", after="admin"),
    Risk(MEDIUM, WATCHES_LESS, r"^pg_(monitor|read_all_settings|read_all_stats)<-",
         change=(REMOVED,)),
)  # fmt: skip
PRIVILEGES = (
    Risk(HIGH, "everybody has it", r"<-PUBLIC$", part=r"(?!\(revoked\)).+", after="."),
    Risk(HIGH, "everybody may use it again", r"^(type|language):.*<-PUBLIC$", part=r"\(revoked\)",
         before=".", after="^$"),
    Risk(HIGH, "everybody may execute it again", r"<-PUBLIC$", part=r"\(revoked\)", before=".",
         after="^$"),
    Risk(HIGH, "system catalogs are opened", r"^(function|procedure|column|table):pg_catalog\.",
         part=".+", after="."),
    Risk(HIGH, "all objects to come will grant it", r"^default:", part=r"(?!\(revoked\)).+",
         after="."),
    Risk(HIGH, "settings of the server may be changed", r"^parameter:", part=".+", after="."),
    Risk(HIGH, "it may be granted further", part=".+", after="with grant option"),
    Risk(MEDIUM, WATCHES_LESS, change=(REMOVED,),
         name=r"^(table|function):pg_catalog\.pg_(hba_file_rules|ident_file_mappings|file_settings"
              r"|show_all_file_settings)\b"),
    Risk(MEDIUM, "", part=r"(?!\(revoked\)).+", after="."),
    Risk(LOW, "", change=(CHANGED,)),
)  # fmt: skip

OWNER = Risk(HIGH, "its owner may do everything with it", part="owner", change=(CHANGED,))
TABLES = (
    Risk(CRITICAL, "row level security is off: everybody who may read it reads all rows",
         part="row security", before=".", after="^$", change=(CHANGED,)),
    Risk(HIGH, "row level security no longer holds for the owner", part="row security",
         before="forced", after="^on"),
    Risk(LOW, "", part="row security", before="^$", change=(CHANGED,)),
    Risk(MEDIUM, "data is gone", part="column .*", after="^$", change=(CHANGED,)),
    Risk(HIGH, "a table with its data is gone", before=r"(?m)^kind: (partitioned )?table$",
         change=(REMOVED,)),
    Risk(MEDIUM, "what it does not hold for is let in", part="constraint .*", after="^$",
         change=(CHANGED,)),
    Risk(HIGH, "its rows do not survive a crash", part="persistence", after="unlogged",
         change=(CHANGED,)),
    Risk(HIGH, "what the view shows changed", part="definition", change=(CHANGED,)),
    Risk(HIGH, "a barrier of the view is gone", part="options",
         before="security_(barrier|invoker)=(true|on)", change=(CHANGED,),
         weaker=lambda old, new: _options(old) - _options(new) != set()),
    OWNER,
)  # fmt: skip
CASTS = (
    Risk(HIGH, "statements that do not name it run it", after=r"(?m)^context: implicit",
         change=(ADDED, CHANGED)),
)  # fmt: skip
OPERATORS = (
    Risk(HIGH, "statements of others may run its function instead of the one they mean",
         r"^(public|pg_catalog)\.", change=(ADDED,)),
    Risk(HIGH, "other code runs where it is written", part="function", change=(CHANGED,)),
    OWNER,
)  # fmt: skip
SCHEMAS = (
    Risk(HIGH, "the text of clients passes its function", part="conversion .*", after=", default"),
    Risk(CRITICAL, "what comes with PostgreSQL, and everybody calls, is not as initdb made it",
         part="built-in .*", change=(CHANGED,)),
    OWNER,
)  # fmt: skip
POLICIES = (
    Risk(CRITICAL, "rows that it hid can be read, or none at all", change=(REMOVED,)),
    Risk(HIGH, "other rows can be read or written", change=(ADDED, CHANGED)),
)
TRIGGERS = (
    Risk(HIGH, "it no longer fires", part="enabled", after="^(disabled|replica)",
         change=(ADDED, CHANGED)),
    Risk(HIGH, "it no longer fires", before=r"(?sm)\A(?!.*^from: )", change=(REMOVED,)),
    Risk(MEDIUM, "code runs with each change", change=(ADDED, CHANGED)),
)  # fmt: skip
EVENT_TRIGGERS = (
    Risk(CRITICAL, "changes of the schema pass it unseen", part="enabled",
         after="^(disabled|replica)", change=(CHANGED,)),
    Risk(CRITICAL, "changes of the schema pass it unseen", change=(REMOVED,)),
    Risk(HIGH, "code runs with each change of the schema", change=(ADDED, CHANGED)),
)  # fmt: skip
FUNCTIONS = (
    Risk(CRITICAL, "it runs with its owner's rights, and the caller's search_path decides what it"
         " calls", change=(ADDED, CHANGED),
         weaker=lambda old, new: _trusts_caller(new) and not _trusts_caller(old)),
    Risk(HIGH, "it runs with its owner's rights", part="security", after="definer"),
    Risk(HIGH, "it runs with its owner's rights, and what it calls may be in other schemas now",
         change=(CHANGED,),
         weaker=lambda old, new: _is_definer(new) and wider_path(_path(old), _path(new))),
    Risk(HIGH, "the code of a function with its owner's rights changed", part="body",
         change=(CHANGED,)),
    Risk(HIGH, "row level security no longer hides rows from it", part="leakproof", after="yes"),
    Risk(HIGH, "its language may do everything on the host", part="language",
         after=r"^(c|internal|.*u)$"),
    OWNER,
)  # fmt: skip
EXTENSIONS = (
    Risk(CRITICAL, "it reaches the host or other servers", change=(ADDED,),
         name=r"^\"?(adminpack|file_fdw|dblink|plpython\w*u|plperlu|pltclu|lo|xml2|pg_cron"
              r"|pageinspect|pg_surgery|pg_tle)\"?$"),
    Risk(HIGH, "only superusers may install it", part="trusted", after="^no", change=(ADDED,)),
    Risk(CRITICAL, "statements are no longer audited", r"^pgaudit$", change=(REMOVED,)),
    Risk(MEDIUM, "its code changed", part="version", change=(CHANGED,)),
    Risk(HIGH, "a member of it runs with its owner's rights", part="member function .*",
         after="^security definer", change=(CHANGED,)),
    Risk(HIGH, "row level security no longer hides rows from a member of it",
         part="member function .*", after="leakproof", change=(CHANGED,)),
    Risk(CRITICAL, "row level security is off: everybody who may read it reads all rows",
         part="member table .*", before="^row security (on|forced)", after="^row security off",
         change=(CHANGED,)),
    Risk(CRITICAL, "changes of the schema pass it unseen", part="member event_trigger .*",
         after="^(disabled|replica)", change=(CHANGED,)),
    Risk(HIGH, "what it consists of changed by hand or by another version",
         part="member .*|other members", change=(CHANGED,)),
    OWNER,
)  # fmt: skip
LANGUAGES = (
    Risk(HIGH, "its functions may do everything on the host", part="trusted", after="^no"),
    Risk(
        CRITICAL,
        "everybody may do everything on the host",
        "^(c|internal)$",
        part="trusted",
        after="^yes",
    ),
    Risk(HIGH, "other code runs its functions", part="handler|inline|validator", change=(CHANGED,)),
    OWNER,
)
FOREIGN_SERVERS = (
    Risk(HIGH, "data can leave for another server", change=(ADDED,)),
    Risk(HIGH, "it leads to another server", change=(CHANGED,)),
)
USER_MAPPINGS = (
    Risk(HIGH, "it logs in elsewhere as somebody else", change=(ADDED, CHANGED)),
    Risk(CRITICAL, "everybody logs in elsewhere with it", r"(?i)\bpublic\b", change=(ADDED,)),
)
REPLICATION = (
    Risk(HIGH, "data can leave for another server", change=(ADDED,)),
    Risk(HIGH, "what is replicated changed", change=(CHANGED,)),
    Risk(MEDIUM, "a replica may stay behind", change=(REMOVED,)),
)
RISKS: dict[CatalogKind, tuple[Risk, ...]] = {
    CatalogKind.SETTING: SETTINGS,
    CatalogKind.HBA: HBA,
    CatalogKind.IDENT: IDENTS,
    CatalogKind.ROLE: ROLES,
    CatalogKind.MEMBERSHIP: MEMBERSHIPS,
    CatalogKind.DATABASE: (OWNER,),
    CatalogKind.TABLESPACE: (OWNER,),
    CatalogKind.SLOT: REPLICATION,
    CatalogKind.PRIVILEGE: PRIVILEGES,
    CatalogKind.SCHEMA: SCHEMAS,
    CatalogKind.TABLE: TABLES,
    CatalogKind.SEQUENCE: (OWNER,),
    CatalogKind.FUNCTION: FUNCTIONS,
    CatalogKind.TYPE: (OWNER,),
    CatalogKind.CAST: CASTS,
    CatalogKind.OPERATOR: OPERATORS,
    CatalogKind.POLICY: POLICIES,
    CatalogKind.TRIGGER: TRIGGERS,
    CatalogKind.EVENT_TRIGGER: EVENT_TRIGGERS,
    CatalogKind.EXTENSION: EXTENSIONS,
    CatalogKind.LANGUAGE: LANGUAGES,
    CatalogKind.FOREIGN_SERVER: FOREIGN_SERVERS,
    CatalogKind.USER_MAPPING: USER_MAPPINGS,
    CatalogKind.PUBLICATION: REPLICATION,
    CatalogKind.SUBSCRIPTION: REPLICATION,
    CatalogKind.WATCHED: (),
}


def _trusts_caller(function: str) -> bool:
    return _is_definer(function) and _path(function) is None


def _is_definer(function: str) -> bool:
    return "security: definer" in function.split("\n")


def _path(function: str) -> str | None:
    """What the function sets ``search_path`` to."""
    found = (line for line in function.split("\n") if line.startswith(_SEARCH_PATH))
    return next((line.removeprefix(_SEARCH_PATH).strip() for line in found), None)


def _options(value: str) -> set[str]:
    return {word.strip(" {}") for word in value.split(",")}
