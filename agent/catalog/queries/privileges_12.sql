-- Privileges inside one database that somebody granted: the owner's own are left out, so are those
-- that initdb or an extension put there (pg_init_privs) and objects of pg_temp and pg_toast.
-- Schemas come with their defaults, which also means that no database yields nothing at all.
-- What PUBLIC has by default (functions, types, languages) is no grant; that it is gone is told.
WITH objects AS MATERIALIZED (
    SELECT 'schema' AS type, n.oid, 0 AS part, 'pg_namespace'::regclass AS class,
           quote_ident(n.nspname) AS object, n.nspowner AS owner,
           coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl, '' AS usual
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname !~ '^pg_(temp|toast)'
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid, 0, 'pg_class'::regclass,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relowner, c.relacl, ''
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND c.relacl IS NOT NULL
      AND n.nspname !~ '^pg_(temp|toast)'
    UNION ALL
    SELECT 'column', c.oid, t.attnum, 'pg_class'::regclass,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(t.attname),
           c.relowner, t.attacl, ''
    FROM pg_catalog.pg_attribute AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.attacl IS NOT NULL AND NOT t.attisdropped
      AND n.nspname !~ '^pg_(temp|toast)'
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, p.oid, 0,
           'pg_proc'::regclass,
           quote_ident(n.nspname) || '.' || quote_ident(p.proname)
               || '('
               || regexp_replace(pg_get_function_identity_arguments(p.oid), '(^|, )IN ', '\1', 'g')
               || ')',
           p.proowner, p.proacl, 'EXECUTE'
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.proacl IS NOT NULL AND n.nspname !~ '^pg_temp'
    UNION ALL
    SELECT 'type', t.oid, 0, 'pg_type'::regclass,
           quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typowner, t.typacl, 'USAGE'
    FROM pg_catalog.pg_type AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typacl IS NOT NULL AND n.nspname !~ '^pg_(temp|toast)'
    UNION ALL
    SELECT 'language', l.oid, 0, 'pg_language'::regclass, quote_ident(l.lanname), l.lanowner,
           l.lanacl, 'USAGE'
    FROM pg_catalog.pg_language AS l
    WHERE l.lanacl IS NOT NULL
    UNION ALL
    SELECT 'foreign_server', s.oid, 0, 'pg_foreign_server'::regclass, quote_ident(s.srvname),
           s.srvowner, s.srvacl, ''
    FROM pg_catalog.pg_foreign_server AS s
    WHERE s.srvacl IS NOT NULL
    UNION ALL
    SELECT 'foreign_data_wrapper', w.oid, 0, 'pg_foreign_data_wrapper'::regclass,
           quote_ident(w.fdwname), w.fdwowner, w.fdwacl, ''
    FROM pg_catalog.pg_foreign_data_wrapper AS w
    WHERE w.fdwacl IS NOT NULL
    UNION ALL
    SELECT 'large_object', m.oid, 0, 'pg_largeobject_metadata'::regclass, m.oid::text, m.lomowner,
           m.lomacl, ''
    FROM pg_catalog.pg_largeobject_metadata AS m
    WHERE m.lomacl IS NOT NULL
),
initial AS MATERIALIZED (
    SELECT i.objoid, i.classoid, i.objsubid, e.grantee, e.privilege_type, e.is_grantable
    FROM pg_catalog.pg_init_privs AS i
    CROSS JOIN LATERAL aclexplode(i.initprivs) AS e
),
granted AS (
    SELECT o.type, o.object, o.owner, a.grantee,
           a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END AS privilege
    FROM objects AS o
    CROSS JOIN LATERAL aclexplode(o.acl) AS a
    WHERE a.grantee <> o.owner
      -- Everybody may read information_schema; initdb does not note it in pg_init_privs.
      AND NOT (o.type = 'table' AND a.grantee = 0 AND a.privilege_type = 'SELECT'
               AND starts_with(o.object, 'information_schema.'))
      AND NOT (o.usual = a.privilege_type AND a.grantee = 0 AND NOT a.is_grantable
               AND NOT EXISTS (
                   SELECT 1 FROM pg_catalog.pg_init_privs AS i
                   WHERE i.objoid = o.oid AND i.classoid = o.class AND i.objsubid = 0))
      AND NOT EXISTS (
          SELECT 1 FROM initial AS i
          WHERE o.type <> 'schema'
            AND i.objoid = o.oid AND i.classoid = o.class AND i.objsubid = o.part
            AND i.grantee = a.grantee AND i.privilege_type = a.privilege_type
            AND i.is_grantable = a.is_grantable)
    UNION ALL
    SELECT o.type, o.object, o.owner, 0, '(revoked)'
    FROM objects AS o
    WHERE o.usual <> ''
      AND NOT EXISTS (SELECT 1 FROM aclexplode(o.acl) AS a WHERE a.grantee = 0)
      AND NOT EXISTS (
          SELECT 1 FROM pg_catalog.pg_init_privs AS i
          WHERE i.objoid = o.oid AND i.classoid = o.class AND i.objsubid = 0)
)
SELECT g.type, g.object, coalesce(r.rolname, 'PUBLIC') AS grantee, g.privilege,
       coalesce(w.rolname, '') AS owner
FROM granted AS g
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
LEFT JOIN pg_catalog.pg_roles AS w ON w.oid = g.owner
ORDER BY 1, 2, 3, 4
