SELECT r.rolname AS name,
       r.oid::bigint AS oid,
       r.rolsuper AS superuser,
       r.rolcanlogin AS login,
       r.rolcreaterole AS createrole,
       r.rolcreatedb AS createdb,
       r.rolreplication AS replication,
       r.rolbypassrls AS bypassrls,
       r.rolinherit AS inherit,
       r.rolconnlimit AS connection_limit,
       (r.rolvaliduntil AT TIME ZONE 'UTC')::text AS valid_until
FROM pg_catalog.pg_roles AS r
ORDER BY r.rolname COLLATE "C"
