-- What is called otherwise by now than in the snapshot of this transaction: functions that spell
-- definitions, and these casts, take names as they are now. What was dropped has no name.
WITH named AS (
    SELECT c.oid::regclass::text AS now,
           quote_ident(n.nspname) AS place, quote_ident(c.relname) AS own
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384
      AND c.relkind <> 't'
      AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_(toast|temp)'
    UNION ALL
    SELECT p.oid::regproc::text, quote_ident(n.nspname), quote_ident(p.proname)
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.oid >= 16384 AND n.nspname !~ '^pg_temp'
    UNION ALL
    SELECT t.oid::regtype::text, quote_ident(n.nspname), quote_ident(t.typname)
    FROM pg_catalog.pg_type AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384
      AND t.typtype IN ('d', 'e', 'r')
      AND n.nspname !~ '^pg_temp'
    UNION ALL
    SELECT quote_ident(pg_get_userbyid(r.oid)), NULL, quote_ident(r.rolname)
    FROM pg_catalog.pg_roles AS r
    WHERE pg_get_userbyid(r.oid) NOT LIKE 'unknown (OID=%)'
)
SELECT now AS name FROM named
WHERE now NOT IN (coalesce(place || '.', '') || own, own) AND now !~ '^([0-9]+|-)$'
LIMIT 1
