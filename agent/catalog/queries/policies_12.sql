SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(p.polname)
           AS name,
       p.oid::bigint AS oid,
       ARRAY[
           'command: ' || CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
                                        WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete'
                                        ELSE 'all' END,
           'roles: ' || (
               SELECT string_agg(CASE WHEN m.oid = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(m.oid) END,
                                 ', ' ORDER BY m.oid <> 0, pg_get_userbyid(m.oid) COLLATE "C")
               FROM unnest(p.polroles) AS m(oid)),
           'kind: ' || CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END
       ]
       || CASE WHEN p.polqual IS NOT NULL
               THEN ARRAY['using: ' || pg_get_expr(p.polqual, p.polrelid)] ELSE '{}' END
       || CASE WHEN p.polwithcheck IS NOT NULL
               THEN ARRAY['check: ' || pg_get_expr(p.polwithcheck, p.polrelid)] ELSE '{}' END
           AS lines
FROM pg_catalog.pg_policy AS p
JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid AND d.deptype = 'e')
