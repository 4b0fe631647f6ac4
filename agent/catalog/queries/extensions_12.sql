SELECT quote_ident(e.extname) AS name,
       ARRAY[
           'owner: ' || pg_get_userbyid(e.extowner),
           'version: ' || e.extversion,
           'schema: ' || (SELECT quote_ident(n.nspname) FROM pg_catalog.pg_namespace AS n
                          WHERE n.oid = e.extnamespace)
       ] AS lines
FROM pg_catalog.pg_extension AS e
