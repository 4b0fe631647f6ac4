-- As extensions_12.sql. Whether one is trusted stands in its control file, which may be gone.
SELECT quote_ident(e.extname) AS name,
       ARRAY[
           'owner: ' || pg_get_userbyid(e.extowner),
           'version: ' || e.extversion,
           'schema: ' || (SELECT quote_ident(n.nspname) FROM pg_catalog.pg_namespace AS n
                          WHERE n.oid = e.extnamespace),
           'trusted: ' || CASE v.trusted WHEN true THEN 'yes' WHEN false THEN 'no'
                                         ELSE 'unknown' END
       ] AS lines
FROM pg_catalog.pg_extension AS e
LEFT JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = e.extname AND v.version = e.extversion
