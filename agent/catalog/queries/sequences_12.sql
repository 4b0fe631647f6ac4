SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
       c.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(c.relowner),
               CASE WHEN c.relpersistence = 'u' THEN 'persistence: unlogged' END,
               'type: ' || format_type(s.seqtypid, NULL),
               'start: ' || s.seqstart,
               'increment: ' || s.seqincrement,
               'minimum: ' || s.seqmin,
               'maximum: ' || s.seqmax,
               'cache: ' || s.seqcache,
               CASE WHEN s.seqcycle THEN 'cycle: yes' END,
               'owned by: ' || o.name
           ], NULL) AS lines
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = c.oid
LEFT JOIN (
    SELECT d.objid,
           quote_ident(tn.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname)
               AS name
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.objsubid = 0 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
) AS o ON o.objid = c.oid
WHERE c.relkind = 'S'
  AND c.oid >= 16384
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
