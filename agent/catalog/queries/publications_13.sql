SELECT quote_ident(p.pubname) AS name,
       p.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(p.pubowner),
               CASE WHEN p.puballtables THEN 'all tables: yes' END,
               'operations: ' || concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END,
                                           CASE WHEN p.pubupdate THEN 'update' END,
                                           CASE WHEN p.pubdelete THEN 'delete' END,
                                           CASE WHEN p.pubtruncate THEN 'truncate' END),
               CASE WHEN p.pubviaroot THEN 'via root: yes' END
           ], NULL)
       || coalesce((
           SELECT array_agg('table ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                            || ': ' || 'all columns'
                            ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C")
           FROM pg_catalog.pg_publication_rel AS r
           JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           WHERE r.prpubid = p.oid), '{}') AS lines
FROM pg_catalog.pg_publication AS p
