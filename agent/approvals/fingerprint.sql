-- What relations and functions are, as one hash: any change to them changes it. Rights on them,
-- statistics and storage do not. Of a function the row says all, as its server's version has it:
-- the body of BEGIN ATOMIC stands in a column of its own since PostgreSQL 14.
WITH RECURSIVE named AS (
    SELECT c.oid
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS n (schema, name)
    JOIN pg_catalog.pg_class c ON c.relname = n.name
    JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace AND n.schema IN ('', s.nspname)
), involved AS (
    SELECT oid FROM named
    UNION
    SELECT next.oid
    FROM involved i
    CROSS JOIN LATERAL (
        -- partitions and children; who refers to it; what a view reads
        SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = i.oid
        UNION ALL
        SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.confrelid = i.oid
        UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_rewrite r
        JOIN pg_catalog.pg_depend d
            ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE r.ev_class = i.oid AND d.refobjid <> i.oid
    ) AS next (oid)
), facts AS (
    SELECT format('relation %%s', (c.oid, c.relname, c.relnamespace, c.relkind, c.relowner,
        c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
        CASE c.relkind WHEN 'v' THEN c.reloptions END)) AS fact
    FROM involved i JOIN pg_catalog.pg_class c ON c.oid = i.oid
    UNION ALL
    SELECT format('column %%s', (a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod,
        a.attnotnull, a.attisdropped, a.attidentity, a.attgenerated, a.attcollation, a.attfdwoptions,
        md5(d.adbin::text)))
    FROM involved i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.oid AND a.attnum > 0
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT format('trigger %%s', (t.oid, t.tgrelid, t.tgfoid, t.tgtype, t.tgenabled,
        md5(t.tgqual::text), md5((to_jsonb(p) - 'proacl')::text)))
    FROM involved i
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = i.oid
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    UNION ALL
    SELECT format('rule %%s', (r.oid, r.ev_class, r.ev_type, r.ev_enabled, r.is_instead,
        md5(r.ev_qual::text), md5(r.ev_action::text)))
    FROM involved i JOIN pg_catalog.pg_rewrite r ON r.ev_class = i.oid
    UNION ALL
    SELECT format('constraint %%s', (k.oid, k.conrelid, k.confrelid, k.contype, k.confdeltype,
        k.confupdtype, k.conkey, k.confkey, md5(k.conbin::text)))
    FROM involved i
    JOIN pg_catalog.pg_constraint k ON k.conrelid = i.oid OR k.confrelid = i.oid
    UNION ALL
    -- An index that computes something calls functions when rows are written.
    SELECT format('index %%s', (x.indrelid, x.indisunique, x.indkey::text, md5(x.indexprs::text),
        md5(x.indpred::text)))
    FROM involved i
    JOIN pg_catalog.pg_index x
        ON x.indrelid = i.oid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)
    UNION ALL
    SELECT format('policy %%s', (y.oid, y.polrelid, y.polcmd, y.polpermissive, y.polroles,
        md5(y.polqual::text), md5(y.polwithcheck::text)))
    FROM involved i JOIN pg_catalog.pg_policy y ON y.polrelid = i.oid
    UNION ALL
    SELECT format('foreign table %%s', (f.ftrelid, md5(f.ftoptions::text), v.oid, v.srvname,
        v.srvowner, v.srvtype, v.srvversion, md5(v.srvoptions::text), w.oid, w.fdwhandler,
        md5(w.fdwoptions::text)))
    FROM involved i
    JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = i.oid
    JOIN pg_catalog.pg_foreign_server v ON v.oid = f.ftserver
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = v.srvfdw
    UNION ALL
    -- The view shows the options only to who may know them; that there is a mapping, to all.
    SELECT format('user mapping %%s', (m.umid, m.srvid, m.umuser, md5(m.umoptions::text)))
    FROM involved i
    JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = i.oid
    JOIN pg_catalog.pg_user_mappings m ON m.srvid = f.ftserver
    UNION ALL
    SELECT format('function %%s', (p.oid, md5((to_jsonb(p) - 'proacl')::text)))
    FROM unnest(%(function_schemas)s::text[], %(function_names)s::text[]) AS n (schema, name)
    JOIN pg_catalog.pg_proc p ON p.proname = n.name
    JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace AND n.schema IN ('', s.nspname)
)
SELECT md5(coalesce(string_agg(DISTINCT fact, E'\n' ORDER BY fact), '')) FROM facts
