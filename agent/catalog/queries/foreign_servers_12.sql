-- Servers, and wrappers that no extension made: `wrapper NAME`, which no server's name looks like.
SELECT quote_ident(s.srvname) AS name,
       s.oid::bigint AS oid,
       array_remove(
           ARRAY[
               'owner: ' || pg_get_userbyid(s.srvowner),
               'wrapper: ' || quote_ident(w.fdwname),
               'type: ' || s.srvtype,
               'version: ' || s.srvversion
           ], NULL) AS lines,
       coalesce(s.srvoptions, '{}') AS options
FROM pg_catalog.pg_foreign_server AS s
JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw
WHERE NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_foreign_server'::regclass AND d.objid = s.oid
      AND d.deptype = 'e')
UNION ALL
SELECT 'wrapper ' || quote_ident(w.fdwname),
       w.oid::bigint,
       ARRAY[
           'owner: ' || pg_get_userbyid(w.fdwowner),
           'handler: ' || w.fdwhandler::regproc::text,
           'validator: ' || w.fdwvalidator::regproc::text
       ],
       coalesce(w.fdwoptions, '{}')
FROM pg_catalog.pg_foreign_data_wrapper AS w
WHERE NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_foreign_data_wrapper'::regclass AND d.objid = w.oid
      AND d.deptype = 'e')
