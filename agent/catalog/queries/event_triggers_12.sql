SELECT quote_ident(e.evtname) AS name,
       e.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(e.evtowner),
               'event: ' || e.evtevent,
               'enabled: ' || CASE e.evtenabled WHEN 'O' THEN 'origin' WHEN 'A' THEN 'always'
                                                WHEN 'R' THEN 'replica' ELSE 'disabled' END,
               'tags: ' || array_to_string(e.evttags, ', '),
               'function: ' || (
                   SELECT quote_ident(n.nspname) || '.' || quote_ident(f.proname)
                   FROM pg_catalog.pg_proc AS f
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
                   WHERE f.oid = e.evtfoid)
           ], NULL) AS lines
FROM pg_catalog.pg_event_trigger AS e
WHERE NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_event_trigger'::regclass AND d.objid = e.oid
      AND d.deptype = 'e')
