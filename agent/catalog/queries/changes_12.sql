-- Two numbers for each catalog table of this database: how many rows, and the sum of a hash of
-- their xmin (grouped first: few transactions made many rows). Whoever inserts, updates or deletes a
-- row changes them; what the server writes in place (statistics, frozen ids) does not. Rows of
-- temporary objects are left out. "names" are those that stand in the definitions of others.
WITH temporary AS MATERIALIZED (
    SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relpersistence = 't'
),
passing AS MATERIALIZED (
    SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname ~ '^pg_(toast_)?temp_'
)
SELECT 'namespace' AS part, sum(n) AS rows, sum(hashtextextended(x::text, n)) AS hash
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_namespace
      WHERE oid NOT IN (SELECT oid FROM passing) GROUP BY xmin) AS g
UNION ALL
SELECT 'names', count(*), sum(hashtextextended(nspname::text, oid::bigint))
FROM pg_catalog.pg_namespace WHERE oid NOT IN (SELECT oid FROM passing)
UNION ALL
SELECT 'names', count(*),
       sum(hashtextextended(relname::text, (oid::bigint << 32) # relnamespace::bigint))
FROM pg_catalog.pg_class
WHERE relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
UNION ALL
SELECT 'names', count(*),
       sum(hashtextextended(proname::text, (oid::bigint << 32) # pronamespace::bigint))
FROM pg_catalog.pg_proc WHERE pronamespace NOT IN (SELECT oid FROM passing)
UNION ALL
SELECT 'names', count(*),
       sum(hashtextextended(typname::text, (oid::bigint << 32) # typnamespace::bigint))
FROM pg_catalog.pg_type WHERE typnamespace NOT IN (SELECT oid FROM passing)
UNION ALL
SELECT 'names', count(*),
       sum(hashtextextended(collname::text, (oid::bigint << 32) # collnamespace::bigint))
FROM pg_catalog.pg_collation
UNION ALL
SELECT 'names', count(*), sum(hashtextextended(amname::text, oid::bigint)) FROM pg_catalog.pg_am
UNION ALL
SELECT 'class', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_class
      WHERE relpersistence <> 't' GROUP BY xmin) AS g
UNION ALL
SELECT 'attribute', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_attribute
      WHERE attnum > 0 AND attrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'attrdef', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_attrdef
      WHERE adrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'constraint', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_constraint
      WHERE conrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'index', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_index
      WHERE indrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'inherits', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_inherits
      WHERE inhrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'rewrite', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_rewrite
      WHERE ev_class NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'partitioned_table', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_partitioned_table GROUP BY xmin) AS g
UNION ALL
SELECT 'foreign_table', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_foreign_table GROUP BY xmin) AS g
UNION ALL
SELECT 'sequence', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_sequence
      WHERE seqrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'proc', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_proc
      WHERE pronamespace NOT IN (SELECT oid FROM passing) GROUP BY xmin) AS g
UNION ALL
SELECT 'aggregate', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_aggregate GROUP BY xmin) AS g
UNION ALL
SELECT 'type', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_type
      WHERE typnamespace NOT IN (SELECT oid FROM passing) GROUP BY xmin) AS g
UNION ALL
SELECT 'enum', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_enum GROUP BY xmin) AS g
UNION ALL
SELECT 'range', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_range GROUP BY xmin) AS g
UNION ALL
SELECT 'policy', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_policy GROUP BY xmin) AS g
UNION ALL
SELECT 'trigger', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_trigger
      WHERE tgrelid NOT IN (SELECT oid FROM temporary) GROUP BY xmin) AS g
UNION ALL
SELECT 'event_trigger', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_event_trigger GROUP BY xmin) AS g
UNION ALL
SELECT 'extension', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_extension GROUP BY xmin) AS g
UNION ALL
SELECT 'member', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_depend
      WHERE deptype = 'e' GROUP BY xmin) AS g
UNION ALL
SELECT 'language', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_language GROUP BY xmin) AS g
UNION ALL
SELECT 'cast', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_cast GROUP BY xmin) AS g
UNION ALL
SELECT 'operator', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_operator GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_collation GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_conversion GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_opclass GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_opfamily GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_amop GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_amproc GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_ts_config GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_ts_config_map GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_ts_dict GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_ts_parser GROUP BY xmin) AS g
UNION ALL
SELECT 'in_schemas', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_ts_template GROUP BY xmin) AS g
UNION ALL
SELECT 'foreign_server', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_foreign_server GROUP BY xmin) AS g
UNION ALL
SELECT 'foreign_data_wrapper', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_foreign_data_wrapper GROUP BY xmin) AS g
UNION ALL
SELECT 'publication', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_publication GROUP BY xmin) AS g
UNION ALL
SELECT 'publication', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_publication_rel GROUP BY xmin) AS g
UNION ALL
SELECT 'default_acl', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_default_acl GROUP BY xmin) AS g
UNION ALL
SELECT 'init_privs', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_init_privs GROUP BY xmin) AS g
UNION ALL
SELECT 'large_object', sum(n), sum(hashtextextended(x::text, n))
FROM (SELECT xmin AS x, count(*) AS n FROM pg_catalog.pg_largeobject_metadata
      WHERE lomacl IS NOT NULL GROUP BY xmin) AS g
