"""Who wrote to the system's own tables: ``UPDATE pg_authid SET rolsuper = true``.

Which row is redacted, so whoever wrote to a table in that time may have made any difference in it;
a statement that is about the object is a better match.
"""

from __future__ import annotations

from collector.drift.changes import WRITING, Change
from collector.drift.matching.target import POSSIBLE, Target
from model.catalog import CatalogKind

_TABLES: dict[CatalogKind, tuple[str, ...]] = {
    CatalogKind.SETTING: ("pg_db_role_setting",),
    CatalogKind.ROLE: ("pg_authid",),
    CatalogKind.MEMBERSHIP: ("pg_auth_members", "pg_authid"),
    CatalogKind.DATABASE: ("pg_database",),
    CatalogKind.TABLESPACE: ("pg_tablespace",),
    CatalogKind.SCHEMA: (
        "pg_namespace", "pg_proc", "pg_rewrite", "pg_class", "pg_cast", "pg_operator",
        "pg_collation", "pg_conversion", "pg_opclass", "pg_opfamily", "pg_amop", "pg_amproc",
        "pg_ts_config", "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template",
    ),
    CatalogKind.TABLE: (
        "pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_inherits",
        "pg_rewrite", "pg_partitioned_table", "pg_foreign_table",
    ),
    CatalogKind.SEQUENCE: ("pg_sequence", "pg_class"),
    CatalogKind.FUNCTION: ("pg_proc", "pg_aggregate"),
    CatalogKind.TYPE: ("pg_type", "pg_enum", "pg_range", "pg_attribute", "pg_constraint"),
    CatalogKind.CAST: ("pg_cast",),
    CatalogKind.OPERATOR: ("pg_operator",),
    CatalogKind.POLICY: ("pg_policy",),
    CatalogKind.TRIGGER: ("pg_trigger",),
    CatalogKind.EVENT_TRIGGER: ("pg_event_trigger",),
    CatalogKind.EXTENSION: ("pg_extension", "pg_depend", "pg_proc", "pg_class"),
    CatalogKind.LANGUAGE: ("pg_language",),
    CatalogKind.FOREIGN_SERVER: ("pg_foreign_server", "pg_foreign_data_wrapper"),
    CatalogKind.USER_MAPPING: ("pg_user_mapping",),
    CatalogKind.PUBLICATION: (
        "pg_publication", "pg_publication_rel", "pg_publication_namespace",
    ),
    CatalogKind.SUBSCRIPTION: ("pg_subscription",),
}  # fmt: skip
_OF_GRANTS: dict[str, tuple[str, ...]] = {
    "table": ("pg_class",),
    "sequence": ("pg_class",),
    "column": ("pg_attribute",),
    "function": ("pg_proc",),
    "procedure": ("pg_proc",),
    "schema": ("pg_namespace",),
    "database": ("pg_database",),
    "tablespace": ("pg_tablespace",),
    "type": ("pg_type",),
    "language": ("pg_language",),
    "foreign_server": ("pg_foreign_server",),
    "foreign_data_wrapper": ("pg_foreign_data_wrapper",),
    "large_object": ("pg_largeobject_metadata",),
    "parameter": ("pg_parameter_acl",),
    "default": ("pg_default_acl",),
}
"""By the type of object in a privilege's name."""
_SCHEMA = "pg_catalog"


def by_hand(change: Change, target: Target) -> int:
    """``POSSIBLE`` and more if it wrote to one of the tables that hold this."""
    if target.scope.database and change.database != target.scope.database:
        return 0
    tables = tables_of(target)
    schema_and_name = (name.rpartition(".")[::2] for name in change.writes)
    if not any(name in tables and schema in ("", _SCHEMA) for schema, name in schema_and_name):
        return 0
    did = change.verbs & WRITING
    impossible = {"delete"} if target.added else {"insert", "copy"} if target.removed else set()
    return 0 if did and did <= impossible else POSSIBLE + 5


def tables_of(target: Target) -> tuple[str, ...]:
    """The system's tables that hold what differs."""
    if target.scope.kind is CatalogKind.PRIVILEGE:
        return _OF_GRANTS.get(target.step.name.partition(":")[0], ())
    if target.scope.kind is CatalogKind.SETTING and "@" not in target.step.name:
        return ()
    return _TABLES.get(target.scope.kind, ())
