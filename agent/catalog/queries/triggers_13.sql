SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(t.tgname)
           AS name,
       t.oid::bigint AS oid,
       ARRAY[
           'definition: ' || pg_get_triggerdef(t.oid),
           'enabled: ' || CASE t.tgenabled WHEN 'O' THEN 'origin' WHEN 'A' THEN 'always'
                                           WHEN 'R' THEN 'replica' ELSE 'disabled' END,
           'function: ' || (
               SELECT quote_ident(fn.nspname) || '.' || quote_ident(f.proname)
               FROM pg_catalog.pg_proc AS f
               JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.pronamespace
               WHERE f.oid = t.tgfoid)
       ] || CASE WHEN p.oid IS NOT NULL THEN ARRAY['from: parent']
                 WHEN t.tgisinternal THEN ARRAY['from: constraint ' || coalesce((
                     SELECT quote_ident(k.conname) FROM pg_catalog.pg_constraint AS k
                     WHERE k.oid = t.tgconstraint), '?')]
                 ELSE ARRAY[]::text[] END AS lines
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_trigger AS p ON p.oid = t.tgparentid
-- What a partition has from its parent is the parent's, and what keeps foreign and unique keys is
-- theirs: until somebody disables it there.
WHERE CASE WHEN p.oid IS NOT NULL THEN p.tgenabled <> t.tgenabled
           ELSE NOT t.tgisinternal OR t.tgenabled <> 'O' END
  AND c.relpersistence <> 't'
  AND NOT EXISTS (
      SELECT 1 FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
