"""Statements that are a row: the verb, and where the names of what they are about stand.

A spec is words ``kind=field``: the field holds a name, a relation or a list of either; ``a.b`` is a
path. A kind ``@field`` is read from a field that holds an OBJECT_... constant.
"""

CREDENTIALS = frozenset(
    {
        "CreateUserMappingStmt", "AlterUserMappingStmt", "CreateForeignServerStmt",
        "AlterForeignServerStmt", "CreateFdwStmt", "AlterFdwStmt", "CreateForeignTableStmt",
        "CreateSubscriptionStmt", "AlterSubscriptionStmt", "ImportForeignSchemaStmt",
        "SecLabelStmt", "CommentStmt", "NotifyStmt", "ExecuteStmt",
    }
)  # fmt: skip
"""libpg_query's fingerprint takes in their options and texts."""

OUTSIDE = frozenset(
    {
        "CreateForeignTableStmt", "CreateSubscriptionStmt", "AlterSubscriptionStmt",
        "CreateForeignServerStmt", "AlterForeignServerStmt", "CreateUserMappingStmt",
        "AlterUserMappingStmt", "ImportForeignSchemaStmt", "CreateTableSpaceStmt",
    }
)  # fmt: skip
"""Their options may name programs, files and other servers."""

TABLE: dict[str, tuple[str, str]] = {
    "CreateStmt": ("create", "table=relation"),
    "CreateForeignTableStmt": ("create", "foreign_table=base.relation foreign_server=servername"),
    "ViewStmt": ("create", "view=view"),
    "RefreshMatViewStmt": ("refresh", "materialized_view=relation"),
    "CreateSchemaStmt": ("create", "schema=schemaname"),
    "CreatedbStmt": ("create", "database=dbname"),
    "DropdbStmt": ("drop", "database=dbname"),
    "AlterDatabaseStmt": ("alter", "database=dbname"),
    "AlterDatabaseRefreshCollStmt": ("alter", "database=dbname"),
    "CreateSeqStmt": ("create", "sequence=sequence"),
    "AlterSeqStmt": ("alter", "sequence=sequence"),
    "CreateTrigStmt": ("create", "trigger=trigname table=relation function=funcname"),
    "CreateEventTrigStmt": ("create", "event_trigger=trigname function=funcname"),
    "AlterEventTrigStmt": ("alter", "event_trigger=trigname"),
    "CreatePolicyStmt": ("create", "policy=policy_name table=table"),
    "AlterPolicyStmt": ("alter", "policy=policy_name table=table"),
    "CreateExtensionStmt": ("create", "extension=extname"),
    "AlterExtensionStmt": ("alter", "extension=extname"),
    "AlterExtensionContentsStmt": ("alter", "extension=extname @objtype=object"),
    "CreateFdwStmt": ("create", "foreign_data_wrapper=fdwname"),
    "AlterFdwStmt": ("alter", "foreign_data_wrapper=fdwname"),
    "CreateForeignServerStmt": ("create", "foreign_server=servername"),
    "AlterForeignServerStmt": ("alter", "foreign_server=servername"),
    "CreateUserMappingStmt": ("create", "user_mapping=servername"),
    "AlterUserMappingStmt": ("alter", "user_mapping=servername"),
    "DropUserMappingStmt": ("drop", "user_mapping=servername"),
    "ImportForeignSchemaStmt": ("import", "schema=local_schema foreign_server=server_name"),
    "CreatePublicationStmt": ("create", "publication=pubname"),
    "AlterPublicationStmt": ("alter", "publication=pubname"),
    "CreateSubscriptionStmt": ("create", "subscription=subname"),
    "AlterSubscriptionStmt": ("alter", "subscription=subname"),
    "DropSubscriptionStmt": ("drop", "subscription=subname"),
    "CreateTableSpaceStmt": ("create", "tablespace=tablespacename"),
    "AlterTableSpaceOptionsStmt": ("alter", "tablespace=tablespacename"),
    "DropTableSpaceStmt": ("drop", "tablespace=tablespacename"),
    "AlterTableMoveAllStmt": ("alter", "tablespace=orig_tablespacename"),
    "CreateDomainStmt": ("create", "domain=domainname"),
    "AlterDomainStmt": ("alter", "domain=typeName"),
    "CreateEnumStmt": ("create", "type=typeName"),
    "AlterEnumStmt": ("alter", "type=typeName"),
    "CompositeTypeStmt": ("create", "type=typevar"),
    "CreateRangeStmt": ("create", "type=typeName"),
    "AlterTypeStmt": ("alter", "type=typeName"),
    "DefineStmt": ("create", "@kind=defnames"),
    "CreateConversionStmt": ("create", "conversion=conversion_name function=func_name"),
    "CreateAmStmt": ("create", "access_method=amname"),
    "CreateOpClassStmt": ("create", "operator_class=opclassname"),
    "CreateOpFamilyStmt": ("create", "operator_family=opfamilyname"),
    "AlterOpFamilyStmt": ("alter", "operator_family=opfamilyname"),
    "AlterOperatorStmt": ("alter", "operator=opername"),
    "AlterCollationStmt": ("alter", "collation=collname"),
    "AlterTSConfigurationStmt": ("alter", "tsconfiguration=cfgname"),
    "AlterTSDictionaryStmt": ("alter", "tsdictionary=dictname"),
    "CreateTransformStmt": ("create", "transform=lang"),
    "RuleStmt": ("create", "rule=rulename table=relation"),
    "AlterObjectSchemaStmt": ("alter", "@objectType=relation @objectType=object"),
    "AlterOwnerStmt": ("alter", "@objectType=relation @objectType=object"),
    "AlterObjectDependsStmt": ("alter", "@objectType=object"),
    "ReplicaIdentityStmt": ("alter", ""),
    "CommentStmt": ("comment", "@objtype=object"),
    "SecLabelStmt": ("security label", "@objtype=object"),
    "DropOwnedStmt": ("drop", ""),
    "ReassignOwnedStmt": ("reassign", ""),
    "ExecuteStmt": ("execute", ""),
    "FetchStmt": ("fetch", ""),
    "ClosePortalStmt": ("close", ""),
    "DeallocateStmt": ("deallocate", ""),
    "DiscardStmt": ("discard", ""),
    "VariableShowStmt": ("show", ""),
    "ConstraintsSetStmt": ("set constraints", ""),
    "CheckPointStmt": ("checkpoint", ""),
    "LockStmt": ("lock", "table=relations"),
}
