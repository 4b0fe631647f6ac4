-- What an approver should know of relations: how large they are, and what hangs on them.
WITH named AS (
    SELECT c.oid, c.relname, s.nspname, c.relkind, c.reltuples
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS n (schema, name)
    JOIN pg_catalog.pg_class c ON c.relname = n.name
    JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace AND n.schema IN ('', s.nspname)
    WHERE s.nspname NOT LIKE 'pg\_%%' AND s.nspname <> 'information_schema'
    ORDER BY s.nspname, c.relname
    LIMIT 20
), views AS (
    SELECT DISTINCT n.oid, vs.nspname || '.' || v.relname AS name, v.relkind
    FROM named n
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = n.oid
        AND d.classid = 'pg_catalog.pg_rewrite'::regclass
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> n.oid
    JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
    JOIN pg_catalog.pg_namespace vs ON vs.oid = v.relnamespace
)
SELECT
    n.nspname || '.' || n.relname,
    n.relkind::text,
    n.reltuples::bigint,
    ARRAY(
        SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.name
        FROM views v WHERE v.oid = n.oid ORDER BY 1 LIMIT 20
    ) || ARRAY(
        SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::regclass::text ||
            CASE k.confdeltype WHEN 'c' THEN ' (deletes along)' WHEN 'n' THEN ' (sets NULL)'
                WHEN 'd' THEN ' (sets the default)' ELSE '' END
        FROM pg_catalog.pg_constraint k
        WHERE k.confrelid = n.oid AND k.contype = 'f' ORDER BY 1 LIMIT 20
    ) || ARRAY(
        SELECT 'trigger ' || t.tgname || ' (' || t.tgfoid::regproc::text || ')'
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = n.oid AND NOT t.tgisinternal ORDER BY 1 LIMIT 20
    ) || ARRAY(
        SELECT 'partition ' || h.inhrelid::regclass::text
        FROM pg_catalog.pg_inherits h WHERE h.inhparent = n.oid ORDER BY 1 LIMIT 20
    )
FROM named n
